"""Early stopping: the loss on rows that are not trained on, and the best weights seen so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from lfmkit.flows.block import Block
from lfmkit.training.objectives import Objective, drawn
from lfmkit.training.targets import Targets
from lfmkit.training.team import Team

LOOKS_PER_RUN = 25  # at the held-out loss
SAMPLES_PER_LOOK, NUMBERS_PER_LOOK = (1024, 16_384), 2**21  # least and most samples; in between, numbers
SAMPLES_PER_PART, NUMBERS_PER_PART = (16, 4096), 2**19  # the same for what the network sees at once
LOSS_SEED = 0  # of what the objective draws, the same at each look


class HeldOut:
    """The loss of one block on held-out rows, and the weights that were best by it.

    Rows, times and noise are drawn once, so that two looks differ by the weights alone.

    Args:
        targets: Source of the held-out samples.
        dim: Their dimension.
        objective: Its loss is the one that counts.
        patience: Share of the run's steps without a new best loss after which training stops.
        generator: Draws the samples.

    Attributes:
        loss: The best loss so far.
        step: When it was found.
        weights: The block's weights then.
    """

    def __init__(
        self, targets: Targets, dim: int, objective: Objective, patience: float, generator: Generator
    ) -> None:
        self.samples = drawn(
            objective, targets, _between(SAMPLES_PER_LOOK, NUMBERS_PER_LOOK // dim), generator
        )
        self.objective, self.patience = objective, patience
        self._together = _between(SAMPLES_PER_PART, NUMBERS_PER_PART // dim)
        self.loss, self.step = math.inf, 0
        self.weights: list[Tensor] = []

    @torch.no_grad()
    def look(
        self, block: Block, weights: Sequence[Tensor], average: Sequence[Tensor], step: int, team: Team
    ) -> float:
        """Temporarily load the averaged weights into the block and return their held-out loss."""
        now = [weight.detach().clone() for weight in weights]
        torch._foreach_copy_(list(weights), list(average))
        n, total = len(self.samples.t), self.samples.t.new_zeros(())
        noise = Generator(total.device).manual_seed(LOSS_SEED)
        for first in range(team.rank * self._together, n, team.size * self._together):
            part = self.samples.part(first, self._together)
            total += self.objective.loss(block, part, noise) * (len(part.t) / n)
        team.add([total])  # all processes see the same number, and stop at the same step
        loss = float(total)
        if loss < self.loss:
            self.loss, self.step = loss, step
            self.weights = [weight.detach().clone() for weight in weights]
        torch._foreach_copy_(list(weights), now)
        return loss

    def gave_up(self, step: int, steps: int) -> bool:
        """Return whether the best loss is so old that training should stop; never before there is one."""
        return bool(self.weights) and step - self.step >= self.patience * steps

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


def _between(bounds: tuple[int, int], value: int) -> int:
    return min(max(value, bounds[0]), bounds[1])
