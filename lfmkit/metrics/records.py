"""Records: a number and how it was measured, shown as a row, or several of them as a table."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lfmkit.solvers import ADAPTIVE, Solver

# the fields that a row may show, in this order, and their headings
COLUMNS = {
    "measure": "measure",
    "value": "value",
    "stderr": "stderr",
    "interval": "95 %",
    "trace_error": "trace error",
    "baseline": "baseline",
    "floor": "floor",
    "excess": "excess",
    "resolution": "resolution",
    "largest": "largest",
    "displacement": "displacement",
    "outside": "mass outside",
    "gamma": "gamma",
    "blocks": "per block",
    "n": "n",
    "died": "died",
    "reference": "n reference",
    "split": "split",
    "settings": "settings",
    "solver": "solver",
    "nfe": "NFE",
    "pace": "ms an action",
    "parameters": "parameters",
    "cost": "NFE x parameters",
    "seed": "seed",
    "seconds": "seconds",
}
# significant digits of fields that are not shown with four
DIGITS = {"seconds": 2, "stderr": 2, "trace_error": 2, "resolution": 2, "outside": 2}


@dataclass(frozen=True, kw_only=True, repr=False)
class Record:
    """A number and how it was measured; float(record) is the number.

    Attributes:
        measure: Name of the measure, with its unit if it has one.
        value: The number.
        seconds: Wall-clock seconds that the measurement took; None if it was not timed.
    """

    measure: str
    value: float
    seconds: float | None = None

    def __float__(self) -> float:
        return self.value

    def cells(self) -> dict[str, str]:
        """Return the row of a table, heading to text, without fields that do not apply."""
        row = {}
        for name, heading in COLUMNS.items():
            entry = getattr(self, name, None)
            unknown = entry is None or entry == () or (entry != entry and name != "value")  # None, or NaN
            if not unknown:
                row[heading] = _shown(entry, DIGITS.get(name, 4))
        return row

    def __repr__(self) -> str:
        row = list(self.cells().items())
        return ", ".join([f"{row[0][1]}: {row[1][1]}", *(f"{heading} {entry}" for heading, entry in row[2:])])

    def _repr_html_(self) -> str:
        return table([self])._repr_html_()


@dataclass(frozen=True, repr=False)
class Records:
    """Records as the rows of one table; iterate over it, or take a record by its name or position.

    Attributes:
        names: Names of the rows; empty where the rows have none.
        records: The rows.
    """

    names: tuple[str, ...]
    records: tuple[Record, ...]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, which: int | str) -> Record:
        if not isinstance(which, str):
            return self.records[which]
        if which not in self.names:
            raise KeyError(f"no row {which!r}: choose one of {', '.join(self.names)}")
        return self.records[self.names.index(which)]

    def cells(self) -> list[list[str]]:
        """Return headings and rows as texts; a column that no row fills is left out."""
        rows = [record.cells() for record in self.records]
        used = [heading for heading in COLUMNS.values() if any(heading in row for row in rows)]
        body = [[row.get(heading, "") for heading in used] for row in rows]
        if not self.names:
            return [used, *body]
        return [["", *used], *([name, *row] for name, row in zip(self.names, body, strict=True))]

    def markdown(self) -> str:
        """Return the table as Markdown.

        >>> print(table({"a": Record(measure="length", value=1 / 3, seconds=0.0123)}).markdown())
        |  | measure | value | seconds |
        |---|---|---|---|
        | a | length | 0.3333 | 0.012 |
        """
        head, *body = [[entry.replace("|", "\\|") for entry in row] for row in self.cells()]
        lines = [head, ["---"] * len(head), *body]
        rows = ["| " + " | ".join(row) + " |" for row in lines]
        rows[1] = rows[1].replace(" ", "")
        return "\n".join(rows)

    def __repr__(self) -> str:
        columns = []
        for i, column in enumerate(zip(*self.cells(), strict=True)):
            width = max(map(len, column))
            right = i > 0 and _numeric(column[1:])
            columns.append([entry.rjust(width) if right else entry.ljust(width) for entry in column])
        return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))

    def _repr_html_(self) -> str:
        head, *body = [[html.escape(entry) for entry in row] for row in self.cells()]
        top = "".join(f'<th scope="col">{entry}</th>' for entry in head)
        lines = ["<table>", f"<thead><tr>{top}</tr></thead>", "<tbody>"]
        for first, *rest in body:
            cells = "".join(f"<td>{entry}</td>" for entry in rest)
            lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
        return "\n".join([*lines, "</tbody>", "</table>"])


def table(records: Mapping[str, Record] | Iterable[Record]) -> Records:
    """Return records as one table, shown as HTML in Jupyter and as aligned text elsewhere.

    Args:
        records: Records of any kinds, or a mapping from the names of the rows to records.

    Raises:
        TypeError: An entry is not a record.
        ValueError: There are no records.

    >>> table([Record(measure="length", value=1.5), Record(measure="chi2", value=12345.6, seconds=1)])
    measure   value  seconds
    length      1.5
    chi2     12,346        1
    """
    if isinstance(records, Record):
        records = [records]
    names = tuple(str(name) for name in records) if isinstance(records, Mapping) else ()
    rows = tuple(records.values() if isinstance(records, Mapping) else records)
    for row in rows:
        if not isinstance(row, Record):
            raise TypeError(f"a table is made of records, got {type(row).__name__}")
    if not rows:
        raise ValueError("a table needs one or more records")
    return Records(names, rows)


def _shown(entry: object, digits: int) -> str:
    if isinstance(entry, Solver):
        if entry.method in ADAPTIVE:
            return f"{entry.method}, rtol {entry.rtol:g}, atol {entry.atol:g}"
        return f"{entry.method}, {entry.steps} steps a block"
    if isinstance(entry, tuple):
        return " ".join(_shown(part, digits) for part in entry)
    if isinstance(entry, int):
        return f"{entry:,}"
    if isinstance(entry, float):
        whole = math.isfinite(entry) and 10**digits <= abs(entry) < 1e15
        return f"{entry:,.0f}" if whole else f"{entry:.{digits}g}"
    return str(entry)


def _numeric(entries: Sequence[str]) -> bool:
    """Return whether a column, without its heading, holds numbers only."""
    parts = [entry.replace(",", "").lstrip("-") for entry in entries if entry]
    return all(part[:1].isdigit() and " " not in part for part in parts)
