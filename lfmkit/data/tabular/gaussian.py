"""The simplest density of a table, a Gaussian with full covariance: what every model has to beat."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from lfmkit.data.tabular.table import Table

_CHUNK = 65536  # rows in float64 at once
_MOST = 2000  # columns


def gaussian_nll(table: Table) -> dict[str, float]:
    """Return the mean NLL (nats) of each split under the Gaussian with the mean and covariance of train.

    Raises:
        ValueError: More than 2,000 columns, not more rows than columns, or columns that depend on each other.
    """
    mean, factor = gaussian_fit(table)
    constant = 0.5 * table.dim * math.log(2 * math.pi) + float(np.log(np.diag(factor)).sum())
    inverse = np.linalg.inv(factor).T

    def nll(rows: Tensor) -> float:
        squares = sum(float(np.square((part - mean) @ inverse).sum()) for part in _parts(rows))
        return constant + 0.5 * squares / len(rows)

    return {"train": nll(table.train), "val": nll(table.val), "test": nll(table.test)}


def gaussian_fit(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (d,) of train, and the lower Cholesky factor (d, d) of its covariance.

    Raises:
        ValueError: As for `gaussian_nll`.
    """
    n, d = table.train.shape
    if d > _MOST or n <= d:
        raise ValueError(f"no Gaussian is fitted to {d:,} columns with {n:,} rows: it takes more rows than "
                         f"columns, and at most {_MOST:,} columns")  # fmt: skip
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
    for part in rows.split(_CHUNK):
        yield part.double().numpy()
