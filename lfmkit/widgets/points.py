"""Points for the browser: checked, packed in 16 bits, coloured by direction."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lfmkit.flows.inputs import as_samples
from lfmkit.plots import LIMIT

REACH = 2 * LIMIT  # half-width of the packed square; points beyond it lie outside of every picture anyway
# 24 hues around the circle, all of lightness 0.66 and chroma 0.15 in Oklab, clipped to sRGB
WHEEL = (
    "#d9668e", "#de6674", "#df6a59", "#db703b", "#d37812", "#c78200", "#b68c00", "#a19600",
    "#879f18", "#68a63f", "#3eab5e", "#00ae7b", "#00af96", "#00adae", "#00a9c4", "#00a3d6",
    "#069ce4", "#4c94ec", "#6f8bed", "#8a82e9", "#a17adf", "#b473d1", "#c46dbd", "#d168a7",
)  # fmt: skip
HUES = len(WHEEL)


def planar(x: Tensor, what: str) -> Tensor:
    """Return x as a detached float tensor on the CPU if it is a finite floating-point (n, 2) tensor, n >= 1.

    Raises:
        TypeError: x is not a floating-point tensor.
        ValueError: Wrong shape, no rows, NaN or infinite rows.
    """
    return as_samples(x, 2, what).detach().float().cpu()


def quantised(x: Tensor) -> bytes:
    r"""Return coordinates (…, 2) as little-endian uint16 bytes: 0 means -REACH, 65535 means REACH.

    >>> quantised(torch.tensor([[-9.0, 9.0]])) == b"\x00\x00\xff\xff"
    True
    """
    scaled = (x.detach().double().cpu().numpy() + REACH) / (2 * REACH) * 65535
    return np.clip(scaled.round(), 0, 65535).astype("<u2").tobytes()


def hues(start: Tensor) -> Tensor:
    """Return the index (n,) in WHEEL of each point (n, 2), by its angle; 0 points to the right."""
    angle = torch.atan2(start[:, 1], start[:, 0]) / (2 * math.pi)
    return (angle * HUES).round().long() % HUES
