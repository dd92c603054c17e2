"""A linear map that makes the training rows uncorrelated: for tables whose directions differ in size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lfmkit.data.tabular.gaussian import gaussian_fit
from lfmkit.data.tabular.table import Table


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
        """Return z for rows x (n, d), in the type of x; 65,536 rows at a time."""
        parts = [
            torch.linalg.solve_triangular(self.factor, (part.double() - self.mean).T, upper=False).T.to(x)
            for part in x.split(65_536)
        ]
        return torch.cat(parts)

    def invert(self, z: Tensor) -> Tensor:
        """Return x for whitened rows z (n, d), in the type of z."""
        return torch.cat([(part.double() @ self.factor.T + self.mean).to(z) for part in z.split(65_536)])


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
    mean, factor = gaussian_fit(table)
    into = Whitening(torch.from_numpy(mean), torch.from_numpy(factor))
    train, val, test = (into.apply(rows) for rows in (table.train, table.val, table.test))
    about = {**table.provenance, "whitened": "by mean and covariance of train"}
    columns = tuple(f"z{i}" for i in range(table.dim))
    return replace(table, columns=columns, train=train, val=val, test=test, provenance=about), into
