"""Objectives: what a block's network is trained for, one under another.

An objective is a frozen dataclass with a loss, a distribution of the times t and, where samples are not drawn
by solving an ODE, a sampler. Its class and fields are stored with the flow that it trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor

from lfmkit.flows.block import Block
from lfmkit.solvers import Sampler
from lfmkit.training.targets import Batch, Targets
from lfmkit.training.times import Times

Weight = Callable[[Tensor], Tensor]  # of times (n,), shape (n,)


class Objective:
    """The goal of a block's training; your own is a frozen dataclass that extends this class.

    Attributes:
        times: Distribution of t, see `lfmkit.training.times`; None leaves it to ``Training(near_data=)``.
        sampler: How samples are drawn from a flow trained for it; None for the flow's own ODE solver.
    """

    times: Times | None = None
    sampler: Sampler | None = None

    def second(self, t: Tensor, generator: Generator) -> Tensor | None:
        """Return a second time r for each t (n,), where the loss needs one; it is the batch's `r`."""
        return None

    def loss(self, block: Block, batch: Batch, generator: Generator) -> Tensor:
        """Return the mean loss over a batch, a scalar.

        Args:
            block: The block; call it, or its `error`.
            batch: Places, times, velocities there, and what else belongs to the samples.
            generator: For random draws of its own. It is seeded for each step, so that a training that was
                interrupted goes on bit for bit.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Velocity(Objective):
    """Regression on velocities: the mean square of `Block.error`, as in flow matching (arXiv 2210.02747).

    Args:
        times: Distribution of t, for example ``times.Power(2.0)`` or ``times.LogitNormal()``.
        weight: Weight of the square errors at times (n,), shape (n,). In a preconditioned block they are
            already weighted by 1/c_out(t)^2.
    """

    times: Times | None = None
    weight: Weight | None = None

    def loss(self, block: Block, batch: Batch, generator: Generator) -> Tensor:
        """Return the mean square error."""
        if self.weight is None:
            return block.loss(batch.x, batch.t, batch.velocity, batch.cond)
        error = block.error(batch.x, batch.t, batch.velocity, batch.cond)
        return (self.weight(batch.t)[:, None] * error.square()).mean()


def drawn(objective: Objective, targets: Targets, n: int, generator: Generator) -> Batch:
    """Return n samples of the targets, with the second times that the objective asks for."""
    batch = targets.draw(n, generator)
    return batch._replace(r=objective.second(batch.t, generator))
