"""The rows a block is trained on, as they lie in memory or on disk: plain numbers, or images.

Images (n, C, H, W) are kept as bytes, and become rows of C*H*W numbers only when a batch of them is drawn:
dequantised anew each time, and mirrored half of the time if that is wanted.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from lfmkit.flows.inputs import as_samples
from lfmkit.pixels import as_rows


def as_pool(x: Tensor, dim: int, what: str = "the data") -> Tensor:
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


def take(pool: Tensor, rows: Tensor, generator: Generator, flip: bool = False) -> Tensor:
    """Return some rows of a pool as floating-point numbers (n, d), on the generator's device.

    Args:
        pool: Float rows (m, d); images of bytes (m, C, H, W), which are dequantised by `pixels.as_rows`; or
            images that were encoded, half floats of the same shape.
        rows: Numbers of the rows, shape (n,).
        generator: Draws the dequantisation and the mirroring.
        flip: Mirror each image from left to right with probability 1/2. Where the data are symmetric the
            encoded pools are, too.
    """
    x = pool[rows.to(pool.device)].to(generator.device)
    if x.ndim == 2:
        return x
    if flip:
        turned = torch.rand(len(x), generator=generator, device=x.device) < 0.5
        x = torch.where(turned[:, None, None, None], x.flip(3), x)
    return as_rows(x, generator) if x.dtype == torch.uint8 else x.flatten(1).float()
