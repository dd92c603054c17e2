"""Success rates with their intervals, side by side for several tasks."""

from __future__ import annotations

from collections.abc import Mapping

from lfmkit.plots.charts import _looks
from lfmkit.plots.figure import PALETTE, Picture, blank


def rates(
    groups: Mapping[str, Mapping[str, tuple[float, tuple[float, float]]]], title: str, alt: str = ""
) -> Picture:
    """Draw one row for each task, and in it a dot with its interval for each method.

    Args:
        groups: Task to method to rate and interval, all between 0 and 1.
        title: What to notice.
        alt: What the picture shows; without, all rates are listed.

    Raises:
        ValueError: There is no rate, or one lies outside its interval or outside 0 to 1.
    """
    if not any(groups.values()):
        raise ValueError("a picture needs one or more rates")
    names = list(dict.fromkeys(name for methods in groups.values() for name in methods))
    looks = dict(zip(names, _looks(names), strict=True))
    looks |= {name: (PALETTE["data"], "|", "") for name in names if name.startswith("expert")}
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
                raise ValueError(f"{task}, {name}: {rate} is no rate in the interval {low} to {high}")
            colour, marker, _ = looks[name]
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
