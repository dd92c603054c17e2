"""How long runs will take, judged by those made before."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from lfmkit.runs import records
from lfmkit.runs.plans import Plan
from lfmkit.runs.records import RunRecord

NO_COST = ("seed",)  # parameters that do not change the time


def estimate(plans: Sequence[Plan]) -> list[float | None]:
    """Return the seconds that each run is expected to take, or None where no earlier run tells.

    The median of the completed runs of the same notebook that agree in most parameters.
    """
    earlier = _completed(plans[0].root, {plan.source.name for plan in plans}) if plans else []
    return [
        _like(plan, [record for record in earlier if record.notebook == plan.source.name]) for plan in plans
    ]


def _like(plan: Plan, earlier: list[RunRecord]) -> float | None:
    if not earlier:
        return None
    asked = plan.parameters

    def agreement(record: RunRecord) -> int:
        told = record.parameters
        return sum(told.get(name) == _plain(value) for name, value in asked.items() if name not in NO_COST)

    best = max(agreement(record) for record in earlier)
    return statistics.median(record.seconds for record in earlier if agreement(record) == best)


def _plain(value: object) -> object:
    """Return a value as JSON gives it back."""
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _completed(root: Path, names: set[str]) -> list[RunRecord]:
    found = []
    if root.is_dir():
        for folder in records.folders(root):
            if folder.parent.name in names:
                try:
                    record = records.read(folder)
                except (FileNotFoundError, ValueError):
                    continue
                if record.completed:
                    found.append(record)
    return found
