"""Training in a thread beside the notebook: progress, a stop button, and errors that are not lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from torch import Tensor

from lfmkit.flows.flow import Flow
from lfmkit.training import Step, fitting

Report = Callable[[float, float | None, float], None]  # (share done, loss, seconds)
EVERY = 0.1  # seconds between two reports


class Stopped(Exception):  # noqa: N818  # no error: the reader wished it
    """Raised inside `fit` to end it."""


class Training:
    """One training of a flow on points, in a thread of its own.

    Args:
        flow: The flow; changed only when all its blocks are done.
        x: Data (n, d).
        settings: Arguments of `lfmkit.fit`.
        report: Called now and then from the thread.
        done: Called from the thread at the end: with None, or the exception that ended it.
    """

    def __init__(
        self,
        flow: Flow,
        x: Tensor,
        settings: dict[str, object],
        report: Report,
        done: Callable[[BaseException | None], None],
    ) -> None:
        self.flow, self.x, self.settings = flow, x, settings
        self._report, self._done = report, done
        self._stop = threading.Event()
        self._steps = [0] * len(flow.blocks)
        self._started = self._told = time.perf_counter()
        self._thread = threading.Thread(target=self._run, name="lfmkit training", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end soon; the flow stays as it was."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end; return whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            fit: Callable[..., object] = fitting.fit
            fit(self.flow, self.x, **{**self.settings, "progress": self._progress})
        except BaseException as caught:
            error = caught
        self._done(error)

    def _progress(self, told: Step) -> None:
        if self._stop.is_set():
            raise Stopped
        self._steps[told.block] = told.step
        now = time.perf_counter()
        if now - self._told > EVERY:
            self._told = now
            given = self.settings.get("steps", 5000)
            total = len(self._steps) * given if isinstance(given, int) else sum(given)  # type: ignore[call-overload]
            self._report(min(1.0, sum(self._steps) / total), told.loss, now - self._started)
