"""Two peers on the same data: the 2D recipes of torchcfm's and flow_matching's own tutorials.

Only public calls of the packages are used; what the recipes say was read in their example notebooks:

- torchcfm (github.com/atong01/conditional-flow-matching, examples/2D_tutorials/Flow_matching_tutorial.ipynb):
  its MLP with 64 units and SELU, Adam 1e-3, batch 256; x_t drawn with sigma 0.01.
- flow_matching (github.com/facebookresearch/flow_matching, examples/2d_flow_matching.ipynb): an MLP with four
  hidden layers of 512 and Swish, Adam 1e-3, batch 4096, AffineProbPath(CondOTScheduler()).

Changed here: the source is N(0, I), the data is a pool of samples, and training stops by the clock. Both
packages run from noise (t = 0) to data (t = 1).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from flow_matching.path import AffineProbPath
from flow_matching.path.scheduler import CondOTScheduler
from flow_matching.solver import ODESolver
from flow_matching.utils import ModelWrapper
from torch import Tensor, nn
from torchcfm.conditional_flow_matching import (
    ConditionalFlowMatcher,
    ExactOptimalTransportConditionalFlowMatcher,
)
from torchcfm.models.models import MLP

from lfmkit.training.targets import Batch

CHUNK = 4096


class FromNoise(ModelWrapper):
    """A velocity network as flow_matching's solver calls it."""

    def forward(self, x: Tensor, t: Tensor, **_: object) -> Tensor:
        """Return the velocity at x (n, 2) and time t (scalar or (n,))."""
        return self.model(torch.cat([x, t.to(x).expand(len(x))[:, None]], 1))


def torchcfm(pool: Tensor, seconds: float, transport: bool = False, seed: int = 0) -> tuple[nn.Module, int]:
    """Train by torchcfm's tutorial; return the network and the steps it took."""
    np.random.seed(seed)  # noqa: NPY002 - the package draws its pairs from this generator
    kind = ExactOptimalTransportConditionalFlowMatcher if transport else ConditionalFlowMatcher
    matcher = kind(sigma=0.01)
    torch.manual_seed(seed)
    net = FromNoise(MLP(dim=2, time_varying=True))

    def batch() -> tuple[Tensor, Tensor, Tensor]:
        x1 = pool[torch.randint(len(pool), (256,))]
        t, x_t, velocity = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
        return x_t, t, velocity

    return net, _train(net, batch, seconds)


class Pairs:
    """Batches made by torchcfm, as training targets of the kit: only who draws the pairs differs."""

    def __init__(self, pool: Tensor, transport: bool, batch: int) -> None:
        self.pool, self.batch = pool, batch
        kind = ExactOptimalTransportConditionalFlowMatcher if transport else ConditionalFlowMatcher
        self.matcher = kind(sigma=0.0)

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        """Return n samples, a plan for every `batch` of them; the kit's time runs from data to noise."""
        seed = int(torch.randint(2**31, (1,), generator=generator))
        np.random.seed(seed)  # noqa: NPY002 - the package draws its pairs from this generator
        parts = []
        for _ in range(n // self.batch):
            x1 = self.pool[torch.randint(len(self.pool), (self.batch,), generator=generator)]
            x0, t = torch.randn(x1.shape, generator=generator), torch.rand(self.batch, generator=generator)
            t, x_t, velocity = self.matcher.sample_location_and_conditional_flow(x0, x1, t)
            parts.append((x_t, 1 - t, -velocity))
        return Batch(*(torch.cat(column) for column in zip(*parts, strict=True)))


def flow_matching(
    pool: Tensor, seconds: float, hidden: int = 512, size: int = 4096, seed: int = 0
) -> tuple[nn.Module, int]:
    """Train by flow_matching's 2D example; return the network and the steps it took."""
    torch.manual_seed(seed)
    inner = [m for _ in range(3) for m in (nn.Linear(hidden, hidden), nn.SiLU())]
    net = FromNoise(nn.Sequential(nn.Linear(3, hidden), nn.SiLU(), *inner, nn.Linear(hidden, 2)))
    path = AffineProbPath(scheduler=CondOTScheduler())

    def batch() -> tuple[Tensor, Tensor, Tensor]:
        x1 = pool[torch.randint(len(pool), (size,))]
        at = path.sample(t=torch.rand(size), x_0=torch.randn_like(x1), x_1=x1)
        return at.x_t, at.t, at.dx_t

    return net, _train(net, batch, seconds)


def log_prob(net: nn.Module, x: Tensor, tolerance: float = 1e-5) -> Tensor:
    """Return log densities by flow_matching's own `compute_likelihood` with the exact divergence."""
    solver = ODESolver(velocity_model=net)
    parts = []
    for part in x.split(CHUNK):
        _, log_p = solver.compute_likelihood(
            x_1=part,
            log_p0=lambda z: -0.5 * z.square().sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi),
            step_size=None,
            method="dopri5",
            rtol=tolerance,
            atol=tolerance,
            exact_divergence=True,
        )
        parts.append(log_p.detach())
    return torch.cat(parts)


def _train(net: nn.Module, batch: Callable[[], tuple[Tensor, Tensor, Tensor]], seconds: float) -> int:
    optimiser, steps, start = torch.optim.Adam(net.parameters(), lr=1e-3), 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        x_t, t, velocity = batch()
        loss = (net(x_t, t) - velocity).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
    return steps
