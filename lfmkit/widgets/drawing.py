"""A drawing pad: draw a density by hand, train a small flow on it, and see its samples."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import traitlets

from lfmkit import methods, nets
from lfmkit.data.pictures import GridMixture, from_grey
from lfmkit.flows.flow import Flow
from lfmkit.plots import PALETTE, Picture
from lfmkit.solvers import Solver
from lfmkit.widgets.background import Stopped, Training
from lfmkit.widgets.base import Widget, grid, script, square
from lfmkit.widgets.points import quantised

TRAIN = {"steps": (500, 200, 150, 150), "batch": 512, "pool": "ou", "targets": "averaged", "seed": 0}
ROWS = 50_000  # training points drawn from the drawing


def small_flow() -> Flow:
    """Return the flow that is trained when none is given: four blocks with small networks."""
    return methods.lfm(dim=2, net=nets.MLP(width=64))


def draw_target(
    size: int = 64,
    train: Mapping[str, object] | None = None,
    *,
    flow: Callable[[], Flow] = small_flow,
    drawing: np.ndarray | None = None,
    samples: int = 2000,
    label: str = "Draw your own target",
) -> DrawTarget:
    """Show a pad to draw a two-dimensional target on, with a button that trains a small flow on it.

    Drawing works by mouse, touch and keyboard. Training runs in a thread, so the notebook stays usable, and a
    second button stops it. It starts only when the button is pressed or `.train()` is called.

    Args:
        size: Pixels per side.
        train: Arguments of `lfmkit.fit`, which replace the small defaults (about fifteen seconds of one
            core).
        flow: Function that makes the untrained flow, for example `lambda: methods.fm(dim=2)`.
        drawing: Ink to begin with, shape (size, size), top row first, from 0 for paper to 1 for ink; a spiral
            when left out.
        samples: Number of samples of the trained flow to show.
        label: Name of the widget.

    Returns:
        A widget: `.target` is the exact density drawn, `.flow` the trained flow or None.

    Raises:
        TypeError: `train` is not a mapping, or `flow` is not a function.
        ValueError: size or samples is out of range; the drawing has another shape or values not in [0, 1].
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 8 <= size <= 256:
        raise ValueError(f"size must be a whole number from 8 to 256, got {size!r}")
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ValueError(f"samples must be a whole number >= 1, got {samples!r}")
    if train is not None and not isinstance(train, Mapping):
        raise TypeError(f"train must be a mapping of arguments of fit, got {type(train).__name__}")
    if not callable(flow):
        raise TypeError(f"flow must be a function that makes a flow, got {type(flow).__name__}")
    ink = spiral(size) if drawing is None else np.asarray(drawing, dtype=np.float64)
    if ink.shape != (size, size):
        raise ValueError(f"the drawing needs the shape ({size}, {size}), got {ink.shape}")
    if not ((ink >= 0) & (ink <= 1)).all():
        raise ValueError("the drawing's values must lie in [0, 1], from paper to ink")
    return DrawTarget((255 * ink).round().astype(np.uint8), {**TRAIN, **(train or {})}, flow, samples, label)


