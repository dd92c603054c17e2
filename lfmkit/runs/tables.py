"""The table of recorded runs as text: for the terminal, and as Markdown."""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from lfmkit.runs.records import Json
from lfmkit.runs.results import COMPLETED, FIRST, Results, plain
from lfmkit.runs.selection import nearest, text

Columns = Mapping[str, Sequence[str]]
LONGEST = 32  # letters of a cell
MOST = 20  # kinds of failures that are listed
NAMED = 3  # folders of each kind
NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?( MB)?( \+- [\d.e+-]+)?( \(n \d+\))?|[-+]?inf|nan|")


def of_runs(results: Results, metrics: Sequence[str] = ()) -> Columns:
    """Return the columns of a table with one row a run: parameters that differ, and metrics.

    Args:
        results: The runs.
        metrics: Columns of the metrics wanted; all that were reported if there are none.

    Raises:
        ValueError: There is no such column.
    """
    chosen = [nearest(name, results.table) for name in metrics] or results.reported
    common = same(results)
    differing = [name for name in ("notebook", *results.given) if name not in common]
    names = dict.fromkeys(["id", "outcome", *differing, *chosen, "seconds", "peak_memory", "started"])
    return {name: _shown(results.table[name]) for name in names}


def of_means(means: pd.DataFrame) -> Columns:
    """Return the columns of a table with one row a group: mean +- standard error of each metric.

    The number of runs stands beside a mean only where it is not that of all completed runs.
    """
    columns: dict[str, list[str]] = {}
    for name in means:
        metric = name.removesuffix(" mean")
        if name != metric:
            parts = means[[name, f"{metric} stderr", f"{metric} n", COMPLETED]]
            columns[metric] = [_mean(*row) for row in parts.itertuples(index=False)]
        elif not name.endswith((" stderr", " n")):
            columns[name] = _shown(means[name])
    return columns


def same(results: Results) -> dict[str, Json]:
    """Return the notebook and the parameters that have one value in all of several runs."""
    if len(results) < 2:
        return {}
    names = [name for name in ("notebook", *results.given) if results.table[name].nunique(dropna=False) == 1]
    return {name: plain(results.table[name].head(1))[0] for name in names}


def above(results: Results, by: Collection[str] = ()) -> list[str]:
    """Return the lines above the table: how many runs, what is the same in all, and what means are over.

    Args:
        results: The runs.
        by: Columns whose values make the groups of a table of means.
    """
    common, lines = same(results), [counted(results, f" recorded in {results.root}")]
    if not results.where and not results.runs:
        lines = [f"no run is recorded in {results.root}: `lfmkit run NOTEBOOK` makes one"]
    if common:
        cells = [f"{name} {_cell(name, value) or 'none'}" for name, value in common.items()]
        lines.append(f"the same in all: {', '.join(cells)}")
    if by and results.runs:
        inside = [name for name in results.given if name not in {*by, *common, *FIRST}]
        over = [f"{name} ({results.table[name].nunique(dropna=False)} values)" for name in inside]
        lines.append(f"means +- standard errors over {', '.join(over) or 'runs'}")
    return [_plain(line) for line in lines]


def counted(results: Results, place: str = "") -> str:
    """Return how many runs there are, how they were selected, and how many have which outcome."""
    return f"{len(results):,} run{'s' * (len(results) != 1)}{place}{counts(results)}"


def counts(results: Results) -> str:
    """Return how the runs were selected, and how many have which outcome."""
    outcomes = [run.outcome for run in results.runs.values()]
    outcomes += [reason.partition(":")[0] for reason in results.without.values()]
    found = [f"{count:,} {outcome}" for outcome, count in Counter(outcomes).most_common()]
    where = f", where {', '.join(results.where)}" if results.where else ""
    return f"{where}: {', '.join(found)}" if found else where


def failures(results: Results) -> list[tuple[str, list[str]]]:
    """Return every reason why a run has no result, with the folders of the runs, the most frequent first."""
    incomplete = {folder: run.why for folder, run in results.runs.items() if not run.completed}
    reasons: dict[str, list[str]] = {}
    for folder, reason in (incomplete | dict(results.without)).items():
        reasons.setdefault(reason, []).append(folder)
    return sorted(reasons.items(), key=lambda each: -len(each[1]))


def below(results: Results) -> list[str]:
    """Return the lines below the table: every run without a result, and why."""
    lines, found = [], failures(results)
    for reason, folders in found[:MOST]:
        more = f" and {len(folders) - NAMED:,} more" if len(folders) > NAMED else ""
        lines.append(f"{reason} [{', '.join(folders[:NAMED])}{more}]")
    if len(found) > MOST:
        lines.append(f"and {len(found) - MOST:,} more kinds of failures")
    return [_plain(line) for line in lines]


def terminal(columns: Columns, width: int | None = None, keep: Collection[str] = ()) -> str:
    """Return an aligned table; the last columns that do not fit are left out, and named below it.

    Args:
        columns: Cells by name.
        width: Letters of a line; None for no limit.
        keep: Columns that are not left out, and neither is the first one.
    """
    blocks = {name: _block(name, cells) for name, cells in columns.items()}
    names = list(blocks)
    for name in reversed(names[1:]):
        total = sum(len(blocks[each][0]) + 2 for each in names) - 2
        if width is not None and total > width and name not in keep:
            names.remove(name)
    rows = zip(*(blocks[name] for name in names), strict=True)
    lines = ["  ".join(row).rstrip() for row in rows]
    left_out = [_plain(name) for name in blocks if name not in names]
    if left_out:
        line = f"left out, for the width of the terminal: {', '.join(left_out)}"
        lines += ["", *textwrap.wrap(line, width or 80)]
    return "\n".join(lines)


def markdown(columns: Columns, lines: Sequence[str] = (), notes: Sequence[str] = ()) -> str:
    """Return a Markdown table between paragraphs of lines and a list of notes."""
    rules = ["---:" if _numeric(cells) else "---" for cells in columns.values()]
    rows = [[_escaped(cell) for cell in row] for row in zip(*columns.values(), strict=True)]
    table = [f"| {' | '.join(row)} |" for row in (map(_escaped, columns), rules, *rows)]
    items = ["", *(f"- {_escaped(note)}" for note in notes)] if notes else []
    return "\n".join([*(f"{_escaped(line)}\n" for line in lines), *table, *items, ""])


def _shown(cells: pd.Series) -> list[str]:
    return [_cell(cells.name, value) for value in plain(cells)]


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
    return text(value)


def _mean(mean: float, stderr: float, n: int, count: int) -> str:
    if math.isnan(mean):
        return ""
    error = "" if math.isnan(stderr) else f" +- {stderr:.2g}"
    return f"{mean:.4g}{error}{'' if n == count else f' (n {n})'}"


def _numeric(cells: Sequence[str]) -> bool:
    return any(cells) and all(NUMBER.fullmatch(cell) for cell in cells)


def _block(name: str, cells: Sequence[str]) -> list[str]:
    """Return a column with its name as lines of equal length."""
    lines = [_plain(name), *(_plain(cell) for cell in cells)]
    lines[1:] = [line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..." for line in lines[1:]]
    width, right = max(map(len, lines)), _numeric(cells)
    return [line.rjust(width) if right else line.ljust(width) for line in lines]


def _plain(text: str) -> str:
    """Return a text in one line, in which no character moves the cursor or changes a colour."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _escaped(text: str) -> str:
    """Return a text in one line that Markdown shows as it is."""
    return re.sub(r"([\\|`*_{}\[\]<>&#~])", r"\\\1", _plain(text))
