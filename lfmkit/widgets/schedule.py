"""The schedule explorer: a family's parameters, the steps that they give, and their effect on the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.ticker import NullFormatter
from torch import Tensor

from lfmkit import schedules
from lfmkit.plots import PALETTE, Picture
from lfmkit.plots.figure import blank
from lfmkit.schedules import Schedule
from lfmkit.widgets.base import Widget, counted, script, square
from lfmkit.widgets.chi2 import Target, measured, read
from lfmkit.widgets.points import planar, quantised

FAMILIES = {  # family: its parameters, in the order of the controls
    "geometric": ("c", "rho", "n"),
    "constant": ("gamma", "n"),
    "cosine": ("n", "s"),
    "linear_beta": ("n", "low", "high"),
    "log_snr": ("n", "first", "last"),
}
RANGES = {  # parameter: lowest, highest, step, start
    "c": (0.005, 0.5, 0.005, 0.025),
    "rho": (0.8, 2.0, 0.05, 1.25),
    "gamma": (0.005, 0.5, 0.005, 0.1),
    "n": (1, 16, 1, 8),
    "s": (0.0, 0.1, 0.002, 0.008),
    "low": (0.05, 2.0, 0.05, 0.1),
    "high": (1.0, 20.0, 0.5, 20.0),
    "first": (0.02, 0.5, 0.01, 0.1),
    "last": (0.5, 3.0, 0.025, 0.775),
}
CLOUDS = 5  # clouds shown: the data and four later times


def schedule_explorer(
    target: Target | Tensor,
    family: str = "geometric",
    c: float = 0.025,
    rho: float = 1.25,
    n: int = 8,
    points: int = 1500,
    seed: int = 0,
    *,
    label: str = "Step-size schedules",
) -> ScheduleExplorer:
    """Show a family of schedules: its steps, the signal and chi-square left, and the clouds of points.

    Schedules are computed by `lfmkit.schedules` in the kernel. The chi-square from N(0, I) is measured once
    from the target's exact density; for a plain tensor of points the bound's factor e^-2T is shown instead.

    Args:
        target: A two-dimensional target such as `data.picture("rose")`, or points (m, 2).
        family: Family shown first: "geometric", "constant", "cosine", "linear_beta" or "log_snr".
        c: First step of the geometric family.
        rho: Factor between its steps.
        n: Number of local steps, for every family.
        points: Points per cloud.
        seed: Seed of the points and of the noise that diffuses them.
        label: Name of the widget.

    Returns:
        A widget; `.schedule` is the schedule shown, a tuple as `methods.lfm` takes it.

    Raises:
        TypeError: The target is not a floating-point tensor and has no samples and density.
        ValueError: Unknown family, a parameter out of its range, fewer than one point, wrong shape, NaN.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}: choose one of {', '.join(FAMILIES)}")
    for name, whole in (("n", n), ("points", points)):
        if isinstance(whole, bool) or not isinstance(whole, int) or whole < 1:
            raise ValueError(f"{name} must be a whole number >= 1, got {whole!r}")
    values = {name: start for name, (_, _, _, start) in RANGES.items()} | {"c": c, "rho": rho, "n": n}
    for name, value in values.items():
        low, high, *_ = RANGES[name]
        if not low <= value <= high:
            raise ValueError(f"{name} must lie in [{low}, {high}], got {value!r}")
    generator = torch.Generator().manual_seed(seed)
    if isinstance(target, Tensor):
        rows = planar(target, "the target")
        x = rows[torch.randint(len(rows), (points,), generator=generator)]
        return ScheduleExplorer(x, None, family, values, generator, label)
    if not all(callable(getattr(target, name, None)) for name in ("sample", "ou", "log_prob")):
        raise TypeError(
            f"a target has .sample, .ou and .log_prob or is a tensor (m, 2), got {type(target).__name__}"
        )
    x = planar(target.sample(points, seed), "a sample of the target")
    return ScheduleExplorer(x, measured(target), family, values, generator, label)


