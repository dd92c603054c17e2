"""Likelihood of points that a flow was not trained on: in nats, and for images in bits per dimension."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from lfmkit.flows.flow import Flow
from lfmkit.flows.inputs import as_samples
from lfmkit.metrics.solves import FlowRecord, solved
from lfmkit.pixels import HALF, as_bytes, as_rows
from lfmkit.solvers import Sampler

EXACT = 128  # dimensions up to which bits_per_dim takes the exact divergence by default


@dataclass(frozen=True, kw_only=True, repr=False)
class NLL(FlowRecord):
    """A negative log-likelihood in nats and how it was measured.

    Attributes:
        value: Mean of -log p(x) over the points.
        stderr: Its standard error over the points, which includes the error of the probes.
        trace_error: The part of stderr that comes from the probes alone; NaN for one probe, None for the
            exact divergence.
        floor: Entropy of the target, where it is known; a density scores lower only by chance.
    """

    stderr: float
    trace_error: float | None
    floor: float | None

    @property
    def nll(self) -> float:
        """The value."""
        return self.value

    @property
    def excess(self) -> float:
        """NLL minus floor: an estimate of KL(data || flow); NaN where the floor is not known."""
        return math.nan if self.floor is None else self.value - self.floor


@dataclass(frozen=True, kw_only=True, repr=False)
class BitsPerDim(FlowRecord):
    """Bits per dimension and how they were measured.

    Attributes:
        value: Mean over the images.
        stderr: Its standard error over the images, which includes the errors of dequantisation and probes.
        trace_error: As for `NLL`.
        seed: Seed of dequantisation and probes.
    """

    stderr: float
    trace_error: float | None
    seed: int


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
        TypeError: x is not a floating-point tensor.
        ValueError: Fewer than two rows, wrong dimension, NaN rows, or a floor that is not finite.
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
        **solved(flow, solver, started),
    )


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
    1/128. On average that is an upper bound of the bits that a code built from the flow needs for the images
    themselves. Uniform noise costs 8 bits, and no flow needs fewer for it.

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
    shape = tuple(as_bytes(images).shape[1:])
    if math.prod(shape) != flow.dim:
        raise ValueError(
            f"images of the shape {shape} have {math.prod(shape)} numbers, the flow takes {flow.dim}"
        )
    if probes is None:
        probes = 0 if flow.dim <= EXACT else 1
    rows = as_rows(images, torch.Generator(images.device).manual_seed(seed))
    nats = nll(flow, rows, solver=solver, cond=cond, probes=probes, seed=seed)
    unit = flow.dim * math.log(2)
    return BitsPerDim(
        measure="bits/dim",
        value=nats.value / unit + math.log2(HALF),
        stderr=nats.stderr / unit,
        trace_error=None if nats.trace_error is None else nats.trace_error / unit,
        n=len(rows),
        split=split,
        settings=", ".join(filter(None, ["uniform dequantisation", nats.settings])),
        seed=seed,
        **solved(flow, solver, started),
    )
