"""A progress bar over several blocks, live where somebody watches, one plain line where output is stored."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import NamedTuple, TypeVar

from tqdm import tqdm

DELAY = 5.0  # seconds of work before a bar appears that nobody asked for

T = TypeVar("T")


class Step(NamedTuple):
    """How far the training of a block is.

    Attributes:
        block: Number of the block; 0 is next to the data.
        step: Steps done.
        steps: Steps in all.
        loss: Mean loss since the last report.
        lr: Learning rate of the last step.
        val: Latest loss on held-out rows; NaN without them, or before the first look.
    """

    block: int
    step: int
    steps: int
    loss: float
    lr: float
    val: float


Callback = Callable[[Step], object]  # what is true ends the training of that block


def watched() -> bool:
    """Return whether somebody sees a live bar: on a terminal, or a notebook open in Jupyter or VS Code."""
    return sys.stdout.isatty() or any(v in os.environ for v in ("JPY_SESSION_NAME", "VSCODE_PID"))


class Progress:
    """Show the steps done over all blocks; at the end leave one plain line.

    The live bar appears on a terminal and in notebooks opened in Jupyter or VS Code. In batch runs
    (papermill, nbval, nbconvert) only the final line is printed, so that stored notebooks stay small.

    Args:
        steps: Steps of each block.
        show: False prints nothing at all; a function is called instead of printing.
    """

    def __init__(self, steps: Sequence[int], show: bool | Callback = True) -> None:
        self._callback = show if callable(show) else None
        self.blocks, self.steps, self.show = len(steps), sum(steps), self._callback is None and bool(show)
        self._done = [0] * len(steps)
        self._started = time.perf_counter()
        self._bar = tqdm(
            total=self.steps, unit="step", leave=False, file=sys.stdout, disable=not (self.show and watched())
        )

    def __enter__(self) -> Progress:
        return self

    def update(self, step: Step) -> bool:
        """Show how far a block is, or hand it on; return whether its training shall end."""
        k = step.block
        if step.step <= self._done[k]:  # of a block that a second worker had to begin again
            return False
        stop = self._callback is not None and bool(self._callback(step))
        self._bar.update(step.step - self._done[k])
        self._done[k] = step.step
        self._bar.set_postfix_str(f"block {k + 1}/{self.blocks} loss {step.loss:.4g}", refresh=False)
        return stop

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self.show and kind is None:
            seconds = time.perf_counter() - self._started
            print(f"trained {self.blocks} block(s), {self.steps:,} steps in all, elapsed {seconds:.1f} s")


def progress_over(parts: Sequence[T]) -> Iterable[T]:
    """Return the parts, with a bar that appears where somebody watches when they take longer than DELAY."""
    bar: Iterable[T] = tqdm(
        parts, unit="chunk", leave=False, file=sys.stdout, delay=DELAY, disable=not watched()
    )
    return bar
