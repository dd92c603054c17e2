"""Measures of a flow; every result carries the protocol it was measured by."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from torch import Tensor

from lfmkit.flows import Flow
from lfmkit.solvers import Solver


@dataclass(frozen=True)
class NLL:
    """A negative log-likelihood in nats and how it was measured.

    Attributes:
        nll: Mean of -log p(x) over the points.
        stderr: Its standard error over the points.
        floor: Entropy of the target, where it is known; no density can score lower but by chance.
        n: Number of points.
        nfe: Velocity evaluations, summed over the blocks.
        seconds: Wall-clock seconds of the evaluation.
        parameters: Trainable numbers of the flow.
        solver: Method and tolerances, or steps.
    """

    nll: float
    stderr: float
    floor: float | None
    n: int
    nfe: float
    seconds: float
    parameters: int
    solver: Solver

    @property
    def excess(self) -> float:
        """NLL minus floor: an estimate of KL(data || flow); NaN where the floor is not known."""
        return math.nan if self.floor is None else self.nll - self.floor


def nll(flow: Flow, x: Tensor, floor: float | None = None, solver: Solver | None = None) -> NLL:
    """Measure the negative log-likelihood of x (n, d), n >= 2, with the exact divergence.

    Args:
        flow: The flow.
        x: Points it was not trained on.
        floor: Entropy of the target, or better -mean(log p(x)) on these very points, which cancels most of
            the sampling error.
        solver: Solver, the flow's own when left out.
    """
    if len(x) < 2:
        raise ValueError(f"a standard error needs 2 or more points, got {len(x)}")
    started = time.perf_counter()
    log_p = flow.log_prob(x, solver).double()
    return NLL(
        nll=-float(log_p.mean()),
        stderr=float(log_p.std()) / math.sqrt(len(x)),
        floor=floor,
        n=len(x),
        nfe=sum(flow.last_nfe),
        seconds=time.perf_counter() - started,
        parameters=flow.parameters_count,
        solver=solver or flow.solver,
    )
