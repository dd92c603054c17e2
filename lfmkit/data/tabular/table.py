"""A table of numbers: its three splits, what was done to the numbers, and where they come from."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_SHOWN = 12  # columns that a notebook shows


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Rows for training, validation and testing, in one scale.

    Attributes:
        name: What it is called.
        columns: The names of the columns.
        train: The rows to learn from, float32, shape (n, dim); `val` and `test` are like it.
        val: The rows to choose by.
        test: The rows to report.
        mean: What was subtracted from each column, float64; 0 where nothing was.
        std: What each column was divided by after that, float64; 1 where nothing was.
        provenance: Source, licence, file, checksum, split, noise, and what departs from a published protocol.
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
        rows = ", ".join(f"{split} {len(getattr(self, split)):,}" for split in ("train", "val", "test"))
        return f"<Table {self.name}: {self.dim:,} columns, {rows} rows>"

    def _repr_html_(self) -> str:
        cells = [
            f"<tr><td>{html.escape(column)}</td><td>{float(mean):.6g}</td><td>{float(std):.6g}</td></tr>"
            for column, mean, std in zip(self.columns[:_SHOWN], self.mean, self.std, strict=False)
        ]
        if self.dim > _SHOWN:
            cells.append(f"<tr><td colspan=3>and {self.dim - _SHOWN:,} more</td></tr>")
        about = "".join(
            f"<li><b>{html.escape(key)}</b>: {html.escape(text)}</li>"
            for key, text in self.provenance.items()
        )
        head = "<tr><th>column</th><th>mean taken out</th><th>std divided by</th></tr>"
        title = html.escape(repr(self)[1:-1])
        return f"<p><b>{title}</b></p><table>{head}{''.join(cells)}</table><ul>{about}</ul>"


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
    columns: tuple[str, ...],
    rows: np.ndarray,
    begins: tuple[int, int],
    provenance: Mapping[str, str],
    *,
    scale: tuple[np.ndarray, np.ndarray] | None = None,
) -> Table:
    """Return the table of float64 rows (n, dim) that are already in order; the rows are used up.

    Args:
        name: What it is called.
        columns: Names of the columns.
        rows: All rows, overwritten where they are standardised.
        begins: Where val and where test begin.
        provenance: What is on record.
        scale: The means and standard deviations to standardise with; None leaves the numbers as they are.

    Raises:
        ValueError: A number does not fit into float32.
    """
    mean, std = scale or (np.zeros(len(columns)), np.ones(len(columns)))
    with np.errstate(over="ignore"):
        if scale is not None:
            rows -= mean
            rows /= std
        parts = [part.astype(np.float32) for part in np.split(rows, begins)]
    for part in parts:
        bad = ~np.isfinite(part).all(0)
        if bad.any():
            which = ", ".join(repr(columns[i]) for i in np.flatnonzero(bad)[:5])
            raise ValueError(f"{name}: numbers in {which} do not fit into float32: rescale these columns")
    train, val, test = map(torch.from_numpy, parts)
    shift, size = map(torch.from_numpy, (mean, std))
    return Table(name, columns, train, val, test, shift, size, dict(provenance))
