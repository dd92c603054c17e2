"""Exact log-likelihoods in 6 and 63 dimensions: speed against two usual ways, and the memory of many rows.

One network with two hidden layers, trained for a moment, scored three ways at the same tolerance: by
`Flow.log_prob`; by flow_matching's `compute_likelihood` with the exact divergence; and by an ODE of state
and log-determinant whose trace is one batched vector-Jacobian product with the identity, as LFM's released
scripts do it (there with Euler steps, here with the same solver as the others).
"""

from __future__ import annotations

import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import peers
import torch
from torch import Tensor
from torchdiffeq import odeint

import lfmkit
from lfmkit import methods, nets
from lfmkit.solvers import Solver

TOLERANCE = 1e-5
TIGHT = Solver(rtol=TOLERANCE, atol=TOLERANCE)
ROWS = {6: 2000, 63: 300}
WIDTH = {6: 256, 63: 512}


def mixture(dim: int, n: int, seed: int) -> Tensor:
    """Return n points of a mixture of eight correlated Gaussians, about standardised."""
    generator = torch.Generator().manual_seed(7)
    means = 0.7 * torch.randn(8, dim, generator=generator)
    mix = torch.randn(8, dim, dim, generator=generator) * (0.7 / math.sqrt(dim))
    generator.manual_seed(seed)
    which = torch.randint(8, (n,), generator=generator)
    g = torch.randn(n, dim, 1, generator=generator)
    return means[which] + (mix[which] @ g)[..., 0]


def trained(dim: int) -> lfmkit.Flow:
    """Return a flow matching model with two hidden layers after 300 steps."""
    flow = methods.fm(dim, net=nets.MLP(WIDTH[dim], 2, 0))
    lfmkit.fit(flow, mixture(dim, 20_000, 0), steps=300, batch=512, lr=3e-3, progress=False)
    return flow


def batched(flow: lfmkit.Flow, x: Tensor) -> Tensor:
    """Return log densities: the log-determinant is part of the state, its trace one batched product."""
    block, dim = flow.chain[0], flow.dim
    identity = torch.eye(dim)

    def field(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            y = state[0].detach().requires_grad_()
            v = block(y, t)
            rows = identity[:, None].expand(dim, len(y), dim)
            (jacobian,) = torch.autograd.grad(v, y, rows, is_grads_batched=True)
        return v.detach(), jacobian.diagonal(dim1=0, dim2=2).sum(1)

    start = x, torch.zeros(len(x))
    with torch.no_grad():
        ends, logs = odeint(
            field, start, torch.tensor([0.0, 1.0]), rtol=TOLERANCE, atol=TOLERANCE, method="dopri5"
        )
    return logs[-1] - 0.5 * ends[-1].square().sum(1) - 0.5 * dim * math.log(2 * math.pi)


def traces() -> None:
    """Print the speed of exact log-likelihoods against two usual ways, in 6 and in 63 dimensions."""
    torch.set_num_threads(1)
    for dim, rows in ROWS.items():
        flow = trained(dim)
        block, x = flow.chain[0], mixture(dim, rows, 1)

        def turned(
            joined: Tensor, block: torch.nn.Module = block
        ) -> Tensor:  # theirs runs from noise to data
            return -block(joined[:, :-1], 1 - joined[:, -1])

        theirs = peers.FromNoise(_Function(turned))
        ways: dict[str, Callable[[], Tensor]] = {
            "Flow.log_prob": lambda flow=flow, x=x: flow.log_prob(x, TIGHT),
            "compute_likelihood": lambda theirs=theirs, x=x: peers.log_prob(theirs, x, TOLERANCE),
            "batched vjp": lambda flow=flow, x=x: batched(flow, x),
        }
        truth = flow.double().log_prob(x.double(), Solver(rtol=1e-9, atol=1e-9))
        flow.float()
        seconds, values = dict.fromkeys(ways, math.inf), {}
        for _ in range(3):  # in turns: a neighbour's load then meets all
            for name, way in ways.items():
                start = time.perf_counter()
                values[name] = way()
                seconds[name] = min(seconds[name], time.perf_counter() - start)
        print(f"\nExact likelihood, d = {dim}: {rows:,} points, two hidden layers of {WIDTH[dim]}, dopri5 at "
              f"{TOLERANCE:g}, one thread\n\n| way | seconds | of ours | mean error "
              "| largest error |")  # fmt: skip
        print("|---|---|---|---|---|")
        for name in ways:
            error = (values[name] - truth).abs()
            ratio = seconds[name] / seconds["Flow.log_prob"]
            print(f"| {name} | {seconds[name]:.2f} | {ratio:.1f} | {float(error.mean()):.1e} "
                  f"| {float(error.max()):.1e} |")  # fmt: skip
        sys.stdout.flush()


class _Function(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Return the function's value."""
        return self.function(x)


def memory() -> None:
    """Print the peak memory of a process that scores 250,000 rows of 63 columns."""
    peaks = {}
    for task in ("make", "score"):
        done = subprocess.run([sys.executable, __file__, task], check=True, capture_output=True, text=True)
        peaks[task], seconds = (float(part) for part in done.stdout.split())
    print(f"\nMemory: scoring 250,000 x 63 peaks at **{peaks['score']:.0f} MiB** in {seconds:.0f} s "
          f"(a process that only holds the rows: {peaks['make']:.0f} MiB)")  # fmt: skip


def _score(task: str) -> None:
    x = torch.randn(250_000, 63, generator=torch.Generator().manual_seed(0))
    flow = methods.lfm(63, (0.1,), net=nets.MLP(512, 2, 0))
    start = time.perf_counter()
    if task == "score":
        flow.log_prob(x, Solver(rtol=1e-3, atol=1e-3))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.perf_counter() - start)


if __name__ == "__main__":
    _score(sys.argv[1])
