"""What `fit` is called with, and whether it fits together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lfmkit.cluster import check_client
from lfmkit.conditions import as_conditions
from lfmkit.flows import Flow, as_samples

if TYPE_CHECKING:
    from distributed import Client


class Given(NamedTuple):
    """What comes with the rows of the data, and how pairs are drawn from them."""

    cond: Tensor | None = None
    partners: Tensor | None = None
    drop: float = 0.0
    near_data: float = 1.0

    def to(self, x: Tensor) -> Given:
        """Return it in the dtype and on the device of x."""
        cond, partners = (None if part is None else part.to(x) for part in self[:2])
        return Given(cond, partners, self.drop, self.near_data)

    def tensors(self) -> list[Tensor]:
        """Return the tensors that are there."""
        return [part for part in self[:2] if part is not None]


def check_choices(
    flow: Flow, pool: str, targets: str, workers: int, device: str, client: Client | None
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
    wanted = ["ou" if math.isfinite(block.gamma) else "gaussian" for block in flow.chain]
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
    if workers > 1 and torch.device(device).type != "cpu":
        raise ValueError("workers train on the CPU: use workers=1 on an accelerator")
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
    if cond is not None:
        cond = as_conditions(cond, flow.cond, len(x), 1.0, x)
        if targets == "averaged":
            raise ValueError("averaged targets know no conditions: use targets='pairs'")
    elif flow.cond:
        raise ValueError(f"this flow takes a condition of {flow.cond} columns: give cond=")
    if partners is not None:
        partners = as_samples(partners, flow.dim, "partners").detach()
        if len(partners) != len(x):
            raise ValueError(f"pairs of unequal length: {len(x)} rows of data, {len(partners)} of partners")
    paired = [block.coupling == "pairs" for block in flow.chain]
    if any(paired) != (partners is not None) or (any(paired) and len(paired) > 1):
        raise ValueError("partners= and the coupling 'pairs' go together, in a flow of one block")
    return Given(cond, partners, drop, near_data)


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
    return as_samples(val, flow.dim, "val").detach()
