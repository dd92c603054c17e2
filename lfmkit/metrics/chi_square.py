"""Chi-square divergence of densities in the plane, by quadrature on a grid that is checked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lfmkit.metrics.records import Record

LogDensity = Callable[[Tensor], Tensor]
FRAME = 0.05  # share of the grid's width on each side where the integrand must almost vanish
ROWS = 10_000  # points of the grid in one call of a density


@dataclass(frozen=True, kw_only=True, repr=False)
class Chi2(Record):
    """A chi-square divergence and how it was measured.

    Attributes:
        value: The integral of (p - q)^2 / q.
        resolution: Difference from the value on a grid twice as coarse; for smooth densities the error itself
            is far smaller.
        outside: Mass of p or of q that is missing on the grid, whichever is larger.
        settings: The grid.
    """

    resolution: float
    outside: float
    settings: str


def chi2(
    log_p: LogDensity,
    log_q: LogDensity | None = None,
    limits: tuple[float, float] = (-8.0, 8.0),
    points: int = 201,
    tolerance: float = 1e-3,
) -> Chi2:
    """Measure the chi-square divergence of p from q, the integral of (p - q)^2 / q over the plane.

    The integral is computed by the trapezoidal rule. It needs a wider grid than the densities do: p^2 / q
    may be large where p is small, and its integral may be infinite.

    Args:
        log_p: Log density as a function of points (n, 2), float64, that returns (n,) nats, e.g.
            flow.log_prob.
        log_q: Log density of q, N(0, I) when left out.
        limits: Ends of the grid, for both axes.
        points: Points per axis, an odd number.
        tolerance: Largest share of the mass of p or q that may be missing on the grid, and of the integral
            that may lie in its outermost twentieths.

    Raises:
        ValueError: Limits or points are out of range, values are not a log density, or more than tolerance
            lies outside of the grid or near its edge.

    >>> from lfmkit.oracles import GaussianMixture
    >>> round(float(chi2(GaussianMixture([[0.6, 0.8]], 1.0).log_prob)), 6), round(math.e - 1, 6)
    (1.718282, 1.718282)
    """
    started = time.perf_counter()
    low, high = limits
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"limits must be two increasing finite numbers, got {limits}")
    if isinstance(points, bool) or not isinstance(points, int) or points < 21 or points % 2 == 0:
        raise ValueError(f"points must be an odd whole number >= 21, got {points!r}")
    if not 0 < tolerance < 1:
        raise ValueError(f"the tolerance must lie between 0 and 1, got {tolerance}")
    axis = torch.linspace(low, high, points, dtype=torch.float64)
    p, q = _on_grid(log_p, axis, "log_p"), _on_grid(log_q or _log_normal, axis, "log_q")
    area = ((high - low) / (points - 1)) ** 2
    span = f"[{low:g}, {high:g}]^2"
    outside = 0.0
    for name, density in (("p", p), ("q", q)):
        mass = float(density.exp().sum()) * area
        if abs(1 - mass) > tolerance:
            raise ValueError(f"{name} has the mass {mass:.4g} on {span}, not 1: widen limits, or more points")
        outside = max(outside, 1 - mass)
    if bool((torch.isneginf(q) & ~torch.isneginf(p)).any()):
        raise ValueError("q is 0 where p is not: chi-square is infinite")
    log_ratio = torch.where(torch.isneginf(q), 0.0, p - q)
    size = log_ratio.abs()  # |e^r - 1| = e^max(r, 0) (1 - e^-|r|) neither overflows nor loses digits
    integrand = (q + 2 * (log_ratio.clamp(min=0) + (-torch.expm1(-size)).log())).exp()
    value = float(integrand.sum()) * area
    edge = max(1, math.ceil(FRAME * points))
    inner = float(integrand[edge:-edge, edge:-edge].sum()) * area
    if not math.isfinite(value) or value - inner > tolerance * value + 1e-12:
        raise ValueError(
            f"{span} cuts the integrand off ({value:.3g}, {inner:.3g} without its edge): "
            "widen limits, or chi-square is infinite"
        )
    return Chi2(
        measure="chi-square",
        value=value,
        resolution=abs(value - float(integrand[::2, ::2].sum()) * 4 * area),
        outside=outside,
        settings=f"{points} x {points} points on {span}",
        seconds=time.perf_counter() - started,
    )


def _on_grid(log_density: LogDensity, axis: Tensor, name: str) -> Tensor:
    """Return the log density on the grid, shape (points, points), float64."""
    grid = torch.cartesian_prod(axis, axis)
    values = []
    for part in grid.split(ROWS):
        value = log_density(part)
        if not isinstance(value, Tensor) or value.shape != part.shape[:1]:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name} must return the shape ({len(part)},) at {len(part)} points, got {got}")
        values.append(value.detach().double().cpu())
    flat = torch.cat(values)
    if bool((flat.isnan() | flat.isposinf()).any()):
        raise ValueError(f"{name} is NaN or +infinity at a point of the grid")
    return flat.reshape(len(axis), len(axis))


def _log_normal(x: Tensor) -> Tensor:
    return -0.5 * x.square().sum(1) - math.log(2 * math.pi)
