"""Conditions of samples, and guidance by them.

A network of a conditional flow sees the c columns of the condition and one more, which is 1 where there is a
condition and 0 where there is none; so one network learns both fields that guidance compares.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lfmkit.flows.block import Block


def with_flag(cond: Tensor, kept: Tensor) -> Tensor:
    """Return what a network sees of conditions (n, c): them and a 1, or zeros where `kept` (n, 1) is False.

    >>> with_flag(torch.ones(2, 2), torch.tensor([[True], [False]]))
    tensor([[1., 1., 1.],
            [0., 0., 0.]])
    """
    return torch.cat([cond * kept, kept.to(cond)], 1)


class Field:
    """A block's velocity for points with given conditions: v(x) + guidance (v(x | cond) - v(x)).

    Args:
        block: The block.
        cond: Conditions of the points, shape (n, c); None for the field without condition.
        guidance: Strength of guidance: 1 is the conditional field itself.

    Attributes:
        evaluations: Evaluations of the network for one of the field.

    Reference: Classifier-Free Diffusion Guidance, arXiv 2207.12598.
    """

    def __init__(self, block: Block, cond: Tensor | None = None, guidance: float = 1.0) -> None:
        self.block, self.cond, self.guidance = block, cond, guidance
        self.evaluations = 1 if cond is None or guidance == 1.0 else 2
        self._seen = None
        if cond is not None:
            self._seen = with_flag(cond, torch.ones_like(cond[:, :1], dtype=torch.bool))

    def __call__(self, x: Tensor, t: Tensor, r: Tensor | None = None) -> Tensor:
        """Return the velocity at x (n, d), time t and, for networks that take one, second time r."""
        given: Tensor = self.block(x, t, self._seen, r)
        if self.evaluations == 1:
            return given
        free: Tensor = self.block(x, t, None, r)
        return free + self.guidance * (given - free)

    def with_divergence(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the velocity (n, d) and its exact divergence (n,)."""
        given, given_div = self.block.with_divergence(x, t, self._seen)
        if self.evaluations == 1:
            return given, given_div
        free, free_div = self.block.with_divergence(x, t)
        return free + self.guidance * (given - free), free_div + self.guidance * (given_div - free_div)

    def part(self, some: slice) -> Field:
        """Return the field of some of the points."""
        return Field(self.block, None if self.cond is None else self.cond[some], self.guidance)
