"""What demonstrations and rollouts need of a simulator, and which episodes belong to which of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Rule = Callable[[Array], Array]  # from an observation (o,) to an action (a,)


class Simulator(Protocol):
    """One robot at its task.

    Attributes:
        steps: Actions after which an episode ends as a failure.
    """

    steps: int

    def reset(self, seed: int) -> Array:
        """Begin the episode of a seed; return its first observation (o,)."""

    def step(self, action: Array) -> tuple[Array, bool]:
        """Take an action (a,), in [-1, 1]; return the next observation (o,) and whether the task is done.

        Raises:
            RuntimeError: The simulation broke down: this episode is lost, and so is this simulator.
        """


class Task(Protocol):
    """A recipe for simulators of a task, and an expert who can do it."""

    def __call__(self) -> Simulator:
        """Return a fresh simulator."""

    def expert(self, seed: int) -> Rule:
        """Return an expert for one episode: what it does is drawn from the seed, if anything is."""

    @property
    def source(self) -> str:
        """What it is, with its version: demonstrations that were made by another one are made again."""


def start(k: int, seed: int = 0, *, demonstration: bool = False) -> int:
    """Return the seed of episode k: no demonstration begins as an episode for evaluation does.

    >>> start(3), start(3, demonstration=True), start(3, seed=1)
    (6, 7, 4294967302)
    """
    return seed * 2**32 + 2 * k + demonstration
