"""Conditions on a table's columns: ``seed=0``, ``excess<0.1``, ``schedule=log_snr``."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from lfmkit.runs.parameters import parse_value
from lfmkit.runs.records import Json

Where = str | Iterable[str] | Mapping[str, Json]
Order = Callable[[Any, Any], bool]
ORDERS: dict[str, Order] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def select(columns: Mapping[str, Sequence[Json]], where: Where) -> list[int]:
    """Return the numbers of the rows that fulfil all conditions.

    Args:
        columns: Values by name, None where there is none.
        where: ``NAME=VALUE`` or with ``!=``, ``<``, ``<=``, ``>``, ``>=``, one or several; or a mapping of
            names to the values wanted. Numbers are compared as numbers and text as text. None is equal to
            what is missing, and neither above nor below anything.

    Raises:
        ValueError: A condition cannot be read, or names a column that there is not.
    """
    rows = list(range(len(next(iter(columns.values()), ()))))
    for name, sign, value, words in _conditions(where):
        cells = columns[nearest(name, columns)]
        if sign in ORDERS:
            holds = _in_order(ORDERS[sign], value, words, cells, f"{name}{sign}{words}")
            rows = [row for row in rows if holds(cells[row])]
        else:
            rows = [row for row in rows if _equal(cells[row], value, words) == (sign == "=")]
    return rows


def described(where: Where) -> tuple[str, ...]:
    """Return conditions as text, one each.

    >>> described({"seed": 0, "method": "lfm"}), described("excess < 0.1")
    (('seed=0', 'method=lfm'), ('excess<0.1',))
    """
    return tuple(f"{name}{sign}{words}" for name, sign, _, words in _conditions(where))


def nearest(name: str, columns: Collection[str]) -> str:
    """Return the name of a column, if there is one of this name.

    Raises:
        ValueError: There is none; the message has the names that are like it.
    """
    if name in columns:
        return name
    both = [column for column in columns if column.partition(":")[2] == name]
    near = both or difflib.get_close_matches(name, columns, n=1)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(columns)}"
    raise ValueError(f"there is no column {name!r}: {hint}")


def text(value: Json) -> str:
    """Return plain data as one writes it: a list as a tuple, and never a character that is no text.

    >>> text([0.1, [2]]), text("log_snr"), text(True)
    ('(0.1, (2,))', 'log_snr', 'True')
    """
    words = value if isinstance(value, str) else repr(_tuples(value))
    return words.encode("utf-8", "backslashreplace").decode()


def _conditions(where: Where) -> list[tuple[str, str, Json, str]]:
    """Return name, sign, value and the words for the value, of each condition."""
    if isinstance(where, Mapping):
        return [(name, "=", value, text(value)) for name, value in where.items()]
    found = []
    for condition in [where] if isinstance(where, str) else where:
        parts = re.fullmatch(r"\s*([^<>=!]+?)\s*(<=|>=|!=|==?|<|>)\s*(.*?)\s*", condition, re.DOTALL)
        if parts is None:
            raise ValueError(f"{condition!r} is no condition: write NAME=VALUE, or with != < <= > >=")
        name, sign, words = parts.groups()
        found.append((name, "=" if sign == "==" else sign, parse_value(words), words))
    return found


def _in_order(
    order: Order, value: Json, words: str, cells: Sequence[Json], condition: str
) -> Callable[[Json], bool]:
    """Return whether a cell stands in this order to the value, among numbers or else among text."""
    if any(isinstance(cell, str) for cell in cells):
        return lambda cell: isinstance(cell, str) and order(cell, words)
    if not _is_number(value):
        raise ValueError(f"{condition}: {words!r} is no number")
    return lambda cell: _is_number(cell) and order(cell, value)


def _equal(cell: Json, value: Json, words: str) -> bool:
    if value is None or cell is None:
        return value is None and cell is None
    if _is_number(cell) and _is_number(value):
        return bool(cell == value)
    return text(cell) in (words, text(value))


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _tuples(value: Json) -> Json:
    if isinstance(value, (list, tuple)):
        return tuple(_tuples(each) for each in value)
    return {name: _tuples(each) for name, each in value.items()} if isinstance(value, dict) else value
