"""The gradient of a block's loss over a batch: in parts that fit the memory, in half precision, by several.

None of this changes what is computed, but for rounding.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from lfmkit.flows.block import Block
from lfmkit.flows.integrate import ran_out
from lfmkit.training.targets import Batch
from lfmkit.training.team import Team

PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Gradients:
    """Computes losses and leaves their gradients in the weights of a block.

    Args:
        block: The block.
        precision: "float32"; "bf16" or "fp16" to evaluate the network in (torch.autocast), with the weights
            kept in single precision.
        micro: Samples whose gradients are computed together at most; None for all, halved for as long as
            the memory does not do.
        compiled: Compile the loss (torch.compile).
        team: The processes that compute a batch together.

    Attributes:
        weights: The block's trainable weights.
        scaler: Scales losses so that gradients do not vanish in fp16.
    """

    def __init__(
        self,
        block: Block,
        precision: str = "float32",
        micro: int | None = None,
        compiled: bool = False,
        team: Team | None = None,
    ) -> None:
        self.weights: list[Tensor] = [p for p in block.parameters() if p.requires_grad]
        self.micro, self.team = micro, team or Team()
        self._device = self.weights[0].device.type
        self._half = PRECISIONS[precision]
        self.scaler = torch.amp.GradScaler(self._device, enabled=precision == "fp16")
        self._loss = torch.compile(block.loss) if compiled else block.loss

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
