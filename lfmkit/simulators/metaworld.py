"""Meta-World: fifty tasks of a simulated arm, with a scripted expert for each."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lfmkit.simulators import Array, Rule

UNSTABLE = slice(4, 7)  # MuJoCo's warnings of positions, velocities and accelerations without bounds


@dataclass(frozen=True)
class MetaWorld:
    """Recipe for a task of Meta-World: a Sawyer arm with a gripper, in MuJoCo.

    Calling the recipe builds a simulator. An observation has 39 numbers: hand (3), opening of the gripper, up
    to two objects (position and quaternion), all of these again one step earlier, and the goal (3). An action
    has four in [-1, 1]: a move of the hand and the force of the gripper. Every episode draws its own object
    and goal from the task's whole range; the benchmark MT1 draws from 50.

    Args:
        task: Name of the task: "reach-v3", "pick-place-v3", …
        steps: Number of actions after which an episode ends as a failure, at most Meta-World's own 500.

    Raises:
        ImportError: Meta-World is not installed.
        ValueError: There is no such task, or the number of steps is out of range.

    Reference: Meta-World+, arXiv 2505.11289.
    """

    task: str
    steps: int = 500

    def __post_init__(self) -> None:
        if self.task not in _metaworld().policies.ENV_POLICY_MAP:
            known = ", ".join(sorted(_metaworld().policies.ENV_POLICY_MAP))
            raise ValueError(f"unknown task {self.task!r}: choose one of {known}")
        if not 1 <= self.steps <= 500:
            raise ValueError(f"steps must lie between 1 and 500, got {self.steps}")

    def __call__(self) -> MetaWorldSimulator:
        """Return a simulator of the task."""
        return MetaWorldSimulator(self)

    @property
    def source(self) -> str:
        """Name of the task, the installed version of Meta-World, and the number of steps."""
        return f"{self.task} of Meta-World {version('metaworld')}, {self.steps} steps"

    def expert(self, seed: int = 0) -> Rule:
        """Return Meta-World's scripted expert, which ignores the seed: observations (39,) to actions (4,)."""
        policy = _metaworld().policies.ENV_POLICY_MAP[self.task]()

        def act(observation: Array) -> Array:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Constant.s. may be too high")  # the robot clips them too
                wanted = policy.get_action(np.array(observation))  # a copy: some experts change what they see
                return np.clip(np.asarray(wanted, dtype=np.float64), -1, 1)

        return act


class MetaWorldSimulator:
    """A simulator of a Meta-World task; see `MetaWorld`."""

    def __init__(self, recipe: MetaWorld, render_mode: str | None = None) -> None:
        self.steps = recipe.steps
        made = _metaworld().env_dict.ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{recipe.task}-goal-observable"]
        self.env = made(seed=0, render_mode=render_mode)
        self.env.seeded_rand_vec = True  # draw object and goal from the seed,
        self.env._freeze_rand_vec = False  # in every episode

    def reset(self, seed: int) -> Array:
        """Begin the episode of a seed; return its first observation (39,)."""
        self.env.seed(seed)
        observation: Array = self.env.reset()[0]
        return observation

    def step(self, action: Array) -> tuple[Array, bool]:
        """Take an action (4,); return the next observation (39,) and whether the task is done.

        Raises:
            ValueError: The action does not have four numbers.
            RuntimeError: MuJoCo found the state unstable.
        """
        if np.shape(action) != (4,):
            raise ValueError(f"an action of Meta-World has four numbers, got the shape {np.shape(action)}")
        observation, _, _, _, facts = self.env.step(np.asarray(action, dtype=np.float32))
        if self.env.data.warning.number[UNSTABLE].any():  # MuJoCo has started over, somewhere else
            raise RuntimeError("MuJoCo found the state unstable")
        return observation, bool(facts["success"])


def film(recipe: MetaWorld, seed: int, actions: Iterable[Array], every: int = 4) -> Array | None:
    """Return pictures of an episode that takes the given actions.

    Args:
        recipe: The task.
        seed: Seed of the episode.
        actions: Actions (4,), taken one after another.
        every: Number of actions between two pictures.

    Returns:
        Bytes (frames, height, width, 3), or None on a machine without a renderer: before Python starts, set
        the variable MUJOCO_GL to egl or osmesa.
    """
    if os.environ.get("MUJOCO_GL", "disabled") == "disabled":
        return None
    simulator = MetaWorldSimulator(recipe, render_mode="rgb_array")
    try:
        simulator.reset(seed)
        frames = [simulator.env.render()]
        for k, action in enumerate(actions, 1):
            simulator.step(action)
            if k % every == 0:
                frames.append(simulator.env.render())
    except Exception as error:  # a renderer fails in as many ways as there are drivers
        warnings.warn(f"no pictures: MUJOCO_GL={os.environ['MUJOCO_GL']} failed: {error}", stacklevel=2)
        return None
    finally:
        simulator.env.close()
    return np.stack(frames)


def _metaworld() -> Any:
    os.environ.setdefault("MUJOCO_GL", "disabled")  # nothing is drawn: do not look for a screen
    try:
        import metaworld.policies
    except ImportError as error:
        raise ImportError(
            f"simulated robots need Meta-World ({error}): pip install 'lfmkit[robots]'"
        ) from error
    return metaworld
