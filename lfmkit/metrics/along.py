"""Measures along a trajectory: the length, straightness and kinetic energy of the points' trajectories.

A trajectory of N blocks is laid out on chain time s in [0, 1], in which every block takes 1/N:
s = (k + t) / N in block k at its own time t. Measures of one block use its own time t in [0, 1]. Between
records, points are assumed to move on straight lines at constant speed, so all three measures come out too
small, by an error that falls like 1 / records^2 (`resolution` estimates it). None of them depends on the
direction, encode or decode.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lfmkit.flows.integrate import Trajectory
from lfmkit.metrics.records import Record

# function of chain times (records,) and states (records, n, d) that returns one number per point, (n,)
_Measure = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, repr=False)
class AlongPath(Record):
    """A measure along a trajectory, a mean over its points, and how it was measured.

    Attributes:
        value: The measure for the whole chain, on its time [0, 1].
        stderr: Standard error of value over the points; None for a single point.
        blocks: The measure for each block on its own time [0, 1], data side first.
        displacement: Mean of |Z_1 - Z_0|.
        resolution: Estimated increase of the value in the limit of many records; None where there are too few
            records to say.
        n: Number of points.
        settings: Number of records.
        nfe: Velocity evaluations of the trajectory, summed over the blocks.
    """

    stderr: float | None
    blocks: tuple[float, ...]
    displacement: float
    resolution: float | None
    n: int
    settings: str
    nfe: int


def path_length(trajectory: Trajectory) -> AlongPath:
    """Measure the mean length of the trajectories, in the unit of x; it is at least the displacement.

    The lengths of the blocks add up to that of the chain.

    Raises:
        ValueError: Fewer than two records, no points, NaN states, times that are not those of whole blocks.

    >>> t = torch.linspace(0, 1, 5)
    >>> line = Trajectory(t, t[:, None, None] * torch.tensor([3.0, 4.0]), torch.zeros(5), (4,))
    >>> float(path_length(line)), float(straightness(line)), float(kinetic_energy(line))
    (5.0, 0.0, 25.0)
    """
    return _measured(trajectory, "path length", _lengths)


def kinetic_energy(trajectory: Trajectory) -> AlongPath:
    """Measure the integral of E|v|^2 over time [0, 1] (without a factor of 1/2), in squared units of x.

    This is the Benamou-Brenier functional: it is at least the mean squared displacement, which in turn is at
    least the squared Wasserstein distance of the ends. Since each block has its own time, the energy of the
    chain is N times the sum of the blocks' energies.

    Raises:
        ValueError: Fewer than two records, no points, NaN states, times that are not those of whole blocks.

    References:
        How to Train Your Neural ODE: the World of Jacobian and Kinetic Regularization, arXiv 2002.02798.
    """
    return _measured(trajectory, "kinetic energy", _energies)


def straightness(trajectory: Trajectory) -> AlongPath:
    """Measure S, the integral over time [0, 1] of E|(Z_1 - Z_0) - v|^2, in squared units of x; 0 is straight.

    As the velocity integrates to Z_1 - Z_0, S is the kinetic energy minus the mean squared displacement. It
    is 0 only for straight lines at constant speed: in a chain of straight blocks with different speeds, each
    block is straight but the chain is not.

    Raises:
        ValueError: Fewer than two records, no points, NaN states, times that are not those of whole blocks.

    References:
        Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow, arXiv 2209.03003.
    """
    return _measured(trajectory, "straightness", _bends)


def _lengths(s: Tensor, x: Tensor) -> Tensor:
    return x.diff(dim=0).norm(dim=2).sum(0)


def _energies(s: Tensor, x: Tensor) -> Tensor:
    return (x.diff(dim=0).square().sum(2) / s.diff()[:, None]).sum(0)


def _bends(s: Tensor, x: Tensor) -> Tensor:
    """Return the mean of |chord - v|^2 itself, which loses fewer digits than a difference of two measures."""
    steps = s.diff()[:, None]
    return ((x.diff(dim=0) / steps[..., None] - (x[-1] - x[0])).square().sum(2) * steps).sum(0)


def _measured(trajectory: Trajectory, name: str, measure: _Measure) -> AlongPath:
    started = time.perf_counter()
    s, x = _laid_out(trajectory)
    count = len(trajectory.nfe)
    edges = [int((s - k / count).abs().argmin()) for k in range(count + 1)]
    spans = list(pairwise(edges))
    values = measure(s, x)
    n = len(values)
    # every second record, but all ends of blocks: a polygon whose error is four times as large
    coarse = sorted({i for a, b in spans for i in (*range(a, b, 2), b)})
    fine = all(b - a > 1 for a, b in spans)
    missed = (float(values.mean()) - float(measure(s[coarse], x[coarse]).mean())) / 3
    return AlongPath(
        measure=name,
        value=float(values.mean()),
        stderr=float(values.std()) / math.sqrt(n) if n > 1 else None,
        blocks=tuple(float(measure((s[a : b + 1] - s[a]) * count, x[a : b + 1]).mean()) for a, b in spans),
        displacement=float((x[-1] - x[0]).norm(dim=1).mean()),
        resolution=max(missed, 0.0) if fine else None,
        n=n,
        settings=f"{len(s)} records",
        nfe=sum(trajectory.nfe),
        seconds=time.perf_counter() - started,
    )


def _laid_out(trajectory: Trajectory) -> tuple[Tensor, Tensor]:
    """Return increasing chain times (records,) and states (records, n, d), float64, data side first."""
    t, x, block, count = trajectory.t, trajectory.x, trajectory.block, len(trajectory.nfe)
    if x.ndim != 3 or x.shape[1] < 1:
        raise ValueError(f"a trajectory needs states of shape (records, n, d), got {tuple(x.shape)}")
    if len(x) < 2:
        raise ValueError(f"a trajectory needs 2 or more records, got {len(x)}")
    if t.shape != x.shape[:1] or block.shape != x.shape[:1] or not count:
        raise ValueError(f"{len(x)} records need as many times and block indices, and an NFE for each block")
    x = x.detach().double()
    bad = torch.nonzero(~torch.isfinite(x).flatten(1).all(1)).flatten()
    if len(bad):
        raise ValueError(f"the trajectory has NaN or infinite states, first in record {int(bad[0])}")
    s = (t.detach().to(x) + block.to(x)) / count
    if s[0] > s[-1]:
        s, x = s.flip(0), x.flip(0)
    edges = torch.arange(count + 1).to(s) / count
    met = (s[:, None] - edges).abs().amin(0) < 1e-6
    if not (met.all() and (s.diff() > 0).all() and s[0] > -1e-6 and s[-1] < 1 + 1e-6):
        raise ValueError("the records' times must run through every block, from 0 to 1 or from 1 to 0")
    return s, x
