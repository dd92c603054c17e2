"""A residual multi-layer perceptron v(x, t) with random Fourier features."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class MLP:
    """Recipe for an MLP velocity network.

    Args:
        width: Units of each hidden layer.
        depth: Number of hidden layers; all but the first are residual.
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
    depth: int = 4
    fourier: int = 128
    scale: float = 6.0

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1 or self.fourier < 0 or not self.scale > 0:
            raise ValueError(f"width, depth and scale must be positive, fourier >= 0: {self}")

    def __call__(self, dim: int, cond: int = 0) -> MLPVelocity:
        """Return a fresh network for data of `dim` dimensions and conditions of `cond` dimensions."""
        return MLPVelocity(self, dim, cond)


class MLPVelocity(nn.Module):
    """The network of the `MLP` recipe, with SiLU activations: smooth, so adaptive solvers can trust it.

    The last layer starts at zero. A frequency w is damped by exp(-(w noise)^2/2), which is what Gaussian
    noise leaves of it: at late times the network does not hear features that only carry noise.
    """

    frequencies: Tensor

    def __init__(self, recipe: MLP, dim: int, cond: int = 0) -> None:
        super().__init__()
        widths = [dim + 2 * recipe.fourier + 1 + cond] + [recipe.width] * recipe.depth
        self.register_buffer("frequencies", recipe.scale * torch.randn(dim, recipe.fourier))
        layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
        self.hidden, self.out = nn.ModuleList(layers), nn.Linear(recipe.width, dim)
        for layer in layers:
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, x: Tensor, t: Tensor, noise: Tensor | None = None, cond: Tensor | None = None
    ) -> Tensor:
        """Return the network's output.

        Args:
            x: Places, shape (n, dim).
            t: Time, a scalar or (n,).
            noise: Standard deviation of the noise in x at that time, of the shape of t; damps the features.
            cond: Conditions, shape (n, cond).

        Returns:
            Shape (n, dim).
        """
        angle = x @ self.frequencies
        sin, cos = angle.sin(), angle.cos()
        if noise is not None:
            damping = torch.exp(-0.5 * self.frequencies.square().sum(0) * noise.square()[..., None])
            sin, cos = sin * damping, cos * damping
        inputs = [x, sin, cos, (2 * t - 1).expand(len(x))[:, None]]
        h = torch.cat(inputs if cond is None else [*inputs, cond], 1)
        h = nn.functional.silu(self.hidden[0](h))
        for layer in self.hidden[1:]:
            h = h + nn.functional.silu(layer(h))
        v: Tensor = self.out(h)
        return v
