"""The table of recorded runs as text: for the terminal, and as Markdown."""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lfmkit.runs import selection
from lfmkit.runs.records import Json, RunRecord
from lfmkit.runs.results import COMPLETED, FIRST, Results

if TYPE_CHECKING:
    import pandas as pd

Columns = Mapping[str, Sequence[str]]
LONGEST = 32  # letters of a cell
MOST = 20  # lines about runs that did not complete
NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?( MB)?( \+- [\d.e+-]+)?( \(n \d+\))?|[-+]?inf|nan|")


def of_runs(results: Results, metrics: Sequence[str] = ()) -> Columns:
    """Return the columns of a table with one row a run: what differs between the runs, and the metrics.

    Args:
        results: The runs.
        metrics: Columns of the metrics wanted; all that were reported if there are none.

    Raises:
        ValueError: There is no such column.
    """
    chosen = [selection.nearest(name, results.columns) for name in metrics] or results.reported
    common = same(results)
    differing = [name for name in ("notebook", *_given(results)) if name not in common]
    names = ["id", "outcome", *differing, *chosen, "seconds", "peak_memory", "started"]
    return {name: [_cell(name, value) for value in results.columns[name]] for name in dict.fromkeys(names)}


def of_means(means: pd.DataFrame) -> Columns:
    """Return the columns of a table with one row a group: mean +- standard error of each metric.

    The number of runs stands beside a mean only where it is not that of all completed runs.
    """
    columns: dict[str, list[str]] = {}
    counts = [int(count) for count in means[COMPLETED]]
    for name in means.columns:
        metric = name.removesuffix(" mean")
        if name != metric:
            parts = zip(means[name], means[f"{metric} stderr"], means[f"{metric} n"], counts, strict=True)
            columns[metric] = [_mean(*each) for each in parts]
        elif not name.endswith((" stderr", " n")):
            cells = means[name].astype(object).where(means[name].notna(), None)
            columns[name] = [_cell(name, cell) for cell in cells]
    return columns


def same(results: Results) -> dict[str, Json]:
    """Return the notebook and the parameters that have one value in all of several runs."""
    if len(results) < 2:
        return {}
    found = {}
    for name in ("notebook", *_given(results)):
        cells = results.columns[name]
        if all(cell == cells[0] and type(cell) is type(cells[0]) for cell in cells):
            found[name] = cells[0]
    return found


def above(results: Results) -> list[str]:
    """Return the lines above the table: how many runs, and what is the same in all of them."""
    said = f"recorded in {results.root}"
    if results.runs:
        lines = [f"{len(results):,} {'run' if len(results) == 1 else 'runs'} {said}{counts(results)}"]
    elif results.where:
        lines = [f"no run {said} has {', '.join(results.where)}"]
    else:
        lines = [f"no run is {said}: `lfmkit run NOTEBOOK` makes one"]
    common = [f"{name} {_cell(name, value) or 'none'}" for name, value in same(results).items()]
    return [_plain(line) for line in (lines + ["the same in all: " + ", ".join(common)] * bool(common))]


def counts(results: Results) -> str:
    """Return how the runs were selected, and how many have which outcome."""
    outcomes = Counter(run.outcome for run in results.runs.values())
    found = [f"{count:,} {outcome}" for outcome, count in outcomes.most_common()]
    for name, folders in (("running", results.running), ("interrupted", results.interrupted),
                          ("unreadable", results.unreadable)):  # fmt: skip
        found += [f"{len(folders):,} {name}"] if folders else []
    where = f", where {', '.join(results.where)}" if results.where else ""
    return f"{where}: {', '.join(found)}" if found else where


def averaged(results: Results, by: Iterable[str]) -> str:
    """Return the line that says which parameters differ inside groups, so that the means are over them."""
    fixed = {*by, *same(results), *FIRST}
    over = [
        f"{name} ({len(set(map(selection.text, results.columns[name])))} values)"
        for name in _given(results)
        if name not in fixed
    ]
    return f"means +- standard errors over {', '.join(over) or 'runs'}"


def failures(results: Results) -> list[tuple[str, list[str]]]:
    """Return every reason why a run has no result, with the folders of the runs, the most frequent first."""
    reasons: dict[str, list[str]] = {}
    for folder, run in results.runs.items():
        if not run.completed:
            reasons.setdefault(why(run), []).append(folder)
    for folder, reason in results.unreadable.items():
        reasons.setdefault(f"unreadable: {reason}", []).append(folder)
    return sorted(reasons.items(), key=lambda each: -len(each[1]))


