"""Samples of a table: each column's histogram, and pairs of columns as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LogNorm
from torch import Tensor

from lfmkit.plots.figure import Picture, blank, look_of

EDGE = 0.002  # share of the first set's points that lie beyond either end of an axis


def marginals(sets: Mapping[str, Tensor], columns: Sequence[str], alt: str = "", bins: int = 150) -> Picture:
    """Draw the histogram of each column, on a logarithmic axis, for several sets of samples.

    Args:
        sets: Name to samples, each (n, d); the axes are those of the first set. A set whose name starts with
            a palette name takes its colour.
        columns: Names of the d columns.
        alt: Description of the picture for readers who do not see it.
        bins: Bins of each histogram.

    Raises:
        ValueError: There are no sets, or the names are not as many as the columns.
    """
    arrays = _arrays(sets, columns)
    rows = -(-len(columns) // 3)
    figure = blank(0.5 + 1.9 * rows, alt or f"Histograms of {', '.join(columns)} for {', '.join(sets)}")
    axes = figure.subplots(rows, min(3, len(columns)), squeeze=False).flatten()
    for axis in axes[len(columns) :]:
        axis.remove()
    first = next(iter(arrays.values()))
    for j, (axis, column) in enumerate(zip(axes, columns, strict=False)):
        edges = np.linspace(*_span(first[:, j]), bins + 1)
        for name, x in arrays.items():
            heights = np.histogram(x[:, j], edges)[0] / (len(x) * (edges[1] - edges[0]))
            axis.stairs(np.maximum(heights, 1e-9), edges, color=look_of(name), lw=1.1, label=name)
        top = axis.get_ylim()[1]
        axis.set(yscale="log", ylim=(1e-4, 2 * top), title=column)
        axis.title.set_fontsize(10)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9
    )
    return figure


def pairs(
    sets: Mapping[str, Tensor],
    columns: Sequence[str],
    which: Sequence[tuple[int, int]],
    alt: str = "",
    bins: int = 110,
) -> Picture:
    """Draw 2D histograms of pairs of columns: a row for each set of samples, one colour scale per pair.

    Args:
        sets: Name to samples, each (n, d); the axes are those of the first set.
        columns: Names of the d columns.
        which: Pairs of column numbers.
        alt: Description of the picture for readers who do not see it.
        bins: Bins per side.

    Raises:
        ValueError: There are no sets or pairs, or the names are not as many as the columns.
    """
    arrays = _arrays(sets, columns)
    if not which:
        raise ValueError("a picture needs one or more pairs of columns")
    titles = [f"{columns[j]} against {columns[i]}" for i, j in which]
    figure = blank(0.4 + 2.3 * len(sets), alt or f"{'; '.join(titles)}, for {', '.join(sets)}")
    axes = figure.subplots(len(sets), len(which), squeeze=False, sharex="col", sharey="col")
    first = next(iter(arrays.values()))
    for column, (i, j) in enumerate(which):
        edges = [np.linspace(*_span(first[:, k]), bins + 1) for k in (i, j)]
        counts = {name: np.histogram2d(x[:, i], x[:, j], edges)[0] / len(x) for name, x in arrays.items()}
        top = float(max(c.max() for c in counts.values()))
        scale = LogNorm(vmin=max(top * 1e-4, 0.5 / len(first)), vmax=top)
        for row, (name, share) in enumerate(counts.items()):
            axis = axes[row, column]
            seen = np.ma.masked_equal(share.T, 0)  # no points, no colour
            axis.pcolormesh(*edges, seen, norm=scale, cmap="magma_r", rasterized=True)
            axis.set(xlabel=columns[i] if row == len(sets) - 1 else "", ylabel=columns[j])
            axis.set_title(name, fontsize=10)
    return figure


def _arrays(sets: Mapping[str, Tensor], columns: Sequence[str]) -> dict[str, np.ndarray]:
    if not sets:
        raise ValueError("a picture needs one or more sets of samples")
    arrays = {name: x.detach().cpu().double().numpy() for name, x in sets.items()}
    for name, x in arrays.items():
        if x.ndim != 2 or x.shape[1] != len(columns):
            raise ValueError(f"{name!r} has the shape {x.shape}, but there are {len(columns)} column names")
    return arrays


def _span(x: np.ndarray) -> tuple[float, float]:
    low, high = (float(edge) for edge in np.quantile(x, [EDGE, 1 - EDGE]))
    room = 0.04 * (high - low) or 0.5
    return (low - room, high + room) if math.isfinite(high - low) else (-1.0, 1.0)
