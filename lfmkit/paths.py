"""Paths between the two ends of a block: x_t = alpha(t) x_l + beta(t) x_r, and noise on the way for a bridge.

Time t runs from 0 (data side, x_l) to 1 (noise side, x_r).
A path is a function of the time t and the block's step size gamma (math.inf for the free block) that
returns the coefficient curves and their time derivatives. All paths start at x_l and end at x_r. Methods and
blocks take a path of your own as they take the name of one of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lfmkit.schedules import ou_factors


class Curves(NamedTuple):
    """Coefficients of x_t = alpha x_l + beta x_r + sigma e, e ~ N(0, I), and their time derivatives.

    Each has the shape of t; sigma is 0 for all paths here except the bridge.
    """

    alpha: Tensor
    beta: Tensor
    d_alpha: Tensor
    d_beta: Tensor
    sigma: Tensor
    d_sigma: Tensor


Path = Callable[[Tensor, float], Curves]

BRIDGE = 0.5  # standard deviation of the Brownian motion of `bridge` in the free block, per unit of u


def linear(t: Tensor, gamma: float) -> Curves:
    """Return the straight path 1 - t, t ("OT" in the paper; Flow Matching, arXiv 2210.02747).

    >>> linear(torch.tensor(0.25), 0.1).beta
    tensor(0.2500)
    """
    one = torch.ones_like(t)
    return noiseless(1 - t, t, -one, one)


def trig(t: Tensor, gamma: float) -> Curves:
    """Return the trigonometric path cos(pi t/2), sin(pi t/2) (InterFlow, arXiv 2209.15571).

    It keeps the variance of *independent* ends. Between two near ends, as in a local block, it swells
    samples by up to sqrt(2) half-way.
    """
    quarter = math.pi / 2
    cos, sin = torch.cos(quarter * t), torch.sin(quarter * t)
    return noiseless(cos, sin, -quarter * sin, quarter * cos)


def great_circle(t: Tensor, gamma: float) -> Curves:
    """Return the path sin((1-t) th)/sin th, sin(t th)/sin th with cos th = e^-gamma.

    With the OU coupling it passes through the OU process's own marginals, so nothing swells; in the
    free block th = pi/2 and it is ``trig``.
    """
    cos, sin = ou_factors(gamma)
    theta, scale = math.atan2(sin, cos), 1 / sin
    right, left = theta * t, theta * (1 - t)
    return noiseless(
        scale * torch.sin(left),
        scale * torch.sin(right),
        -theta * scale * torch.cos(left),
        theta * scale * torch.cos(right),
    )


def vp(t: Tensor, gamma: float) -> Curves:
    """Return the variance-preserving diffusion's path: OU marginals, as ``great_circle``, in another clock.

    The clock is that of the linear beta from 0.1 to 20 (Score-Based Generative Modeling through SDEs,
    arXiv 2011.13456), stretched a little so that it arrives at t = 1, and run in the square root of its own
    time, since the velocity would be infinite at t = 0 otherwise.
    """
    low, high = 0.1, 20.0
    shrink, spread = ou_factors(gamma)
    end = -math.expm1(-0.25 * (low + high))
    far = -math.expm1(-gamma) / end  # A falls from 1 to e^-gamma; 1 - A = far (1 - e^-tau)
    s = t.square()
    tau = 0.5 * low * s + 0.25 * (high - low) * s.square()
    d_A = -far * torch.exp(-tau) * t * (low + (high - low) * s)
    gone = -far * torch.expm1(-tau)
    A, B = 1 - gone, (gone * (2 - gone)).clamp(min=0).sqrt()  # x_t = A x_l + B g with A^2 + B^2 = 1
    start = math.sqrt(far * low)  # B is about start t where t is small
    d_B = torch.where(t < 1e-6, start, -A * d_A / B.clamp(min=1e-6 * start))
    return noiseless(A - shrink / spread * B, B / spread, d_A - shrink / spread * d_B, d_B / spread)


def bridge(t: Tensor, gamma: float) -> Curves:
    """Return a Brownian bridge: the straight path and noise of standard deviation BRIDGE sqrt(u (1 - u)).

    u = sin^2(pi t/2): in this clock the velocities of the bridge are finite at both ends. BRIDGE is scaled by
    the noise of the block's OU step. Between ends coupled by the entropic plan of regularisation 2 BRIDGE^2
    (``couplings.sinkhorn``) its marginals are those of a Schroedinger bridge. The velocity learned is that of
    its probability flow, drift minus BRIDGE^2/2 times the score: the score's part is the one of d_sigma,
    E[d_sigma e | x_t] = -sigma d_sigma grad log p_t.

    Reference: Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport,
    arXiv 2302.00482.
    """
    half, sigma = 0.5 * math.pi, 0.5 * BRIDGE * ou_factors(gamma)[1]
    cos, sin = torch.cos(half * t), torch.sin(half * t)
    speed = 2 * half * sin * cos
    return Curves(
        cos.square(),
        sin.square(),
        -speed,
        speed,
        sigma * torch.sin(math.pi * t),
        sigma * math.pi * torch.cos(math.pi * t),
    )


def noiseless(alpha: Tensor, beta: Tensor, d_alpha: Tensor, d_beta: Tensor) -> Curves:
    """Return the curves of a path without noise on the way."""
    none = torch.zeros_like(alpha)
    return Curves(alpha, beta, d_alpha, d_beta, none, none)


def is_noisy(path: Path, gamma: float) -> bool:
    """Return whether a path adds noise on the way: whether its sigma differs from 0 anywhere.

    >>> is_noisy(linear, 0.1), is_noisy(bridge, 0.1)
    (False, True)
    """
    return bool((path(torch.linspace(0, 1, 33), gamma).sigma != 0).any())


PATHS: dict[str, Path] = {path.__name__: path for path in (linear, trig, great_circle, vp, bridge)}
