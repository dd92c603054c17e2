"""The plane: clouds of points, densities, and trajectories, such as those of a robot's hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from torch import Tensor

from lfmkit.plots.figure import EXTENT, LIMIT, PALETTE, Picture, blank, looks, row

Bundles = Mapping[str, Sequence[np.ndarray]]  # name to trajectories (steps, 2)


def density(panels: Mapping[str, Tensor], alt: str = "", bins: int = 150) -> Picture:
    """Draw one clipped 2D histogram for each named set of points.

    Args:
        panels: Title to points, each (n, 2). All panels share the colour scale per point.
        alt: Description of the picture for readers who do not see it.
        bins: Bins per side.
    """
    figure, axes = row(len(panels), alt or "Histograms: " + ", ".join(panels))
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
        alt: Description of the picture for readers who do not see it.
        points: Grid points per side.
    """
    figure, axes = row(len(panels), alt or "Log densities: " + ", ".join(panels))
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
    """Draw a few trajectories, coloured by the direction they start in, over the faint cloud of all ends.

    Args:
        panels: Title to recorded states (records, n, 2).
        alt: Description of the picture for readers who do not see it.
        lines: Number of trajectories to draw.
    """
    figure, axes = row(len(panels), alt or "Paths: " + ", ".join(panels))
    for axis, (title, states) in zip(axes, panels.items(), strict=True):
        x = states.detach().cpu().numpy()
        axis.plot(*x[-1].T, ".", color=PALETTE["noise"], ms=1, alpha=0.4, rasterized=True)
        for i in range(min(lines, x.shape[1])):
            angle = np.arctan2(x[0, i, 1], x[0, i, 0]) / (2 * np.pi) % 1
            axis.plot(*x[:, i].T, color=matplotlib.colormaps["hsv"](angle), lw=0.8, alpha=0.8)
            axis.plot(*x[-1, i], ".", color=PALETTE["data"], ms=3)
        axis.set_title(title, fontsize=10)
    return figure


def ways(
    panels: Mapping[str, Bundles],
    axes: Sequence[tuple[str, str]],
    title: str,
    disc: float | None = None,
    alt: str = "",
) -> Picture:
    """Draw bundles of trajectories (steps, 2), one panel for each heading; a dot marks each end.

    Args:
        panels: Heading to name to trajectories. "expert" is drawn in the colour of data, a name that starts
            with a palette name in its colour.
        axes: Names of the two numbers of a point, for each panel.
        title: Title that says what to notice.
        disc: Radius of an obstacle at the origin.
        alt: Description of the picture for readers who do not see it.

    Raises:
        ValueError: There are no trajectories, one does not have the shape (steps, 2), or axes do not fit the
            panels.
    """
    every = [one for bundles in panels.values() for bundle in bundles.values() for one in bundle]
    if not every:
        raise ValueError("a picture needs one or more trajectories")
    if len(axes) != len(panels):
        raise ValueError(f"{len(panels)} panels need as many pairs of axes, got {len(axes)}")
    for one in every:
        if one.ndim != 2 or one.shape[1] != 2 or not len(one):
            raise ValueError(f"a trajectory needs the shape (steps, 2), got {one.shape}")
    names = list(dict.fromkeys(name for bundles in panels.values() for name in bundles))
    colours = {name: look[0] for name, look in zip(names, looks(names), strict=True)}
    colours |= {name: PALETTE["data"] for name in names if name.startswith("expert")}
    figure = blank(3.9, alt or f"{title}: ways of {', '.join(names)}, in panels {', '.join(panels)}")
    drawn = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (heading, bundles), (across, up) in zip(drawn, panels.items(), axes, strict=True):
        if disc is not None:
            axis.add_patch(Circle((0, 0), disc, color="#e4e4e4"))
        for name, bundle in bundles.items():
            for one in bundle:
                axis.plot(*one.T, color=colours[name], lw=1.0, alpha=0.55)
                axis.plot(*one[-1], "o", color=colours[name], ms=3.5, mew=0)
        axis.set_aspect("equal", adjustable="datalim")
        axis.set(xlabel=across, ylabel=up, title=heading)
        axis.title.set_fontsize(10)
        axis.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], color=colours[name], marker="o", ms=3.5, label=name) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(5, len(names)), frameon=False)
    figure.suptitle(title, fontsize=12)
    return figure
