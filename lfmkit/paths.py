"""Paths between the two ends of a block: x_t = alpha(t) x_l + beta(t) x_r.

Time t runs from 0 (data side, x_l) to 1 (noise side, x_r).
A path is a function of the time t and the block's step size gamma (math.inf for the free block) that
returns the two coefficient curves and their time derivatives. All paths start at x_l and end at x_r.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lfmkit.schedules import ou_factors


class Curves(NamedTuple):
    """Coefficients of a path and their time derivatives, each of the shape of t."""

    alpha: Tensor
    beta: Tensor
    d_alpha: Tensor
    d_beta: Tensor


Path = Callable[[Tensor, float], Curves]


def linear(t: Tensor, gamma: float) -> Curves:
    """Return the straight path 1 - t, t ("OT" in the paper; Flow Matching, arXiv 2210.02747).

    >>> linear(torch.tensor(0.25), 0.1).beta
    tensor(0.2500)
    """
    one = torch.ones_like(t)
    return Curves(1 - t, t, -one, one)


def trig(t: Tensor, gamma: float) -> Curves:
    """Return the trigonometric path cos(pi t/2), sin(pi t/2) (InterFlow, arXiv 2209.15571).

    It keeps the variance of *independent* ends. Between two near ends, as in a local block, it swells
    samples by up to sqrt(2) half-way.
    """
    quarter = math.pi / 2
    cos, sin = torch.cos(quarter * t), torch.sin(quarter * t)
    return Curves(cos, sin, -quarter * sin, quarter * cos)


def great_circle(t: Tensor, gamma: float) -> Curves:
    """Return the path sin((1-t) th)/sin th, sin(t th)/sin th with cos th = e^-gamma.

    With the OU coupling it passes through the OU process's own marginals, so nothing swells; in the
    free block th = pi/2 and it is ``trig``.
    """
    cos, sin = ou_factors(gamma)
    theta, scale = math.atan2(sin, cos), 1 / sin
    right, left = theta * t, theta * (1 - t)
    return Curves(
        scale * torch.sin(left),
        scale * torch.sin(right),
        -theta * scale * torch.cos(left),
        theta * scale * torch.cos(right),
    )


PATHS: dict[str, Path] = {path.__name__: path for path in (linear, trig, great_circle)}


def named(name: str) -> Path:
    """Return the path of that name.

    Raises:
        ValueError: There is no such path.
    """
    if name not in PATHS:
        raise ValueError(f"unknown path {name!r}: choose one of {', '.join(PATHS)}")
    return PATHS[name]
