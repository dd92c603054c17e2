"""What a solve cost, and what is lost on the way to noise and back."""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch import Tensor

from lfmkit.flows.flow import Flow
from lfmkit.flows.inputs import as_samples
from lfmkit.metrics.records import Record
from lfmkit.solvers import Sampler


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

    In a network of dense layers every parameter is one multiplication and addition an evaluation, so it
    counts multiply-adds a sample. An evaluation runs the network of one block only: a chain of N equal blocks
    costs NFE x parameters / N. The backward passes of an exact divergence come on top.

    Raises:
        ValueError: The flow has solved nothing yet.
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


@dataclass(frozen=True, kw_only=True, repr=False)
class RoundTrip(Record):
    """The error of encoding and decoding, and how it was measured.

    Attributes:
        value: Mean of |decode(encode(x)) - x| over the points.
        largest: The largest.
        n: Number of points.
        split: Name of the data split the points are.
        settings: Whether conditions were given.
        nfe: Velocity evaluations both ways, summed over the blocks.
        parameters: Trainable numbers of the flow.
        cost: NFE times parameters both ways: see `cost`.
        solver: Method and tolerances, or steps.
    """

    largest: float
    n: int
    split: str | None
    settings: str | None
    nfe: float
    parameters: int
    cost: float
    solver: Sampler

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
    """Measure |decode(encode(x)) - x| (Euclidean) at points x (n, d): its mean and its largest.

    With exact solutions it is 0 whatever the flow has learned: it measures the solver and rounding.

    Args:
        flow: The flow.
        x: Points of the data's space.
        solver: Solver of both ways, the flow's own when left out.
        split: Name of the data split that x is; only recorded.
        cond: Conditions, as for `Flow.encode`.

    Raises:
        TypeError: x is no floating-point tensor.
        ValueError: Wrong dimension, no rows, or NaN rows.
    """
    started = time.perf_counter()
    x = as_samples(x, flow.dim)
    z = flow.encode(x, solver, cond)
    there = cost(flow)
    back = flow.decode(z, solver, cond)
    again = cost(flow)
    error = (back.detach().double() - x.detach().to(back.device).double()).norm(dim=1)
    return RoundTrip(
        measure="encode-decode error",
        value=float(error.mean()),
        largest=float(error.max()),
        n=len(x),
        split=split,
        settings=None if cond is None else "conditional",
        nfe=there.nfe + again.nfe,
        parameters=flow.parameters_count,
        cost=there.value + again.value,
        solver=solver or flow.solver,
        seconds=time.perf_counter() - started,
    )
