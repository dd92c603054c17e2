"""Pictures: pure functions from values to a matplotlib figure, with one palette and fixed axes.

They know tensors and records only. A figure shows itself in Jupyter with its alt text, on any backend.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

PALETTE = {
    "data": "#222222",
    "noise": "#8c8c8c",
    "LFM": "#0072b2",
    "FM": "#d55e00",
    "rectified flow": "#009e73",
}
LIMIT = 4.5  # half-width of all two-dimensional axes
EXTENT = (-LIMIT, LIMIT, -LIMIT, LIMIT)
WIDTH = 10.0  # inches


class Picture(Figure):
    """A figure with an alt text; in a notebook it shows as a PNG."""

    alt = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        drawn, small = io.BytesIO(), io.BytesIO()
        self.savefig(drawn, format="png", dpi=80)
        colours = (
            Image.open(drawn).convert("RGB").quantize(64, dither=Image.Dither.NONE)
        )  # a quarter the size
        colours.save(small, format="png", optimize=True)
        png = base64.b64encode(small.getvalue()).decode()
        return {"image/png": png, "text/plain": f"<picture: {self.alt}>"}, {"image/png": {"alt": self.alt}}


def density(panels: Mapping[str, Tensor], alt: str = "", bins: int = 150) -> Picture:
    """Draw one clipped 2D histogram for each named set of points.

    Args:
        panels: Title to points, each (n, 2). All panels share the colour scale per point.
        alt: What the picture shows, for readers who do not see it.
        bins: Bins a side.
    """
    figure, axes = _row(len(panels), alt or "Histograms: " + ", ".join(panels))
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        x = points.detach().cpu().double().numpy()
        edges = np.linspace(-LIMIT, LIMIT, bins + 1)
        counts, _, _ = np.histogram2d(x[:, 0], x[:, 1], [edges, edges])
        top = np.quantile(counts[counts > 0], 0.98) if counts.any() else 1.0
        seen = np.ma.masked_equal(counts.T, 0)  # no points, no colour
        axis.imshow(seen, origin="lower", extent=EXTENT, vmin=0, vmax=top, cmap="magma_r")
        axis.set_title(title, fontsize=10)
    return figure


def log_density(
    panels: Mapping[str, Callable[[Tensor], Tensor]], alt: str = "", points: int = 150
) -> Picture:
    """Draw log densities on a grid, all on one colour scale.

    Args:
        panels: Title to a function from points (n, 2) to log densities (n,).
        alt: What the picture shows.
        points: Grid points a side.
    """
    figure, axes = _row(len(panels), alt or "Log densities: " + ", ".join(panels))
    side = torch.linspace(-LIMIT, LIMIT, points)
    grid = torch.cartesian_prod(side, side)
    values = [f(grid).detach().cpu().reshape(points, points).T.numpy() for f in panels.values()]
    top = max(float(v.max()) for v in values)
    colours = matplotlib.colormaps["magma_r"].with_extremes(under="white")
    for axis, title, value in zip(axes, panels, values, strict=True):
        axis.imshow(value, origin="lower", extent=EXTENT, vmin=top - 8, vmax=top, cmap=colours)
        axis.set_title(title, fontsize=10)
    return figure


def paths(panels: Mapping[str, Tensor], alt: str = "", lines: int = 60) -> Picture:
    """Draw a few paths, coloured by the direction they start in, over the faint cloud of where all end.

    Args:
        panels: Title to recorded states (records, n, 2).
        alt: What the picture shows.
        lines: Paths drawn.
    """
    figure, axes = _row(len(panels), alt or "Paths: " + ", ".join(panels))
    for axis, (title, states) in zip(axes, panels.items(), strict=True):
        x = states.detach().cpu().numpy()
        axis.plot(*x[-1].T, ".", color=PALETTE["noise"], ms=1, alpha=0.4, rasterized=True)
        for i in range(min(lines, x.shape[1])):
            angle = np.arctan2(x[0, i, 1], x[0, i, 0]) / (2 * np.pi) % 1
            axis.plot(*x[:, i].T, color=matplotlib.colormaps["hsv"](angle), lw=0.8, alpha=0.8)
            axis.plot(*x[-1, i], ".", color=PALETTE["data"], ms=3)
        axis.set_title(title, fontsize=10)
    return figure


def losses(histories: Mapping[str, Sequence[tuple[int, float]]], alt: str = "") -> Picture:
    """Draw training losses, each relative to its first record, against the step.

    Args:
        histories: Label to (step, loss) records.
        alt: What the picture shows.
    """
    figure = _figure(3.2, alt or "Training losses against steps: " + ", ".join(histories))
    axis = figure.add_subplot()
    for label, records in histories.items():
        steps, values = np.array(records, dtype=float).T
        axis.plot(steps, values / values[0], lw=1.2, label=label)
    axis.set(xlabel="step", ylabel="loss / first loss", title="The loss flattens at the noise of the target")
    axis.legend(frameon=False, fontsize=9)
    axis.grid(alpha=0.2)
    return figure


def bars(values: Mapping[str, float], label: str, title: str, alt: str = "", log: bool = False) -> Picture:
    """Draw one horizontal bar a method, with its value written beside it.

    Args:
        values: Method to value; a method whose name starts with a palette name takes its colour.
        label: Name and unit of the value.
        title: What to notice.
        alt: What the picture shows.
        log: Logarithmic axis.
    """
    shown = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    figure = _figure(0.9 + 0.42 * len(values), alt or f"{label}: {shown}")
    axis = figure.add_subplot()
    colours = [next((c for p, c in PALETTE.items() if name.startswith(p)), "#555555") for name in values]
    drawn = axis.barh(list(values), list(values.values()), color=colours, height=0.62)
    axis.bar_label(drawn, fmt="%.3g", padding=3, fontsize=9)
    axis.invert_yaxis()
    axis.set(xlabel=label, title=title, xscale="log" if log else "linear")
    axis.margins(x=0.1)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _figure(height: float, alt: str) -> Picture:
    figure = Picture(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.alt = alt
    return figure


def _row(count: int, alt: str) -> tuple[Picture, list[Axes]]:
    if count < 1:
        raise ValueError("a picture needs one or more panels")
    figure = _figure(min(4.0, WIDTH / count + 0.35), alt)
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for axis in axes:
        axis.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), xticks=[], yticks=[], aspect="equal")
    return figure, axes