class ScheduleExplorer(Widget):
    """The widget that `schedule_explorer` returns.

    Attributes:
        answer: The numbers of the schedule shown, or an error. Requests of the browser are answered one at a
            time; while one is under way, the browser keeps only the latest.
    """

    _esm = script("common.js", "pixels.js", "chart.js", "schedule.js")
    answer = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        x: Tensor,
        table: tuple[list[float], list[float]] | None,
        family: str,
        values: dict[str, float],
        generator: torch.Generator,
        label: str,
    ) -> None:
        self._x, self._table = x, table
        self._noise = torch.randn(x.shape, generator=generator)
        curve = None if table is None else [[T, v] for T, v in zip(*table, strict=True) if math.isfinite(v)]
        about = {
            "label": label,
            "families": {name: list(parameters) for name, parameters in FAMILIES.items()},
            "ranges": {name: list(range_) for name, range_ in RANGES.items()},
            "count": len(x),
            "chi2": curve,
            "clouds": CLOUDS,
        }
        packed = quantised(torch.stack([x, self._noise]))
        super().__init__(about, packed, answer=self._answer(0, family, values))
        self.on_msg(self._on_request)

    def __repr__(self) -> str:
        return f"<schedule explorer: {counted(len(self._x), 'point')}, {self.answer['summary']}>"

    @property
    def schedule(self) -> Schedule:
        """The schedule shown."""
        return tuple(self.answer["gamma"])

    def still(self) -> Picture:
        """Return the steps of the schedule shown, the signal and chi-square left after each, and clouds."""
        gammas, times, clouds = (self.answer[name] for name in ("gamma", "T", "clouds"))
        total = times[-1] if times else 0.0
        said = f"{len(gammas)} steps, T = {total:.3f}, signal left {math.exp(-total):.3f}"
        figure = blank(4.6, f"{said}; clouds: {', '.join(cloud['title'] for cloud in clouds)}")
        above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
        bars, signal, chi2 = above.subplots(1, 3)
        bars.bar(range(1, len(gammas) + 1), gammas, color=PALETTE["LFM"])
        bars.set_title("step sizes", fontsize=10)
        bars.set_xlabel("block k")
        curve = np.linspace(0, max(1.0, total), 100)
        signal.plot(curve, np.exp(-curve), color=PALETTE["noise"])
        signal.plot(times, self.answer["signal"], "o", color=PALETTE["LFM"], ms=4)
        signal.set_title("signal left, $e^{-T}$", fontsize=10)
        left = [math.nan if value is None else value for value in self.answer["chi2"]]
        chi2.semilogy(times, left, "o-", color=PALETTE["LFM"], ms=4, lw=1)
        known = self._table is not None
        chi2.set_title("chi2 left" if known else "at most this share of chi2 left", fontsize=10)
        chi2.yaxis.set_minor_formatter(NullFormatter())
        for axis in (signal, chi2):
            axis.set_xlabel("time T")
        for axis, cloud in zip(below.subplots(1, len(clouds), squeeze=False)[0], clouds, strict=True):
            x = cloud["a"] * self._x + cloud["b"] * self._noise
            axis.plot(*x.numpy().T, ".", ms=1, color=PALETTE["data"], alpha=0.5, rasterized=True)
            axis.set_title(cloud["title"], fontsize=9)
            square(axis)
        return figure

    def _on_request(self, _: object, content: Mapping[str, Any], __: object) -> None:
        number, family, values = content["id"], content["family"], content["values"]
        try:
            self.answer = self._answer(number, family, values)
        except (ValueError, TypeError, OverflowError) as error:
            self.answer = {**self.answer, "id": number, "error": str(error)}

    def _answer(self, number: int, family: str, values: Mapping[str, float]) -> dict[str, Any]:
        """Return all numbers of one schedule, as plain data."""
        gammas = build(family, values)
        times = schedules.times(gammas)
        chi2 = [self._left(T) for T in times]
        known = f", chi2 left {chi2[-1]:.3g}" if self._table is not None and chi2[-1] is not None else ""
        total = f"T = {times[-1]:.3f}, signal left {schedules.signal_left(gammas):.3f}{known}"
        written = ", ".join(f"{name} = {values[name]:g}" for name in FAMILIES[family])
        return {
            "id": number,
            "error": "",
            "family": family,
            "values": dict(values),
            "gamma": list(gammas),
            "T": list(times),
            "signal": [schedules.ou_factors(T)[0] for T in times],
            "chi2": chi2,
            "clouds": [_cloud(k, times) for k in shown_times(len(gammas))],
            "summary": f"{family}({written}): {total}",
        }

    def _left(self, T: float) -> float | None:
        value = math.exp(-2 * T) if self._table is None else read(T, *self._table)
        return value if math.isfinite(value) else None


def build(family: str, values: Mapping[str, float]) -> Schedule:
    """Return the schedule of a family, from a table that holds its parameters.

    >>> build("constant", {"gamma": 0.25, "n": 2, "rho": 1.0})
    (0.25, 0.25)
    """
    given: dict[str, Any] = {name: values[name] for name in FAMILIES[family]}
    return getattr(schedules, family)(**{**given, "n": int(given["n"])})


def shown_times(n: int) -> list[int]:
    """Return the numbers of the clouds shown for n steps: 0 is the data, k the cloud after step k.

    >>> shown_times(8), shown_times(2)
    ([0, 2, 4, 6, 8], [0, 1, 2])
    """
    return sorted({math.ceil(j * n / (CLOUDS - 1)) for j in range(CLOUDS)})


def _cloud(k: int, times: Schedule) -> dict[str, Any]:
    T = times[k - 1] if k else 0.0
    a, b = schedules.ou_factors(T)
    return {"title": f"step {k}, T = {T:.3f}" if k else "data, T = 0", "a": a, "b": b}
