"""Recorded runs as one table: read from their folders, selected, sorted, averaged over groups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from lfmkit.runs import records
from lfmkit.runs.records import Json, RunRecord
from lfmkit.runs.selection import Where, conditions, nearest, text
from lfmkit.utils import files

FIRST, LAST = ("id", "notebook", "outcome"), ("seconds", "peak_memory", "started", "reason")
MB = 1e6
COMPLETED, OTHERS = "completed runs", "not completed"  # columns of `Results.means`
TYPES = {  # of columns, by the kind of values; every other column is text
    "boolean": "boolean",
    "integer": "Int64",
    "floating": "float64",
    "mixed-integer-float": "float64",
}


@dataclass(frozen=True)
class Results:
    """The recorded runs below a folder, by notebook and time.

    The columns of the table are id, notebook, outcome, the parameters, the metrics, seconds, peak_memory (in
    MB), started and reason. Where a parameter or a metric has the name of another column, the two are called
    ``parameter:NAME`` and ``metric:NAME``.

    Attributes:
        root: The folder that holds ``<notebook>/<id>`` of every run.
        runs: Records by folder, relative to `root`.
        parameters: Column of each parameter that any recorded run has, in the order of the notebooks' own.
        metrics: Column of each metric that any recorded run reported.
        without: Why a run has no record that can be read, by folder: "running: …", "interrupted: …" (its
            process was killed) or "unreadable: …".
        where: The conditions that the runs were selected by.
    """

    root: Path
    runs: Mapping[str, RunRecord]
    parameters: Mapping[str, str]
    metrics: Mapping[str, str]
    without: Mapping[str, str]
    where: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.runs)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a run. A column of numbers or truth values has their type, every other one is text."""
        runs, parameters, metrics = self.runs.values(), self.parameters.items(), self.metrics.items()
        columns = {name: [getattr(run, name) for run in runs] for name in FIRST}
        columns |= {column: [run.parameters.get(name) for run in runs] for name, column in parameters}
        columns |= {column: [_finite(run.metrics.get(name)) for run in runs] for name, column in metrics}
        columns |= {name: [getattr(run, name) for run in runs] for name in LAST}
        numbers = (*self.metrics.values(), "seconds", "peak_memory")
        table = {name: _typed(cells, name in numbers) for name, cells in columns.items()}
        return pd.DataFrame(table).assign(peak_memory=table["peak_memory"] / MB)

    @cached_property
    def given(self) -> list[str]:
        """Columns of the parameters that one of these runs has."""
        names = {name for run in self.runs.values() for name in run.parameters}
        return [column for name, column in self.parameters.items() if name in names]

    @cached_property
    def reported(self) -> list[str]:
        """Columns of the metrics that have a number in one of these runs."""
        return [column for column in self.metrics.values() if self.table[column].notna().any()]

    def frame(self) -> pd.DataFrame:
        """Return a copy of the table; lists are text, and None is missing."""
        return self.table.copy()

    def select(self, where: Where) -> Results:
        """Return the runs that fulfil all conditions.

        Args:
            where: ``NAME=VALUE`` or with ``!=``, ``<``, ``<=``, ``>``, ``>=``, one or several; or a mapping
                of names to the values wanted. Numbers are compared as numbers and the rest as text.

        Raises:
            ValueError: A condition cannot be read, or names a column that there is not.
        """
        wanted = conditions(where)
        keep = np.full(len(self), True)
        for condition in wanted if self.runs else ():  # without runs there are no columns to ask for
            keep &= condition.holds(self.table)
        return replace(self._only(np.flatnonzero(keep)), where=(*self.where, *map(str, wanted)))

    def sort(self, by: str) -> Results:
        """Return the runs ordered by a column: numbers, then text; at the end runs that have no value there.

        Raises:
            ValueError: There is no such column.
        """
        cells = self.table[nearest(by, self.table)]
        keys = {"number": pd.to_numeric(cells, errors="coerce"), "text": cells.astype("string")}
        return self._only(pd.DataFrame(keys).sort_values(list(keys)).index)

    def means(self, by: Sequence[str], metrics: Sequence[str] = ()) -> pd.DataFrame:
        """Return means over groups of runs: ``NAME mean``, ``NAME stderr`` and ``NAME n`` for every metric.

        Only completed runs count; the column ``not completed`` has the number of the others in a group. The
        standard error of the mean is that of a sample (ddof 1), missing for one run. A completed run whose
        number was not finite is missing from n.

        Args:
            by: Columns whose values make a group.
            metrics: Columns to average; all that were reported if there are none.

        Raises:
            ValueError: There is no such column, or one to be averaged has no numbers.
        """
        table = self.table
        keys = [table[name] for name in dict.fromkeys(nearest(name, table) for name in by)]
        if not keys:
            raise ValueError("means are over groups: name one or more columns that make them")
        completed = table["outcome"] == "completed"
        counts = pd.DataFrame({COMPLETED: completed.astype(int), OTHERS: (~completed).astype(int)})
        parts = [counts.groupby(keys, dropna=False).sum()]
        for name in dict.fromkeys([nearest(name, table) for name in metrics] or self.reported):
            if table[name].dtype not in ("float64", "Int64"):
                raise ValueError(f"{name} has no mean: its values are not numbers")
            groups = table[name].astype("float64").where(completed).groupby(keys, dropna=False)
            found = groups.agg(["mean", "sem", "count"])
            parts.append(found.set_axis([f"{name} mean", f"{name} stderr", f"{name} n"], axis="columns"))
        return pd.concat(parts, axis="columns").reset_index()

    def series(self, metric: str, against: str, by: str) -> dict[str, list[tuple[float | str, float]]]:
        """Return (parameter's value, metric) of every completed run, by group, as `plots.sweep` takes it.

        Args:
            metric: Column of the numbers wanted; a run that has none is left out.
            against: Column of the values they stand against; a value that is not a number is text.
            by: Column whose values make a group.

        Raises:
            ValueError: There is no such column.
        """
        x, y, group = (nearest(name, self.table) for name in (against, metric, by))
        rows = self.table[(self.table["outcome"] == "completed") & self.table[y].notna()]
        found: dict[str, list[tuple[float | str, float]]] = {}
        for name, value, number in zip(*(plain(rows[column]) for column in (group, x, y)), strict=True):
            known = value if type(value) in (int, float) else text(value)
            found.setdefault(text(name), []).append((known, number))
        return found

    def _only(self, rows: Iterable[int]) -> Results:
        pairs = list(self.runs.items())
        return replace(self, runs=dict(pairs[row] for row in rows))


