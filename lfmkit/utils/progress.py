"""A progress bar over several blocks, live where somebody watches, one plain line where output is stored."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

DELAY = 5.0  # seconds of work before a bar appears that nobody asked for

T = TypeVar("T")
Listener = Callable[[int, int, float], None]  # told (block, steps of it done, mean loss since the last call)


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

    def __init__(self, steps: Sequence[int], show: bool | Listener = True) -> None:
        self._listener = show if callable(show) else None
        self.blocks, self.steps, self.show = len(steps), sum(steps), self._listener is None and bool(show)
        self._done = [0] * len(steps)
        self._started = time.perf_counter()
        self._bar = tqdm(
            total=self.steps, unit="step", leave=False, file=sys.stdout, disable=not (self.show and watched())
        )

    def __enter__(self) -> Progress:
        return self

    def update(self, block: int, done: int, loss: float) -> None:
        """Note that `done` steps of a block (0 is next to the data) are done, at this mean loss."""
        if self._listener is not None and done > self._done[block]:
            self._listener(block, done, loss)
        self._bar.update(done - self._done[block])
        self._done[block] = done
        if loss == loss:  # not NaN: known by now
            self._bar.set_postfix_str(f"block {block + 1}/{self.blocks} loss {loss:.4g}", refresh=False)

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
