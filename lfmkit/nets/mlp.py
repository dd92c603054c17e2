"""A multi-layer perceptron velocity v(x, t) with random Fourier features."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class MLP:
    """Recipe for an MLP velocity network.

    Args:
        width: Units of each hidden layer.
        depth: Number of hidden layers.
        fourier: Number of random frequencies w; sin(w x) and cos(w x) join the inputs. 0: none.
        scale: Standard deviation of the frequencies: the finest detail seen is about 1/scale.

    Raises:
        ValueError: A count or the scale is not positive.

    Reference: Fourier Features Let Networks Learn High Frequency Functions, arXiv 2006.10739.

    >>> net = MLP(width=64, depth=2)(dim=2)
    >>> net(torch.zeros(5, 2), torch.tensor(0.5)).shape
    torch.Size([5, 2])
    """

    width: int = 128
    depth: int = 3
    fourier: int = 64
    scale: float = 3.0

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1 or self.fourier < 0 or not self.scale > 0:
            raise ValueError(f"width, depth and scale must be positive, fourier >= 0: {self}")

    def __call__(self, dim: int, cond: int = 0) -> MLPVelocity:
        """Return a fresh network for data of `dim` dimensions and conditions of `cond` dimensions."""
        return MLPVelocity(self, dim, cond)


class MLPVelocity(nn.Module):
    """The network of the `MLP` recipe, with SiLU activations: smooth, so adaptive solvers can trust it."""

    frequencies: Tensor

    def __init__(self, recipe: MLP, dim: int, cond: int = 0) -> None:
        super().__init__()
        inputs = dim + 2 * recipe.fourier + 1 + cond
        widths = [inputs] + [recipe.width] * recipe.depth
        self.register_buffer("frequencies", recipe.scale * torch.randn(dim, recipe.fourier))
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.out = nn.Linear(recipe.width, dim)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return the velocity at x (n, dim), t (scalar or (n,)), condition (n, cond); shape (n, dim)."""
        angle = x @ self.frequencies
        inputs = [x, angle.sin(), angle.cos(), t.expand(len(x))[:, None]]
        h = torch.cat(inputs if cond is None else [*inputs, cond], 1)
        for layer in self.hidden:
            h = nn.functional.silu(layer(h))
        v: Tensor = self.out(h)
        return v
