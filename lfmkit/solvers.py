"""Solving a block's ODE: adaptive and fixed-step solvers of torchdiffeq, counted evaluations, divergence.

The adaptive step is controlled by the state x alone. A log-determinant in the error norm would shrink the
steps although the path of x does not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp, vmap
from torchdiffeq import odeint

Velocity = Callable[[Tensor, Tensor], Tensor]

ADAPTIVE = ("dopri5", "dopri8", "bosh3", "adaptive_heun")
FIXED = ("euler", "midpoint", "rk4")


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


@dataclass
class Solution:
    """States at the requested times, shape (times, n, d); integrated divergence there (times, n); NFE."""

    x: Tensor
    divergence: Tensor | None
    nfe: int


def solve(velocity: Velocity, x: Tensor, times: Tensor, solver: Solver, divergence: bool = False) -> Solution:
    """Solve dx/dt = velocity(x, t) through the given times.

    Args:
        velocity: Function of x (n, d) and a scalar t.
        x: Start, shape (n, d), at times[0].
        times: Increasing or decreasing times, shape (k,), k >= 2.
        solver: Method and tolerances.
        divergence: Also integrate the exact divergence along the path.

    Raises:
        RuntimeError: The solution leaves the finite numbers, or steps shrink to nothing.
    """
    calls = 0

    def field(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal calls
        calls += 1
        if divergence:
            return velocity_and_divergence(velocity, state[0], t)
        return (velocity(state[0], t),)

    start = (x, x.new_zeros(len(x))) if divergence else (x,)
    # The last step ends on the last time: beyond it the velocity was never trained.
    options: dict[str, object] = {"norm": _norm_of_x, "step_t": times[-1:]}
    if solver.method in FIXED:
        options = {"grid_constructor": lambda _f, _x, t: torch.linspace(t[0], t[-1], solver.steps + 1).to(t)}
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
    return Solution(states[0], states[1] if divergence else None, calls)


def velocity_and_divergence(velocity: Velocity, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return velocity(x, t), shape (n, d), and its exact divergence, shape (n,).

    Forward mode: the d directional derivatives are pushed through the network together, beside one
    evaluation of the velocity itself. Good up to about a hundred dimensions.

    >>> v, div = velocity_and_divergence(lambda x, t: -x * t, torch.ones(3, 2), torch.tensor(0.5))
    >>> div
    tensor([-1., -1., -1.])
    """

    def push(i: Tensor) -> tuple[Tensor, Tensor]:
        direction = torch.nn.functional.one_hot(i, x.shape[1]).to(x).expand_as(x)
        v, dv = jvp(lambda y: velocity(y, t), (x,), (direction,))  # type: ignore[misc]
        return v, (dv * direction).sum(1)

    axes = torch.arange(x.shape[1], device=x.device)
    v, diagonal = vmap(push, out_dims=(None, 0))(axes)  # type: ignore[arg-type]
    return v, diagonal.sum(0)


def _norm_of_x(state: tuple[Tensor, ...]) -> Tensor:
    return state[0].square().mean().sqrt()
