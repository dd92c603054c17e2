"""Two sets of samples: what every distance between them checks first, and the record it returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lfmkit.flows.inputs import as_samples
from lfmkit.metrics.records import Record


@dataclass(frozen=True, kw_only=True, repr=False)
class Distance(Record):
    """A distance between two sets of samples and how it was measured.

    Attributes:
        stderr: Standard error of value; None where there are too few points for one.
        baseline: The same distance between two random halves of the reference y: what two equally good
            sets show by chance. A value near or below it says "no difference seen". Sets as large as all of
            y show by chance about 0.7 of it (for the squared `mmd`: half). None where y has fewer than four
            points.
        n: Number of points of x.
        reference: Number of points of y.
        split: Name of the data split that y is.
        settings: What else the value depends on.
        seed: Seed of directions, halves and blocks.
    """

    stderr: float | None
    baseline: float | None
    n: int
    reference: int
    split: str | None
    settings: str
    seed: int


def two_sets(x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return x (n, d) and y (m, d) in float64 around a common origin, and two random halves of y.

    There are no halves where y has fewer than four points.

    Raises:
        TypeError: x or y is no floating-point tensor.
        ValueError: Dimensions differ, fewer than two rows, or NaN or infinite rows.
    """
    if not isinstance(y, Tensor) or y.ndim != 2 or y.shape[1] == 0:
        as_samples(y, 1, "y")  # says what is wrong
        raise ValueError(f"y needs the shape (n, d) with d >= 1, got {tuple(y.shape)}")
    x, y = as_samples(x, y.shape[1], "x"), as_samples(y, y.shape[1], "y")
    for name, points in (("x", x), ("y", y)):
        if len(points) < 2:
            raise ValueError(f"{name} has one row: a distance between distributions needs 2 or more")
    y = y.detach().double()
    origin = y.mean(0)
    x, y = x.detach().to(y) - origin, y - origin
    half = len(y) // 2
    order = shuffle(len(y), seed).to(y.device)
    return x, y, [y[order[:half]], y[order[half:]]] if half > 1 else []


def shuffle(n: int, seed: int) -> Tensor:
    """Return a random order of n rows that depends on n and the seed alone."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))