def below(results: Results) -> list[str]:
    """Return the lines below the table: every run without a result, and why."""
    found = failures(results)
    lines = [f"{reason} [{_some(folders)}]" for reason, folders in found[:MOST]]
    lines += [f"and {len(found) - MOST:,} more kinds of failures"] * (len(found) > MOST)
    lines += [f"running: {_some(results.running)}"] * bool(results.running)
    lines += [f"interrupted: {_some(results.interrupted)}"] * bool(results.interrupted)
    return [_plain(line) for line in lines]


def why(run: RunRecord) -> str:
    """Return in one line what became of a run that did not complete: outcome, last cell, reason."""
    cell = run.cell or {}
    place = f" in cell {cell.get('number')} `{cell.get('source', '')}`" if cell else ""
    return f"{run.outcome}{place}: {run.reason or 'no reason was recorded'}"


def terminal(columns: Columns, width: int | None = None, keep: Collection[str] = ()) -> str:
    """Return an aligned table; the last columns that do not fit are left out, and named below it.

    Args:
        columns: Cells by name.
        width: Letters of a line; None for as many as there are.
        keep: Columns that are not left out, and neither is the first one.
    """
    cells = {name: [_short(cell) for cell in column] for name, column in columns.items()}
    widths = {name: max(map(len, (_plain(name), *column))) for name, column in cells.items()}
    names = list(cells)
    for name in reversed(names[1:]):
        if width is not None and name not in keep and sum(widths[n] + 2 for n in names) - 2 > width:
            names.remove(name)
    right = {name for name in names if _numeric(columns[name])}
    lines = []
    for row in zip(*([_plain(name), *cells[name]] for name in names), strict=True):
        padded = [
            cell.rjust(widths[name]) if name in right else cell.ljust(widths[name])
            for name, cell in zip(names, row, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    left_out = [_plain(name) for name in cells if name not in names]
    if left_out:
        line = f"left out, for the width of the terminal: {', '.join(left_out)}"
        lines += ["", *textwrap.wrap(line, width or 80)]
    return "\n".join(lines)


def markdown(columns: Columns, lines: Sequence[str] = (), notes: Sequence[str] = ()) -> str:
    """Return a Markdown table between paragraphs of lines and a list of notes."""
    rows = zip(*columns.values(), strict=True)
    table = [
        [_escaped(_plain(name)) for name in columns],
        ["---:" if _numeric(column) else "---" for column in columns.values()],
        *([_escaped(_plain(cell)) for cell in row] for row in rows),
    ]
    text = [f"{_escaped(line)}\n" for line in lines]
    text += ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([*text, *([""] if notes else []), *(f"- {_escaped(note)}" for note in notes), ""])


def _given(results: Results) -> list[str]:
    """Return the columns of the parameters that any of these runs has."""
    runs = results.runs.values()
    return [col for name, col in results.parameters.items() if any(name in run.parameters for run in runs)]


def _cell(name: str, value: Json) -> str:
    """Return a value as the tables show it: numbers with four digits."""
    if value is None or value == "":
        return ""
    if name == "peak_memory":
        return f"{value:.0f} MB"
    if name == "seconds":
        return f"{value:.1f}"
    if name == "started":
        return str(value)[:16].replace("T", " ")
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"
    return selection.text(value)


def _mean(mean: float, stderr: float, n: int, count: int) -> str:
    if math.isnan(mean):
        return ""
    error = "" if math.isnan(stderr) else f" +- {stderr:.2g}"
    return f"{mean:.4g}{error}{'' if n == count else f' (n {n})'}"


def _numeric(column: Sequence[str]) -> bool:
    return any(column) and all(NUMBER.fullmatch(cell) for cell in column)


def _short(cell: str) -> str:
    cell = _plain(cell)
    return cell if len(cell) <= LONGEST else cell[: LONGEST - 3] + "..."


def _some(folders: Sequence[str]) -> str:
    more = f" and {len(folders) - 3:,} more" if len(folders) > 3 else ""
    return ", ".join(folders[:3]) + more


def _plain(text: str) -> str:
    """Return a text in one line, in which no character moves the cursor or changes a colour."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _escaped(text: str) -> str:
    return re.sub(r"([\\|`*_{}\[\]<>&#~])", r"\\\1", text)
