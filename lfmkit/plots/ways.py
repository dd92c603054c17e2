"""Ways through space, such as those of a robot's hand: bundles of lines in panels of one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from lfmkit.plots.charts import _looks
from lfmkit.plots.figure import PALETTE, Picture, blank

Bundles = Mapping[str, Sequence[np.ndarray]]


def ways(
    panels: Mapping[str, Bundles],
    axes: Sequence[tuple[str, str]],
    title: str,
    disc: float | None = None,
    alt: str = "",
) -> Picture:
    """Draw bundles of ways (steps, 2), one panel for each heading; a dot marks where each way ends.

    Args:
        panels: Heading to name to ways. "expert" is drawn in the colour of data, a name that starts with one
            of the palette in its colour.
        axes: What the two numbers of a point are, for each panel.
        title: What to notice.
        disc: Radius of an obstacle at the origin.
        alt: What the picture shows.

    Raises:
        ValueError: There is no way to draw, one has not the shape (steps, 2), or axes do not fit the panels.
    """
    every = [way for bundles in panels.values() for bundle in bundles.values() for way in bundle]
    if not every:
        raise ValueError("a picture needs one or more ways")
    if len(axes) != len(panels):
        raise ValueError(f"{len(panels)} panels need as many pairs of axes, got {len(axes)}")
    for way in every:
        if way.ndim != 2 or way.shape[1] != 2 or not len(way):
            raise ValueError(f"a way needs the shape (steps, 2), got {way.shape}")
    names = list(dict.fromkeys(name for bundles in panels.values() for name in bundles))
    colours = {name: look[0] for name, look in zip(names, _looks(names), strict=True)}
    colours |= {name: PALETTE["data"] for name in names if name.startswith("expert")}
    figure = blank(3.9, alt or f"{title}: ways of {', '.join(names)}, in panels {', '.join(panels)}")
    drawn = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (heading, bundles), (across, up) in zip(drawn, panels.items(), axes, strict=True):
        if disc is not None:
            axis.add_patch(Circle((0, 0), disc, color="#e4e4e4"))
        for name, bundle in bundles.items():
            for way in bundle:
                axis.plot(*way.T, color=colours[name], lw=1.0, alpha=0.55)
                axis.plot(*way[-1], "o", color=colours[name], ms=3.5, mew=0)
        axis.set_aspect("equal", adjustable="datalim")
        axis.set(xlabel=across, ylabel=up, title=heading)
        axis.title.set_fontsize(10)
        axis.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], color=colours[name], marker="o", ms=3.5, label=name) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(5, len(names)), frameon=False)
    figure.suptitle(title, fontsize=12)
    return figure
