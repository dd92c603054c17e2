"""Step-size schedules: how far each local block moves along the Ornstein-Uhlenbeck process.

A schedule is plain data: a tuple of positive floats (gamma_1 .. gamma_L), one OU time step per
local block. A free block always follows, so a schedule of length L makes L + 1 blocks and the
empty schedule ``()`` is global flow matching. After time T = sum(gamma) the factor e^-T of the
data is left and sqrt(1 - e^-2T) of Gaussian noise has been mixed in.

Reference:
    Local Flow Matching, Xu, Cheng, Xie, arXiv 2410.02548 (the geometric family).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import accumulate, pairwise

import torch
from torch import Tensor

Schedule = tuple[float, ...]


def check(schedule: Iterable[float]) -> Schedule:
    """Return the schedule as a tuple of floats.

    Raises:
        ValueError: A step is not a positive finite number.
        TypeError: The schedule is not a sequence of numbers.
    """
    try:
        steps = tuple(float(gamma) for gamma in schedule)
    except TypeError as error:
        raise TypeError(f"a schedule is a tuple of positive floats, got {schedule!r}") from error
    for k, gamma in enumerate(steps, 1):
        if not (math.isfinite(gamma) and gamma > 0):
            raise ValueError(f"step sizes must be positive and finite, but gamma_{k} is {gamma}")
    return steps


def times(schedule: Iterable[float]) -> Schedule:
    """Return the OU time at each local block's right end, T_k = gamma_1 + .. + gamma_k.

    >>> times((0.1, 0.2, 0.5))
    (0.1, 0.30000000000000004, 0.8)
    """
    return tuple(accumulate(check(schedule)))


def ou_factors(T: float) -> tuple[float, float]:
    """Return e^-T and sqrt(1 - e^-2T), the factors of data and noise after OU time T (math.inf allowed).

    >>> ou_factors(math.inf)
    (0.0, 1.0)
    """
    return math.exp(-T), math.sqrt(-math.expm1(-2 * T))


def signal_left(schedule: Iterable[float]) -> float:
    """Return e^-T, the factor of the data that is left for the free block.

    >>> round(signal_left((0.1, 0.15, 0.225)), 3)
    0.622
    """
    return math.exp(-sum(check(schedule)))


def constant(gamma: float, n: int) -> Schedule:
    """Return n equal steps.

    >>> constant(0.25, 3)
    (0.25, 0.25, 0.25)
    """
    return check((gamma,) * _count(n))


def geometric(c: float, rho: float, n: int) -> Schedule:
    """Return gamma_k = c rho^(k-1) for k = 1 .. n, the family of the paper (arXiv 2410.02548).

    >>> [round(g, 4) for g in geometric(c=0.15, rho=1.3, n=3)]
    [0.15, 0.195, 0.2535]
    """
    return check(c * rho**k for k in range(_count(n)))


def cosine(n: int, s: float = 0.008) -> Schedule:
    """Return the n local steps of a cosine noise schedule over n + 1 blocks.

    The signal power left after block k is cos^2((k/N + s)/(1 + s) pi/2), N = n + 1, relative to
    k = 0 (Improved Denoising Diffusion Probabilistic Models, arXiv 2102.09672); the last of the N
    steps is the free block.

    >>> [round(g, 5) for g in cosine(3)]
    [0.08302, 0.26975, 0.61526]
    """
    blocks = _count(n) + 1
    power = [math.cos((k / blocks + s) / (1 + s) * math.pi / 2) ** 2 for k in range(blocks)]
    return check(-0.5 * math.log(right / left) for left, right in pairwise(power))


def linear_beta(n: int, low: float = 0.1, high: float = 20.0) -> Schedule:
    """Return the n local steps of a linear noise schedule over n + 1 blocks.

    Block k of N = n + 1 removes the share beta_k of the signal power, with beta_k equally spaced
    from low/N to min(0.99 N, high)/N (after Denoising Diffusion Probabilistic Models, arXiv
    2006.11239); the last step is the free block.

    >>> [round(g, 5) for g in linear_beta(3)]
    [0.01266, 0.21283, 0.55181]
    """
    blocks = _count(n) + 1
    first, last = low / blocks, min(0.99 * blocks, high) / blocks
    betas = [first + (last - first) * k / (blocks - 1) for k in range(blocks - 1)] if n else []
    return check(-0.5 * math.log1p(-beta) for beta in betas)


def log_snr(n: int, first: float = 0.1, last: float = 0.775) -> Schedule:
    """Return n steps that are equal in the logarithm of the noise-to-signal ratio.

    The ratio sqrt(1 - e^-2T)/e^-T is ``first`` after block 1 and ``last`` after block n, with
    equal factors between. Each block then adds noise in proportion to what is there already, so
    fine structure gets short steps and coarse structure long ones.

    >>> [round(g, 4) for g in log_snr(3)]
    [0.005, 0.0323, 0.1979]
    """
    if not 0 < first <= last:
        raise ValueError(f"noise-to-signal ratios need 0 < first <= last, got {first} and {last}")
    if _count(n) > 1 and first == last:
        raise ValueError("several steps need first < last")
    ratios = [first * (last / first) ** (k / max(1, n - 1)) for k in range(n)]
    at = [0.0] + [0.5 * math.log1p(r * r) for r in ratios]
    return check(right - left for left, right in pairwise(at))


def adaptive(x: Tensor, n: int, seed: int = 0) -> Schedule:
    """Return n steps, chosen from data, that each cover the same share of information.

    KL(OU_T p || N(0, I)) falls from its value for the data to 0. It is estimated for noise-to-signal
    ratios from 0.02 to 20 on up to 1,000 rows, with the exact OU marginal of up to 5,000 other rows (a
    Gaussian mixture, one component a row). The borders are where 1/(n+1), 2/(n+1), .. of the fall is
    done; the free block takes the last share. Detail finer than the spacing of the rows is not seen.

    Args:
        x: Data, shape (rows, dim), in the scale the flow will be trained on.
        n: Number of local blocks.
        seed: Seed of the choice of rows and of the noise.

    Raises:
        ValueError: x is not a finite (rows, dim) matrix with at least 10 rows, or has no structure.
    """
    if x.ndim != 2 or len(x) < 10 or not torch.isfinite(x).all():
        raise ValueError(
            f"the adaptive schedule needs 10 or more finite rows (rows, dim), got {tuple(x.shape)}"
        )
    if _count(n) == 0:
        return ()
    generator = torch.Generator().manual_seed(seed)
    rows = x[torch.randperm(len(x), generator=generator)[:6_000].to(x.device)].float().cpu()
    cut = min(1000, len(rows) // 2)
    noise = torch.randn(rows[:cut].shape, generator=generator)
    ratios = torch.logspace(math.log10(0.02), math.log10(20.0), 41, dtype=torch.float64)
    at = 0.5 * torch.log1p(ratios**2)
    left = torch.stack([_divergence_from_normal(rows[:cut], rows[cut:], noise, float(T)) for T in at])
    left = left.flip(0).cummax(0).values.flip(0)  # it cannot rise with T: where it does, rows are too sparse
    if not left[0] > 1e-3:
        raise ValueError("the data cannot be told from N(0, I): there is nothing to divide, use schedule=()")
    borders = []
    for k in range(1, n + 1):
        level = left[0] * (1 - k / (n + 1))
        i = int((left > level).sum().clamp(1, len(left) - 1))
        share = (left[i - 1] - level) / (left[i - 1] - left[i]).clamp(min=1e-9)
        borders.append(float(at[i - 1] + share.clamp(0.01, 1) * (at[i] - at[i - 1])))
    return check(right - start for start, right in zip([0.0, *borders], borders, strict=False))


def _divergence_from_normal(queries: Tensor, references: Tensor, noise: Tensor, T: float) -> Tensor:
    """Estimate KL(OU_T p || N(0, I)) from samples of p, by the OU kernel around other samples."""
    shrink, spread = ou_factors(T)
    x = shrink * queries + spread * noise
    log_kernel = -0.5 * torch.cdist(x, shrink * references).square() / spread**2
    log_p = torch.logsumexp(log_kernel, 1) - math.log(len(references)) - x.shape[1] * math.log(spread)
    return (log_p + 0.5 * x.square().sum(1)).mean()


def _count(n: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise ValueError(f"the number of local steps must be a whole number >= 0, got {n!r}")
    return n
