"""Training in a thread beside the notebook, with progress reports, a way to stop, and the final error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from torch import Tensor

from lfmkit.flows.flow import Flow
from lfmkit.training import Step, fitting

Report = Callable[[float, float | None, float], None]  # function of share done, loss and seconds
EVERY = 0.1  # seconds between two reports


class Stopped(Exception):  # noqa: N818  # not an error: the reader stopped the training
    """Raised inside `fit` to end it."""


class Training(threading.Thread):
    """One training of a flow on points; a daemon thread, so that it does not outlive the kernel.

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
        super().__init__(name="lfmkit training", daemon=True)
        self.flow, self.x, self.settings = flow, x, settings
        self._report, self._done = report, done
        self._wish = threading.Event()
        self._steps = [0] * len(flow.blocks)
        self._begun = self._reported = time.perf_counter()

    def stop(self) -> None:
        """Ask the training to end soon; the flow stays as it was."""
        self._wish.set()

    def run(self) -> None:
        """Train; do not call it, but `start`."""
        error: BaseException | None = None
        try:
            fit: Callable[..., object] = fitting.fit
            fit(self.flow, self.x, **{**self.settings, "progress": self._progress})
        except BaseException as caught:
            error = caught
        self._done(error)

    def _progress(self, step: Step) -> None:
        if self._wish.is_set():
            raise Stopped
        self._steps[step.block] = step.step
        now = time.perf_counter()
        if now - self._reported > EVERY:
            self._reported = now
            given = self.settings.get("steps", 5000)
            total = len(self._steps) * given if isinstance(given, int) else sum(given)  # type: ignore[call-overload]
            self._report(min(1.0, sum(self._steps) / total), step.loss, now - self._begun)
