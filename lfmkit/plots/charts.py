"""Charts of numbers: losses, bars, curves, schedules as bars in time, success rates with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
from matplotlib.ticker import LogFormatter

from lfmkit.plots.figure import PALETTE, Picture, blank, look_of, looks

FREE = "#d0d0d0"  # colour of the free block


def losses(histories: Mapping[str, Sequence[tuple[int, float]]], alt: str = "") -> Picture:
    """Draw training losses, each relative to its first record, against the step.

    Args:
        histories: Label to (step, loss) records.
        alt: Description of the picture for readers who do not see it.
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
    """Draw one horizontal bar for each method, with its value written beside it.

    Args:
        values: Method to value; a method whose name starts with a palette name takes its colour.
        label: Name and unit of the value.
        title: Title that says what to notice.
        alt: Description of the picture for readers who do not see it.
        log: Logarithmic axis.
    """
    shown = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    figure = blank(0.9 + 0.42 * len(values), alt or f"{label}: {shown}")
    axis = figure.add_subplot()
    colours = [look_of(name) for name in values]
    drawn = axis.barh(list(values), list(values.values()), color=colours, height=0.62)
    axis.bar_label(drawn, fmt="%.3g", padding=3, fontsize=9)
    axis.invert_yaxis()
    axis.set(xlabel=label, title=title, xscale="log" if log else "linear")
    axis.margins(x=0.1)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def curves(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float] | Sequence[str], Sequence[float]]]],
    label: str,
    title: str,
    alt: str = "",
    log: str = "",
    joined: bool = True,
) -> Picture:
    """Draw named series y(x), one panel for each measure, with one legend under all of them.

    Args:
        panels: Measure (the name of its y axis) to series name to (x values, y values). A series looks the
            same in all panels; one whose name starts with a palette name takes its colour.
        label: Name of the x axis.
        title: Title that says what to notice.
        alt: Description of the picture for readers who do not see it.
        log: The logarithmic axes: "", "x", "y" or "xy".
        joined: Join the points of a series by lines; False draws only its markers.

    Raises:
        ValueError: There are no panels or no series.
    """
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    if not names:
        raise ValueError("a picture needs one or more panels with one or more series")
    figure = blank(3.9, alt or f"{title}: {', '.join(panels)} against {label}, for {', '.join(names)}")
    styles = dict(zip(names, looks(names), strict=True))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (measure, series) in zip(axes, panels.items(), strict=True):
        for name, (x, y) in series.items():
            colour, marker, line = styles[name]
            axis.plot(x, y, color=colour, marker=marker, ls=line if joined else "", ms=6, lw=1.5, label=name)
        axis.set(xlabel=label, ylabel=measure)
        if "y" not in log and all(min(y) >= 0 for _, y in series.values()):
            axis.set_ylim(bottom=0)
        for letter, scaled in (("x", axis.xaxis), ("y", axis.yaxis)):
            if letter in log:
                axis.set(**{f"{letter}scale": "log"})
                scaled.set_major_formatter(LogFormatter())  # plain numbers, between the decades too
                scaled.set_minor_formatter(LogFormatter())  # where there are not many of them
        axis.grid(alpha=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    drawn = {
        text: line for axis in axes for line, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        [drawn[name] for name in names], names, loc="outside lower center", ncols=min(5, len(names)),
        frameon=False, fontsize=9,
    )  # fmt: skip
    figure.suptitle(title, fontsize=12)
    return figure


def timeline(schedules: Mapping[str, Sequence[float]], alt: str = "") -> Picture:
    """Draw schedules as rows of bars, one bar per block: in OU time, in noise-to-signal ratio, signal left.

    On the left a bar is as long as its step size gamma_k and ends at the cumulative time T_k. In the middle
    the same borders stand on a logarithmic axis of sqrt(1 - e^-2T)/e^-T, where multiplying the noise by a
    given factor has the same length everywhere. On the right, the signal e^-T that is left for the free block
    (grey).

    Args:
        schedules: Label to local step sizes; the free block is added.
        alt: Description of the picture for readers who do not see it.
    """
    if not schedules:
        raise ValueError("a picture needs one or more schedules")
    figure = blank(1.3 + 0.42 * len(schedules), alt or "Schedules as bars in time: " + ", ".join(schedules))
    in_time, in_noise, left = figure.subplots(1, 3, sharey=True, width_ratios=(3, 3, 1.4))
    low, high = 0.03, 30.0  # noise-to-signal ratios shown
    end = 1.08 * max([0.1, *(sum(steps) for steps in schedules.values())])
    shades = ("#0072b2", "#8fc1e3")
    for row_index, steps in enumerate(schedules.values()):
        borders = [0.0, *accumulate(steps)]
        ratios = [low, *(max(low, math.sqrt(math.expm1(2 * T))) for T in borders[1:])]
        for k in range(len(steps)):
            for axis, at in ((in_time, borders), (in_noise, ratios)):
                axis.barh(row_index, at[k + 1] - at[k], left=at[k], color=shades[k % 2], height=0.62)
        in_time.barh(row_index, end - borders[-1], left=borders[-1], color=FREE, height=0.62)
        in_noise.barh(row_index, high - ratios[-1], left=ratios[-1], color=FREE, height=0.62)
        kept = left.barh(row_index, math.exp(-borders[-1]), color=FREE, height=0.62)
        left.bar_label(kept, fmt="%.2f", padding=3, fontsize=9)
    in_time.set(xlim=(0, end), xlabel="OU time T", title="a bar is a block; grey: the free block")
    in_noise.set(xscale="log", xlim=(low, high), xlabel="noise-to-signal ratio", title="the same borders")
    left.set(xlim=(0, 1.25), xticks=[0, 1], xlabel=r"$e^{-T}$", title="signal left")
    in_time.set_yticks(range(len(schedules)), list(schedules))
    in_time.invert_yaxis()
    for axis in (in_time, in_noise, left):
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(10)
    return figure


def rates(
    groups: Mapping[str, Mapping[str, tuple[float, tuple[float, float]]]], title: str, alt: str = ""
) -> Picture:
    """Draw one row for each task, with a dot and its interval for each method.

    Args:
        groups: Task to method to rate and interval, all between 0 and 1.
        title: Title that says what to notice.
        alt: Description of the picture; a list of all rates when left out.

    Raises:
        ValueError: There are no rates, or one lies outside its interval or outside 0 to 1.
    """
    if not any(groups.values()):
        raise ValueError("a picture needs one or more rates")
    names = list(dict.fromkeys(name for methods in groups.values() for name in methods))
    styles = dict(zip(names, looks(names), strict=True))
    styles |= {name: (PALETTE["data"], "|", "") for name in names if name.startswith("expert")}
    listed = "; ".join(
        f"{task}: " + ", ".join(f"{name} {rate:.2f}" for name, (rate, _) in methods.items())
        for task, methods in groups.items()
    )
    figure = blank(1.2 + max(0.45, 0.14 * len(names)) * len(groups), alt or f"Success rates. {listed}")
    axis = figure.add_subplot()
    apart = 0.6 / len(names)
    for place, (task, methods) in enumerate(groups.items()):
        for k, name in enumerate(names):
            if name not in methods:
                continue
            rate, (low, high) = methods[name]
            if not 0 <= low <= rate <= high <= 1:
                raise ValueError(f"{task}, {name}: {rate} is not a rate in the interval {low} to {high}")
            colour, marker, _ = styles[name]
            height = place + apart * (k - (len(names) - 1) / 2)
            axis.plot([low, high], [height, height], color=colour, lw=1.5, alpha=0.7)
            label = name if task == next(t for t, some in groups.items() if name in some) else None
            axis.plot(rate, height, marker=marker, color=colour, ms=7, ls="", label=label)
    axis.set_yticks(range(len(groups)), list(groups))
    axis.invert_yaxis()
    axis.set(xlim=(0, 1.01), xlabel="success rate, with its 95 % interval", title=title)
    axis.grid(alpha=0.2, axis="x")
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=min(5, len(names)), frameon=False, fontsize=9)
    return figure