class DrawTarget(Widget):
    """The widget that `draw_target` returns.

    Attributes:
        ink: The drawing: base64 of size x size bytes, top row first, 255 is ink.
        progress: State of the training, share done, loss, seconds and message.
        flow: The trained flow; None before the first training.
    """

    _esm = script("common.js", "pixels.js", "drawing.js")
    ink = traitlets.Unicode().tag(sync=True)
    progress = traitlets.Dict().tag(sync=True)
    flow: Flow | None

    def __init__(
        self,
        ink: np.ndarray,
        settings: dict[str, object],
        make_flow: Callable[[], Flow],
        samples: int,
        label: str,
    ) -> None:
        self.flow = None
        self._settings, self._make_flow, self._samples = settings, make_flow, samples
        self._training: Training | None = None
        self._shown: torch.Tensor | None = None
        packed = base64.b64encode(ink.tobytes()).decode()
        idle = {"state": "idle", "share": 0.0, "loss": None, "seconds": 0.0, "message": ""}
        super().__init__({"label": label, "size": len(ink)}, ink=packed, progress=idle)
        self.on_msg(self._on_message)

    def __repr__(self) -> str:
        return f"<drawing pad: {self.about['size']} x {self.about['size']}, {self.progress['state']}>"

    @property
    def grey(self) -> np.ndarray:
        """The drawing as grey values (size, size), top row first, 0 for ink and 255 for paper."""
        size = self.about["size"]
        return 255 - np.frombuffer(base64.b64decode(self.ink), np.uint8).reshape(size, size)

    @property
    def target(self) -> GridMixture:
        """The exact density of the drawing.

        Raises:
            ValueError: Nothing is drawn, or no paper is left.
        """
        grey = self.grey
        if grey.min() == 255:
            raise ValueError("nothing is drawn yet: draw a line first")
        if grey.min() == grey.max():
            raise ValueError("everything is ink: leave some paper")
        return from_grey(grey)

    def train(self, wait: bool = False) -> None:
        """Train a fresh flow on the drawing, in a thread; with wait=True return when it has ended.

        Raises:
            ValueError: Nothing is drawn.
            RuntimeError: Another training is under way.
        """
        if self._training is not None and self._training.is_alive():
            raise RuntimeError("a training is under way: wait for it or stop it")
        x = self.target.sample(ROWS, seed=0)
        self._training = Training(self._make_flow(), x, self._settings, self._report, self._done)
        self._tell("training", 0.0, message="training")
        self._training.start()
        if wait:
            self.wait()

    def stop(self) -> None:
        """Ask the training to end; the flow stays as it was before."""
        if self._training is not None:
            self._training.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the training; return whether it has ended."""
        if self._training is not None:
            self._training.join(timeout)
        return self._training is None or not self._training.is_alive()

    def still(self) -> Picture:
        """Return the drawing, and beside it the samples of the trained flow."""
        grey, x = self.grey, self._shown
        text = "no flow is trained yet" if x is None else f"{len(x):,} samples of the flow"
        figure, ((pad, cloud),) = grid(1, 2, f"A drawing; {text}")
        half = 4 * len(grey) / (len(grey) - 1)  # centres of the outer pixels lie at -4 and 4
        pad.imshow(grey, cmap="gray", extent=(-half, half, -half, half), vmin=0, vmax=255)
        square(pad)
        pad.set_title("the drawing", fontsize=10)
        cloud.set_title(text, fontsize=10)
        if x is not None:
            cloud.plot(*x.numpy().T, ".", ms=1.5, color=PALETTE["LFM"], alpha=0.6, rasterized=True)
        return figure

    def _on_message(self, _: object, content: Mapping[str, Any], __: object) -> None:
        if content["do"] == "stop":
            return self.stop()
        try:
            self.ink = content["ink"]
            self.train()
        except Exception as error:  # shown in the widget, where the reader looks
            self._tell("failed", message=str(error))

    def _report(self, share: float, loss: float | None, seconds: float) -> None:
        self._tell("training", share, loss, seconds, "training")

    def _done(self, error: BaseException | None) -> None:
        share, loss, seconds = (self.progress[name] for name in ("share", "loss", "seconds"))
        if isinstance(error, Stopped):
            return self._tell("stopped", share, loss, seconds, "stopped; the flow is what it was before")
        if error is not None or self._training is None:
            return self._tell("failed", share, loss, seconds, f"{type(error).__name__}: {error}")
        try:
            flow = self._training.flow
            shown = flow.sample(self._samples, solver=Solver(rtol=1e-3, atol=1e-3))
            self.points, self._shown, self.flow = quantised(shown), shown.cpu(), flow
        except Exception as failed:
            return self._tell("failed", share, loss, seconds, f"{type(failed).__name__}: {failed}")
        said = f"{self._samples:,} samples of the trained flow, NFE {sum(flow.last_nfe):.0f}"
        return self._tell("done", 1.0, loss, seconds, said)

    def _tell(
        self,
        state: str,
        share: float = 0.0,
        loss: float | None = None,
        seconds: float = 0.0,
        message: str = "",
    ) -> None:
        self.progress = {
            "state": state, "share": share, "loss": loss, "seconds": round(seconds, 1), "message": message
        }  # fmt: skip


def spiral(size: int) -> np.ndarray:
    """Return the ink (size, size) of a two-armed spiral, values in [0, 1]."""
    across, along = np.meshgrid(np.linspace(-1.1, 1.1, size), np.linspace(1.1, -1.1, size))
    ink = np.zeros((size, size))
    for angle in np.linspace(0.5, 2.6 * math.pi, 400):
        radius = angle / (2.6 * math.pi)
        for arm in (0.0, math.pi):
            x, y = radius * math.cos(angle + arm), radius * math.sin(angle + arm)
            distance = np.hypot(across - x, along - y)
            ink = np.maximum(ink, np.clip(1.6 - distance / (1.1 / size) / 2, 0, 1))
    return ink
