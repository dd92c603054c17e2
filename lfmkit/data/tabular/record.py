"""A table of numbers: its three splits, what was done to the numbers, and where they come from."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lfmkit.utils.provenance import Splits

_SHOWN = 12  # columns that a notebook shows


@dataclass(frozen=True, eq=False, repr=False)
class Table(Splits):
    """Rows for training, validation and testing, in one scale.

    Attributes:
        name: Name of the table.
        columns: Names of the columns.
        train: Rows to learn from, float32, shape (n, dim); `val` and `test` are like it.
        val: Rows to choose by.
        test: Rows to report.
        mean: Number that was subtracted from each column, float64; 0 where nothing was.
        std: Number that each column was divided by after that, float64; 1 where it was not.
        provenance: Source, licence, file, checksum, split, noise, and departures from a published protocol.
    """

    name: str
    columns: tuple[str, ...]
    train: Tensor
    val: Tensor
    test: Tensor
    mean: Tensor
    std: Tensor
    provenance: Mapping[str, str]

    @property
    def dim(self) -> int:
        """The number of columns."""
        return len(self.columns)

    @property
    def log_volume(self) -> float:
        """The sum of log std: an NLL (nats) of these rows plus this is the NLL in the original units."""
        return float(self.std.log().sum())

    def __repr__(self) -> str:
        return f"<Table {self.name}: {self.dim:,} columns, {self._counts()} rows>"

    def _details(self) -> str:
        cells = [
            f"<tr><td>{html.escape(column)}</td><td>{float(mean):.6g}</td><td>{float(std):.6g}</td></tr>"
            for column, mean, std in zip(self.columns[:_SHOWN], self.mean, self.std, strict=False)
        ]
        if self.dim > _SHOWN:
            cells.append(f"<tr><td colspan=3>and {self.dim - _SHOWN:,} more</td></tr>")
        head = "<tr><th>column</th><th>mean taken out</th><th>std divided by</th></tr>"
        return f"<table>{head}{''.join(cells)}</table>"


def tenths(n: int) -> tuple[int, int]:
    """Return where val and test begin: the last tenth is the test, the last tenth of the rest val.

    >>> tenths(1000)
    (810, 900)
    """
    test = n - int(0.1 * n)
    return test - int(0.1 * test), test


def moments(rows: np.ndarray, ddof: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations, column by column: without a copy of all rows."""
    mean = [column.mean() for column in rows.T]
    std = [column.std(ddof=ddof) for column in rows.T]
    return np.array(mean), np.array(std)


def assemble(
    name: str,
    columns: Sequence[str],
    parts: Sequence[np.ndarray],
    provenance: Mapping[str, str],
    scale: tuple[np.ndarray, np.ndarray] | None = None,
) -> Table:
    """Return the table of rows for train, val and test, float64 or float32.

    With `scale`, means and standard deviations, they are standardised, in place.

    Raises:
        ValueError: A number does not fit into float32.
    """
    mean, std = scale or (np.zeros(len(columns)), np.ones(len(columns)))
    with np.errstate(over="ignore"):
        for part in parts if scale else ():
            part -= mean
            part /= std
        parts = [part.astype(np.float32, copy=False) for part in parts]
    bad = np.any([~np.isfinite(part).all(0) for part in parts], axis=0)
    if bad.any():
        which = ", ".join(repr(columns[i]) for i in np.flatnonzero(bad)[:5])
        raise ValueError(f"{name}: numbers in {which} do not fit into float32: rescale these columns")
    train, val, test, shift, size = map(torch.from_numpy, (*parts, mean, std))
    return Table(name, tuple(columns), train, val, test, shift, size, dict(provenance))
