"""A walk on a line, in which what is asked for goes wrong, and its actor: for tests, also in processes."""

import os
from dataclasses import dataclass, field

import numpy as np
import torch

from lfmkit.simulators import start

BAD = start(5)  # the episode in which something happens


@dataclass(frozen=True)
class Walk:
    """Recipe for a walk on a line, whose end is `goal` steps to the right; `fate` befalls the episode BAD.

    Observations are the place and the seed, actions a step.
    """

    fate: str = ""
    goal: float = 3.0
    steps: int = 6
    made: list = field(default_factory=list, compare=False)

    def __call__(self):
        return Walker(self)


class Walker:
    def __init__(self, recipe):
        self.recipe, self.steps = recipe, recipe.steps
        recipe.made.append(self)
        self.seeds = []

    def reset(self, seed):
        self.seed, self.place = seed, 0.0
        self.seeds.append(seed)
        if seed == BAD and self.recipe.fate == "reset":
            raise OSError("no such arm")
        return np.array([self.place, seed])

    def step(self, action):
        if np.shape(action) != (1,):
            raise ValueError(f"an action has one number, got the shape {np.shape(action)}")
        self.place += float(action[0])
        if self.seed == BAD and self.place >= 2:
            if self.recipe.fate == "raises":
                raise RuntimeError("it fell over")
            if self.recipe.fate == "exits":
                os._exit(3)
            if self.recipe.fate == "nan":
                return np.array([np.nan, 0.0]), False
            if self.recipe.fate == "shape":
                return np.zeros((2, 2)), False
        return np.array([self.place, self.seed]), self.place >= self.recipe.goal


@dataclass
class Drifter:
    """An actor that takes steps of one, and a little noise that decides nothing."""

    observe: int = 2
    nfe: float = 2.0
    steps: int = 2
    size: int = 1

    def act(self, seen, noise):
        assert seen.shape[1] == self.observe
        shaken = torch.stack([torch.randn(self.steps, self.size, generator=one) for one in noise])
        return 1 + 1e-3 * shaken.abs()
