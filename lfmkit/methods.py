"""The methods, one under another in the same form: what differs between them is what the eye sees."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from lfmkit import nets, schedules
from lfmkit.flows import Block, Flow


def lfm(
    dim: int,
    schedule: Iterable[float] | None = None,
    path: str = "linear",
    net: nets.Recipe | None = None,
    coupling: str = "ou",
    seed: int = 0,
) -> Flow:
    """Build a Local Flow Matching flow: one block for each OU step of the schedule, and a free block.

    Args:
        dim: Dimension of the data.
        schedule: Local step sizes; `schedules.log_snr(3)` when left out; () is global flow matching.
        path: "linear", "trig" or "great_circle".
        net: Recipe of each block's network; `nets.MLP()` when left out.
        coupling: "ou", or "shuffled" as a control. The free block's is always "gaussian".
        seed: Seed of the initial weights.

    Raises:
        ValueError: A step is not positive and finite, the path or coupling is unknown, dim < 1.

    Reference: Local Flow Matching, arXiv 2410.02548.

    >>> flow = lfm(dim=2, schedule=(0.1, 0.5))
    >>> len(flow.blocks), flow.schedule
    (3, (0.1, 0.5))
    """
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
        raise ValueError(f"dim must be a whole number >= 1, got {dim!r}")
    steps = schedules.log_snr(3) if schedule is None else schedules.check(schedule)
    recipe = net or nets.MLP()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        local = [Block(recipe(dim), gamma, path, coupling, precondition=True) for gamma in steps]
        free = Block(recipe(dim), math.inf, path, "gaussian", precondition=True)
    return Flow([*local, free], dim, recipe)


def fm(dim: int, path: str = "linear", net: nets.Recipe | None = None, seed: int = 0) -> Flow:
    """Build global flow matching: one network all the way from data to noise, the empty schedule.

    Reference: Flow Matching for Generative Modeling, arXiv 2210.02747.
    """
    return lfm(dim, (), path, net, seed=seed)
