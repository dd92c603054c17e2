"""Bits per dimension: the likelihood of images of bytes, in the unit that the literature compares."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from lfmkit.flows.flow import Flow
from lfmkit.metrics.features import as_bytes
from lfmkit.metrics.likelihood import nll
from lfmkit.metrics.records import Record
from lfmkit.pixels import HALF, as_rows
from lfmkit.solvers import Sampler

EXACT = 128  # dimensions up to which the exact divergence is what is meant


@dataclass(frozen=True, kw_only=True, repr=False)
class BitsPerDim(Record):
    """Bits per dimension and how they were measured.

    Attributes:
        value: Mean over the images.
        stderr: Its standard error over the images; that of dequantisation and probes is part of it.
        trace_error: The part of it that is due to the probes alone; NaN for one probe, None for the exact
            divergence.
        n: Number of images.
        split: Name of the data split the images are.
        settings: Dequantisation, conditions and the number of probes.
        nfe: Velocity evaluations, summed over the blocks.
        parameters: Trainable numbers of the flow.
        cost: NFE times parameters, block by block: see `cost`.
        solver: Method and tolerances, or steps.
        seed: Seed of dequantisation and probes.
    """

    stderr: float
    trace_error: float | None
    n: int
    split: str | None
    settings: str
    nfe: float
    parameters: int
    cost: float
    solver: Sampler
    seed: int


def bits_per_dim(
    flow: Flow,
    images: Tensor,
    probes: int | None = None,
    solver: Sampler | None = None,
    split: str | None = None,
    cond: Tensor | None = None,
    seed: int = 0,
) -> BitsPerDim:
    """Measure the bits per dimension of images (n, C, H, W) of bytes, n >= 2, under a flow on [-1, 1)^d.

    -log p(x) / (d ln 2) + 7, at one uniformly dequantised x for each image: a pixel value is a bin of width
    1/128. On average that is an upper bound of the bits a code made of the flow needs for the images
    themselves. Uniform noise costs 8 bits, and no flow needs less for it.

    Args:
        flow: The flow, fitted to rows as `pixels.as_rows` makes them.
        images: Images it was not trained on.
        probes: 0 for the exact divergence, or the number of random vectors that estimate it without bias.
            None: 1, or the exact one up to 128 dimensions.
        solver: Solver, the flow's own when left out.
        split: Name of the data split that the images are; only recorded.
        cond: Conditions, as for `Flow.encode`.
        seed: Seed of dequantisation and probes.

    Raises:
        TypeError: The images are not of bytes.
        ValueError: Fewer than two images, or C*H*W is not the flow's dimension.

    References:
        A Note on the Evaluation of Generative Models, arXiv 1511.01844; FFJORD, arXiv 1810.01367.
    """
    started = time.perf_counter()
    shape = tuple(as_bytes(images, "images").shape[1:])
    if math.prod(shape) != flow.dim:
        raise ValueError(
            f"images of the shape {shape} have {math.prod(shape)} numbers, the flow takes {flow.dim}"
        )
    if probes is None:
        probes = 0 if flow.dim <= EXACT else 1
    rows = as_rows(images, torch.Generator(images.device).manual_seed(seed))
    nats = nll(flow, rows, solver=solver, split=split, cond=cond, probes=probes, seed=seed)
    unit = flow.dim * math.log(2)
    return BitsPerDim(
        measure="bits/dim",
        value=nats.value / unit + math.log2(HALF),
        stderr=nats.stderr / unit,
        trace_error=None if nats.trace_error is None else nats.trace_error / unit,
        n=nats.n,
        split=split,
        settings=", ".join(filter(None, ["uniform dequantisation", nats.settings])),
        nfe=nats.nfe,
        parameters=nats.parameters,
        cost=nats.cost,
        solver=nats.solver,
        seed=seed,
        seconds=time.perf_counter() - started,
    )
