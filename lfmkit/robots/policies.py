"""Policies: a flow of action chunks, conditioned on a robot's observations, in receding horizon.

A policy looks at the latest observations, generates the next `predict` actions at once, takes the first
`execute` of them and looks again (Diffusion Policy, arXiv 2303.04137).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from lfmkit.data import Demos
from lfmkit.flows.flow import Flow
from lfmkit.flows.loading import load as load_flow
from lfmkit.solvers import Solver
from lfmkit.utils import files

FORMAT = 1
STILL = 1e-4  # standard deviation below which a column counts as constant
FAR = 5.0  # standard deviations at which observations are clipped, since networks extrapolate badly


@dataclass(frozen=True, eq=False)
class Framing:
    """The map from windows of demonstrations to rows of a flow, and back; part of a policy's checkpoint.

    Attributes:
        observe: Number of latest observations that the policy sees.
        predict: Number of actions that it generates at once.
        seen: Mean and standard deviation of each observed number, (2, o).
        done: Mean and standard deviation of each number of an action, (2, a).
        limits: Smallest and largest demonstrated value of each number of an action, (2, a).
    """

    observe: int
    predict: int
    seen: Tensor
    done: Tensor
    limits: Tensor

    @property
    def dim(self) -> int:
        """Number of numbers in a chunk of actions: the dimension of the flow."""
        return self.predict * self.done.shape[1]

    @property
    def cond(self) -> int:
        """Number of numbers in the observations: the columns of the flow's condition."""
        return self.observe * self.seen.shape[1]

    def conditions(self, seen: Tensor) -> Tensor:
        """Return the conditions (n, cond) of observations (n, observe, o).

        Raises:
            ValueError: The shape does not fit, or a number is not finite.
        """
        want = (self.observe, self.seen.shape[1])
        if seen.ndim != 3 or seen.shape[1:] != want:
            raise ValueError(
                f"observations need the shape (n, {want[0]}, {want[1]}), got {tuple(seen.shape)}"
            )
        if not torch.isfinite(seen).all():
            raise ValueError("the observations have NaN or infinite values")
        return ((seen - self.seen[0]) / self.seen[1]).clamp(-FAR, FAR).flatten(1)

    def rows(self, done: Tensor) -> Tensor:
        """Return the rows (n, dim) of chunks of actions (n, predict, a)."""
        return ((done - self.done[0]) / self.done[1]).flatten(1)

    def actions(self, rows: Tensor) -> Tensor:
        """Return the chunks of actions (n, predict, a) of rows (n, dim), within the demonstrated limits."""
        done = rows.unflatten(1, (self.predict, -1)) * self.done[1] + self.done[0]
        return torch.minimum(torch.maximum(done, self.limits[0]), self.limits[1])


def framed(demos: Demos, observe: int = 1, predict: int = 8) -> tuple[Framing, Tensor, Tensor]:
    """Return a framing, and rows (n, dim) of a flow with their conditions (n, cond), one for every step.

    Train with ``fit(flow, rows, cond=conditions, training=Training(drop=0))``, where ``flow`` has the
    framing's dim and cond.

    Args:
        demos: Demonstrations.
        observe: Number of latest observations that the policy sees.
        predict: Number of actions that it generates at once.

    Raises:
        ValueError: observe or predict is below 1.

    >>> from lfmkit import data
    >>> import numpy as np
    >>> framing, rows, conditions = framed(data.demos([(np.eye(9), np.eye(9)[:, :2])]), observe=2, predict=4)
    >>> rows.shape, conditions.shape, framing.dim, framing.cond
    (torch.Size([9, 8]), torch.Size([9, 18]), 8, 18)
    """
    seen, done = demos.windows(observe, predict)
    all_done = torch.cat(demos.actions)
    framing = Framing(
        observe,
        predict,
        _scale(torch.cat(demos.observations)),
        _scale(all_done),
        torch.stack([all_done.amin(0), all_done.amax(0)]),
    )
    return framing, framing.rows(done), framing.conditions(seen)


@dataclass(frozen=True, eq=False)
class Policy:
    """A flow that generates chunks of actions.

    Args:
        flow: A flow with a condition, trained on rows of `framed`.
        framing: The framing of these rows.
        execute: Number of actions taken before it looks again.
        solver: Solver of the flow; the flow's own when left out.

    Raises:
        ValueError: The flow does not fit the framing, or execute is not between 1 and the framing's predict.
    """

    flow: Flow
    framing: Framing
    execute: int = 4
    solver: Solver | None = None

    def __post_init__(self) -> None:
        if (self.flow.dim, self.flow.cond) != (self.framing.dim, self.framing.cond):
            raise ValueError(
                f"the flow has dim {self.flow.dim} and cond {self.flow.cond}, "
                f"the framing needs {self.framing.dim} and {self.framing.cond}"
            )
        if not 1 <= self.execute <= self.framing.predict:
            raise ValueError(f"execute must lie between 1 and {self.framing.predict}, got {self.execute}")

    @property
    def observe(self) -> int:
        """Number of latest observations that it sees."""
        return self.framing.observe

    @property
    def nfe(self) -> float:
        """Velocity evaluations for the last chunk."""
        return sum(self.flow.last_nfe)

    def act(self, seen: Tensor, noise: Sequence[Generator]) -> Tensor:
        """Return the next actions.

        Args:
            seen: The latest observations of n robots, shape (n, observe, o).
            noise: A generator for each robot, so that its actions do not depend on the other robots' noise.

        Returns:
            Shape (n, execute, a).

        Raises:
            ValueError: The shape does not fit, or an observation is not finite.
        """
        cond = self.framing.conditions(seen)
        z = torch.stack([torch.randn(self.flow.dim, generator=generator) for generator in noise])
        with torch.no_grad():
            rows = self.flow.decode(z, self.solver, cond).cpu()
        return self.framing.actions(rows)[:, : self.execute]

    def save(self, folder: str | Path) -> None:
        """Write the policy to a folder, made if need be, as a flow whose flow.json also holds the framing."""
        framing = self.framing
        policy = {
            "format": FORMAT,
            "observe": framing.observe,
            "predict": framing.predict,
            "seen": framing.seen.tolist(),
            "done": framing.done.tolist(),
            "limits": framing.limits.tolist(),
            "execute": self.execute,
            "solver": None if self.solver is None else asdict(self.solver),
        }
        self.flow.save(folder, policy=policy)


def load_policy(folder: str | Path) -> Policy:
    """Return the policy that `Policy.save` wrote.

    Raises:
        FileNotFoundError: There is no policy in the folder.
        ValueError: A file is damaged, of a newer version, or describes a flow that is not a policy.
    """
    path = Path(folder) / "flow.json"
    about = files.read_json(path).get("policy")
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise ValueError(f"{path} does not describe a policy: read a flow by lfmkit.load")
    if about["format"] > FORMAT:
        raise ValueError(
            f"{path} is of a newer lfmkit (policies of format {about['format']}; this one reads {FORMAT}): "
            "update lfmkit"
        )
    try:
        tables = [torch.tensor(about[name]) for name in ("seen", "done", "limits")]
        framing = Framing(about["observe"], about["predict"], *tables)
        execute, solver = about["execute"], about["solver"] and Solver(**about["solver"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error
    return Policy(load_flow(folder), framing, execute, solver)


def _scale(rows: Tensor) -> Tensor:
    mean, std = rows.mean(0), rows.std(0, correction=0)  # a single row gives constant columns
    return torch.stack([mean, torch.where(std < STILL, torch.ones_like(std), std)])
