"""Check what users hand to a flow: samples as finite matrices, conditions as networks take them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SCAN = 100_000  # rows looked at together


def as_samples(x: Tensor, dim: int, what: str = "x") -> Tensor:
    """Return x if it is a finite floating-point matrix of `dim` columns and one or more rows.

    Raises:
        TypeError: x is not a floating-point tensor.
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


def as_conditions(cond: Tensor | None, columns: int, n: int, guidance: float, like: Tensor) -> Tensor | None:
    """Return conditions (n, columns) in the dtype and device of `like`, or None without condition.

    Args:
        cond: (n, c) numbers, (c,) numbers for all samples, or (n,) or () whole class numbers.
        columns: c of the flow; 0 for a flow without conditions.
        n: Number of samples.
        guidance: Strength of guidance, 1 for none.
        like: The samples.

    Raises:
        TypeError: The condition is not a tensor.
        ValueError: The flow takes no condition; the shape, a class number or a value does not fit; guidance
            comes without condition or is not finite.

    >>> as_conditions(torch.tensor([2, 0]), 3, 2, 1.0, torch.zeros(2, 2))
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    if not math.isfinite(guidance):
        raise ValueError(f"guidance must be finite, got {guidance}")
    if cond is None:
        if guidance != 1.0:
            raise ValueError(f"guidance={guidance} needs a condition: give cond=")
        return None
    if columns == 0:
        raise ValueError("this flow takes no condition: build it with cond=, the number of columns")
    if not isinstance(cond, Tensor):
        raise TypeError(f"a condition must be a tensor, got {type(cond).__name__}")
    if not cond.is_floating_point():
        if cond.ndim > 1 or (cond.ndim == 1 and len(cond) != n):
            raise ValueError(f"class numbers need the shape ({n},), got {tuple(cond.shape)}")
        if cond.numel() and not (int(cond.min()) >= 0 and int(cond.max()) < columns):
            raise ValueError(f"class numbers must lie between 0 and {columns - 1}")
        cond = torch.nn.functional.one_hot(cond.long(), columns)
    if cond.shape not in ((n, columns), (columns,)):
        raise ValueError(f"the condition needs the shape ({n}, {columns}), got {tuple(cond.shape)}")
    if not torch.isfinite(cond).all():
        raise ValueError("the condition has NaN or infinite values")
    return cond.to(like).expand(n, columns)
