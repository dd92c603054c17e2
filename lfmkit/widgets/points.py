"""Points on their way to the browser: checked, packed in 16 bits, coloured by direction."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lfmkit.flows.inputs import as_samples
from lfmkit.plots import LIMIT

REACH = 2 * LIMIT  # half-width of what is packed; points beyond lie outside every picture anyway
HUES = 24  # colours of the wheel


def planar(x: object, what: str) -> Tensor:
    """Return x as a detached float tensor on the CPU if it is a finite floating-point (n, 2) tensor, n >= 1.

    Raises:
        TypeError: x is no floating-point tensor.
        ValueError: Wrong shape, no rows, NaN or infinite rows.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{what} must be a floating-point tensor (n, 2), got {type(x).__name__}")
    return as_samples(x, 2, what).detach().float().cpu()


def quantised(x: Tensor) -> bytes:
    r"""Return coordinates (…, 2) as little-endian uint16 bytes: 0 is -REACH, 65535 is REACH.

    >>> quantised(torch.tensor([[-9.0, 9.0]])) == b"\x00\x00\xff\xff"
    True
    """
    scaled = (x.detach().double().cpu().numpy() + REACH) / (2 * REACH) * 65535
    return np.clip(scaled.round(), 0, 65535).astype("<u2").tobytes()


def hues(start: Tensor) -> Tensor:
    """Return the number (n,) on the wheel of colours of each point (n, 2), by its angle; 0 is right."""
    angle = torch.atan2(start[:, 1], start[:, 0]) / (2 * math.pi)
    return (angle * HUES).round().long() % HUES
