"""Demonstrations made on the spot by an expert in a simulator, and kept."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch

from lfmkit.data.demonstrations.record import Demos, gathered
from lfmkit.data.download import cached
from lfmkit.simulators import Array, Task, start
from lfmkit.utils.progress import progress_over
from lfmkit.utils.tensors import read_tensors, write_tensors

_FORM = 2  # changes when demonstrations are made in another way
_TRIES = 3  # times n episodes are tried at most


def expert_demos(name: str, task: Task, n: int, seed: int, noise: float) -> Demos:
    """Return n successful demonstrations of a task's expert, made now or kept from before."""
    if n < 1 or not 0 <= noise < np.inf or seed < 0:
        raise ValueError(f"demonstrations need n >= 1, noise >= 0 and seed >= 0, got {n}, {noise} and {seed}")
    place = cached("demos", f"{_FORM} {task.source} {n} {seed} {noise}")
    demos = _kept(name, place)
    if demos is not None:
        return demos
    episodes, about = _made(name, task, n, seed, noise)
    demos = gathered(name, episodes, about, -1.0, 1.0)
    tensors = {
        "lengths": torch.tensor([len(done) for _, done in episodes]),
        "observations": torch.cat([seen for seen, _ in episodes]),
        "actions": torch.cat([done for _, done in episodes]),
    }
    try:
        write_tensors(place, tensors, about)
    except OSError as error:
        text = f"cannot keep the demonstrations, so next time they will be made again: {error}"
        warnings.warn(text, stacklevel=3)
    return demos


def _kept(name: str, place: Path) -> Demos | None:
    """Return the demonstrations of a file; None if it is not there or damaged: they are made again then."""
    try:
        tensors, about = read_tensors(place)
        lengths = tensors["lengths"].tolist()
        parts = [tensors[what].split(lengths) for what in ("observations", "actions")]
        return gathered(name, list(zip(*parts, strict=True)), about, -1.0, 1.0)
    except (OSError, ValueError, LookupError, RuntimeError):
        return None


def _made(
    name: str, task: Task, n: int, seed: int, noise: float
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], dict[str, str]]:
    """Let the expert act until n episodes were successes."""
    simulator = task()
    episodes: list[tuple[torch.Tensor, torch.Tensor]] = []
    broken = ""
    for k in progress_over(range(_TRIES * n)):
        first, jitter = start(k, seed, demonstration=True), np.random.default_rng((seed, k))
        expert = task.expert(first)
        seen: list[Array] = []
        done: list[Array] = []
        try:
            observation, success = simulator.reset(first), False
            while not success and len(done) < simulator.steps:
                seen.append(np.array(observation))
                done.append(np.array(expert(observation)))
                shaken = done[-1] + noise * jitter.standard_normal(done[-1].shape)
                observation, success = simulator.step(np.clip(shaken, -1, 1))
        except RuntimeError as error:  # the simulation broke down
            simulator, success, broken = task(), False, f"; in one, {error}"
        if success:
            episodes.append((torch.tensor(np.array(seen)).float(), torch.tensor(np.array(done)).float()))
        if len(episodes) == n:
            break
    else:
        raise ValueError(
            f"{name}: the expert succeeded in {len(episodes)} of {k + 1} episodes{broken}; {n} were wanted: "
            f"ask for fewer, or for less noise than {noise}"
        )
    return episodes, {
        "source": f"scripted expert of {task.source}",
        "kept": f"{n} successes of {k + 1} episodes tried",
        "seed": f"{seed}, episodes apart from those for evaluation",
        "noise": f"{noise:g} on the actions taken; on record is what the expert wanted",
    }