def read_results(root: str | Path = "runs", where: Where = ()) -> Results:
    """Read the records of all runs below a folder, except those that do not fulfil the conditions.

    Args:
        root: The folder that holds ``<notebook>/<id>`` of every run.
        where: Conditions as text, ``"excess<0.1"``, one or several, or a mapping of columns to values.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A condition cannot be read, or names a column that there is not.
    """
    found = {f"{each.parent.name}/{each.name}": records.look(each) for each in records.folders(Path(root))}
    runs = {name: state for name, state in found.items() if isinstance(state, RunRecord)}
    runs = dict(sorted(runs.items(), key=lambda item: (item[0].split("/")[0], item[1].started)))
    parameters = dict.fromkeys(name for run in runs.values() for name in run.parameters)
    metrics = dict.fromkeys(name for run in runs.values() for name in run.metrics)
    results = Results(
        root=Path(root),
        runs=runs,
        parameters=_columns("parameter", parameters, metrics),
        metrics=_columns("metric", metrics, parameters),
        without={name: state for name, state in found.items() if isinstance(state, str)},
    )
    return results.select(where)


def write(frame: pd.DataFrame, path: Path, form: Literal["csv", "parquet"]) -> None:
    """Write a table of `Results` as CSV or as parquet, in one step.

    Raises:
        OSError: The file cannot be written.
    """
    as_csv = form == "csv"
    table = (
        frame.to_csv(index=False, lineterminator="\n").encode() if as_csv else frame.to_parquet(index=False)
    )
    files.write(path, table)


def plain(cells: pd.Series) -> list[Json]:
    """Return the values of a column as Python's own, and None where one is missing."""
    return cells.astype(object).where(cells.notna(), None).tolist()


def _columns(kind: str, names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    taken = {*FIRST, *LAST, *others}
    return {name: text(f"{kind}:{name}" if name in taken else name) for name in names}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _typed(cells: Sequence[Json], numbers: bool) -> pd.Series:
    """Return values as numbers, or of the narrowest type that holds all of them exactly, or as text."""
    if numbers:
        return pd.Series(cells, dtype="float64")
    kind = TYPES.get(pd.api.types.infer_dtype(cells, skipna=True), "string")
    most = 2**63 if kind == "Int64" else 2**53
    if kind == "string" or any(isinstance(cell, int) and abs(cell) >= most for cell in cells):
        return pd.Series([None if cell is None else text(cell) for cell in cells], dtype="string")
    return pd.Series(cells, dtype=kind)
