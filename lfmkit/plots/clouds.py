"""Points, densities and paths in the plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib
import numpy as np
import torch
from torch import Tensor

from lfmkit.plots.figure import EXTENT, LIMIT, PALETTE, Picture, row


def density(panels: Mapping[str, Tensor], alt: str = "", bins: int = 150) -> Picture:
    """Draw one clipped 2D histogram for each named set of points.

    Args:
        panels: Title to points, each (n, 2). All panels share the colour scale per point.
        alt: What the picture shows, for readers who do not see it.
        bins: Bins a side.
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
        alt: What the picture shows.
        points: Grid points a side.
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
    """Draw a few paths, coloured by the direction they start in, over the faint cloud of where all end.

    Args:
        panels: Title to recorded states (records, n, 2).
        alt: What the picture shows.
        lines: Paths drawn.
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
