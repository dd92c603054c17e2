"""Solving a block's ODE: adaptive and fixed-step solvers of torchdiffeq, counted evaluations, divergence.

With an adaptive solver the path of x is solved first, under its own tolerance; the divergence along it is
then an integral in one variable, done by Clenshaw-Curtis quadrature until it settles. So a rough
log-determinant does not shrink the steps, and needs fewer evaluations than one a stage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from lfmkit.divergence import Velocity, by_probes, exact

ADAPTIVE = ("dopri5", "dopri8", "bosh3", "adaptive_heun")
FIXED = ("euler", "midpoint", "rk4")
COARSEST, FINEST = 5, 80  # intervals of the quadrature of the divergence
SETTLED = 5  # tolerances that the estimate of its error may reach
PATH_SHARE = 0.1  # of the tolerance is the path's, when a log-determinant is wanted too


@dataclass(frozen=True)
class Solver:
    """How an ODE is solved.

    Args:
        method: "dopri5" (orders 5 and 4, 6 evaluations a step), "dopri8", "bosh3", "adaptive_heun", or with
            fixed steps "euler" (order 1, one evaluation a step), "midpoint" (2, two), "rk4" (4, four).
        rtol: Relative tolerance of the adaptive methods.
        atol: Absolute tolerance of the adaptive methods.
        steps: Equal steps a block, of the fixed-step methods.

    Raises:
        ValueError: Unknown method, tolerance not positive, fewer than one step.
    """

    method: str = "dopri5"
    rtol: float = 1e-5
    atol: float = 1e-5
    steps: int = 10

    def __post_init__(self) -> None:
        if self.method not in ADAPTIVE + FIXED:
            raise ValueError(f"unknown solver {self.method!r}: choose one of {', '.join(ADAPTIVE + FIXED)}")
        if not (self.rtol > 0 and self.atol > 0 and math.isfinite(self.rtol) and math.isfinite(self.atol)):
            raise ValueError(f"tolerances must be positive, got rtol={self.rtol} and atol={self.atol}")
        if self.steps < 1:
            raise ValueError(f"a fixed-step solver needs at least 1 step, got {self.steps}")

    def __call__(self, velocity: Callable[..., Tensor], x: Tensor, times: Tensor) -> Solution:
        """Return `solve` by this solver."""
        return solve(velocity, x, times, self)


@dataclass
class Solution:
    """States at the requested times, shape (times, n, d); integrated divergence; evaluations (NFE).

    The divergence has the shape (n,), or (n, probes) where it was estimated.
    """

    x: Tensor
    divergence: Tensor | None
    nfe: int


class Sampler(Protocol):
    """A route through a block, as ``solver=`` takes it: a `Solver`, or your own, such as a flow map's step.

    Your own is a callable; as a frozen dataclass it is saved with its flow.
    """

    def __call__(self, velocity: Callable[..., Tensor], x: Tensor, times: Tensor) -> Solution:
        """Return the states at the given times, and the evaluations they took.

        Args:
            velocity: Function of x (n, d) and a scalar t; also of a second time ``r=``, for networks that
                take one.
            x: Start, shape (n, d), at times[0].
            times: Increasing or decreasing times, shape (k,), k >= 2.
        """


def joined(parts: Sequence[Solution]) -> Solution:
    """Return the solutions for parts of the points as one; its NFE is the maximum over the parts."""
    divergences = [part.divergence for part in parts if part.divergence is not None]
    together = torch.cat(divergences) if divergences else None
    return Solution(torch.cat([part.x for part in parts], 1), together, max(part.nfe for part in parts))


def solve(
    velocity: Velocity,
    x: Tensor,
    times: Tensor,
    solver: Solver,
    divergence: bool = False,
    probes: Tensor | None = None,
) -> Solution:
    """Solve dx/dt = velocity(x, t) through the given times.

    Args:
        velocity: Function of x (n, d) and a scalar t.
        x: Start, shape (n, d), at times[0].
        times: Increasing or decreasing times, shape (k,), k >= 2.
        solver: Method and tolerances.
        divergence: Also integrate the divergence along the path, from the first time to the last.
        probes: Estimate it by these Rademacher vectors, shape (probes, n, d); exact without.

    Raises:
        RuntimeError: The solution leaves the finite numbers, or steps shrink to nothing.
    """
    from torchdiffeq import odeint  # here, because it loads scipy (0.4 s), which training does not need

    if divergence and solver.method in ADAPTIVE:
        return _path_then_divergence(velocity, x, times, solver, probes)
    calls = 0

    def field(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal calls
        calls += 1
        if divergence:
            return _with_divergence(velocity, state[0], t, probes)
        return (velocity(state[0], t),)

    # Adaptive: the last step ends on the last time, for beyond it the velocity was never trained.
    options: dict[str, object] = {"step_t": times[-1:]}
    if solver.method in FIXED:
        options = {"grid_constructor": lambda _f, _x, t: torch.linspace(t[0], t[-1], solver.steps + 1).to(t)}
    zero = x.new_zeros(len(x)) if probes is None else x.new_zeros(len(x), len(probes))
    start = (x, zero) if divergence else (x,)
    try:
        with torch.no_grad():
            states = odeint(
                field, start, times, method=solver.method, rtol=solver.rtol, atol=solver.atol, options=options
            )
    except AssertionError as error:
        raise RuntimeError(
            f"{solver.method} cannot go on ({error}): the velocity is too rough for rtol={solver.rtol}, "
            f"atol={solver.atol}, or not finite. Loosen the tolerance, use float64, or train longer"
        ) from error
    if not torch.isfinite(states[0][-1]).all():
        raise RuntimeError(f"{solver.method} left the finite numbers: the learned velocity has blown up")
    return Solution(states[0], states[1][-1] if divergence else None, calls)


def clenshaw_curtis(n: int) -> tuple[Tensor, Tensor]:
    """Return the n + 1 nodes on [0, 1] and weights of the Clenshaw-Curtis rule, float64.

    The nodes of n are among those of 2n, and lie closest at the ends, where a block's field changes fastest.

    >>> nodes, weights = clenshaw_curtis(4)
    >>> (weights * nodes**3).sum() # exact up to degree 4
    tensor(0.2500, dtype=torch.float64)
    """
    k = torch.arange(n + 1, dtype=torch.float64)
    j = torch.arange(1, n // 2 + 1, dtype=torch.float64)
    share = torch.where(2 * j == n, 1.0, 2.0) / (4 * j * j - 1)
    weights = (1 - torch.cos(2 * math.pi * k[:, None] * j / n) @ share) / n
    weights[[0, -1]] /= 2
    return (1 - torch.cos(math.pi * k / n)) / 2, weights


def _left(first: float, second: float) -> float:
    """Return an estimate of a rule's error, from what the last two doublings changed."""
    return second * (second / first) ** 1.5 if first > second else second


