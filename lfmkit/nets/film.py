"""A residual perceptron v(x, t | condition), in which time and condition scale and shift every layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FiLM:
    """Recipe for a network with a rich condition, e.g. a robot's observations.

    Time and condition pass a small network of their own; what it says scales and shifts the units of every
    hidden layer (feature-wise linear modulation), so that it is heard in all of them.

    Args:
        width: Units of each hidden layer.
        depth: Number of residual layers.

    Raises:
        ValueError: A count is not positive.

    Reference: FiLM: Visual Reasoning with a General Conditioning Layer, arXiv 1709.07871.

    >>> net = FiLM(width=32, depth=2)(dim=8, cond=5)
    >>> net(torch.zeros(3, 8), torch.tensor(0.5), cond=torch.zeros(3, 5)).shape
    torch.Size([3, 8])
    """

    width: int = 128
    depth: int = 3

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1:
            raise ValueError(f"width and depth must be positive: {self}")

    def __call__(self, dim: int, cond: int = 0) -> FiLMVelocity:
        """Return a fresh network for data of `dim` dimensions and conditions of `cond` dimensions."""
        return FiLMVelocity(self, dim, cond)


class FiLMVelocity(nn.Module):
    """The network of the `FiLM` recipe; its last layer starts at zero."""

    waves: Tensor

    def __init__(self, recipe: FiLM, dim: int, cond: int) -> None:
        super().__init__()
        width = recipe.width
        self.register_buffer("waves", torch.pi * 2.0 ** torch.arange(-1, 3))  # of t in [0, 1]
        self.told = nn.Sequential(
            nn.Linear(2 * len(self.waves) + cond, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.first = nn.Linear(dim, width)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(recipe.depth)])
        self.film = nn.ModuleList([nn.Linear(width, 2 * width) for _ in range(recipe.depth)])
        self.back = nn.ModuleList([nn.Linear(width, width) for _ in range(recipe.depth)])
        self.out = nn.Linear(width, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, x: Tensor, t: Tensor, noise: Tensor | None = None, cond: Tensor | None = None
    ) -> Tensor:
        """Return the velocity at x (n, dim), time t (scalar or (n,)) and cond (n, cond); shape (n, dim)."""
        angle = t.expand(len(x))[:, None] * self.waves
        inputs = [angle.sin(), angle.cos()]
        told = self.told(torch.cat(inputs if cond is None else [*inputs, cond], 1))
        h = self.first(x)
        for hidden, film, back in zip(self.hidden, self.film, self.back, strict=True):
            scale, shift = film(told).chunk(2, 1)
            h = h + back(nn.functional.silu(hidden(h) * (1 + scale) + shift))
        v: Tensor = self.out(nn.functional.silu(h))
        return v
