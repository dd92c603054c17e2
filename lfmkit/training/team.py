"""The processes that train one block together: this one alone, or several, on several GPUs or machines.

All of them draw the same batches, each computes the gradient of its own part, and the parts are summed by one
reduction a step. So what is learned does not depend on how many they are, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from lfmkit.training.targets import Batch

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


class Team:
    """This process, and those it computes together with.

    Args:
        accelerator: One of Hugging Face accelerate, which knows the other processes; None for this one alone.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
    """

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        self._accelerator = accelerator
        self.rank = 0 if accelerator is None else int(accelerator.process_index)
        self.size = 1 if accelerator is None else int(accelerator.num_processes)

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks to the user."""
        return self.rank == 0

    def part(self, batch: Batch) -> Batch:
        """Return this process's samples of a batch."""
        if self.size == 1:
            return batch
        n = len(batch.t)
        first, end = (n * k // self.size for k in (self.rank, self.rank + 1))
        return batch.part(first, end - first)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Put in place of each tensor the sum of the processes' own."""
        if self._accelerator is None or self.size == 1:
            return
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        total = self._accelerator.reduce(flat, "sum")
        parts = total.split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(list(tensors), [part.view_as(t) for part, t in zip(parts, tensors, strict=True)])

    def agree(self, wish: bool) -> bool:
        """Return whether any of the processes wishes it."""
        if self._accelerator is None or self.size == 1:
            return wish
        count = torch.tensor(float(wish), device=self._accelerator.device)
        self.add([count])
        return bool(count > 0)

    def lead(self, work: Callable[[], T]) -> T:
        """Do some work in the leading process first, then in the others; return what it gave here."""
        if self.leads:
            done = work()
            self.wait()
            return done
        self.wait()
        return work()

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()
