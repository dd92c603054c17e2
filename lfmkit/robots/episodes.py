"""Play episodes: one actor and several simulators at a time, in several processes.

Episodes act in batches of a fixed size, so that results do not depend on the number of processes. An episode
that dies, alone or with its whole process, does not affect the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from loky import BrokenProcessPool, get_reusable_executor
from loky.process_executor import TerminatedWorkerError
from torch import Generator, Tensor

from lfmkit.simulators import Simulator
from lfmkit.utils.progress import progress_over

Make = Callable[[], Simulator]


class Actor(Protocol):
    """Chooses actions: a `policies.Policy`, a `rollouts.Expert`, or your own class.

    Attributes:
        observe: Number of latest observations that it sees.
        nfe: Evaluations of a network for its last actions.
    """

    @property
    def observe(self) -> int: ...  # noqa: D102

    @property
    def nfe(self) -> float: ...  # noqa: D102

    def act(self, seen: Tensor, noise: Sequence[Generator]) -> Tensor:
        """Return the next actions (n, steps, a) of n robots that observed `seen` (n, observe, o)."""


@dataclass(frozen=True, eq=False)
class Episode:
    """The course of one episode.

    Attributes:
        seed: Seed of the episode.
        outcome: "success", "failure" (time was up), or "died" (the simulator broke down).
        seen: Observations, (steps + 1, o), float32; the last one is missing if the episode died.
        done: Actions, (steps, a), float32.
        why: Reason why the simulator died.
    """

    seed: int
    outcome: str
    seen: np.ndarray
    done: np.ndarray
    why: str = ""


@dataclass(frozen=True, eq=False)
class Played:
    """A batch of episodes, with the actor's network evaluations and seconds summed over its robots."""

    episodes: list[Episode]
    nfe: float
    thinking: float


def play_all(actor: Actor, make: Make, parts: list[list[int]], workers: int) -> list[Played]:
    """Play batches of episodes.

    Args:
        actor: The actor.
        make: Builds a simulator.
        parts: Seeds of the episodes of each batch.
        workers: Number of processes; 1 plays in this process.

    Raises:
        RuntimeError: The processes cannot load the actor or the simulators.
    """
    if workers == 1:
        return [_play(actor, make, part) for part in progress_over(parts)]
    environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

    def attempt(some: list[list[int]], count: int) -> list[Played | None]:
        executor = get_reusable_executor(max_workers=count, timeout=60, env=environment)
        found: list[Played | None] = [None] * len(some)
        futures = []
        try:
            with suppress(TerminatedWorkerError):  # one may die before all are submitted
                for part in some:
                    futures.append(executor.submit(_play, actor, make, part))
            for k, future in enumerate(progress_over(futures)):
                with suppress(TerminatedWorkerError):
                    found[k] = future.result()
        except BrokenProcessPool as error:
            reason = str(error.__cause__ or error).strip('"\n').splitlines()[-1]  # of the process's traceback
            raise RuntimeError(
                f"the processes cannot load the actor or the simulators ({reason}): write their classes in "
                "the notebook or script itself or in an installed package, or take workers=1"
            ) from error
        except BaseException:
            executor.shutdown(wait=True, kill_workers=True)
            raise
        return found

    found = attempt(parts, workers)
    # a process that dies also ends the batches beside it: missing ones are played again, by themselves
    for k, part in enumerate(parts):
        if found[k] is None:
            found[k] = attempt([part], 1)[0] or _joined(
                [attempt([[seed]], 1)[0] or _dead(seed) for seed in part]
            )
    return [played for played in found if played is not None]


def _dead(seed: int) -> Played:
    return Played(
        [Episode(seed, "died", _table([]), _table([]), "its process crashed or was killed")], 0.0, 0.0
    )


def _joined(parts: Sequence[Played]) -> Played:
    episodes = [episode for part in parts for episode in part.episodes]
    return Played(episodes, sum(part.nfe for part in parts), sum(part.thinking for part in parts))


class _Robot:
    """One simulator in its episode."""

    def __init__(self, simulator: Simulator, seed: int) -> None:
        self.simulator, self.seed = simulator, seed
        self.noise = Generator().manual_seed(seed)
        self.seen: list[np.ndarray] = []
        self.done: list[np.ndarray] = []
        self.outcome, self.why = "", ""
        self._try(lambda: self._note(simulator.reset(seed), False))

    def take(self, actions: np.ndarray) -> None:
        """Take actions one after another until the episode ends."""
        for action in actions:
            if self.outcome:
                return
            self.done.append(action)
            self._try(partial(self._step, action))

    def past(self, observe: int) -> np.ndarray:
        """Return the latest observations; the first one is repeated where there are too few."""
        rows = self.seen[-observe:]
        return np.stack([rows[0]] * (observe - len(rows)) + rows)

    def episode(self) -> Episode:
        """Return the course of the episode."""
        return Episode(self.seed, self.outcome, _table(self.seen), _table(self.done), self.why)

    def _step(self, action: np.ndarray) -> None:
        self._note(*self.simulator.step(action))

    def _note(self, observation: np.ndarray, success: bool) -> None:
        if np.ndim(observation) != 1 or not np.isfinite(observation).all():
            raise RuntimeError(f"an observation is not a row of finite numbers: {observation}")
        self.seen.append(np.array(observation, dtype=np.float32))
        if success:
            self.outcome = "success"
        elif len(self.done) >= self.simulator.steps:
            self.outcome = "failure"

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # an error of a simulator ends only its own episode
            self.outcome, self.why = "died", f"{type(error).__name__}: {error}"


_idle: tuple[Any, list[Simulator]] = (None, [])  # the last task that this process played, and its simulators


def _play(actor: Actor, make: Make, seeds: Sequence[int]) -> Played:
    """Play episodes at the same time; simulators are reused unless they died."""
    global _idle
    idle = _idle[1] if _idle[0] == make else []
    _idle = (make, [])
    robots = [_Robot(idle.pop() if idle else make(), seed) for seed in seeds]
    nfe = thinking = 0.0
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        while active := [robot for robot in robots if not robot.outcome]:
            seen = torch.from_numpy(np.stack([robot.past(actor.observe) for robot in active]))
            clock = time.perf_counter()
            actions = _checked(actor.act(seen, [robot.noise for robot in active]), len(active))
            thinking += time.perf_counter() - clock
            nfe += actor.nfe * len(active)
            for robot, chunk in zip(active, actions.numpy(), strict=True):
                robot.take(chunk)
    finally:
        torch.set_num_threads(before)
    _idle = (make, idle + [robot.simulator for robot in robots if robot.outcome != "died"])
    return Played([robot.episode() for robot in robots], nfe, thinking)


def _checked(actions: Tensor, n: int) -> Tensor:
    """Return an actor's actions if they are finite and at least one step; without one, episodes never end."""
    if actions.ndim != 3 or len(actions) != n or not actions.numel():
        raise ValueError(
            f"an actor must return actions of the shape ({n}, steps, a), one step or more, "
            f"got {tuple(actions.shape)}"
        )
    if not torch.isfinite(actions).all():
        raise ValueError("the actor's actions have NaN or infinite values")
    return actions


def _table(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, 0), dtype=np.float32)
