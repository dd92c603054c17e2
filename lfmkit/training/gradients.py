"""The gradient of a block's loss over a batch: in parts that fit the memory, in half precision, by several.

None of this changes what is computed, up to rounding.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Generator, Tensor

from lfmkit.flows.block import Block
from lfmkit.flows.integrate import ran_out
from lfmkit.training.settings import PRECISIONS, Execution, Training
from lfmkit.training.targets import Batch


class Gradients:
    """Computes losses and leaves their gradients in the weights of a block.

    Args:
        block: The block.
        training: For the objective, and the precision the network is evaluated in (torch.autocast); the
            weights stay in single precision.
        how: In which parts and by which processes a batch is computed.

    Attributes:
        weights: The block's trainable weights.
        scaler: Scales losses so that gradients do not vanish in fp16.
        generator: Draws what the objective asks for; whoever calls seeds it.
    """

    def __init__(self, block: Block, training: Training | None = None, how: Execution | None = None) -> None:
        training, how = training or Training(), how or Execution()
        self.weights: list[Tensor] = [p for p in block.parameters() if p.requires_grad]
        self.micro, self.team = how.micro, how.team
        self._device = self.weights[0].device.type
        self._half = PRECISIONS[training.precision]
        self.scaler = torch.amp.GradScaler(self._device, enabled=training.precision == "fp16")
        self.generator = generator = Generator("cpu" if self._device == "meta" else self.weights[0].device)

        def loss(*parts: Any) -> Tensor:
            return training.objective.loss(block, Batch(*parts), generator)

        self._loss = torch.compile(loss) if how.compiled else loss

    def __call__(self, batch: Batch) -> Tensor:
        """Return the mean loss over the batch; the weights hold its gradient, times the scaler's scale.

        Raises:
            RuntimeError: The memory does not suffice for a single sample.
        """
        n, mine = len(batch.t), self.team.part(batch)
        while True:
            size = min(self.micro or len(mine.t), len(mine.t))
            try:
                total = self._accumulate(mine, size, n)
                break
            except RuntimeError as error:
                if not ran_out(error):
                    raise
                reason = str(error)
            self._shrink(size, reason)
        self.team.add([*(w.grad for w in self.weights if w.grad is not None), total])
        return total

    def _accumulate(self, batch: Batch, size: int, n: int) -> Tensor:
        for weight in self.weights:
            weight.grad = None
        total = torch.zeros((), device=self.weights[0].device)
        for first in range(0, len(batch.t), size):
            part = batch.part(first, size)
            with self._autocast():
                loss = self._loss(*part) * (len(part.t) / n)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self._half is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device, self._half)

    def _shrink(self, size: int, reason: str) -> None:
        """Halve the parts; called outside of the handler, which would keep the memory of what failed."""
        if size <= 1:
            raise RuntimeError(
                f"the memory does not suffice to train on a single sample ({reason.splitlines()[0]}): choose "
                "a smaller network (net=), more and smaller blocks, or smaller images"
            )
        self.micro = size // 2
        for weight in self.weights:
            weight.grad = None
        if self._device == "cuda":
            torch.cuda.empty_cache()
