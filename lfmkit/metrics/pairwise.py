"""Distances from a kernel of all pairs of points: maximum mean discrepancy and energy distance.

Both are E k(x, x') + E k(y, y') - 2 E k(x, y): with Gaussians k = exp(-|x - y|^2 / 2 s^2) this is the squared
MMD, with k = -|x - y| the squared energy distance. Pairs are taken chunk by chunk, in float64, and only sums
over rows and columns are kept, so memory does not grow with the number of pairs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lfmkit.metrics.samples import Distance, shuffle, two_sets

PAIRS = 2**17  # pairs at a time, so that they stay in the processor's cache
MEDIAN_OF = 1000  # points of each set that the median heuristic looks at
EXACT = 32  # dimensions up to which distances are summed directly; above, through products of matrices
Kernel = Callable[[Tensor], Tensor]  # function of the distances, which it may overwrite


def mmd(
    x: Tensor, y: Tensor, bandwidth: float | None = None, seed: int = 0, split: str | None = None
) -> Distance:
    """Measure the squared maximum mean discrepancy between samples x (n, d) and reference data y (m, d).

    The estimate is unbiased, so it is negative about half of the time where there is no difference. The
    kernel is the mean of five Gaussians, of bandwidths s/2, s/sqrt(2), s, sqrt(2) s, 2 s. By default s is the
    median distance within 1,000 points of each set taken together.

    The standard error is that of the linear part of a U-statistic; where there is no difference, only its
    order of magnitude is right.

    Args:
        x: Samples.
        y: Reference data.
        bandwidth: The middle bandwidth s; set it to compare values between pairs of sets.
        seed: Seed of the halves and of the points for the median.
        split: Name of the data split that y is; only recorded.

    Raises:
        TypeError: x or y is not a floating-point tensor.
        ValueError: Dimensions differ, fewer than two rows, NaN rows, or a bandwidth that is not positive.

    References:
        A Kernel Two-Sample Test, Gretton et al., JMLR 2012.
    """
    started = time.perf_counter()
    if bandwidth is not None and not 0 < bandwidth < math.inf:
        raise ValueError(f"the bandwidth must be positive and finite, got {bandwidth}")
    x, y, parts = two_sets(x, y, seed)
    middle = bandwidth or _median_distance(x, y, seed)

    def kernel(distances: Tensor) -> Tensor:
        e = distances.square_().mul_(-1 / (8 * middle**2)).exp_()  # the widest; each next is its square
        total = e.clone()
        for _ in range(4):
            total += e.square_()
        return total.div_(5)

    settings = f"Gaussians, {'' if bandwidth else 'median '}bandwidth {middle:.4g} x (1/2 .. 2)"
    value, stderr, baseline = _discrepancies(x, y, parts, kernel, 1.0, unbiased=True)
    return Distance(
        measure="MMD squared",
        value=value,
        stderr=stderr,
        baseline=baseline,
        n=len(x),
        reference=len(y),
        split=split,
        settings=settings,
        seed=seed,
        seconds=time.perf_counter() - started,
    )


def energy_distance(x: Tensor, y: Tensor, seed: int = 0, split: str | None = None) -> Distance:
    """Measure sqrt(2 E|x - y| - E|x - x'| - E|y - y'|) between samples x (n, d) and reference data y (m, d).

    It compares the empirical distributions themselves: it is never negative, zero between a set and itself,
    and in 1D equal to scipy.stats.energy_distance. Finite sets without a difference therefore show not zero
    but about sqrt((1/n + 1/m) E|y - y'|): see `Distance.baseline`. It has no parameters to choose, and its
    unit is the square root of a length. The standard error is that of the linear part of the statistic.

    Args:
        x: Samples.
        y: Reference data.
        seed: Seed of the halves.
        split: Name of the data split that y is; only recorded.

    Raises:
        TypeError: x or y is not a floating-point tensor.
        ValueError: Dimensions differ, fewer than two rows, or NaN rows.

    References:
        Energy Statistics, Székely, Rizzo, Journal of Statistical Planning and Inference 2013.
    """
    started = time.perf_counter()
    x, y, parts = two_sets(x, y, seed)
    square, error, other = _discrepancies(x, y, parts, Tensor.neg_, 0.0, unbiased=False)
    value = math.sqrt(max(square, 0.0))
    return Distance(
        measure="energy distance",
        value=value,
        stderr=error / (2 * value) if value else 0.0,
        baseline=None if other is None else math.sqrt(max(other, 0.0)),
        n=len(x),
        reference=len(y),
        split=split,
        settings="square root, all pairs",
        seed=seed,
        seconds=time.perf_counter() - started,
    )


def within(x: Tensor, kernel: Kernel) -> Tensor:
    """Return the sum over j of kernel(|x_i - x_j|), j = i included, for every row of x (n, d)."""
    sums = x.new_zeros(len(x))
    start, size = 0, _rows(x)
    while start < len(x):
        part, rest = x[start : start + size], x[start + size :]
        sums[start : start + size] += kernel(_distances(part, part)).sum(1)
        if len(rest):
            k = kernel(_distances(part, rest))
            sums[start : start + size] += k.sum(1)
            sums[start + size :] += k.sum(0)
        start, size = start + size, _rows(rest)
    return sums


def between(x: Tensor, y: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Return the sums of kernel(|x_i - y_j|) over j, shape (n,), and over i, shape (m,)."""
    rows, columns = [], y.new_zeros(len(y))
    for part in x.split(_rows(y)):
        k = kernel(_distances(part, y))
        rows.append(k.sum(1))
        columns += k.sum(0)
    return torch.cat(rows), columns


def _discrepancies(
    x: Tensor,
    y: Tensor,
    halves: tuple[Tensor, Tensor] | None,
    kernel: Kernel,
    self_term: float,
    unbiased: bool,
) -> tuple[float, float, float | None]:
    """Return the squared distance of x and y, its standard error, and the squared distance of y's halves.

    Sums within y are put together from those within and between its halves, so the baseline costs nothing.
    """
    baseline = None
    if halves:
        a, b = halves
        y = torch.cat(halves)
        aa, bb = within(a, kernel), within(b, kernel)
        ab, ba = between(a, b, kernel)
        yy = torch.cat([aa + ab, ba + bb])
        baseline = _discrepancy(aa, bb, ab, ba, self_term, unbiased)[0]
    else:
        yy = within(y, kernel)
    value, error = _discrepancy(within(x, kernel), yy, *between(x, y, kernel), self_term, unbiased)
    return value, error, baseline


def _discrepancy(
    xx: Tensor, yy: Tensor, xy: Tensor, yx: Tensor, self_term: float, unbiased: bool
) -> tuple[float, float]:
    """Return E k(x, x') + E k(y, y') - 2 E k(x, y) from sums over rows, and its standard error.

    The linear part of the statistic is h_i, the contribution of point i averaged over all others.
    """
    n, m = len(xx), len(yy)
    if unbiased:
        h_x, h_y = (xx - self_term) / (n - 1) - xy / m, (yy - self_term) / (m - 1) - yx / n
    else:
        h_x, h_y = xx / n - xy / m, yy / m - yx / n
    error = math.sqrt(4 * float(h_x.var()) / n + 4 * float(h_y.var()) / m)
    return float(h_x.mean() + h_y.mean()), error


def _median_distance(x: Tensor, y: Tensor, seed: int) -> float:
    """Return the median distance in a sample of both sets; the mean if most points coincide, 1 if all do."""
    some = [points[shuffle(len(points), seed)[:MEDIAN_OF].to(points.device)] for points in (x, y)]
    distances = torch.pdist(torch.cat(some))
    median, mean = float(distances.median()), float(distances.mean())
    return median if median > 1e-6 * mean else mean or 1.0


def _rows(others: Tensor) -> int:
    """Return the number of rows to take at a time against all others."""
    return max(1, PAIRS * (1 if others.shape[1] <= EXACT else 8) // max(1, len(others)))


def _distances(x: Tensor, y: Tensor) -> Tensor:
    exact = x.shape[1] <= EXACT
    mode = "donot_use_mm_for_euclid_dist" if exact else "use_mm_for_euclid_dist"
    return torch.cdist(x, y, compute_mode=mode)
