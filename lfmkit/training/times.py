"""Distributions of the times t that a block is trained at: functions that map uniform numbers to [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Times = Callable[[Tensor], Tensor]  # uniform numbers to times of the same shape


@dataclass(frozen=True)
class Power:
    """Times t = u^p of a uniform u, which is Beta(1/p, 1): p > 1 draws more times near the data end t = 0.

    Raises:
        ValueError: p is not positive and finite.

    >>> Power(2.0)(torch.tensor([0.0, 0.5]))
    tensor([0.0000, 0.2500])
    """

    p: float = 1.0

    def __post_init__(self) -> None:
        if not (self.p > 0 and math.isfinite(self.p)):
            raise ValueError(f"the power of times must be positive and finite, got {self.p}")

    def __call__(self, u: Tensor) -> Tensor:
        """Return the times of uniform numbers, of the same shape."""
        return u**self.p


@dataclass(frozen=True)
class LogitNormal:
    """Times t with logit(t) ~ N(mean, std^2): more of them in the middle, or where `mean` puts them.

    Raises:
        ValueError: std is not positive, or a number is not finite.

    Reference: Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, arXiv 2403.03206.

    >>> LogitNormal()(torch.tensor([0.0, 0.5]))
    tensor([0.0000, 0.5000])
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise ValueError(f"logit-normal times need finite numbers and std > 0: {self}")

    def __call__(self, u: Tensor) -> Tensor:
        """Return the times of uniform numbers, of the same shape."""
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))
