"""A block: one velocity network on one step from data to noise, with its path and coupling.

Inside a block time runs from t = 0 (data side) to t = 1 (noise side); most other libraries run the other way.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lfmkit.couplings import COUPLINGS, Coupling, ou
from lfmkit.divergence import by_gradients
from lfmkit.paths import PATHS, Path
from lfmkit.utils.references import choose


class Block(nn.Module):
    """One velocity field with its step size, path and coupling.

    Args:
        net: The velocity v(x, t) itself: any module or function of x (n, d) and a scalar or (n,) time t. With
            precondition=True a network F inside v = c_skip(t) x + c_out(t) F(c_in(t) x, t). Of three further
            arguments it gets those that its signature names: ``noise``, the size of the noise in its input at
            time t, of the shape of t; ``cond`` (n, cond + 1); ``r``, a second time, of the shape of t.
        gamma: OU step size; math.inf for the free block.
        path: The path, a function or the name of one of `lfmkit.paths`.
        coupling: The coupling, a function or the name of one of `lfmkit.couplings`.
        precondition: Let c_skip x be the best linear guess of dx_t/dt, and c_out the size of what it misses,
            so that every block's network learns a target of unit size (in the spirit of Elucidating the
            Design Space of Diffusion-Based Generative Models, arXiv 2206.00364).
        cond: Columns of a condition the network takes; it also sees a column that says whether there is one.

    Attributes:
        path: The path, a function.
        coupling: The coupling, a function.
        moments: E x_l^2, E x_l x_r and E x_r^2, means over the dimensions; `fit` measures them.

    Raises:
        ValueError: There is no path or coupling of that name, or a network with conditions takes none.
    """

    moments: Tensor

    def __init__(
        self,
        net: Callable[..., Tensor],
        gamma: float,
        path: Path | str,
        coupling: Coupling | str,
        precondition: bool = False,
        cond: int = 0,
    ) -> None:
        super().__init__()
        self.net = net
        self.gamma, self.precondition, self.cond = gamma, precondition, cond
        self.path: Path = choose(path, PATHS, "path")
        self.coupling: Coupling = choose(coupling, COUPLINGS, "coupling")
        self._takes = _arguments(net)
        if cond and "cond" not in self._takes:
            raise ValueError(f"{_name(net)} takes no condition: its forward needs an argument named cond")
        together = math.exp(-gamma) if self.coupling is ou else 0.0
        self.register_buffer("moments", torch.tensor([1.0, together, 1.0]))  # of data N(0, I)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None, r: Tensor | None = None) -> Tensor:
        """Return the velocity at x (n, d) and time t (scalar or (n,)), shape (n, d).

        Args:
            x: Places.
            t: Time.
            cond: In a block with conditions what `guidance.with_flag` makes of them; None is "no condition".
            r: A second time, for networks that take one, such as mean velocities between r and t.

        Raises:
            TypeError: The network takes no second time.
        """
        if not self.precondition:
            return self.net(x, t, **self._further(x, None, cond, r))
        scale, skip, out, noise = (c[..., None] for c in self._scales(t))
        return skip * x + out * self.net(scale * x, t, **self._further(x, noise[..., 0], cond, r))

    def with_divergence(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the velocity at x (n, d) and a scalar time t, and its exact divergence (n,).

        A network that has a ``with_divergence`` of its own is asked for it.
        """
        own = getattr(self.net, "with_divergence", None)
        if own is None:
            return by_gradients(lambda y, s: self(y, s, cond), x, t)
        if not self.precondition:
            return own(x, t, **self._further(x, None, cond, None))
        scale, skip, out, noise = self._scales(t)
        v, divergence = own(scale * x, t, **self._further(x, noise, cond, None))
        return skip * x + out * v, skip * x.shape[1] + out * scale * divergence

    def error(self, x: Tensor, t: Tensor, velocity: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return how far the block is from velocities (n, d) at x (n, d), t (n,), shape (n, d).

        In a preconditioned block it is the error of F, that is, divided by c_out(t).
        """
        if not self.precondition:
            return self.net(x, t, **self._further(x, None, cond, None)) - velocity
        scale, skip, out, noise = (c[:, None] for c in self._scales(t))
        wanted = (velocity - skip * x) / out
        return self.net(scale * x, t, **self._further(x, noise[:, 0], cond, None)) - wanted

    def loss(self, x: Tensor, t: Tensor, velocity: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return the mean square `error`."""
        return self.error(x, t, velocity, cond).square().mean()

    def _further(
        self, x: Tensor, noise: Tensor | None, cond: Tensor | None, r: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the further arguments of the network, those of them that it takes."""
        more: dict[str, Tensor] = {}
        if noise is not None and "noise" in self._takes:
            more["noise"] = noise
        if self.cond:
            more["cond"] = x.new_zeros(len(x), self.cond + 1) if cond is None else cond
        if r is not None:
            if "r" not in self._takes:
                raise TypeError(
                    f"{_name(self.net)} takes no second time: its forward needs an argument named r"
                )
            more["r"] = r
        return more

    def _scales(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return c_in, c_skip, c_out and the size of the noise in c_in x_t, all of the shape of t.

        With M the second moments of the ends, x = alpha x_l + beta x_r and its velocity x' have the moments
        V = E x^2, C = E x x' and D = E x'^2. So c_skip = C / V, and c_out^2 = D - C^2 / V is
        (alpha beta' - alpha' beta)^2 det M / V. A bridge's noise sigma e adds sigma^2, sigma sigma' and
        sigma'^2 to them. c_in keeps the size of the input that of x_l at all times. Noise is what of x_t
        does not follow from x_l linearly.
        """
        left, both, right = self.moments
        alpha, beta, d_alpha, d_beta, sigma, d_sigma = self.path(t, self.gamma)
        V = alpha.square() * left + 2 * alpha * beta * both + beta.square() * right
        C = alpha * d_alpha * left + (alpha * d_beta + beta * d_alpha) * both + beta * d_beta * right
        D = d_alpha.square() * left + 2 * d_alpha * d_beta * both + d_beta.square() * right
        det = left * right - both.square()
        apart = (alpha * d_beta - beta * d_alpha).square() * det  # D V - C^2, without its cancellation
        apart = apart + (D * sigma.square() - 2 * C * sigma * d_sigma + V * d_sigma.square())
        V, C = V + sigma.square(), C + sigma * d_sigma
        scale = (left / V).sqrt()
        return scale, C / V, (apart / V).sqrt(), scale * (beta.square() * det / left + sigma.square()).sqrt()


def _arguments(net: Callable[..., Any]) -> frozenset[str]:
    """Return which of the further arguments a network takes."""
    further = frozenset({"noise", "cond", "r"})
    try:
        parameters = inspect.signature(net.forward if isinstance(net, nn.Module) else net).parameters
    except ValueError:  # a function of C that has none
        return frozenset()
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return further
    return further & set(parameters)


def _name(net: object) -> str:
    return getattr(net, "__name__", type(net).__name__)
