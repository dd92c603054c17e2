"""A residual multi-layer perceptron v(x, t) with random Fourier features."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from lfmkit.divergence import by_gradients


@dataclass(frozen=True)
class MLP:
    """Recipe for an MLP velocity network.

    Args:
        width: Units of each hidden layer.
        depth: Number of hidden layers; all but the first are residual.
        fourier: Number of random frequencies w; sin(w x) and cos(w x) join the inputs. 0: none.
        scale: Standard deviation of the frequencies: the finest detail seen is about 1/scale.
        columns: Let each frequency look at one column only, the sizes evenly spread in the logarithm from
            1 to `scale`: for tables, whose columns have steps and atoms of their own.

    Raises:
        ValueError: A count or the scale is not positive.

    References: Fourier Features Let Networks Learn High Frequency Functions, arXiv 2006.10739; for columns,
    On Embeddings for Numerical Features in Tabular Deep Learning, arXiv 2203.05556.

    >>> net = MLP(width=64, depth=2)(dim=2)
    >>> net(torch.zeros(5, 2), torch.tensor(0.5)).shape
    torch.Size([5, 2])
    """

    width: int = 128
    depth: int = 4
    fourier: int = 128
    scale: float = 6.0
    columns: bool = False

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
        self.register_buffer("frequencies", _frequencies(recipe, dim))
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
        h = nn.functional.silu(self.hidden[0](self._inputs(x, t, noise, cond)))
        for layer in self.hidden[1:]:
            h = h + nn.functional.silu(layer(h))
        v: Tensor = self.out(h)
        return v

    def with_divergence(
        self, x: Tensor, t: Tensor, noise: Tensor | None = None, cond: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the output (n, dim) and its exact divergence (n,).

        With one or two hidden layers and no Fourier features it costs about as much as two outputs, whatever
        the dimension. With W_0, W_1, W_out the weights and D_0, D_1 the slopes of the activations the
        Jacobian is W_out (I + D_1 W_1) D_0 W_0. Its trace is linear in the slopes of each layer, and what
        stands between them is a fixed matrix:
        tr(W_out D_1 W_1 D_0 W_0) = sum_ab D_1a (W_1 * (W_0 W_out)^T)_ab D_0b.
        """
        if len(self.hidden) > 2 or self.frequencies.shape[1]:
            return by_gradients(lambda y, s: self(y, s, noise, cond), x, t)
        with torch.no_grad():
            return self._with_bilinear_trace(x, self._inputs(x, t, noise, cond))

    def _inputs(self, x: Tensor, t: Tensor, noise: Tensor | None, cond: Tensor | None) -> Tensor:
        """Return what the first layer sees: x, the features' sines and cosines, time and condition."""
        angle = x @ self.frequencies
        sin, cos = angle.sin(), angle.cos()
        if noise is not None:
            damping = torch.exp(-0.5 * self.frequencies.square().sum(0) * noise.square()[..., None])
            sin, cos = sin * damping, cos * damping
        inputs = [x, sin, cos, (2 * t - 1).expand(len(x))[:, None]]
        return torch.cat(inputs if cond is None else [*inputs, cond], 1)

    def _with_bilinear_trace(self, x: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        weights = [layer.weight for layer in self.hidden if isinstance(layer, nn.Linear)]
        around = weights[0][:, : x.shape[1]] @ self.out.weight  # W_0 W_out
        h, first = _silu(self.hidden[0](inputs))
        trace = first @ around.diagonal()
        if len(weights) > 1:
            step, second = _silu(self.hidden[1](h))
            h = h + step
            trace = trace + torch.linalg.vecdot(second, first @ (weights[1] * around.T).T)
        return self.out(h), trace


def _frequencies(recipe: MLP, dim: int) -> Tensor:
    if not recipe.columns:
        return recipe.scale * torch.randn(dim, recipe.fourier)
    turn = torch.arange(recipe.fourier)
    each = -(-recipe.fourier // dim)  # frequencies of the first column; later ones may have one less
    sizes = recipe.scale ** ((turn // dim) / max(1, each - 1))
    return torch.zeros(dim, recipe.fourier).index_put((turn % dim, turn), sizes)


def _silu(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x sigmoid(x) and its slope."""
    gate = torch.sigmoid(x)
    value = x * gate
    return value, gate + value * (1 - gate)
