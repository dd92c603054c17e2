"""Sweep files: YAML that names a notebook and its runs; and an estimate of the time these take."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lfmkit.runs import records
from lfmkit.runs.parameters import Value, read_notebook, read_yaml
from lfmkit.runs.plans import Limits, Plan, read_limits
from lfmkit.runs.records import RunRecord

MOST = 100_000  # runs
KEYS = ("notebook", "about", "parameters", "runs", "grid", "seeds", "limits")


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep file.

    Attributes:
        about: The purpose of the sweep, in words.
        plans: The runs, each once, in the order they are started.
        limits: Time, memory, threads and retries of each.
    """

    about: str
    plans: tuple[Plan, ...]
    limits: Limits


def read_sweep(path: str | Path, root: str | Path = "runs") -> Sweep:
    """Read a sweep file and check every run of it; docs/batch.md describes the format.

    Raises:
        FileNotFoundError: There is no such file, or no such notebook.
        ValueError: The file is damaged, has an unknown key, or asks for parameters that do not fit.
    """
    about = read_yaml(path)
    for key in about:
        if key not in KEYS:
            raise ValueError(f"{path} has the unknown key {key!r}: known are {', '.join(KEYS)}")
    if not isinstance(about.get("notebook"), str):
        raise ValueError(f"{path} must name its notebook, relative to itself: `notebook: ../name.ipynb`")
    source = read_notebook(Path(path).parent / about["notebook"])
    fixed, rows, grid = about.get("parameters", {}), about.get("runs", [{}]), dict(about.get("grid", {}))
    if "seeds" in about:
        seeds = about["seeds"]
        if type(seeds) is int and not 0 < seeds <= MOST:
            raise ValueError(f"{path}: `seeds` must be a number from 1 to {MOST:,} or a list, got {seeds}")
        grid["seed"] = list(range(seeds)) if type(seeds) is int else seeds
    if not isinstance(rows, list) or not all(isinstance(each, dict) for each in (fixed, *rows)):
        raise ValueError(f"{path}: `parameters` must be a mapping, and `runs` a list of mappings")
    axes = [[{name: value} for value in _values(name, values)] for name, values in grid.items()]
    count = len(rows) * math.prod(len(axis) for axis in axes)
    if not 0 < count <= MOST:
        raise ValueError(f"{path} asks for {count:,} runs: between 1 and {MOST:,} are wanted")
    plans: dict[str, Plan] = {}
    for row, *point in itertools.product(rows, *axes):
        given = fixed | row
        for setting in point:
            given = given | setting
        plan = Plan(source, source.check(given), Path(root).absolute())
        plans.setdefault(plan.id, plan)
    return Sweep(str(about.get("about", "")), tuple(plans.values()), read_limits(about.get("limits", {})))


def estimate(plans: Sequence[Plan]) -> list[float | None]:
    """Return the seconds that each run of a notebook will take, or None where no earlier run tells.

    The median of its completed runs that agree in most parameters, other than the seed.
    """
    places = plans[0].folder.parent.glob(f"*/{records.RECORD_FILE}")
    earlier = [record for place in places if (record := records.completed(place.parent))]
    return [_like(plan, earlier) for plan in plans]


def _like(plan: Plan, earlier: list[RunRecord]) -> float | None:
    asked = json.loads(json.dumps(plan.parameters))  # as a record has them
    asked.pop("seed", None)

    def agreement(record: RunRecord) -> int:
        return sum(record.parameters.get(name) == value for name, value in asked.items())

    best = max(map(agreement, earlier), default=0)
    seconds = [record.seconds for record in earlier if agreement(record) == best]
    return statistics.median(seconds) if seconds else None


def _values(name: str, values: Any) -> list[Value]:
    """Return the values of one axis of the grid: a list, or a range."""
    if isinstance(values, dict):
        try:
            rest = dict(values)
            return _range(rest.pop("from"), rest.pop("to"), **rest)
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"the range of {name} must be {{from, to, step}} or {{from, to, count}} in numbers, "
                f"from < to; a count of 2 or more may have `scale: log`; got {values!r}"
            ) from None
    if not isinstance(values, list) or not values:
        raise ValueError(f"the grid's {name} must be a list of values or a range, got {values!r}")
    return values


def _range(start: float, stop: float, step: float = 0, count: int = 0, scale: str = "linear") -> list[Value]:
    numbers = (start, stop, step, count)
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
        raise TypeError
    if not start < stop or (step > 0) == (count > 1) or scale not in ("linear", "log"):
        raise ValueError
    if count > MOST or (step > 0 and (stop - start) / step > MOST):
        raise ValueError
    if step > 0:
        found = start + step * np.arange(math.floor((stop - start) / step * (1 + 1e-9)) + 1)
    elif scale == "log":
        found = np.geomspace(start, stop, count)
    else:
        found = np.linspace(start, stop, count)
    if type(start) is type(stop) is type(step) is int:
        return [int(value) for value in found.round()]
    return [float(f"{value:.12g}") for value in found]
