"""The pool a block is trained on: rows of numbers or images, in memory or on disk, and what comes with them.

Images (n, C, H, W) are kept as bytes, and become rows of C*H*W numbers only when a batch of them is drawn:
dequantised each time, and mirrored half of the time if that is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from lfmkit.couplings import pairs
from lfmkit.flows.flow import Flow
from lfmkit.flows.inputs import as_conditions, as_samples
from lfmkit.pixels import as_rows


@dataclass(frozen=True)
class Pool:
    """Rows of data, and what comes with them.

    Attributes:
        x: Rows (n, d), or images as `take` knows them.
        cond: Condition of each row, shape (n, c), or None.
        partners: Noise-side end of each row, shape (n, d), for the coupling "pairs", or None.
        val: Held-out rows, shape (m, d), or None.
    """

    x: Tensor
    cond: Tensor | None = None
    partners: Tensor | None = None
    val: Tensor | None = None

    def to(self, like: Tensor) -> Pool:
        """Return it in the dtype and on the device of another tensor; images keep their dtype."""
        x = self.x.to(like.device if self.x.ndim == 4 else like)
        rest = [None if part is None else part.to(like) for part in (self.cond, self.partners, self.val)]
        return Pool(x, *rest)

    def at(self, x: Tensor, val: Tensor | None) -> Pool:
        """Return the same with its rows at another place, such as encoded by a block."""
        return replace(self, x=x, val=val)

    def tensors(self) -> list[Tensor]:
        """Return the tensors that are there."""
        parts = (self.x, self.cond, self.partners, self.val)
        return [part for part in parts if part is not None]


def gathered(
    flow: Flow,
    x: Tensor,
    cond: Tensor | None,
    partners: Tensor | None,
    val: Tensor | None,
    averaged: bool = False,
    flip: bool = False,
) -> Pool:
    """Return what `fit` was given, in the form in which blocks take it.

    Raises:
        TypeError: x or val is not a floating-point tensor or images.
        ValueError: A shape does not fit, a value is not finite, something is missing, or is not what this
            flow or these targets take.
    """
    x, like = as_data(x, flow.dim), next(flow.parameters()).detach()
    if len(x) < 2:
        raise ValueError("the data needs 2 or more rows, got 1")
    if averaged and x.ndim == 4:
        raise ValueError("averaged targets need near neighbours, which images do not have: targets='pairs'")
    if averaged and cond is not None:
        raise ValueError("averaged targets take no conditions: use targets='pairs'")
    if x.ndim == 4 and like.dtype != torch.float32:
        raise ValueError(f"images become single-precision rows, but the flow has {like.dtype}: use float()")
    if x.ndim != 4 and flip:
        raise ValueError("flip=True mirrors images: give the data as bytes of shape (n, C, H, W)")
    if cond is not None:
        cond = as_conditions(cond, flow.cond, len(x), 1.0, like)
    elif flow.cond:
        raise ValueError(f"this flow takes a condition of {flow.cond} columns: give cond=")
    if partners is not None:
        partners = as_samples(partners, flow.dim, "partners").detach()
        if len(partners) != len(x):
            raise ValueError(f"pairs of unequal length: {len(x)} rows of data, {len(partners)} of partners")
    paired = [block.coupling is pairs for block in flow.chain]
    if any(paired) != (partners is not None) or (any(paired) and len(paired) > 1):
        raise ValueError("partners= and the coupling 'pairs' go together, in a flow of one block")
    if val is not None:
        if cond is not None or partners is not None:
            raise ValueError("val= is for flows without conditions and partners: held-out rows have none")
        val = as_data(val, flow.dim, "val")
        val = as_rows(val, Generator().manual_seed(0)) if val.ndim == 4 else val
    return Pool(x, cond, partners, val)


def as_data(x: Tensor, dim: int, what: str = "the data") -> Tensor:
    """Return x if it is a finite float matrix (n, dim), or images (n, C, H, W) of bytes, dim numbers each.

    Raises:
        TypeError: x is neither.
        ValueError: Wrong shape, no rows, or NaN or infinite rows.
    """
    if not isinstance(x, Tensor) or x.dtype != torch.uint8:
        return as_samples(x, dim, what).detach()
    if x.ndim != 4 or x[0:1].numel() != dim * min(1, len(x)):
        raise ValueError(
            f"{what} needs the shape (n, C, H, W) with C*H*W = {dim}, as the flow was built for, "
            f"got {tuple(x.shape)}"
        )
    if len(x) == 0:
        raise ValueError(f"{what} is empty: it needs one or more images")
    return x


def take(x: Tensor, rows: Tensor, generator: Generator, flip: bool = False) -> Tensor:
    """Return some rows of a pool as floating-point numbers (n, d), on the generator's device.

    Args:
        x: Float rows (m, d); images of bytes (m, C, H, W), which are dequantised by `pixels.as_rows`; or
            images that were encoded, half floats of the same shape.
        rows: Numbers of the rows, shape (n,).
        generator: Draws the dequantisation and the mirroring.
        flip: Mirror each image from left to right with probability 1/2. Where the data are symmetric the
            encoded pools are, too.
    """
    found = x[rows.to(x.device)].to(generator.device)
    if found.ndim == 2:
        return found
    if flip:
        turned = torch.rand(len(found), generator=generator, device=found.device) < 0.5
        found = torch.where(turned[:, None, None, None], found.flip(3), found)
    return as_rows(found, generator) if found.dtype == torch.uint8 else found.flatten(1).float()
