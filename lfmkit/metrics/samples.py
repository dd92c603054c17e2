"""Two sets of samples: the checks that every distance makes first, and the record that it returns."""

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
        baseline: The same distance between two random halves of the reference y, which two equally good
            sets show by chance. A value near or below it says "no difference seen". Sets as large as all of
            y show by chance about 0.7 of it (for the squared `mmd`: half). None where y has fewer than four
            points.
        n: Number of samples x.
        reference: Number of points of the reference y.
        split: Name of the data split that y is.
        settings: What else the value depends on.
        seed: Seed of all random choices, such as directions and halves.
    """

    stderr: float | None
    baseline: float | None
    n: int
    reference: int
    split: str | None
    settings: str
    seed: int


def two_sets(x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
    """Return x (n, d) and y (m, d) in float64 around a common origin, and two random `halves` of y.

    Raises:
        TypeError: x or y is not a floating-point tensor.
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
    return x, y, halves(y, seed)


def halves(rows: Tensor, seed: int, least: int = 2) -> tuple[Tensor, Tensor] | None:
    """Return two random halves of rows, or None where a half has fewer than `least` rows."""
    half = len(rows) // 2
    if half < least:
        return None
    order = shuffle(len(rows), seed).to(rows.device)
    return rows[order[:half]], rows[order[half:]]


def shuffle(n: int, seed: int) -> Tensor:
    """Return a random order of n rows that depends only on n and the seed."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))
