"""Solving a block for many points: in chunks that bound the memory, and in halves when it runs out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lfmkit.flows.guidance import Field
from lfmkit.solvers import Sampler, Solution, Solver, joined, solve

POINTS_PER_SOLVE = 10_000  # bounds memory, and one rough point cannot slow down all others
NUMBERS_PER_SOLVE = 2**21  # of points with many dimensions


@dataclass(frozen=True)
class Trajectory:
    """A recorded solution: the chain's states in the order they were passed.

    Attributes:
        t: Block time of each record, shape (records,).
        x: States, shape (records, n, d).
        block: Index of the block each record lies in (0 is next to the data), shape (records,).
        nfe: Evaluations of the velocity, per block.
    """

    t: Tensor
    x: Tensor
    block: Tensor
    nfe: tuple[int, ...]


def chunk_size(dim: int, gradients: bool = False) -> int:
    """Return how many points of a dimension are solved together.

    Args:
        dim: The dimension.
        gradients: Whether networks keep what gradients need; of points with many dimensions they are an
            eighth then.
    """
    return max(1, min(POINTS_PER_SOLVE, NUMBERS_PER_SOLVE // dim // (8 if gradients else 1)))


def in_chunks(rows: Tensor | None, x: Tensor, gradients: bool = False) -> Sequence[Any]:
    """Return what belongs to points x (n, d), rows (n, …) or None, in the parts in which x is solved."""
    size = chunk_size(x.shape[1], gradients)
    return [None] * -(-len(x) // size) if rows is None else rows.split(size)


def ran_out(error: BaseException) -> bool:
    """Return whether an error of torch means that an accelerator or this machine has no more memory.

    >>> ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def solve_block(
    field: Field,
    x: Tensor,
    times: Tensor,
    solver: Sampler,
    divergence: bool = False,
    probes: Tensor | None = None,
) -> Solution:
    """Solve one block through the given times; in halves where memory does not suffice for all points.

    Args:
        field: The block's field at these points.
        x: Start, shape (n, d), at times[0].
        times: Increasing or decreasing times, shape (k,), k >= 2.
        solver: How.
        divergence: Also integrate the divergence, which only a `Solver` can.
        probes: As for `solvers.solve`.

    Raises:
        RuntimeError: A solve failed.
        ValueError: A divergence is wanted, and the solver is a sampler that knows none.
    """
    try:
        if isinstance(solver, Solver):
            found = solve(field, x, times.to(x), solver, divergence, probes)
        elif divergence:
            raise ValueError(f"{solver!r} is not an ODE solver and gives no likelihood: pass solver=Solver()")
        else:
            with torch.no_grad():
                found = solver(field, x, times.to(x))
    except RuntimeError as error:
        if len(x) < 2 or not ran_out(error):
            raise
    else:
        return replace(found, nfe=found.nfe * field.evaluations)
    half = len(x) // 2
    return joined(
        [
            solve_block(
                field.part(some),
                x[some],
                times,
                solver,
                divergence,
                None if probes is None else probes[:, some],
            )
            for some in (slice(half), slice(half, None))
        ]
    )
