"""A block: one velocity network on one step of the way from data to noise, with its path and coupling.

Inside a block time runs from t = 0 (data side) to t = 1 (noise side); most other libraries run the other way.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lfmkit import couplings, paths, traces


class Block(nn.Module):
    """One velocity field with its step size, path and coupling.

    Args:
        net: The velocity v(x, t) itself: any function of x (n, d) and a scalar or (n,) time t. With
            precondition=True a network F inside v = c_skip(t) x + c_out(t) F(c_in(t) x, t, noise(t)).
        gamma: OU step size; math.inf for the free block.
        path: Name of the path.
        coupling: Name of the coupling.
        precondition: Let c_skip x be the best linear guess of dx_t/dt, and c_out the size of what it misses,
            so that every block's network learns a target of unit size (in the spirit of Elucidating the
            Design Space of Diffusion-Based Generative Models, arXiv 2206.00364).
        cond: Columns of a condition the network takes; it also sees a column that says whether there is one.

    Attributes:
        moments: E x_l^2, E x_l x_r and E x_r^2, means over the dimensions; `fit` measures them.
    """

    moments: Tensor

    def __init__(
        self,
        net: Callable[..., Tensor],
        gamma: float,
        path: str,
        coupling: str,
        precondition: bool = False,
        cond: int = 0,
    ) -> None:
        super().__init__()
        self.net = net
        self.gamma, self.path, self.coupling, self.precondition = gamma, path, coupling, precondition
        self.cond = cond
        self._path = paths.named(path)
        couplings.named(coupling)
        together = math.exp(-gamma) if coupling == "ou" else 0.0
        self.register_buffer("moments", torch.tensor([1.0, together, 1.0]))  # of data N(0, I)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return the velocity at x (n, d) and time t (scalar or (n,)), shape (n, d).

        In a block with conditions, cond is what `conditions.shown` makes of them; None is "no condition".
        """
        more = self._condition(x, cond)
        if not self.precondition:
            return self.net(x, t, **more)
        scale, skip, out, noise = (c[..., None] for c in self._scales(t))
        return skip * x + out * self.net(scale * x, t, noise[..., 0], **more)

    def with_divergence(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the velocity at x (n, d) and a scalar time t, and its exact divergence (n,).

        A network that has a ``with_divergence`` of its own is asked for it.
        """
        own = getattr(self.net, "with_divergence", None)
        if own is None:
            return traces.by_gradients(lambda y, s: self(y, s, cond), x, t)
        more = self._condition(x, cond)
        if not self.precondition:
            return own(x, t, **more)
        scale, skip, out, noise = self._scales(t)
        v, divergence = own(scale * x, t, noise, **more)
        return skip * x + out * v, skip * x.shape[1] + out * scale * divergence

    def loss(self, x: Tensor, t: Tensor, velocity: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return the mean square error against velocities (n, d) at x (n, d), t (n,).

        In a preconditioned block it is the error of F, that is, weighted by 1/c_out(t)^2.
        """
        more = self._condition(x, cond)
        if not self.precondition:
            return (self.net(x, t, **more) - velocity).square().mean()
        scale, skip, out, noise = (c[:, None] for c in self._scales(t))
        return (self.net(scale * x, t, noise[:, 0], **more) - (velocity - skip * x) / out).square().mean()

    def _condition(self, x: Tensor, cond: Tensor | None) -> dict[str, Tensor]:
        if self.cond == 0:
            return {}
        return {"cond": x.new_zeros(len(x), self.cond + 1) if cond is None else cond}

    def _scales(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return c_in, c_skip, c_out and the size of the noise in c_in x_t, all of the shape of t.

        With M the second moments of the ends, x = alpha x_l + beta x_r and its velocity x' have the moments
        V = E x^2, C = E x x' and D = E x'^2. So c_skip = C / V, and c_out^2 = D - C^2 / V is
        (alpha beta' - alpha' beta)^2 det M / V. A bridge's noise sigma e adds sigma^2, sigma sigma' and
        sigma'^2 to them. c_in keeps the size of the input that of x_l at all times. Noise is what of x_t
        does not follow from x_l linearly.
        """
        left, both, right = self.moments
        alpha, beta, d_alpha, d_beta, sigma, d_sigma = self._path(t, self.gamma)
        V = alpha.square() * left + 2 * alpha * beta * both + beta.square() * right
        C = alpha * d_alpha * left + (alpha * d_beta + beta * d_alpha) * both + beta * d_beta * right
        D = d_alpha.square() * left + 2 * d_alpha * d_beta * both + d_beta.square() * right
        det = left * right - both.square()
        apart = (alpha * d_beta - beta * d_alpha).square() * det  # D V - C^2, without its cancellation
        apart = apart + (D * sigma.square() - 2 * C * sigma * d_sigma + V * d_sigma.square())
        V, C = V + sigma.square(), C + sigma * d_sigma
        scale = (left / V).sqrt()
        return scale, C / V, (apart / V).sqrt(), scale * (beta.square() * det / left + sigma.square()).sqrt()
