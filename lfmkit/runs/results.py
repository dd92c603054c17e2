"""Recorded runs as one table: read from their folders, filtered, averaged over groups."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from lfmkit.runs import records, selection
from lfmkit.runs.records import Json, RunRecord
from lfmkit.runs.selection import Where
from lfmkit.utils import files

if TYPE_CHECKING:
    import pandas as pd

FIRST, LAST = ("id", "notebook", "outcome"), ("seconds", "peak_memory", "started", "reason")
MB = 1e6
COMPLETED, OTHERS = "completed runs", "not completed"  # columns of `Results.means`


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
        unreadable: Why a record could not be read, by folder.
        running: Folders of runs that some process works on.
        interrupted: Folders of runs that ended without a record: their process was killed.
        where: The conditions that the runs were selected by.
    """

    root: Path
    runs: Mapping[str, RunRecord]
    parameters: Mapping[str, str]
    metrics: Mapping[str, str]
    unreadable: Mapping[str, str]
    running: tuple[str, ...] = ()
    interrupted: tuple[str, ...] = ()
    where: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.runs)

    @cached_property
    def columns(self) -> Mapping[str, Sequence[Json]]:
        """Values of all columns, a run after the other; None where a run has none."""
        runs = self.runs.values()
        columns: dict[str, list[Json]] = {name: [getattr(run, name) for run in runs] for name in FIRST}
        for name, column in self.parameters.items():
            columns[column] = [run.parameters.get(name) for run in runs]
        for name, column in self.metrics.items():
            columns[column] = [_finite(run.metrics.get(name)) for run in runs]
        for name in LAST:
            columns[name] = [getattr(run, name) for run in runs]
        columns["peak_memory"] = [size / MB for size in columns["peak_memory"]]
        return MappingProxyType(columns)

    @cached_property
    def reported(self) -> list[str]:
        """Columns of the metrics that have a number in one of these runs."""
        columns = self.metrics.values()
        return [column for column in columns if any(cell is not None for cell in self.columns[column])]

    def select(self, where: Where) -> Results:
        """Return the runs that fulfil all conditions; see `lfmkit.runs.selection.select`.

        Raises:
            ValueError: A condition cannot be read, or names a column that there is not.
        """
        where = where if isinstance(where, (str, Mapping)) else list(where)
        said = selection.described(where)
        if not said or not self.runs:
            return replace(self, where=(*self.where, *said))
        return replace(self._ordered(selection.select(self.columns, where)), where=(*self.where, *said))

    def sort(self, by: str) -> Results:
        """Return the runs ordered by a column: numbers, then text; at the end runs that have no value there.

        Raises:
            ValueError: There is no such column.
        """
        cells = self.columns[selection.nearest(by, self.columns)]

        def place(row: int) -> tuple[bool, bool, float, str]:
            cell = cells[row]
            number = isinstance(cell, (int, float))
            return cell is None, not number, cell if number else 0, "" if number else selection.text(cell)

        return self._ordered(sorted(range(len(cells)), key=place))

    def frame(self) -> pd.DataFrame:
        """Return the table as a DataFrame; lists are text, and None is missing."""
        import pandas as pd  # half a second, and not needed to read or to print

        numbers = {*self.metrics.values(), "seconds", "peak_memory"}
        columns = {}
        for name, cells in self.columns.items():
            kind = "float64" if name in numbers else _kind(cells)
            given = cells if kind != "string" else [None if c is None else selection.text(c) for c in cells]
            columns[name] = pd.Series(given, dtype=kind)
        return pd.DataFrame(columns)

    def means(self, by: Sequence[str], metrics: Sequence[str] = ()) -> pd.DataFrame:
        """Return means over groups of runs: ``NAME mean``, ``NAME stderr`` and ``NAME n`` for every metric.

        Only completed runs count; how many others a group has is said in the column ``not completed``. The
        standard error of the mean is that of a sample (ddof 1), missing for one run. A completed run whose
        number was not finite is missing from n.

        Args:
            by: Columns whose values make a group.
            metrics: Columns to average; all that were reported if there are none.

        Raises:
            ValueError: There is no such column, or one to be averaged has no numbers.
        """
        import pandas as pd

        frame = self.frame()
        keys = [frame[name] for name in dict.fromkeys(selection.nearest(name, self.columns) for name in by)]
        if not keys:
            raise ValueError("means are over groups: name one or more columns that make them")
        chosen = [selection.nearest(name, self.columns) for name in metrics] or self.reported
        for name in chosen:
            if frame[name].dtype not in ("float64", "Int64"):
                raise ValueError(f"{name} has no mean: its values are no numbers")
        completed = frame["outcome"] == "completed"
        counts = {COMPLETED: completed.astype(int), OTHERS: (~completed).astype(int)}
        parts = [pd.DataFrame(counts).groupby(keys, dropna=False).sum()]
        for name in dict.fromkeys(chosen):
            values = frame[name].astype("float64").where(completed).groupby(keys, dropna=False)
            found = values.agg(["mean", "sem", "count"])
            parts.append(found.set_axis([f"{name} mean", f"{name} stderr", f"{name} n"], axis="columns"))
        return pd.concat(parts, axis="columns").reset_index()

    def series(self, metric: str, against: str, by: str) -> dict[str, list[tuple[float | str, float]]]:
        """Return (parameter's value, metric) of every completed run, by group, as `plots.sweep` takes it.

        Args:
            metric: Column of the numbers wanted; a run that has none is left out.
            against: Column of the values they stand against; what is no number is text.
            by: Column whose values make a group.

        Raises:
            ValueError: There is no such column.
        """
        x, y, group = (self.columns[selection.nearest(name, self.columns)] for name in (against, metric, by))
        found: dict[str, list[tuple[float | str, float]]] = {}
        for row, run in enumerate(self.runs.values()):
            if run.completed and y[row] is not None:
                value = x[row] if type(x[row]) in (int, float) else selection.text(x[row])
                found.setdefault(selection.text(group[row]), []).append((value, y[row]))
        return found

    def _ordered(self, rows: Iterable[int]) -> Results:
        pairs = list(self.runs.items())
        return replace(self, runs=MappingProxyType(dict(pairs[row] for row in rows)))


