"""Likelihood: the mean negative log-density a flow gives to points it was not trained on."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from torch import Tensor

from lfmkit.flows.flow import Flow
from lfmkit.flows.inputs import as_samples
from lfmkit.metrics.records import Record
from lfmkit.metrics.roundtrip import cost
from lfmkit.solvers import Sampler


@dataclass(frozen=True, kw_only=True, repr=False)
class NLL(Record):
    """A negative log-likelihood in nats and how it was measured.

    Attributes:
        value: Mean of -log p(x) over the points.
        stderr: Its standard error over the points; that of the probes is part of it.
        trace_error: The part of it that is due to the probes alone; None for the exact divergence.
        floor: Entropy of the target, where it is known; no density can score lower but by chance.
        n: Number of points.
        split: Name of the data split the points are.
        settings: Whether conditions were given, and the number of probes.
        nfe: Velocity evaluations, summed over the blocks.
        parameters: Trainable numbers of the flow.
        cost: NFE times parameters, block by block: see `cost`.
        solver: Method and tolerances, or steps.
    """

    stderr: float
    trace_error: float | None
    floor: float | None
    n: int
    split: str | None
    settings: str | None
    nfe: float
    parameters: int
    cost: float
    solver: Sampler

    @property
    def nll(self) -> float:
        """The value."""
        return self.value

    @property
    def excess(self) -> float:
        """NLL minus floor: an estimate of KL(data || flow); NaN where the floor is not known."""
        return math.nan if self.floor is None else self.value - self.floor


def nll(
    flow: Flow,
    x: Tensor,
    floor: float | None = None,
    solver: Sampler | None = None,
    split: str | None = None,
    cond: Tensor | None = None,
    probes: int = 0,
    seed: int = 0,
) -> NLL:
    """Measure the negative log-likelihood of x (n, d), n >= 2, in nats.

    Every point counts the same, however the points are scored in chunks.

    Args:
        flow: The flow.
        x: Points it was not trained on.
        floor: Entropy of the target, or better -mean(log p(x)) on these very points, which cancels most of
            the sampling error.
        solver: Solver, the flow's own when left out.
        split: Name of the data split that x is; only recorded.
        cond: Conditions, as for `Flow.encode`.
        probes: 0 for the exact divergence, or the number of random vectors that estimate it.
        seed: Seed of the probes.

    Raises:
        TypeError: x is no floating-point tensor.
        ValueError: Fewer than two rows, wrong dimension, NaN rows, a floor that is not finite.
    """
    started = time.perf_counter()
    x = as_samples(x, flow.dim)
    if len(x) < 2:
        raise ValueError(f"a standard error needs 2 or more points, got {len(x)}")
    if floor is not None and not math.isfinite(floor):
        raise ValueError(f"the floor must be finite, got {floor}")
    log_p = flow.log_prob(x, solver, cond, probes=probes, seed=seed).double()
    settings = [] if cond is None else ["conditional"]
    settings += [f"{probes} probes"] if probes else []
    return NLL(
        measure="NLL (nats)",
        value=-float(log_p.mean()),
        stderr=float(log_p.std()) / math.sqrt(len(x)),
        trace_error=flow.last_trace_error if probes else None,
        floor=floor,
        n=len(x),
        split=split,
        settings=", ".join(settings) or None,
        nfe=sum(flow.last_nfe),
        parameters=flow.parameters_count,
        cost=cost(flow).value,
        solver=solver or flow.solver,
        seconds=time.perf_counter() - started,
    )
