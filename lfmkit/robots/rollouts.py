"""Rollouts: let a policy act in simulators, in several processes, and count its successes.

The seed of an episode determines the simulator's start and the policy's noise. `lfmkit.robots.episodes` says
how episodes are played, and what happens when a simulator dies.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from lfmkit.metrics.records import Record
from lfmkit.robots.episodes import Actor, Episode, Make, play_all
from lfmkit.robots.policies import Policy
from lfmkit.simulators import Rule, start

__all__ = ["Actor", "Episode", "Expert", "Rollouts", "Success", "rollouts", "wilson"]


@dataclass(frozen=True)
class Expert:
    """A scripted expert as an actor: one action at a time, from the current observation.

    Args:
        rule: A function from an observation (o,) to an action (a,).
        observe: Number of latest observations that it sees, of which the rule gets the last.
        nfe: Evaluations of a network per action, which a rule without a network does not need.
    """

    rule: Rule
    observe: int = 1
    nfe: float = 0.0

    def act(self, seen: Tensor, noise: Sequence[Generator]) -> Tensor:
        """Return the next action of n robots, (n, 1, a)."""
        return torch.tensor(np.array([self.rule(one) for one in seen[:, -1].double().numpy()]))[:, None]


@dataclass(frozen=True, kw_only=True, repr=False)
class Success(Record):
    """A success rate: `metrics.table` shows several of them.

    Attributes:
        interval: Its 95 % interval by Wilson's formula.
        n: Number of episodes.
        died: Number of episodes whose simulator died, which count as failures; None if there are none.
        nfe: Network evaluations per action.
        pace: Milliseconds that the actor needs per action, on one thread.
        parameters: Trainable numbers of the policy's flow; None for other actors.
        seed: Seed of the episodes.
        split: Name of the episodes.
    """

    interval: tuple[float, float]
    n: int
    died: int | None
    nfe: float
    pace: float
    parameters: int | None
    seed: int
    split: str = "held-out episodes"


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Episodes, and the success rate in them.

    Attributes:
        episodes: The episodes, in the order of their seeds.
        success: The success rate, and how it was measured.
    """

    episodes: tuple[Episode, ...]
    success: Success

    def _repr_html_(self) -> str:
        return self.success._repr_html_()


def rollouts(
    actor: Actor, make: Make, n: int = 100, *, seed: int = 0, batch: int = 10, workers: int = 1
) -> Rollouts:
    """Let an actor act in n episodes, none of which starts like a demonstration.

    Args:
        actor: The actor.
        make: Builds a simulator: `simulators.MetaWorld(task)`, or your own function.
        n: Number of episodes.
        seed: Seed of the episodes and of the actor's noise.
        batch: Number of episodes that act at the same time, in one process; 1 times the actor as in one
            robot.
        workers: Number of processes. With 1, all episodes are played in this process, and a simulator that
            ends its process ends this one.

    Raises:
        ValueError: A number is below 1, the seed is negative, or the actor cannot take the observations or
            returns no actions.
        RuntimeError: All simulators died, for example because actions have a wrong size; the message says why
            the first one did.

    Reference for the interval: Wilson, Probable inference, the law of succession, and statistical inference,
    JASA 1927.
    """
    for name, value in (("n", n), ("batch", batch), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    begun = time.monotonic()
    seeds = [start(k, seed) for k in range(n)]
    parts = [seeds[k : k + batch] for k in range(0, n, batch)]
    played = play_all(actor, make, parts, workers)
    episodes = tuple(episode for part in played for episode in part.episodes)
    if all(episode.outcome == "died" for episode in episodes):
        raise RuntimeError(f"all {n} simulators died, the first of: {episodes[0].why}")
    actions = sum(len(episode.done) for episode in episodes)
    good = sum(episode.outcome == "success" for episode in episodes)
    success = Success(
        measure="success rate",
        value=good / n,
        seconds=time.monotonic() - begun,
        interval=wilson(good, n),
        n=n,
        died=sum(episode.outcome == "died" for episode in episodes) or None,
        nfe=sum(part.nfe for part in played) / max(actions, 1),
        pace=1e3 * sum(part.thinking for part in played) / max(actions, 1),
        parameters=actor.flow.parameters_count if isinstance(actor, Policy) else None,
        seed=seed,
    )
    return Rollouts(episodes, success)


def wilson(good: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's interval of the success rate good / n, at z standard deviations.

    >>> low, high = wilson(60, 100)
    >>> round(low, 3), round(high, 3)
    (0.502, 0.691)
    """
    p, w = good / n, z * z / n
    middle, half = p + w / 2, z * math.sqrt(p * (1 - p) / n + w / n / 4)
    low, high = (middle - half) / (1 + w), (middle + half) / (1 + w)
    return max(0.0, min(p, low)), min(1.0, max(p, high))  # rounding must not exclude a rate of 1
