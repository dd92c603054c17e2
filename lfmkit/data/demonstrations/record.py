"""Demonstrations: what a robot observed and did, episode by episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Demos:
    """Episodes of observations and actions.

    Attributes:
        name: Name of the task.
        observations: Numbers observed before each action, (steps, o) float32 for each episode.
        actions: Actions taken, (steps, a) float32 for each episode.
        provenance: Where they come from, how many were tried and kept, seeds, versions.
    """

    name: str
    observations: tuple[Tensor, ...]
    actions: tuple[Tensor, ...]
    provenance: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.actions)

    def __repr__(self) -> str:
        steps = sum(map(len, self.actions))
        shapes = f"{self.observations[0].shape[1]} numbers observed, {self.actions[0].shape[1]} done"
        return f"<Demos {self.name}: {len(self):,} episodes, {steps:,} steps, {shapes}>"

    def windows(self, observe: int, predict: int) -> tuple[Tensor, Tensor]:
        """Return for every step what was observed up to it and the actions that followed.

        Before the first step stands the first observation, after the last the last action: so that the first
        steps of an episode have a past, and the last ones a future.

        Args:
            observe: Number of latest observations, the present one included.
            predict: Number of actions, the present one included.

        Returns:
            Shapes (steps, observe, o) and (steps, predict, a).

        Raises:
            ValueError: A number is below 1.
        """
        if observe < 1 or predict < 1:
            raise ValueError(f"observe and predict must be 1 or more, got {observe} and {predict}")
        past = [_framed(rows, observe - 1, 0).unfold(0, observe, 1) for rows in self.observations]
        future = [_framed(rows, 0, predict - 1).unfold(0, predict, 1) for rows in self.actions]
        return torch.cat(past).transpose(1, 2).contiguous(), torch.cat(future).transpose(1, 2).contiguous()


def gathered(
    name: str, episodes: Sequence[tuple[Any, Any]], provenance: Mapping[str, str], low: float, high: float
) -> Demos:
    """Return the demonstrations of checked pairs (observations, actions), with actions clipped."""
    if not episodes:
        raise ValueError(f"{name}: there are no demonstrations")
    if any(not isinstance(episode, tuple | list) or len(episode) != 2 for episode in episodes):
        raise ValueError(f"{name}: every episode must be a pair (observations, actions)")
    pairs = []
    for k, (seen, done) in enumerate(episodes):
        place = f"{name}, episode {k}"
        pairs.append((_matrix(seen, f"{place}: observations"), _matrix(done, f"{place}: actions")))
        (steps, o), (acts, a) = (rows.shape for rows in pairs[-1])
        if steps not in (acts, acts + 1):
            raise ValueError(f"{place}: {steps} observations and {acts} actions")
        if (o, a) != (pairs[0][0].shape[1], pairs[0][1].shape[1]):
            first = f"{pairs[0][0].shape[1]} and {pairs[0][1].shape[1]}"
            raise ValueError(f"{place}: {o} numbers observed and {a} done, in episode 0 {first}")
    clipped = sum(int(((done < low) | (done > high)).any(1).sum()) for _, done in pairs)
    steps = sum(len(done) for _, done in pairs)
    return Demos(
        name,
        tuple(seen[: len(done)] for seen, done in pairs),  # the last observation comes after all actions
        tuple(done.clamp(low, high) for _, done in pairs),
        {**provenance, "actions cut off": f"{clipped:,} of {steps:,} at {low:g} or {high:g}"},
    )


def _matrix(values: Any, what: str) -> Tensor:
    try:
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is refused below
            rows = torch.as_tensor(np.asarray(values, dtype=np.float32))
    except (TypeError, ValueError, RuntimeError) as error:  # the last, of a tensor with gradients
        raise ValueError(f"{what}: not a table of numbers: {error}") from error
    if rows.ndim != 2 or not rows.numel():
        raise ValueError(f"{what}: need a shape (steps, numbers), got {tuple(rows.shape)}")
    bad = ~torch.isfinite(rows).all(1)
    if bad.any():
        raise ValueError(
            f"{what}: NaN or infinite in {int(bad.sum())} steps, first in {int(bad.int().argmax())}"
        )
    return rows


def _framed(rows: Tensor, before: int, after: int) -> Tensor:
    return torch.cat([rows[:1].expand(before, -1), rows, rows[-1:].expand(after, -1)])