def read_results(root: str | Path = "runs", where: Where = ()) -> Results:
    """Read the records of all runs below a folder, except those that do not fulfil the conditions.

    Args:
        root: The folder that holds ``<notebook>/<id>`` of every run.
        where: Conditions as text, ``"excess<0.1"``, one or several, or a mapping of columns to values.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A condition cannot be read, or names a column that there is not.
    """
    root = Path(root)
    runs: dict[str, RunRecord] = {}
    unreadable: dict[str, str] = {}
    running: list[str] = []
    interrupted: list[str] = []
    for folder in records.folders(root):
        name = f"{folder.parent.name}/{folder.name}"
        try:
            found = records.look(folder)
        except (ValueError, OSError) as error:
            unreadable[name] = str(error).replace(f"{folder}{os.sep}", "") or type(error).__name__
            continue
        if isinstance(found, RunRecord):
            runs[name] = found
        elif found != "no run":
            (running if found == "running" else interrupted).append(name)
    order = sorted(runs, key=lambda name: (name.split("/")[0], runs[name].started, name))
    parameters = _names(runs[name].parameters for name in order)
    metrics = _names(runs[name].metrics for name in order)
    results = Results(
        root=root,
        runs=MappingProxyType({name: runs[name] for name in order}),
        parameters=MappingProxyType(_columns("parameter", parameters, metrics)),
        metrics=MappingProxyType(_columns("metric", metrics, parameters)),
        unreadable=MappingProxyType(unreadable),
        running=tuple(running),
        interrupted=tuple(interrupted),
    )
    return results.select(where) if where else results


def write(frame: pd.DataFrame, path: Path, form: Literal["csv", "parquet"]) -> None:
    """Write a table of `Results` as CSV or as parquet, in one step.

    Raises:
        OSError: The file cannot be written.
    """
    if form == "csv":
        files.write(path, frame.to_csv(index=False, lineterminator="\n").encode())
    else:
        content = io.BytesIO()
        frame.to_parquet(content, index=False)
        files.write(path, content.getvalue())


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _names(mappings: Iterable[Mapping[str, Json]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _columns(kind: str, own: list[str], others: list[str]) -> dict[str, str]:
    taken = {*FIRST, *LAST, *others}
    return {name: selection.text(f"{kind}:{name}" if name in taken else name) for name in own}


def _kind(cells: Sequence[Json]) -> str:
    """Return the narrowest type of column that holds the values."""
    types = {type(cell) for cell in cells if cell is not None}
    if types == {bool}:
        return "boolean"
    if types == {int} and all(cell is None or -(2**63) <= cell < 2**63 for cell in cells):
        return "Int64"
    small = all(not isinstance(cell, int) or abs(cell) < 2**53 for cell in cells)
    return "float64" if types and types <= {int, float} and small else "string"
