"""Couplings: how the noise-side end x_r of a training pair is drawn for a given data-side end x_l.

A coupling is a function of a batch x_l of shape (n, ...), the block's step size gamma (math.inf for the
free block) and a random generator. With gamma = inf the OU step forgets where it started.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lfmkit.schedules import ou_factors

Coupling = Callable[[Tensor, float, Generator], Tensor]


def ou(x_l: Tensor, gamma: float, generator: Generator) -> Tensor:
    """Return the OU step of this very x_l: e^-gamma x_l + sqrt(1 - e^-2gamma) g (arXiv 2410.02548, Eq. 6).

    >>> x = torch.full((2, 1), 3.0)
    >>> ou(x, 1e-12, torch.Generator().manual_seed(0)).round(decimals=3).flatten()
    tensor([3., 3.])
    """
    shrink, spread = ou_factors(gamma)
    return shrink * x_l + spread * gaussian(x_l, gamma, generator)


def shuffled(x_l: Tensor, gamma: float, generator: Generator) -> Tensor:
    """Return the OU step of another sample of the batch: right marginals, wrong pairs (a control).

    Raises:
        ValueError: The batch holds one sample only.
    """
    if len(x_l) < 2:
        raise ValueError("the shuffled coupling needs batches of 2 or more samples")
    return ou(x_l.roll(1, 0), gamma, generator)


def gaussian(x_l: Tensor, gamma: float, generator: Generator) -> Tensor:
    """Return x_r ~ N(0, I) independent of x_l, whatever gamma: the coupling of the free block."""
    return torch.randn(x_l.shape, generator=generator, dtype=x_l.dtype, device=x_l.device)


COUPLINGS: dict[str, Coupling] = {coupling.__name__: coupling for coupling in (ou, shuffled, gaussian)}


def named(name: str) -> Coupling:
    """Return the coupling of that name.

    Raises:
        ValueError: There is no such coupling.
    """
    if name not in COUPLINGS:
        raise ValueError(f"unknown coupling {name!r}: choose one of {', '.join(COUPLINGS)}")
    return COUPLINGS[name]
