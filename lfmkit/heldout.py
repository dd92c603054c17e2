"""Early stopping: the loss on rows that are not trained on, and the best weights seen so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from lfmkit.blocks import Block
from lfmkit.targets import Targets

LOOKS = 25  # looks at the held-out loss in a run
SAMPLES = 16_384
CHUNK = 4096


class HeldOut:
    """The loss of one block on held-out rows, and the weights that were best by it.

    Rows, times and noise are drawn once, so that two looks differ by the weights alone.

    Args:
        targets: Source of the held-out samples.
        patience: Share of the run's steps without a new best loss after which training stops.
        generator: Draws the samples.

    Attributes:
        loss: The best loss so far.
        step: When it was found.
        weights: The block's weights then.
    """

    def __init__(self, targets: Targets, patience: float, generator: Generator) -> None:
        self.samples, self.patience = targets.draw(SAMPLES, generator), patience
        self.loss, self.step = math.inf, 0
        self.weights: list[Tensor] = []

    @torch.no_grad()
    def look(self, block: Block, weights: Sequence[Tensor], average: Sequence[Tensor], step: int) -> float:
        """Return the loss of the averaged weights, put into the block for as long as that takes."""
        now = [weight.detach().clone() for weight in weights]
        torch._foreach_copy_(list(weights), list(average))
        parts = [self.samples.part(first, CHUNK) for first in range(0, SAMPLES, CHUNK)]
        loss = sum(float(block.loss(*part)) for part in parts) / len(parts)
        if loss < self.loss:
            self.loss, self.step = loss, step
            self.weights = [weight.detach().clone() for weight in weights]
        torch._foreach_copy_(list(weights), now)
        return loss

    def gave_up(self, step: int, steps: int) -> bool:
        """Return whether the best loss is so old that training should stop."""
        return step - self.step >= self.patience * steps

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what has to be kept between runs: tensors, and plain data."""
        tensors = {f"best.{i}": weight for i, weight in enumerate(self.weights)}
        return tensors, {"loss": self.loss if self.weights else None, "step": self.step}

    def restore(
        self, tensors: Mapping[str, Tensor], about: Mapping[str, Any], like: Sequence[Tensor]
    ) -> None:
        """Take up what `state` returned."""
        if about["loss"] is not None:
            self.loss, self.step = about["loss"], about["step"]
            self.weights = [tensors[f"best.{i}"].to(weight) for i, weight in enumerate(like)]
