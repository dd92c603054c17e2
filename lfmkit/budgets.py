"""Estimate the FLOPs, memory and hours of a training run before starting it."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from lfmkit.flows.block import Block
from lfmkit.flows.flow import Flow
from lfmkit.metrics.records import Record, Records, table
from lfmkit.training.gradients import Gradients
from lfmkit.training.optimiser import Adam
from lfmkit.training.settings import Execution, Training
from lfmkit.training.targets import Batch

COPIES = 5  # of each weight while it is trained: itself, gradient, two moments of Adam, average
GB = 1e9


@dataclass(frozen=True)
class Needs:
    """What one training step of a block needs.

    Attributes:
        parameters: Trainable numbers.
        flops: Floating-point operations of one sample, of the network and its gradient.
        weights: Bytes of the weights, their gradients, averages and Adam's moments.
        kept: Bytes kept for the gradient, a sample.
    """

    parameters: int
    flops: float
    weights: int
    kept: float

    def memory(self, samples: int) -> float:
        """Return the bytes of a step whose gradient is computed for a number of samples at once."""
        return self.weights + samples * self.kept


def needs(block: Block, dim: int) -> Needs:
    """Return what a training step of a block needs; nothing is allocated or computed to find out.

    In single precision; half precision keeps about half as much for the gradient.

    Args:
        block: The block.
        dim: Dimension of its data.

    >>> from lfmkit import methods, nets
    >>> block = methods.fm(2, net=nets.MLP(width=64, depth=2, fourier=0)).chain[0]
    >>> needs(block, 2).parameters == sum(p.numel() for p in block.parameters())
    True
    """
    ghost, few = copy.deepcopy(block).to("meta"), 2
    gradients, counter, kept = Gradients(ghost), FlopCounterMode(display=False), _Kept(ghost)
    with counter, saved_tensors_hooks(kept, lambda tensor: tensor):
        gradients(example(few, dim, block.cond, "meta"))
    size = sum(p.numel() for p in ghost.parameters() if p.requires_grad)
    flops = counter.get_total_flops() / few
    return Needs(size, flops, COPIES * 4 * size, kept.bytes / few)


class _Kept:
    """Counts the bytes of what is kept for the gradient, weights apart, each storage once."""

    def __init__(self, block: Block) -> None:
        self._seen = {p.untyped_storage()._cdata for p in block.parameters()}
        self._alive: list[Tensor] = []
        self.bytes = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._alive.append(tensor)  # else its place could be given to another
            self.bytes += storage.nbytes()
        return tensor


def seconds_a_sample(
    block: Block,
    dim: int,
    samples: int,
    device: str = "cpu",
    precision: str = "float32",
    compiled: bool = False,
) -> float:
    """Return the seconds a training step takes for each of its samples: the best of three."""
    asked = Training(precision=precision), Execution(compiled=compiled)
    gradients = Gradients(copy.deepcopy(block).to(device), *asked)
    optimiser = Adam(gradients.weights, lr=1e-3)
    batch, taken = example(samples, dim, block.cond, device), []
    for _ in range(4):
        started = time.perf_counter()
        gradients(batch)
        optimiser.step()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return min(taken[1:]) / samples


def budget(
    flow: Flow,
    steps: int | Sequence[int],
    batch: int,
    device: str = "cpu",
    precision: str = "float32",
    samples: int | None = None,
    compiled: bool = False,
) -> Records:
    """Return what training a flow needs, as a table; a few steps are timed for it.

    Args:
        flow: The flow; its blocks are of one size.
        steps: Steps of each block, as in `fit`.
        batch: Samples a step.
        device: Where the steps are timed.
        precision: As in `fit`.
        samples: Samples of the timed steps. None: 8 on a CPU, where a sample costs the same in any batch; the
            whole batch elsewhere, for a few samples keep no GPU busy.
        compiled: As in `fit`; compiling itself is not counted.

    Returns:
        Sizes, memory of a block that is trained with the whole batch at once, operations and hours of all
        blocks together, without pushing; on a CUDA device also the peak memory of the steps that were timed.
    """
    on_gpu = torch.device(device).type == "cuda"
    samples = samples or (batch if on_gpu else 8)
    block, count = flow.chain[0], len(flow.blocks)
    one = needs(block, flow.dim)
    total = steps * count if isinstance(steps, int) else sum(steps)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    each = seconds_a_sample(block, flow.dim, samples, device, precision, compiled)
    rows = {
        "parameters of a block": one.parameters,
        "parameters of all blocks": one.parameters * count,
        "memory of weights, gradients, moments and averages, GB": one.weights / GB,
        f"memory of a batch of {batch} in single precision, GB": batch * one.kept / GB,
        "steps of all blocks": total,
        "samples seen by all blocks": total * batch,
        "operations, 10^15": one.flops * batch * total / 1e15,
        f"hours at the speed of {samples} samples here": each * batch * total / 3600,
    }
    if on_gpu:
        rows["memory of these steps, GB"] = torch.cuda.max_memory_allocated(device) / GB
    return table([Record(measure=name, value=float(value)) for name, value in rows.items()])


def example(n: int, dim: int, cond: int, device: str) -> Batch:
    """Return a batch of random numbers for a block of a dimension, with conditions of `cond` columns."""
    x, velocity = torch.randn(2, n, dim, device=device)
    seen = torch.zeros(n, cond + 1, device=device) if cond else None
    return Batch(x, torch.linspace(0, 0.9, n, device=device), velocity, seen)
