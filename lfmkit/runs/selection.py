"""Conditions on the columns of a table: ``seed=0``, ``excess<0.1``, ``schedule=log_snr``."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from lfmkit.runs.parameters import parse_value
from lfmkit.runs.records import Json

Where = str | Iterable[str] | Mapping[str, Json]
ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Condition(NamedTuple):
    """A comparison of a column with a value, which was given as words."""

    name: str
    sign: str
    value: Json
    words: str

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.words}"

    def holds(self, table: pd.DataFrame) -> pd.Series:
        """Return for each row whether the condition holds: numbers are compared as numbers, the rest as text.

        None is equal to a missing value, and neither above nor below anything.

        Raises:
            ValueError: There is no such column, or its numbers are compared with a word.
        """
        cells = table[nearest(self.name, table)]
        numeric = is_numeric_dtype(cells) and not is_bool_dtype(cells)
        number = isinstance(self.value, (int, float)) and not isinstance(self.value, bool)
        if self.sign in ORDERS and numeric:
            if not number:
                raise ValueError(f"{self}: {self.words!r} is not a number")
            found = ORDERS[self.sign](cells, self.value)
        elif self.sign in ORDERS:
            found = ORDERS[self.sign](cells.astype("string"), self.words)
        elif self.value is None:
            found = cells.isna()
        elif numeric and number:
            found = cells == self.value
        else:
            found = cells.astype("string").isin([self.words, text(self.value)])
        found = found.fillna(False).astype(bool)
        return ~found if self.sign == "!=" else found


def conditions(where: Where) -> list[Condition]:
    """Read conditions: ``NAME=VALUE`` or with another sign, one or several, or a mapping of names to values.

    Raises:
        ValueError: A condition cannot be read.

    >>> [str(each) for each in (*conditions({"seed": 0, "method": "lfm"}), *conditions("excess < 0.1"))]
    ['seed=0', 'method=lfm', 'excess<0.1']
    """
    if isinstance(where, Mapping):
        return [Condition(name, "=", value, text(value)) for name, value in where.items()]
    found = []
    for words in [where] if isinstance(where, str) else where:
        parts = re.fullmatch(r"\s*([^<>=!]+?)\s*(<=|>=|!=|==?|<|>)\s*(.*?)\s*", words, re.DOTALL)
        if parts is None:
            raise ValueError(f"{words!r} is not a condition: write NAME=VALUE, or with != < <= > >=")
        name, sign, value = parts.groups()
        found.append(Condition(name, "=" if sign == "==" else sign, parse_value(value), value))
    return found


def nearest(name: str, table: pd.DataFrame) -> str:
    """Return the name of a column, if there is one of this name.

    Raises:
        ValueError: There is none; the message has the names that are like it.
    """
    if name in table:
        return name
    both = [column for column in table if column.partition(":")[2] == name]
    near = both or difflib.get_close_matches(name, table, n=1)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(table)}"
    raise ValueError(f"there is no column {name!r}: {hint}")


def text(value: Json) -> str:
    """Format a value as text: lists as tuples, unencodable characters escaped.

    >>> text([0.1, [2]]), text("log_snr"), text(True)
    ('(0.1, (2,))', 'log_snr', 'True')
    """
    words = value if isinstance(value, str) else repr(_tuples(value))
    return words.encode("utf-8", "backslashreplace").decode()


def _tuples(value: Json) -> Json:
    if isinstance(value, (list, tuple)):
        return tuple(_tuples(each) for each in value)
    return {name: _tuples(each) for name, each in value.items()} if isinstance(value, dict) else value
