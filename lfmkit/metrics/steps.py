"""How far each block of a chain moves the distribution: the closeness of successive distributions."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from torch import Tensor

from lfmkit.flows.flow import Flow
from lfmkit.flows.inputs import as_samples
from lfmkit.metrics.records import Records, table
from lfmkit.metrics.samples import Distance
from lfmkit.metrics.sliced import sliced_wasserstein
from lfmkit.metrics.solves import FlowRecord, solved
from lfmkit.solvers import Sampler


@dataclass(frozen=True, kw_only=True, repr=False)
class Successive(Distance, FlowRecord):
    """How far one block moves the distribution, and how it was measured; cost and NFE are the block's.

    Attributes:
        value: Sliced Wasserstein distance between the pools on the left and on the right of the block.
        baseline: The same distance between two halves of the left pool. Both pools hold the same points, so
            chance does less than that: a value below the baseline may mean something, and stderr says what.
        displacement: Mean of |x_r - x_l|, how far the points themselves move.
        gamma: OU step size of the block; inf for the free block.
    """

    displacement: float
    gamma: float


def successive(
    flow: Flow,
    x: Tensor,
    projections: int = 100,
    p: float = 2,
    seed: int = 0,
    solver: Sampler | None = None,
    split: str | None = None,
    cond: Tensor | None = None,
) -> Records:
    """Measure how far each block moves the distribution of data x (n, d), one record for each block.

    The pool on the left of block 1 is x, its right pool is x encoded by block 1, and so on; the distance
    between them is `sliced_wasserstein`. The last row, named "free block", is the block that maps the rest to
    N(0, I). Local blocks that move little are what Local Flow Matching (arXiv 2410.02548) is about.

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
        TypeError: x is not a floating-point tensor.
        ValueError: Wrong dimension, fewer than two rows, NaN rows, projections < 1, or p < 1.
    """
    left = as_samples(x, flow.dim)
    rows = {}
    for k, block in enumerate(flow.chain):
        started = time.perf_counter()
        alone = Flow([block], flow.dim, solver=solver or flow.solver)
        right = alone.encode(left, cond=cond)
        distance = sliced_wasserstein(right, left, projections, p, seed, split)
        moved = (right.double() - left.to(right.device).double()).norm(dim=1)
        known = vars(distance) | solved(alone, None, started)
        known["measure"] += " left to right"
        known["settings"] += "" if cond is None else ", conditional"
        name = f"block {k + 1}" if math.isfinite(block.gamma) else "free block"
        rows[name] = Successive(**known, displacement=float(moved.mean()), gamma=block.gamma)
        left = right
    return table(rows)
