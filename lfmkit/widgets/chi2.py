"""Chi-square of a target from N(0, I) after OU time T: measured once at some times, then interpolated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lfmkit import schedules
from lfmkit.data.pictures import GridMixture
from lfmkit.oracles import GaussianMixture

FIRST, LAST, COUNT = 1e-3, 4.0, 40  # OU times measured, equally spaced in log T


class Target(Protocol):
    """A two-dimensional target with samples and an exact density after any OU time."""

    def ou(self, T: float) -> Target:
        """Return the density after OU time T."""

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Return n samples (n, 2)."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density (n,) at x (n, 2)."""


def chi2(target: Target, T: float, x: Tensor) -> float:
    """Integrate p_T^2 / N(0, I) - 1 on a grid: the chi-square of OU_T p from N(0, I).

    The smoothed density changes on the scale s = sqrt(1 - e^-2T) or slower; with a mesh of 0.8 s the
    trapezoidal rule misses about e^-15 of the integral.

    Args:
        target: The target p.
        T: OU time, > 0.
        x: Samples of p, shape (n, 2), whose bounding box covers the mass of p.
    """
    shrink, spread = schedules.ou_factors(T)
    low, high = shrink * x.double().amin(0) - 7 * spread, shrink * x.double().amax(0) + 7 * spread
    across, along = (
        torch.arange(float(low[i]), float(high[i]), 0.8 * spread, dtype=torch.float64) for i in (0, 1)
    )
    p = _on_grid(target.ou(T), across, along)
    ratio = p.square() * (0.5 * across.square()).exp() * (0.5 * along.square()).exp()[:, None]
    return float(ratio.sum()) * 2 * math.pi * (0.8 * spread) ** 2 - 1


def measured(target: Target) -> tuple[list[float], list[float]]:
    """Return OU times and the chi-square left at each (math.inf where it does not exist)."""
    times = [float(T) for T in np.geomspace(FIRST, LAST, COUNT)]
    if isinstance(target, GaussianMixture):  # known in closed form
        return times, [target.ou(T).chi2() for T in times]
    x = target.sample(20_000, seed=0)
    return times, [max(chi2(target, T, x), 1e-12) for T in times]


def _on_grid(target: Target, across: Tensor, along: Tensor) -> Tensor:
    """Return the density at all (across[j], along[i]), shape (len(along), len(across))."""
    if not isinstance(target, GridMixture):
        points = torch.cartesian_prod(along, across).flip(1)
        return target.log_prob(points).double().exp().reshape(len(along), len(across))
    kernels = [  # its components are products: one small matrix for each direction is enough
        torch.exp(-0.5 * ((at[:, None] - centres) / s).square()) / (s * math.sqrt(2 * math.pi))
        for at, centres, s in zip((along, across), (target.y, target.x), target.spread[::-1], strict=True)
    ]
    return kernels[0] @ target.weights @ kernels[1].T


def read(T: float, times: Sequence[float], values: Sequence[float]) -> float:
    """Return the chi-square left at T, interpolated in logarithms; beyond the table, by the bound e^-2T.

    >>> round(read(2.0, [1.0, 4.0], [1.0, 0.01]), 3), round(read(5.0, [1.0, 4.0], [1.0, 0.01]), 5)
    (0.1, 0.00135)
    """
    inside = min(max(T, times[0]), times[-1])
    if not all(math.isfinite(value) for value, at in zip(values, times, strict=True) if at >= inside / 1.3):
        return math.inf
    value = math.exp(float(np.interp(math.log(inside), np.log(times), np.log(values))))
    return value * math.exp(-2 * max(0.0, T - times[-1]))
