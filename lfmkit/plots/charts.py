"""Numbers: losses against steps, bars of a measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lfmkit.plots.figure import PALETTE, Picture, blank


def losses(histories: Mapping[str, Sequence[tuple[int, float]]], alt: str = "") -> Picture:
    """Draw training losses, each relative to its first record, against the step.

    Args:
        histories: Label to (step, loss) records.
        alt: What the picture shows.
    """
    figure = blank(3.2, alt or "Training losses against steps: " + ", ".join(histories))
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
    figure = blank(0.9 + 0.42 * len(values), alt or f"{label}: {shown}")
    axis = figure.add_subplot()
    colours = [next((c for p, c in PALETTE.items() if name.startswith(p)), "#555555") for name in values]
    drawn = axis.barh(list(values), list(values.values()), color=colours, height=0.62)
    axis.bar_label(drawn, fmt="%.3g", padding=3, fontsize=9)
    axis.invert_yaxis()
    axis.set(xlabel=label, title=title, xscale="log" if log else "linear")
    axis.margins(x=0.1)
    axis.spines[["top", "right"]].set_visible(False)
    return figure
