"""What a training can be asked for: `Training` says how blocks learn, `Compute` how this machine does it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from lfmkit.cluster import check_client
from lfmkit.couplings import gaussian, ou
from lfmkit.flows.flow import Flow
from lfmkit.training.objectives import Objective, Velocity
from lfmkit.training.team import Team
from lfmkit.training.times import Power, Times

if TYPE_CHECKING:
    from accelerate import Accelerator
    from distributed import Client

TARGETS = ("pairs", "conditional", "averaged")
PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Training:
    """How blocks are trained, beyond what `fit` itself takes.

    Args:
        warmup: Share of the steps in which lr rises, before it falls to 0 along a cosine.
        clip: Largest gradient norm; None for no clipping.
        ema: How far the average of the weights reaches back, as a share of the steps done; 0 for none.
        patience: Share of a block's steps without a new lowest loss on `val` after which it stops.
        near_data: p in t = u^p with u uniform: above 1 more times are drawn near each block's data end t = 0,
            which pays where data have edges and atoms (InterFlow draws t from Beta distributions too, arXiv
            2209.15571; its data end is t = 1).
        warm_start: With the "pushed" pool, start each block from the weights of the one before.
        drop: Share of the samples shown without their condition, so that `guidance` has both to compare.
        flip: Mirror images from left to right, half of the time.
        precision: "float32"; "bf16" or "fp16" to evaluate networks in that while they are trained.
        save_every: Seconds between checkpoints, or more where writing one takes long; 0 for one a step.
        objective: The loss and its distribution of times: see `lfmkit.training.objectives`.
        optimizer: Makes the optimiser, ``optimizer(weights, lr=lr)``: a class of `torch.optim`, or a function
            of your own. None: Adam with betas .9 and .99.

    Raises:
        ValueError: A number is out of its range, or both near_data and the objective choose the times.
        TypeError: The objective or the optimizer is of another kind.
    """

    warmup: float = 0.02
    clip: float | None = None
    ema: float = 0.1
    patience: float = 0.25
    near_data: float = 1.0
    warm_start: bool = True
    drop: float = 0.1
    flip: bool = False
    precision: str = "float32"
    save_every: float = 10.0
    objective: Objective = field(default_factory=Velocity)
    optimizer: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}: choose one of {', '.join(PRECISIONS)}")
        for name in ("warmup", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be positive or None, got {self.clip}")
        if not 0 < self.patience <= 1:
            raise ValueError(f"patience is a share of the steps and must lie in (0, 1], got {self.patience}")
        if not 0 <= self.drop <= 1:
            raise ValueError(f"drop must lie in [0, 1], got {self.drop}")
        if not (self.near_data > 0 and math.isfinite(self.near_data)):
            raise ValueError(f"near_data must be positive and finite, got {self.near_data}")
        if not self.save_every >= 0:
            raise ValueError(f"save_every must be a number of seconds >= 0, got {self.save_every}")
        if not isinstance(self.objective, Objective):
            raise TypeError(f"objective must extend lfmkit.training.Objective, got {self.objective!r}")
        if self.optimizer is not None and not callable(self.optimizer):
            raise TypeError(f"optimizer must make an optimiser of weights and lr, got {self.optimizer!r}")
        if self.objective.times is not None and self.near_data != 1:
            raise ValueError("near_data and the objective's times both choose times: give one of them")

    @property
    def times(self) -> Times:
        """The distribution of t."""
        return self.objective.times or Power(self.near_data)


@dataclass(frozen=True)
class Compute:
    """How training is computed; what is learned does not depend on it, up to rounding.

    Args:
        threads: Threads of torch; more than one pays for networks on images.
        micro: Samples whose gradients are computed together; a batch is taken in such parts. They are
            halved when memory runs out; None starts with the whole batch.
        compiled: Compile the networks (torch.compile): worth its minutes on a GPU.
        client: Client of a Dask cluster that trains the blocks ("ou" pool), with the same results;
            see `lfmkit.cluster.connect`. `out` must then lie where all of its workers see it.
        accelerator: One of Hugging Face accelerate, in each of the processes that train together
            (``accelerate launch``, `notebook_launcher`), one for each GPU: they share every
            batch, and need a folder `out` that all of them see.

    Raises:
        ValueError: threads or micro is not a whole number >= 1.
        ImportError: A client was given, and Dask is not installed.
        TypeError: The client is not a Dask client, or the accelerator not one of accelerate.
    """

    threads: int = 1
    micro: int | None = None
    compiled: bool = False
    client: Client | None = None
    accelerator: Accelerator | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "micro"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")
        if self.accelerator is not None and not hasattr(self.accelerator, "num_processes"):
            kind = type(self.accelerator).__name__
            raise TypeError(f"accelerator must be an accelerate.Accelerator, got {kind}")
        if self.client is not None:
            check_client(self.client)

    def on(self, device: str | Sequence[str]) -> Execution:
        """Return how steps are computed on a device, or several; make sure that this machine has them.

        Raises:
            ValueError: A device is not there.
        """
        if self.accelerator is not None:
            devices: tuple[str, ...] = (str(self.accelerator.device),)
        else:
            devices = (device,) if isinstance(device, str) else tuple(device)
        if not devices:
            raise ValueError("device names no device")
        for name in devices if self.client is None else ():
            try:
                torch.empty(0, device=name)
            except (RuntimeError, AssertionError) as error:
                raise ValueError(
                    f"device={name!r} cannot be used ({str(error).splitlines()[0]}): choose device='cpu', or "
                    "one that this machine and its torch have"
                ) from error
        return Execution(devices, self.threads, self.micro, self.compiled, Team(self.accelerator))


@dataclass(frozen=True)
class Execution:
    """Where and in which parts steps are computed: `Compute` on certain devices, without what cannot travel.

    Args:
        devices: Where blocks are trained; with several, block k on number k modulo their count.
        threads: Threads of torch for a block that is trained in this process.
        micro: Samples whose gradients are computed together at most; None for all that memory holds.
        compiled: Compile the loss.
        team: The processes that train each block together.
    """

    devices: tuple[str, ...] = ("cpu",)
    threads: int = 1
    micro: int | None = None
    compiled: bool = False
    team: Team = field(default_factory=Team)


@dataclass(frozen=True)
class Settings:
    """How one block is trained.

    Args:
        steps: Optimiser steps.
        batch: Samples a step.
        lr: Peak learning rate.
        seed: Seed of all random draws.
        targets: "pairs", "conditional" or "averaged".
        training: The rest.

    Raises:
        ValueError: A number is out of its range, the targets are unknown, or cannot draw the times wanted.
    """

    steps: int = 5000
    batch: int = 1024
    lr: float = 6e-3
    seed: int = 0
    targets: str = "pairs"
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"lr must be positive and finite, got {self.lr}")
        if self.targets not in TARGETS:
            raise ValueError(f"unknown targets {self.targets!r}: choose one of {', '.join(TARGETS)}")
        if self.targets == "averaged" and self.training.times != Power(1.0):
            raise ValueError("averaged targets spread their times evenly: use targets='pairs' with near_data")


def check_together(
    flow: Flow, pool: str, settings: Settings, workers: int, how: Execution, client: object, out: object
) -> None:
    """Make sure that what was chosen goes together.

    Raises:
        ValueError: A choice is unknown or out of range, or two exclude each other.
    """
    if pool not in ("pushed", "ou"):
        raise ValueError(f"unknown pool {pool!r}: choose 'pushed' or 'ou'")
    wanted = [ou if math.isfinite(block.gamma) else gaussian for block in flow.chain]
    plain = wanted == [block.coupling for block in flow.chain]
    if settings.targets != "pairs" and (pool != "ou" or not plain):
        raise ValueError(
            f"{settings.targets} targets need pool='ou', the coupling 'ou' in local blocks, 'gaussian' free"
        )
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be a whole number >= 1, got {workers!r}")
    if client is not None and workers > 1:
        raise ValueError("a cluster has workers of its own: give client= or workers=, not both")
    if (workers > 1 or client is not None) and pool == "pushed" and len(flow.blocks) > 1:
        raise ValueError(
            "with the 'pushed' pool each block waits for the one before: use workers=1 and no client, or "
            "pool='ou'"
        )
    here, several = {torch.device(name).type for name in how.devices}, len(how.devices) > 1
    if workers > len(how.devices) and here != {"cpu"}:
        raise ValueError(f"give as many devices as workers, device=['cuda:0', …]: got {len(how.devices)}")
    if several and workers == 1:
        raise ValueError("several devices are for workers: give workers= as many, and pool='ou'")
    if workers > 1 and how.threads > 1:
        raise ValueError("workers have one thread each: give workers= or threads=, not both")
    if how.team.size > 1:
        if workers > 1 or client is not None:
            raise ValueError("an accelerator's processes train each block together: no workers= or client=")
        if settings.batch < how.team.size:
            raise ValueError(f"a batch of {settings.batch} is too small for {how.team.size} processes")
        if out is None:
            raise ValueError("processes that train together share their files: give out=, a folder all see")
    if not any(p.requires_grad for p in flow.parameters()):
        raise ValueError("the flow has no trainable parameters")


def refuse(function: str, names: Iterable[str], known: Iterable[str]) -> NoReturn:
    """Say where arguments that a function does not take belong.

    Raises:
        TypeError: Always.
    """
    homes = {f.name: kind.__name__ for kind in (Training, Compute) for f in fields(kind)}
    said = []
    for name in names:
        near = difflib.get_close_matches(name, [*known, *homes], 1)
        if name in homes:
            place = homes[name]
            said.append(f"{name!r} belongs to {place.lower()}=lfmkit.{place}({name}=…)")
        else:
            said.append(f"there is no {name!r}" + (f": did you mean {near[0]!r}?" if near else ""))
    raise TypeError(f"{function}: {'; '.join(said)}")
