"""Conditions: what a conditional flow is told about each sample, and guidance by them.

A network of a conditional flow sees the c columns of the condition and one more, which is 1 where there is a
condition and 0 where there is none; so one network learns both fields that guidance compares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lfmkit.blocks import Block
from lfmkit.traces import Velocity


def as_conditions(cond: Tensor | None, columns: int, n: int, guidance: float, like: Tensor) -> Tensor | None:
    """Return conditions (n, columns) in the dtype and device of `like`, or None without condition.

    Args:
        cond: (n, c) numbers, (c,) numbers for all samples, or (n,) or () whole class numbers.
        columns: c of the flow; 0 for a flow without conditions.
        n: Number of samples.
        guidance: Strength of guidance, 1 for none.
        like: The samples.

    Raises:
        TypeError: The condition is no tensor.
        ValueError: The flow takes no condition; the shape, a class number or a value does not fit; guidance
            comes without condition or is not finite.

    >>> as_conditions(torch.tensor([2, 0]), 3, 2, 1.0, torch.zeros(2, 2))
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    if not math.isfinite(guidance):
        raise ValueError(f"guidance must be finite, got {guidance}")
    if cond is None:
        if guidance != 1.0:
            raise ValueError(f"guidance={guidance} needs a condition: give cond=")
        return None
    if columns == 0:
        raise ValueError("this flow takes no condition: build it with cond=, the number of columns")
    if not isinstance(cond, Tensor):
        raise TypeError(f"a condition must be a tensor, got {type(cond).__name__}")
    if not cond.is_floating_point():
        if cond.ndim > 1 or (cond.ndim == 1 and len(cond) != n):
            raise ValueError(f"class numbers need the shape ({n},), got {tuple(cond.shape)}")
        if cond.numel() and not (int(cond.min()) >= 0 and int(cond.max()) < columns):
            raise ValueError(f"class numbers must lie between 0 and {columns - 1}")
        cond = torch.nn.functional.one_hot(cond.long(), columns)
    if cond.shape not in ((n, columns), (columns,)):
        raise ValueError(f"the condition needs the shape ({n}, {columns}), got {tuple(cond.shape)}")
    if not torch.isfinite(cond).all():
        raise ValueError("the condition has NaN or infinite values")
    return cond.to(like).expand(n, columns)


def shown(cond: Tensor, kept: Tensor) -> Tensor:
    """Return what a network sees of conditions (n, c): them and a 1, or zeros where `kept` (n, 1) is False.

    >>> shown(torch.ones(2, 2), torch.tensor([[True], [False]]))
    tensor([[1., 1., 1.],
            [0., 0., 0.]])
    """
    return torch.cat([cond * kept, kept.to(cond)], 1)


@dataclass(frozen=True)
class Told:
    """A block's field v(x | cond), for conditions as `shown` makes them."""

    block: Block
    seen: Tensor

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the velocity at x (n, d) and time t."""
        v: Tensor = self.block(x, t, self.seen)
        return v

    def with_divergence(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the velocity (n, d) and its exact divergence (n,)."""
        return self.block.with_divergence(x, t, self.seen)


@dataclass(frozen=True)
class Guided:
    """The field v(x) + guidance (v(x | cond) - v(x)); its divergence is combined in the same way."""

    free: Block
    told: Told
    guidance: float

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the velocity at x (n, d) and time t."""
        free: Tensor = self.free(x, t)
        return free + self.guidance * (self.told(x, t) - free)

    def with_divergence(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the velocity (n, d) and its exact divergence (n,)."""
        (v, div), (told, told_div) = self.free.with_divergence(x, t), self.told.with_divergence(x, t)
        return v + self.guidance * (told - v), div + self.guidance * (told_div - div)


def guided(block: Block, cond: Tensor | None, guidance: float) -> tuple[Velocity, int]:
    """Return v(x) + guidance (v(x | cond) - v(x)) of a block, and how often it evaluates the network.

    Reference: Classifier-Free Diffusion Guidance, arXiv 2207.12598.
    """
    if cond is None:
        return block, 1
    told = Told(block, shown(cond, torch.ones_like(cond[:, :1], dtype=torch.bool)))
    return (told, 1) if guidance == 1.0 else (Guided(block, told, guidance), 2)
