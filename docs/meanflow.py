"""MeanFlow (arXiv 2505.13447) from outside: mean velocities between two times, drawn in one evaluation."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

import lfmkit
from lfmkit import data, methods, metrics
from lfmkit.solvers import Solution


class TwoTimes(nn.Module):  # the mean velocity u(x, t, r); the class itself is the recipe
    def __init__(self, dim, width=128):
        super().__init__()
        self.register_buffer("waves", 3 * torch.randn(dim, 64))
        first, middle, last = nn.Linear(dim + 130, width), nn.Linear(width, width), nn.Linear(width, dim)
        self.layers = nn.Sequential(first, nn.SiLU(), middle, nn.SiLU(), last)

    def forward(self, x, t, r=None):
        t, r = (time.expand(len(x))[:, None] for time in (t, t if r is None else r))
        angle = x @ self.waves
        return self.layers(torch.cat([x, angle.sin(), angle.cos(), t, t - r], 1))


def mean_step(velocity, x, times):  # x_r = x_t - (t - r) u(x_t, t, r)
    for t, r in pairwise(times):
        x = x - (t - r) * velocity(x, t, r=r)
    return Solution(x[None], None, len(times) - 1)


@dataclass(frozen=True)
class MeanFlow(lfmkit.training.Objective):
    plain: float = 0.5  # share of the samples with r = t, which is flow matching
    sampler = staticmethod(mean_step)

    def second(self, t, generator):
        same, share = torch.rand(2, len(t), generator=generator)
        return torch.where(same < self.plain, t, t * share)

    def loss(self, block, batch, generator):
        inputs, along = (batch.x, batch.t, batch.r), (batch.velocity, torch.ones_like(batch.t), 0 * batch.t)
        u, slope = torch.func.jvp(lambda x, t, r: block(x, t, r=r), inputs, along)
        square = (u - (batch.velocity - (batch.t - batch.r)[:, None] * slope).detach()).square().mean(1)
        return (square / (square.detach() + 1e-3)).mean()


def main(steps=2000, folder="runs/meanflow"):
    board, flow = data.picture("checkerboard"), methods.fm(2, net=TwoTimes)
    how = {"steps": steps, "lr": 2e-3, "training": lfmkit.Training(objective=MeanFlow())}
    lfmkit.fit(flow, board.sample(100_000), pool="ou", workers=2, **how)
    flow.save(folder)
    again = lfmkit.load(folder, trust=[TwoTimes, MeanFlow, mean_step])
    x = again.sample(5000)
    print(again.last_nfe, metrics.sliced_wasserstein(x, board.sample(5000, seed=1)))


if __name__ == "__main__":
    main()
