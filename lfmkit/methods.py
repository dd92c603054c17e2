"""The methods, one under another in the same form: what differs between them is what the eye sees.

Each but the rectified flow takes a schedule: with the empty one it is the method its name says, one network
from data to noise; with local steps it is Local Flow Matching with that method inside every block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from lfmkit import nets, schedules
from lfmkit.couplings import COUPLINGS, Coupling, mixes
from lfmkit.flows.block import Block
from lfmkit.flows.flow import Flow
from lfmkit.paths import Path
from lfmkit.utils.references import choose

Schedule = Iterable[float]


def lfm(
    dim: int,
    schedule: Schedule | None = None,
    path: Path | str = "linear",
    net: nets.Recipe | None = None,
    coupling: Coupling | str = "ou",
    seed: int = 0,
    cond: int = 0,
    free: Coupling | str = "gaussian",
) -> Flow:
    """Build a Local Flow Matching flow: one block for each OU step of the schedule, and a free block.

    Args:
        dim: Dimension of the data.
        schedule: Local step sizes; `schedules.log_snr(3)` when left out; () is global flow matching.
        path: "linear", "trig", "great_circle", "vp" or "bridge", or a function as those of `lfmkit.paths`.
        net: Recipe of each block's network; `nets.MLP()` when left out.
        coupling: Coupling of the local blocks: "ou", "shuffled" as a control, or a function as those of
            `lfmkit.couplings`.
        seed: Seed of the initial weights.
        cond: Columns of a condition the flow takes (for classes, their number); 0 for none.
        free: Coupling of the free block.

    Raises:
        ValueError: A step is not positive and finite, the path or coupling is unknown, dim < 1, or the
            coupling mixes samples of different conditions.

    Reference: Local Flow Matching, arXiv 2410.02548.

    >>> flow = lfm(dim=2, schedule=(0.1, 0.5))
    >>> len(flow.blocks), flow.schedule
    (3, (0.1, 0.5))
    """
    steps = schedules.log_snr(3) if schedule is None else schedule
    return _chain(dim, steps, path, coupling, free, net, seed, cond)


def fm(
    dim: int,
    schedule: Schedule = (),
    path: Path | str = "linear",
    net: nets.Recipe | None = None,
    seed: int = 0,
    cond: int = 0,
    coupling: Coupling | str = "gaussian",
) -> Flow:
    """Build flow matching: straight paths between data and independent noise, or any path and coupling.

    Reference: Flow Matching for Generative Modeling, arXiv 2210.02747.
    """
    return _chain(dim, schedule, path, "ou", coupling, net, seed, cond)


def interflow(
    dim: int, schedule: Schedule = (), net: nets.Recipe | None = None, seed: int = 0, cond: int = 0
) -> Flow:
    """Build InterFlow: trigonometric paths between data and independent noise.

    Reference: Building Normalizing Flows with Stochastic Interpolants, arXiv 2209.15571.
    """
    return _chain(dim, schedule, "trig", "ou", "gaussian", net, seed, cond)


def vp(
    dim: int, schedule: Schedule = (), net: nets.Recipe | None = None, seed: int = 0, cond: int = 0
) -> Flow:
    """Build the variance-preserving diffusion: one field for the probability flow of the whole OU process.

    Reference: Score-Based Generative Modeling through SDEs, arXiv 2011.13456.
    """
    return _chain(dim, schedule, "vp", "ou", "gaussian", net, seed, cond)


def ot_cfm(
    dim: int, schedule: Schedule = (), net: nets.Recipe | None = None, seed: int = 0, cond: int = 0
) -> Flow:
    """Build OT-CFM: straight paths between ends paired by exact minibatch transport plans.

    With a condition its noise is paired across classes, so that given a class it is no longer N(0, I)
    (The Curse of Conditions, arXiv 2503.10636).

    Reference: Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport,
    arXiv 2302.00482.
    """
    return _chain(dim, schedule, "linear", "minibatch_ot", "minibatch_ot", net, seed, cond)


def sb_cfm(
    dim: int, schedule: Schedule = (), net: nets.Recipe | None = None, seed: int = 0, cond: int = 0
) -> Flow:
    """Build SB-CFM: Brownian bridges between ends paired by entropic plans, a Schroedinger bridge's flow.

    Reference: as for `ot_cfm`.
    """
    return _chain(dim, schedule, "bridge", "sinkhorn", "sinkhorn", net, seed, cond)


def rectified_flow(dim: int, net: nets.Recipe | None = None, seed: int = 0, cond: int = 0) -> Flow:
    """Build a rectified flow: straight paths between given pairs, those of a flow trained before.

    Train it by ``fit(flow, x, partners=z)``, or let `distillation.reflow` make the pairs and train it.

    Reference: Flow Straight and Fast, arXiv 2209.03003.
    """
    return _chain(dim, (), "linear", "pairs", "pairs", net, seed, cond)


def _chain(
    dim: int,
    schedule: Schedule,
    path: Path | str,
    coupling: Coupling | str,
    free: Coupling | str,
    net: nets.Recipe | None,
    seed: int,
    cond: int,
) -> Flow:
    """Build the blocks: `coupling` in the local ones, `free` in the last."""
    for name, value, least in (("dim", dim, 1), ("cond", cond, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
    steps, recipe = schedules.check(schedule), net or nets.MLP()
    if cond and steps and mixes(choose(coupling, COUPLINGS, "coupling")):
        raise ValueError(
            f"the coupling {coupling!r} would pair samples of different conditions in local blocks: "
            "use 'ou', or say that yours does not mix rows (its attribute mixes = False)"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blocks = [
            Block(nets.build(recipe, dim, cond), gamma, path, kind, True, cond)
            for gamma, kind in [*((gamma, coupling) for gamma in steps), (math.inf, free)]
        ]
    return Flow(blocks, dim, recipe)
