"""Episodes, played: an actor and several simulators at a time, in several processes.

Episodes act in batches of a fixed size, so that results do not depend on the number of processes. One that
dies, alone or with its whole process, costs the others nothing.
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
    """What acts: a `policies.Policy`, an `Expert`, or one's own.

    Attributes:
        observe: Latest observations that it is told.
        nfe: Evaluations of a network that its last actions took.
    """

    @property
    def observe(self) -> int: ...  # noqa: D102

    @property
    def nfe(self) -> float: ...  # noqa: D102

    def act(self, seen: Tensor, noise: Sequence[Generator]) -> Tensor:
        """Return the next actions (n, steps, a) of n robots that observed `seen` (n, observe, o)."""


@dataclass(frozen=True, eq=False)
class Episode:
    """What happened in one episode.

    Attributes:
        seed: Its seed.
        outcome: "success", "failure" (time was up), or "died" (the simulator did).
        seen: Observations, (steps + 1, o), float32; of an episode that died the last one is missing.
        done: Actions, (steps, a), float32.
        why: What a simulator died of.
    """

    seed: int
    outcome: str
    seen: np.ndarray
    done: np.ndarray
    why: str = ""


@dataclass(frozen=True, eq=False)
class Played:
    """A batch of episodes; evaluations of the network and seconds of thinking, summed over its robots."""

    episodes: list[Episode]
    nfe: float
    thinking: float


def play_all(actor: Actor, make: Make, parts: list[list[int]], workers: int) -> list[Played]:
    """Play batches of episodes, which are seeds, in so many processes; 1 is this process.

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
    # a process that dies takes what runs beside it along: what is missing is done again, by itself
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
        """Return the latest observations, the first one again and again before it."""
        rows = self.seen[-observe:]
        return np.stack([rows[0]] * (observe - len(rows)) + rows)

    def episode(self) -> Episode:
        """Return what happened."""
        return Episode(self.seed, self.outcome, _table(self.seen), _table(self.done), self.why)

    def _step(self, action: np.ndarray) -> None:
        self._note(*self.simulator.step(action))

    def _note(self, observation: np.ndarray, success: bool) -> None:
        if np.ndim(observation) != 1 or not np.isfinite(observation).all():
            raise RuntimeError(f"an observation is no row of finite numbers: {observation}")
        self.seen.append(np.array(observation, dtype=np.float32))
        if success:
            self.outcome = "success"
        elif len(self.done) >= self.simulator.steps:
            self.outcome = "failure"

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # whatever a simulator raises ends its own episode only
            self.outcome, self.why = "died", f"{type(error).__name__}: {error}"


_idle: tuple[Any, list[Simulator]] = (None, [])  # of the last task that this process played


def _play(actor: Actor, make: Make, seeds: Sequence[int]) -> Played:
    """Play episodes at the same time; simulators are used again, but one that died is not."""
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
    """Return an actor's actions; without a single one its robots would stand still for ever."""
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
