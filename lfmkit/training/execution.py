"""How training is computed on this machine; what comes out does not depend on it, but for rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from lfmkit.training.team import Team

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Execution:
    """Where and in which parts steps are computed.

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


def chosen(
    device: str | Sequence[str],
    threads: int,
    micro: int | None,
    compiled: bool,
    accelerator: Accelerator | None,
    elsewhere: bool = False,
) -> Execution:
    """Return how to compute, made sure that this machine can, unless it is done elsewhere.

    Raises:
        TypeError: accelerator is none.
        ValueError: A device is not there, or threads or micro is no whole number >= 1.
    """
    for name, value in (("threads", threads), ("micro", micro)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")
    if accelerator is None:
        devices = (device,) if isinstance(device, str) else tuple(device)
    elif not hasattr(accelerator, "num_processes"):
        raise TypeError(f"accelerator must be an accelerate.Accelerator, got {type(accelerator).__name__}")
    else:
        devices = (str(accelerator.device),)
    if not devices:
        raise ValueError("device names no device")
    for name in () if elsewhere else devices:
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f"device={name!r} cannot be used ({str(error).splitlines()[0]}): choose device='cpu', or one "
                "that this machine and its torch have"
            ) from error
    return Execution(devices, threads, micro, compiled, Team(accelerator))
