"""Simulated robots: the contract of a simulator and of a task, and the seeds of episodes.

`Detour` and `MetaWorld` fulfil the contract; so does any class of your own with the same methods.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from lfmkit.simulators.detour import Detour
from lfmkit.simulators.metaworld import MetaWorld, film

__all__ = ["Array", "Detour", "MetaWorld", "Rule", "Simulator", "Task", "film", "start"]

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
        """Return an expert for one episode; its random choices, if any, follow from the seed."""

    @property
    def source(self) -> str:
        """Name and version of the task; demonstrations of another version are made again."""


def start(k: int, seed: int = 0, *, demonstration: bool = False) -> int:
    """Return the seed of episode k.

    Demonstrations use odd seeds and evaluation even ones, so their start states differ.

    >>> start(3), start(3, demonstration=True), start(3, seed=1)
    (6, 7, 4294967302)
    """
    return seed * 2**32 + 2 * k + demonstration
