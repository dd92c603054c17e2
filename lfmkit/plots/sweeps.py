"""Runs of a sweep: a measure against a parameter, with every run and the mean of each group."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev

from matplotlib.axes import Axes

from lfmkit.plots.figure import PALETTE, Picture, blank, looks

DECADES = 1.5  # powers of ten from which on an axis is logarithmic
TICKS = 9  # largest number of a parameter's values that are all named
LONGEST = 18  # characters of a name


def sweep(
    groups: Mapping[str, Sequence[tuple[float | str, float]]],
    label: str,
    measure: str,
    title: str,
    alt: str = "",
) -> Picture:
    """Draw a measure against a parameter: a faint point for each run, mean +- standard error of each group.

    Lines join the means if the parameter is a number; other values stand side by side in the order given. An
    axis is logarithmic where its values are positive and span one and a half decades or more.

    Args:
        groups: Name to (parameter's value, finite measure) of its runs; runs of the same value are averaged.
            A group has the colour of the method that its name starts with.
        label: Name of the parameter.
        measure: Name of the measure.
        title: Title that says what to notice.
        alt: Description of the picture; a list of all means when left out.

    Raises:
        ValueError: There are no runs.
    """
    groups = {name: runs for name, runs in groups.items() if runs}
    if not groups:
        raise ValueError("a picture needs one or more groups with one or more runs")
    given = list(dict.fromkeys(x for runs in groups.values() for x, _ in runs))
    numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in given)
    places = {x: float(x) if numbers else float(i) for i, x in enumerate(given)}
    means = {name: _means(runs, places) for name, runs in groups.items()}
    figure = blank(4.0, alt or _listed(means, label, measure))
    axis = figure.add_subplot()
    apart = 0.0 if numbers else 0.6 / len(groups)
    styles = looks([_method(name) for name in groups])
    for k, (name, (colour, marker, line)) in enumerate(zip(groups, styles, strict=True)):
        aside = apart * (k - (len(groups) - 1) / 2)
        x = [places[value] + aside for value, _ in groups[name]]
        axis.plot(x, [y for _, y in groups[name]], marker, color=colour, ms=4, alpha=0.35, mew=0)
        centre, error = [m for m, _ in means[name].values()], [e for _, e in means[name].values()]
        x = [places[value] + aside for value in means[name]]
        axis.errorbar(
            x, centre, error, color=colour, marker=marker, ls=line if numbers else "", ms=7, lw=1.5,
            capsize=4, label=name,
        )  # fmt: skip
    _scale(axis, [y for runs in groups.values() for _, y in runs], places, numbers)
    axis.set(xlabel=label, ylabel=measure, title=title)
    axis.grid(alpha=0.2, axis="both" if numbers else "y")
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=min(5, len(groups)), frameon=False, fontsize=9)
    return figure


def _means(
    runs: Sequence[tuple[float | str, float]], places: Mapping[float | str, float]
) -> dict[float | str, tuple[float, float]]:
    """Return mean and standard error (0 for one run) at each value of the parameter, from left to right."""
    found = {}
    for x in sorted({x for x, _ in runs}, key=lambda x: places[x]):
        values = [y for at, y in runs if at == x]
        found[x] = fmean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return found


def _scale(axis: Axes, measures: Sequence[float], places: Mapping[float | str, float], numbers: bool) -> None:
    """Choose the axes' scales, and name the values of the parameter where there are few."""
    if _decades(measures) >= DECADES:
        axis.set_yscale("log")
    elif min(measures) >= 0:
        axis.set_ylim(bottom=0)
    if numbers and _decades(places.values()) >= DECADES:
        axis.set_xscale("log")
    if len(places) <= TICKS or not numbers:
        names = [f"{x:.6g}" if numbers else _cut(str(x)) for x in places]
        tilted = sum(map(len, names)) > 90
        axis.set_xticks(
            list(places.values()),
            names,
            rotation=25 * tilted,
            ha="right" if tilted else "center",
        )
        axis.set_xticks([], minor=True)
    if not numbers:
        axis.set_xlim(-0.5, len(places) - 0.5)


def _decades(values: Iterable[float]) -> float:
    low, high = min(values := list(values)), max(values)
    return math.log10(high / low) if low > 0 else 0.0


def _method(name: str) -> str:
    """Return the palette's name for a method named as in `lfmkit.methods`."""
    plain = re.sub(r"[^a-z]", "", name.lower())
    fitting = [known for known in PALETTE if plain.startswith(re.sub(r"[^a-z]", "", known.lower()))]
    return max(fitting, key=len, default=name)


def _listed(means: Mapping[str, Mapping[float | str, tuple[float, float]]], label: str, measure: str) -> str:
    parts = [
        f"{name} {', '.join(f'{mean:.3g} at {x}' for x, (mean, _) in found.items())}"
        for name, found in means.items()
    ]
    return f"{measure} against {label}: {'; '.join(parts)}"


def _cut(name: str) -> str:
    """Return a label, shortened so that it leaves room for the picture."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
