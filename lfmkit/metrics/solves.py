"""Measures of a flow's solves: the record that they share, what a solve cost, and what a round trip loses."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lfmkit.flows.flow import Flow
from lfmkit.flows.inputs import as_samples
from lfmkit.metrics.records import Record
from lfmkit.solvers import Sampler


@dataclass(frozen=True, kw_only=True, repr=False)
class FlowRecord(Record):
    """A number measured by solving a flow, and how it was solved; `solved` fills these fields.

    Attributes:
        n: Number of points or images.
        split: Name of the data split that they are.
        settings: What else the value depends on, such as conditions or the number of probes.
        nfe: Velocity evaluations, summed over the blocks, and over both directions of a round trip.
        parameters: Trainable numbers of the flow.
        cost: NFE times parameters, block by block: see `cost`.
        solver: Method and tolerances, or steps.
    """

    n: int
    split: str | None
    settings: str | None
    nfe: float
    parameters: int
    cost: float
    solver: Sampler


@dataclass(frozen=True, kw_only=True, repr=False)
class Cost(Record):
    """What one point cost in a flow's last solve.

    Attributes:
        value: Sum over the blocks of NFE times the parameters of that block.
        blocks: The same for each block, data side first.
        nfe: Velocity evaluations, summed over the blocks.
        parameters: Trainable numbers of the flow.
    """

    blocks: tuple[float, ...]
    nfe: float
    parameters: int


def cost(flow: Flow) -> Cost:
    """Return what one point cost in the flow's last solve: NFE times parameters, block by block.

    In a network of dense layers every parameter is one multiplication and addition per evaluation, so the
    cost counts multiply-adds per sample. An evaluation runs the network of one block only: a chain of N equal
    blocks costs NFE x parameters / N. The backward passes of an exact divergence come on top.

    Raises:
        ValueError: The flow has not solved anything yet.
    """
    if not flow.last_nfe:
        raise ValueError("the flow has solved nothing yet: sample, encode or decode first")
    sizes = [sum(p.numel() for p in block.parameters()) for block in flow.chain]
    parts = tuple(float(n * size) for n, size in zip(flow.last_nfe, sizes, strict=True))
    return Cost(
        measure="NFE x parameters",
        value=sum(parts),
        blocks=parts,
        nfe=sum(flow.last_nfe),
        parameters=flow.parameters_count,
    )


def solved(flow: Flow, solver: Sampler | None, started: float, *costs: Cost) -> dict[str, Any]:
    """Return the fields of a `FlowRecord` that say how a flow was solved, and the seconds.

    Args:
        flow: The flow, right after its solve.
        solver: Solver that was asked for; the flow's own if None.
        started: Time of `time.perf_counter` before the measurement.
        costs: Costs of several solves, which are summed; the cost of the last solve when left out.
    """
    costs = costs or (cost(flow),)
    return {
        "nfe": sum(each.nfe for each in costs),
        "parameters": flow.parameters_count,
        "cost": sum(each.value for each in costs),
        "solver": solver or flow.solver,
        "seconds": time.perf_counter() - started,
    }


@dataclass(frozen=True, kw_only=True, repr=False)
class RoundTrip(FlowRecord):
    """The error of encoding and decoding, and how it was measured.

    Attributes:
        value: Mean of |decode(encode(x)) - x| over the points.
        largest: The largest of these errors.
    """

    largest: float

    @property
    def mean(self) -> float:
        """The value."""
        return self.value


def encode_decode_error(
    flow: Flow,
    x: Tensor,
    solver: Sampler | None = None,
    split: str | None = None,
    cond: Tensor | None = None,
) -> RoundTrip:
    """Measure |decode(encode(x)) - x| (Euclidean) at points x (n, d): its mean and its largest value.

    With exact solutions it is 0 whatever the flow has learned: it measures the solver and rounding.

    Args:
        flow: The flow.
        x: Points of the data's space.
        solver: Solver for both directions, the flow's own when left out.
        split: Name of the data split that x is; only recorded.
        cond: Conditions, as for `Flow.encode`.

    Raises:
        TypeError: x is not a floating-point tensor.
        ValueError: Wrong dimension, no rows, or NaN rows.
    """
    started = time.perf_counter()
    x = as_samples(x, flow.dim)
    z = flow.encode(x, solver, cond)
    there = cost(flow)
    back = flow.decode(z, solver, cond)
    error = (back.detach().double() - x.detach().to(back.device).double()).norm(dim=1)
    return RoundTrip(
        measure="encode-decode error",
        value=float(error.mean()),
        largest=float(error.max()),
        n=len(x),
        split=split,
        settings=None if cond is None else "conditional",
        **solved(flow, solver, started, there, cost(flow)),
    )
