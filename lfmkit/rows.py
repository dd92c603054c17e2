"""Rows of numbers, as flows take them: a finite floating-point matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SCAN = 100_000  # rows looked at together
CHUNK = 10_000  # points solved together: bounds memory, and one rough point cannot slow down all others
NUMBERS = 2**21  # solved together, of points with many dimensions


def chunk_size(dim: int, gradients: bool = False) -> int:
    """Return how many points of a dimension are solved together.

    Args:
        dim: The dimension.
        gradients: Whether networks keep what gradients need; of points with many dimensions they are an
            eighth then.
    """
    return max(1, min(CHUNK, NUMBERS // dim // (8 if gradients else 1)))


def in_chunks(rows: Tensor | None, x: Tensor, gradients: bool = False) -> Sequence[Any]:
    """Return what belongs to points x (n, d), rows (n, …) or None, in the parts in which x is solved."""
    size = chunk_size(x.shape[1], gradients)
    return [None] * -(-len(x) // size) if rows is None else rows.split(size)


def as_samples(x: Tensor, dim: int, what: str = "x") -> Tensor:
    """Return x if it is a finite floating-point matrix of `dim` columns and one or more rows.

    Raises:
        TypeError: x is no floating-point tensor.
        ValueError: Wrong shape, no rows, or NaN or infinite rows.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{what} must be a floating-point tensor, got {kind}: use torch.as_tensor(…).float()")
    if x.ndim != 2 or x.shape[1] != dim:
        raise ValueError(f"{what} needs the shape (n, {dim}), got {tuple(x.shape)}")
    if len(x) == 0:
        raise ValueError(f"{what} is empty: it needs one or more rows")
    parts = enumerate(x.split(SCAN))  # x may be larger than memory
    bad = torch.cat([torch.nonzero(~torch.isfinite(part).all(1)).flatten() + k * SCAN for k, part in parts])
    if len(bad):
        raise ValueError(
            f"{what} has {len(bad)} of {len(x)} rows with NaN or infinity, the first is row {int(bad[0])}"
        )
    return x
