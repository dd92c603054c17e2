"""The Gaussian with the mean and full covariance of a table's training rows.

It is the simplest density of a table, which every model has to beat, and the linear map that makes it a
standard Gaussian whitens tables whose directions differ in size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lfmkit.data.tabular.record import Table

_ROWS = 65_536  # in float64 at once
_MOST_COLUMNS = 2000


@dataclass(frozen=True)
class Whitening:
    """The map z = L^-1 (x - m), with m the mean and L L^T the covariance of the training rows.

    Attributes:
        mean: m, float64, shape (d,).
        factor: L, lower triangular, float64, shape (d, d).
    """

    mean: Tensor
    factor: Tensor

    @property
    def log_volume(self) -> float:
        """Log |det L|: an NLL (nats) of whitened rows plus this is the NLL of the rows themselves."""
        return float(self.factor.diagonal().log().sum())

    def apply(self, x: Tensor) -> Tensor:
        """Return z for rows x (n, d), in the type of x."""
        parts = [
            torch.linalg.solve_triangular(self.factor, (part.double() - self.mean).T, upper=False).T.to(x)
            for part in x.split(_ROWS)
        ]
        return torch.cat(parts)

    def invert(self, z: Tensor) -> Tensor:
        """Return x for whitened rows z (n, d), in the type of z."""
        return torch.cat([(part.double() @ self.factor.T + self.mean).to(z) for part in z.split(_ROWS)])


def whitened(table: Table) -> tuple[Table, Whitening]:
    """Return the table with whitened rows, and the map, which only the training rows decide.

    A flow's noise is as large in all directions; rows that are a hundred times wider in one direction than in
    another (patches of images are) drown in it at once. Whitened they do not, and the likelihood of the
    original rows is one constant away.

    Raises:
        ValueError: As for `gaussian_nll`.

    >>> import numpy as np
    >>> from lfmkit.data import table
    >>> rows, map_ = whitened(table(np.random.default_rng(0).normal(size=(1000, 2)) @ [[1, 0.9], [0, 0.1]]))
    >>> torch.allclose(rows.train.T.cov(), torch.eye(2), atol=0.01)
    True
    """
    into = Whitening(*map(torch.from_numpy, _fit(table)))
    train, val, test = (into.apply(rows) for rows in (table.train, table.val, table.test))
    about = {**table.provenance, "whitened": "by mean and covariance of train"}
    columns = tuple(f"z{i}" for i in range(table.dim))
    return replace(table, columns=columns, train=train, val=val, test=test, provenance=about), into


def gaussian_nll(table: Table) -> dict[str, float]:
    """Return the mean NLL (nats) of each split under the Gaussian with the mean and covariance of train.

    Raises:
        ValueError: More than 2,000 columns, not more rows than columns, or columns that depend on each other.
    """
    mean, factor = _fit(table)
    constant = 0.5 * table.dim * math.log(2 * math.pi) + float(np.log(np.diag(factor)).sum())
    inverse = np.linalg.inv(factor).T

    def nll(rows: Tensor) -> float:
        squares = sum(float(np.square((part - mean) @ inverse).sum()) for part in _parts(rows))
        return constant + 0.5 * squares / len(rows)

    return {"train": nll(table.train), "val": nll(table.val), "test": nll(table.test)}


def _fit(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (d,) of train, and the lower Cholesky factor (d, d) of its covariance."""
    n, d = table.train.shape
    if d > _MOST_COLUMNS or n <= d:
        raise ValueError(
            f"no Gaussian is fitted to {d:,} columns with {n:,} rows: it takes more rows than columns, and "
            f"at most {_MOST_COLUMNS:,} columns"
        )
    mean = np.zeros(d)
    for part in _parts(table.train):
        mean += part.sum(0) / n
    covariance = np.zeros((d, d))
    for part in _parts(table.train):
        part -= mean
        covariance += part.T @ part / n
    try:
        return mean, np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise ValueError(
            "the covariance of train is singular: some columns are combinations of others"
        ) from None


def _parts(rows: Tensor) -> Iterator[np.ndarray]:
    for part in rows.split(_ROWS):
        yield part.double().numpy()