def _with_divergence(
    velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None
) -> tuple[Tensor, Tensor]:
    return exact(velocity, x, t) if probes is None else by_probes(velocity, x, t, probes)


def _path_then_divergence(
    velocity: Velocity, x: Tensor, times: Tensor, solver: Solver, probes: Tensor | None
) -> Solution:
    """Solve for x, recorded at the finest rule's nodes; double the rule until the divergence settles.

    The path is solved tighter than asked: a density moves by its score times the error of the path, and the
    path is the cheap part. (Not tighter than what x's numbers resolve.)
    What a doubling gains grows: a rule whose convergence is algebraic gains the same factor each time, a
    geometric one its square the next time. In between, if two doublings changed the integral by e and r e in
    the mean over the points, about r^1.5 times the last change is left. That was 0.6 to 5 times the true
    error of all blocks tried (benchmarks/NOTES.md).
    """
    nodes, _ = clenshaw_curtis(FINEST)
    span = times[-1] - times[0]
    finest = 4 * torch.finfo(x.dtype).eps
    rtol, atol = (max(PATH_SHARE * tol, min(tol, finest)) for tol in (solver.rtol, solver.atol))
    path = solve(velocity, x, times[0] + span * nodes.to(times), replace(solver, rtol=rtol, atol=atol))
    settled, changes = SETTLED * max(solver.rtol, solver.atol), []
    values: dict[int, Tensor] = {}
    integral: Tensor | None = None  # by the rule of n intervals
    n = COARSEST
    while True:
        step = FINEST // n
        for k in range(0, FINEST + 1, step):
            if k not in values:
                t = times[0] + span * nodes[k].to(times)
                values[k] = _with_divergence(velocity, path.x[k], t, probes)[1]
        _, weights = clenshaw_curtis(n)
        stacked = torch.stack([values[k] for k in range(0, FINEST + 1, step)])
        before, integral = integral, span * torch.tensordot(weights.to(x), stacked, 1)
        if before is not None:
            changes.append(float((integral - before).abs().mean()))
        if n == FINEST or (len(changes) > 1 and _left(*changes[-2:]) < settled):
            return Solution(path.x[[0, -1]], integral, path.nfe + len(values))
        n *= 2
