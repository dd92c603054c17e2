"""What `fit` is called with, and whether it fits together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Generator, Tensor

from lfmkit.cluster import check_client
from lfmkit.couplings import gaussian, ou, pairs
from lfmkit.flows.flow import Flow
from lfmkit.flows.inputs import as_conditions, as_samples
from lfmkit.pixels import as_rows
from lfmkit.training.execution import Execution
from lfmkit.training.pool import as_pool

if TYPE_CHECKING:
    from distributed import Client


class Given(NamedTuple):
    """What comes with the rows of the data, and how pairs are drawn from them."""

    cond: Tensor | None = None
    partners: Tensor | None = None
    drop: float = 0.0
    near_data: float = 1.0
    flip: bool = False

    def to(self, like: Tensor) -> Given:
        """Return it in the dtype and on the device of another tensor."""
        cond, partners = (None if part is None else part.to(like) for part in self[:2])
        return Given(cond, partners, self.drop, self.near_data, self.flip)

    def tensors(self) -> list[Tensor]:
        """Return the tensors that are there."""
        return [part for part in self[:2] if part is not None]


def check_choices(
    flow: Flow,
    pool: str,
    targets: str,
    batch: int,
    workers: int,
    how: Execution,
    client: Client | None,
    out: str | Path | None,
) -> None:
    """Make sure that what was chosen exists and goes together.

    Raises:
        ImportError: A client was given, and Dask is not installed.
        TypeError: client is no Dask client.
        ValueError: A choice is unknown or out of range, or two exclude each other.
    """
    if pool not in ("pushed", "ou"):
        raise ValueError(f"unknown pool {pool!r}: choose 'pushed' or 'ou'")
    if targets not in ("pairs", "averaged"):
        raise ValueError(f"unknown targets {targets!r}: choose 'pairs' or 'averaged'")
    wanted = [ou if math.isfinite(block.gamma) else gaussian for block in flow.chain]
    if targets == "averaged" and (pool != "ou" or wanted != [block.coupling for block in flow.chain]):
        raise ValueError(
            "averaged targets need pool='ou', the coupling 'ou' in local blocks, 'gaussian' free"
        )
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be a whole number >= 1, got {workers!r}")
    if client is not None:
        check_client(client)
        if workers > 1:
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
        if batch < how.team.size:
            raise ValueError(f"a batch of {batch} is too small for {how.team.size} processes")
        if out is None:
            raise ValueError("processes that train together share their files: give out=, a folder all see")
    if not any(p.requires_grad for p in flow.parameters()):
        raise ValueError("the flow has no trainable parameters")


def check_given(
    flow: Flow,
    x: Tensor,
    cond: Tensor | None,
    partners: Tensor | None,
    targets: str,
    drop: float,
    near_data: float,
    flip: bool,
) -> Given:
    """Return what was given with the rows of x, in the form in which blocks take it.

    Raises:
        ValueError: It does not fit the rows, is missing, or is not what this flow takes.
    """
    if not 0 <= drop <= 1:
        raise ValueError(f"drop must lie in [0, 1], got {drop}")
    if not (near_data > 0 and math.isfinite(near_data)):
        raise ValueError(f"near_data must be positive and finite, got {near_data}")
    if near_data != 1 and targets == "averaged":
        raise ValueError("averaged targets spread their times evenly: use targets='pairs' with near_data")
    like = next(flow.parameters()).detach()
    if x.ndim == 4:
        if targets == "averaged":
            raise ValueError("averaged targets need near neighbours, which images have not: targets='pairs'")
        if like.dtype != torch.float32:
            raise ValueError(
                f"images become single-precision rows, but the flow has {like.dtype}: use float()"
            )
    elif flip:
        raise ValueError("flip=True mirrors images: give the data as bytes of shape (n, C, H, W)")
    if cond is not None:
        cond = as_conditions(cond, flow.cond, len(x), 1.0, like)
        if targets == "averaged":
            raise ValueError("averaged targets know no conditions: use targets='pairs'")
    elif flow.cond:
        raise ValueError(f"this flow takes a condition of {flow.cond} columns: give cond=")
    if partners is not None:
        partners = as_samples(partners, flow.dim, "partners").detach()
        if len(partners) != len(x):
            raise ValueError(f"pairs of unequal length: {len(x)} rows of data, {len(partners)} of partners")
    paired = [block.coupling is pairs for block in flow.chain]
    if any(paired) != (partners is not None) or (any(paired) and len(paired) > 1):
        raise ValueError("partners= and the coupling 'pairs' go together, in a flow of one block")
    return Given(cond, partners, drop, near_data, flip)


def check_held_out(flow: Flow, val: Tensor | None, given: Given, patience: float) -> Tensor | None:
    """Return the held-out rows, or None where there are none.

    Raises:
        TypeError: val is no floating-point tensor.
        ValueError: The rows have the wrong shape, or NaN or infinite values; the flow takes conditions or
            partners, which held-out rows do not have; patience is out of range.
    """
    if not 0 < patience <= 1:
        raise ValueError(f"patience is a share of the steps and must lie in (0, 1], got {patience}")
    if val is None:
        return None
    if given.tensors():
        raise ValueError("val= is for flows without conditions and partners: held-out rows have none")
    val = as_pool(val, flow.dim, "val")
    return as_rows(val, Generator().manual_seed(0)) if val.ndim == 4 else val
