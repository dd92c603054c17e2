"""A point that must pass a disc on either side: the smallest task where the mean of good actions is bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lfmkit.simulators import Array, Rule

SPEED = 0.05  # length of the longest move in one step
REACHED = 0.1  # distance from the goal that counts as success


@dataclass(frozen=True)
class Detour:
    """Recipe for a point robot that crosses the plane from left to right, past a disc at the origin.

    An observation holds the positions of the robot and of the goal; an action is a move, in units of the
    longest one. A robot that touches the disc is stuck. The expert goes straight on, and close to the disc
    it turns left or right by a coin toss that is not part of the observation. The same observation is
    therefore followed by two kinds of actions, and their mean leads into the disc.

    Args:
        radius: Radius of the disc.
        steps: Number of actions after which an episode ends as a failure.

    Raises:
        ValueError: The radius is not between 0 and 0.8, or the number of steps is below 1.

    >>> simulator = Detour()()
    >>> simulator.reset(seed=0).round(2)
    array([-1.  ,  0.04,  1.  , -0.07])
    """

    radius: float = 0.5
    steps: int = 120

    def __post_init__(self) -> None:
        if not 0 < self.radius < 0.8:
            raise ValueError(f"the radius must lie between 0 and 0.8, got {self.radius}")
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, got {self.steps}")

    def __call__(self) -> DetourSimulator:
        """Return a simulator of the task."""
        return DetourSimulator(self)

    @property
    def source(self) -> str:
        """Name and version of the task."""
        return f"{self}, version 1"

    def expert(self, seed: int) -> Rule:
        """Return the expert of an episode; the seed decides on which side it passes the disc."""
        side = 1.0 if np.random.default_rng((seed, 1)).random() < 0.5 else -1.0
        corner = np.array([0.0, side * (self.radius + 0.4)])

        def act(observation: Array) -> Array:
            place, goal = observation[:2], observation[2:]
            if place[0] < -self.radius - 0.3:
                towards = np.array([1.0, 0.0])  # it turns late: until then nothing shows the side
            else:
                towards = (corner if place[0] < -0.05 else goal) - place
            return np.asarray(towards / max(SPEED, float(np.linalg.norm(towards))))

        return act


class DetourSimulator:
    """A simulator of the task; see `Detour`."""

    def __init__(self, recipe: Detour) -> None:
        self.steps, self.radius = recipe.steps, recipe.radius
        self.place, self.goal = np.zeros(2), np.zeros(2)

    def reset(self, seed: int) -> Array:
        """Begin the episode of a seed, with start and goal drawn a little above or below the axis."""
        start, goal = np.random.default_rng(seed).uniform(-0.15, 0.15, 2)
        self.place, self.goal = np.array([-1.0, start]), np.array([1.0, goal])
        return np.concatenate([self.place, self.goal])

    def step(self, action: Array) -> tuple[Array, bool]:
        """Move, unless stuck; return the next observation and whether the goal is reached.

        Raises:
            ValueError: The action does not have two numbers.
        """
        if np.shape(action) != (2,):
            raise ValueError(f"an action has two numbers, got the shape {np.shape(action)}")
        move = np.asarray(action, dtype=np.float64)
        if np.linalg.norm(self.place) > self.radius:
            self.place = self.place + SPEED * move / max(1.0, float(np.linalg.norm(move)))
        done = bool(np.linalg.norm(self.place - self.goal) < REACHED)
        return np.concatenate([self.place, self.goal]), done
