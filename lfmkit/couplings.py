"""Couplings: how the noise-side end x_r of a training pair is drawn for a given data-side end x_l.

A coupling is a function of a batch x_l of shape (n, d), the block's step size gamma (math.inf for the
free block) and a random generator. With gamma = inf the OU step forgets where it started. Methods and blocks
take your own coupling as they take the name of one of these. One whose x_r depends on no other row of the
batch says so, ``mine.mixes = False``: only such pairs keep the condition of their row.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lfmkit.paths import BRIDGE
from lfmkit.schedules import ou_factors

Coupling = Callable[[Tensor, float, Generator], Tensor]

GROUP = 256  # samples matched with each other by one transport plan


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


def minibatch_ot(x_l: Tensor, gamma: float, generator: Generator) -> Tensor:
    """Return OU steps, dealt out by the exact transport plan of every GROUP samples (OT-CFM).

    The plan minimises the squared distance; between equal weights it is a permutation.

    Raises:
        RuntimeError: There is no plan: a sample is not finite.

    Reference: Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport,
    arXiv 2302.00482.

    >>> x = torch.tensor([[0.0], [5.0], [-5.0]])
    >>> minibatch_ot(x, 0.001, torch.Generator().manual_seed(0)).round().flatten() + 0.0
    tensor([ 0.,  5., -5.])
    """
    import ot  # more than half of the time that lfmkit takes to import

    dealt = []
    for left, right in zip(x_l.split(GROUP), ou(x_l, gamma, generator).split(GROUP), strict=True):
        cost = torch.cdist(left, right).square().double().cpu()
        _check_finite(cost)
        plan = torch.from_numpy(ot.emd([], [], cost.numpy())).to(left)
        dealt.append(right[plan.argmax(1)])
    return torch.cat(dealt)


def sinkhorn(x_l: Tensor, gamma: float, generator: Generator) -> Tensor:
    """Return partners drawn from the entropic transport plan of every GROUP samples (SB-CFM).

    Its regularisation is 2 BRIDGE^2, in units of the variance the block's OU step adds: with the path
    ``bridge`` between the ends it makes a Schroedinger bridge. Partners of one sample are drawn from its row
    of the plan, so some are taken twice and others never; on average each is taken once.

    Raises:
        RuntimeError: There is no plan: a sample is not finite.

    Reference: Diffusion Schroedinger Bridge, arXiv 2106.01357; SB-CFM, arXiv 2302.00482.
    """
    import ot

    regularisation = 2 * (BRIDGE * ou_factors(gamma)[1]) ** 2
    right = ou(x_l, gamma, generator)
    whole = len(x_l) // GROUP * GROUP
    dealt = []
    for first, size in ((0, GROUP), (whole, len(x_l) - whole)):
        some = slice(first, whole if size == GROUP else None)
        if len(x_l[some]) == 0:
            continue
        lefts, rights = (x[some].reshape(-1, size, x.shape[1]) for x in (x_l, right))
        cost = torch.cdist(
            lefts.double(), rights.double()
        ).square()  # in the exponent: single would underflow
        plan = ot.solve_batch(cost, regularisation, method="sinkhorn", max_iter=100, tol=1e-3).plan
        _check_finite(plan, 0.5 / size)
        rows = torch.multinomial(plan.flatten(0, 1), 1, generator=generator).view(-1, size, 1)
        dealt.append(rights.gather(1, rows.expand_as(rights)).flatten(0, 1))
    return torch.cat(dealt)


def pairs(x_l: Tensor, gamma: float, generator: Generator) -> Tensor:
    """Refuse: the partners of this coupling are not drawn but given, as ``fit(…, partners=z)`` (reflow).

    Raises:
        ValueError: Always.
    """
    raise ValueError("the coupling 'pairs' draws nothing: give the noise-side ends, fit(flow, x, partners=z)")


COUPLINGS: dict[str, Coupling] = {
    coupling.__name__: coupling for coupling in (ou, shuffled, gaussian, minibatch_ot, sinkhorn, pairs)
}
for alone in (ou, gaussian, pairs):
    alone.mixes = False  # type: ignore[attr-defined]  # x_r depends on no other row: pairs keep their condition


def mixes(coupling: Coupling) -> bool:
    """Return whether a coupling lets x_r depend on other rows: yes, unless it says that it does not."""
    return bool(getattr(coupling, "mixes", True))


def _check_finite(matrix: Tensor, least: float = 0.0) -> None:
    """Refuse costs or plans that are not finite, or have a row whose sum is below `least`."""
    rows = matrix.sum(-1)
    if not (torch.isfinite(rows).all() and (rows >= least).all()):
        raise RuntimeError("the transport plan is degenerate: are all samples finite and of moderate size?")
