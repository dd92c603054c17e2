"""How far each block of a chain moves the distribution: the closeness of successive distributions."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from torch import Tensor

from lfmkit.flows.flow import Flow
from lfmkit.flows.inputs import as_samples
from lfmkit.metrics.records import Table, table
from lfmkit.metrics.roundtrip import cost
from lfmkit.metrics.samples import Distance
from lfmkit.metrics.sliced import sliced_wasserstein
from lfmkit.solvers import Sampler


@dataclass(frozen=True, kw_only=True, repr=False)
class Successive(Distance):
    """How far one block moves the distribution, and how it was measured.

    Attributes:
        value: Sliced Wasserstein distance between the pools at the left and at the right of the block.
        stderr: Its standard error.
        baseline: The same distance between two halves of the left pool. Both pools hold the same points, so
            chance does less than that: value may mean something below it, and stderr says what.
        displacement: Mean of |x_r - x_l|, how far the points themselves move.
        gamma: OU step size of the block; inf for the free block.
        nfe: Velocity evaluations of the block.
        parameters: Trainable numbers of the block.
        cost: NFE times parameters.
        solver: Method and tolerances, or steps.
    """

    displacement: float
    gamma: float
    nfe: float
    parameters: int
    cost: float
    solver: Sampler


def successive(
    flow: Flow,
    x: Tensor,
    projections: int = 100,
    p: float = 2,
    seed: int = 0,
    solver: Sampler | None = None,
    split: str | None = None,
    cond: Tensor | None = None,
) -> Table:
    """Measure how far each block moves the distribution of data x (n, d), one record a block.

    The pool at the left of block 1 is x, at its right x encoded by block 1, and so on; the distance between
    them is `sliced_wasserstein`. The free block, which takes all that is left to N(0, I), is the last row and
    named so. Local blocks that move little are what Local Flow Matching (arXiv 2410.02548) is about.

    Args:
        flow: The flow.
        x: Data.
        projections: Number of directions.
        p: Order, 1 or more.
        seed: Seed of directions, halves and tenths.
        solver: Solver, the flow's own when left out.
        split: Name of the data split that x is; only recorded.
        cond: Conditions, as for `Flow.encode`.

    Returns:
        A table with rows "block 1", .., "free block", data side first.

    Raises:
        TypeError: x is no floating-point tensor.
        ValueError: Wrong dimension, fewer than two rows, NaN rows, projections < 1, p < 1.
    """
    left = as_samples(x, flow.dim)
    rows = {}
    for k, block in enumerate(flow.chain):
        started = time.perf_counter()
        alone = Flow([block], flow.dim, solver=solver or flow.solver)
        right = alone.encode(left, cond=cond)
        distance = sliced_wasserstein(right, left, projections, p, seed)
        moved = (right.double() - left.to(right.device).double()).norm(dim=1)
        local = math.isfinite(block.gamma)
        rows[f"block {k + 1}" if local else "free block"] = Successive(
            measure=f"{distance.measure} left to right",
            value=distance.value,
            stderr=distance.stderr,
            baseline=distance.baseline,
            displacement=float(moved.mean()),
            gamma=block.gamma,
            n=len(x),
            reference=len(x),
            split=split,
            settings=distance.settings + ("" if cond is None else ", conditional"),
            seed=seed,
            solver=alone.solver,
            nfe=sum(alone.last_nfe),
            parameters=alone.parameters_count,
            cost=cost(alone).value,
            seconds=time.perf_counter() - started,
        )
        left = right
    return table(rows)
