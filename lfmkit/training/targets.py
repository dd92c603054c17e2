"""What a block's network is regressed on: batches of (x_t, t, dx_t/dt), drawn without end.

`Pairs` is the textbook way: draw x_l from the pool and x_r from the coupling, and regress on the velocity of
the path between them. `Averaged` regresses on the mean of many such velocities, known in closed form.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from lfmkit import couplings, paths, schedules
from lfmkit.flows.guidance import with_flag
from lfmkit.training.pool import take
from lfmkit.utils.references import choose

BINS = 16  # bins of t in which `Averaged` chooses its cells
TOGETHER = 32  # groups of it whose means are computed at a time: few, so that they stay in the cache


class Batch(NamedTuple):
    """Places x_t (n, d), times t (n,), velocities to be learned there (n, d), and conditions or None."""

    x: Tensor
    t: Tensor
    velocity: Tensor
    cond: Tensor | None = None

    def part(self, first: int, n: int) -> Batch:
        """Return n samples of it, from number `first` on."""
        some = slice(first, first + n)
        return Batch(
            self.x[some], self.t[some], self.velocity[some], None if self.cond is None else self.cond[some]
        )


class Targets(Protocol):
    """A source of training batches."""

    def draw(self, n: int, generator: Generator) -> Batch:
        """Return n samples in random order."""


class Pairs:
    """Velocities of single paths between x_l and x_r.

    Args:
        data: What the pool is made of: rows (n, d), or images as `pools.take` knows them.
        T: OU time by which the rows are diffused to give x_l; 0 takes them as they are.
        gamma: The block's step size.
        path: Name of its path.
        coupling: Name of its coupling.
        partners: x_r of each row, for the coupling "pairs".
        cond: Condition of each row, shape (rows, c).
        drop: Share of the samples that are shown without their condition, for guidance.
        near_data: p in t = u^p with u uniform, which is Beta(1/p, 1): above 1 there are more times near the
            data end t = 0, where edges and atoms show.
        flip: Mirror images from left to right, half of the time.
    """

    def __init__(
        self,
        data: Tensor,
        T: float,
        gamma: float,
        path: paths.Path | str,
        coupling: couplings.Coupling | str,
        partners: Tensor | None = None,
        cond: Tensor | None = None,
        drop: float = 0.0,
        near_data: float = 1.0,
        flip: bool = False,
    ) -> None:
        self.near_data, self.flip = near_data, flip
        self.data, self.T, self.gamma = data, T, gamma
        self.path = choose(path, paths.PATHS, "path")
        self.coupling = choose(coupling, couplings.COUPLINGS, "coupling")
        self.noisy = paths.is_noisy(self.path, gamma)
        self.partners, self.cond, self.drop = partners, cond, drop

    def ends(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return n pairs x_l, x_r, each (n, d); rows are drawn with replacement."""
        return self._ends(self._rows(n, generator), generator)

    def draw(self, n: int, generator: Generator) -> Batch:
        """Return n samples, t on [0, 1)."""
        rows = self._rows(n, generator)
        x_l, x_r = self._ends(rows, generator)
        t = torch.rand(n, generator=generator, dtype=x_l.dtype, device=x_l.device) ** self.near_data
        curves = (c[:, None] for c in self.path(t, self.gamma))
        alpha, beta, d_alpha, d_beta, sigma, d_sigma = curves
        x, velocity = alpha * x_l + beta * x_r, d_alpha * x_l + d_beta * x_r
        if self.noisy:
            e = couplings.gaussian(x_l, self.gamma, generator)
            x, velocity = x + sigma * e, velocity + d_sigma * e
        if self.cond is None:
            return Batch(x, t, velocity)
        kept = torch.rand(n, 1, generator=generator, dtype=x.dtype, device=x.device) >= self.drop
        return Batch(x, t, velocity, with_flag(self.cond[rows], kept))

    def _rows(self, n: int, generator: Generator) -> Tensor:
        return torch.randint(len(self.data), (n,), generator=generator, device=generator.device)

    def _ends(self, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        x_l = take(self.data, rows, generator, self.flip)
        if self.partners is not None:
            return x_l, self.partners[rows]
        if self.T > 0:
            x_l = couplings.ou(x_l, self.T, generator)
        return x_l, self.coupling(x_l, self.gamma, generator)


class Averaged:
    """Velocities averaged over a group of data points: the same minimiser with far less noise.

    With the OU coupling and closed-form pools x_t = A x_0 + sqrt(V) e, so for a *group* S of data points the
    mean E[dx_t/dt | x_t, x_0 in S] is a softmax average. If every row is equally likely to be in it, and
    x_t starts from a random member of it, regressing on these means has exactly the minimiser of the usual
    loss (the tower rule), whatever the groups are. They help most when their members are near each other:
    the rows are sorted into a k-d tree, and a group is spread over one of its cells. The size of the
    cells is chosen for each bin of t: the one with the smallest mean square target, since the signal in it is
    the same for all. In high dimension nothing is near, and it falls back to the noise of single pairs.

    Related, with a bias: Stable Target Field, arXiv 2302.00670.

    Args:
        data: Rows in the order of `kd_order`, shape (rows, d).
        T: OU time at the block's data side.
        gamma: The block's step size.
        path: Name of its path.
        seed: Seed of the choice of cells.
        group: Members of a group.
        share: Samples x_t that share a group.
    """

    def __init__(
        self,
        data: Tensor,
        T: float,
        gamma: float,
        path: paths.Path | str,
        seed: int = 0,
        group: int = 256,
        share: int = 16,
    ) -> None:
        self.data = data
        self.T, self.gamma, self.path = T, gamma, choose(path, paths.PATHS, "path")
        self.group, self.share = min(group, len(data)), share
        self.levels = torch.zeros(BINS, dtype=torch.long, device=data.device)
        generator = torch.Generator(data.device).manual_seed(seed)
        sizes = []
        finest = int(math.log2(len(data) / self.group))
        for level in range(finest + 1):
            self.levels.fill_(level)
            batch = self.draw(32 * self.share * BINS, generator)
            square = batch.velocity.square().mean(1)
            bins = (batch.t * BINS).long().clamp(max=BINS - 1)
            sizes.append(torch.zeros(BINS).to(square).index_add_(0, bins, square))
        self.levels = torch.stack(sizes).argmin(0)

    def draw(self, n: int, generator: Generator) -> Batch:
        """Return n samples in random order, t stratified over its bins."""
        data, share, device = self.data, self.share, self.data.device
        groups = -(-n // share)
        bins = torch.randperm(groups, generator=generator, device=device) % BINS
        u = torch.rand(groups, share, generator=generator, device=device).to(data)
        t = (bins[:, None] + u) / BINS  # (groups, share)
        parts = [
            self._velocities(t_part, self.levels[bin_part], generator)
            for t_part, bin_part in zip(t.split(TOGETHER), bins.split(TOGETHER), strict=True)
        ]
        order = torch.randperm(groups * share, generator=generator, device=device)[:n]
        x, velocity = (torch.cat(part)[order] for part in zip(*parts, strict=True))
        return Batch(x, t.flatten()[order], velocity)

    def _velocities(self, t: Tensor, level: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return x_t and E[dx_t/dt | x_t, group] for one random group a row of t (groups, share)."""
        groups, share = t.shape
        device, (rows, dim) = self.data.device, self.data.shape
        cells = 2.0 ** level.double()
        first = (torch.rand(groups, generator=generator, device=device).double() * cells).floor()
        offset = torch.rand(groups, 1, generator=generator, device=device).double()
        spread = (torch.arange(self.group, device=device) + offset) / self.group
        members = self.data[((first[:, None] + spread) * (rows / cells)[:, None]).long() % rows]
        centre = members.mean(1, keepdim=True)
        members = members - centre  # (groups, group, dim), centred for the sake of single precision
        start = torch.randint(self.group, (groups, share, 1), generator=generator, device=device)
        x_0 = members.gather(1, start.expand(-1, -1, dim))

        shrink, spread_l = schedules.ou_factors(self.T)  # x_l = shrink x_0 + spread_l e
        right, spread_r = schedules.ou_factors(self.gamma)  # x_r = right x_l + spread_r e
        curves = (c[..., None] for c in self.path(t.clamp(min=1e-6), self.gamma))
        alpha, beta, d_alpha, d_beta, sigma, d_sigma = curves
        a, b = alpha + beta * right, (beta * spread_r).hypot(sigma)  # x_t = a x_l + b e
        d_a = d_alpha + d_beta * right
        d_b = (beta * spread_r * d_beta * spread_r + sigma * d_sigma) / b
        A, V = a * shrink, (a * spread_l).square() + b.square()
        noise = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype, device=device)
        x = A * x_0 + V.sqrt() * noise
        # log p(x_t | x_0) up to a constant: A/V x x_0 - A^2/(2V) |x_0|^2, as one product
        known = torch.cat([members, members.square().sum(2, keepdim=True)], 2)
        logits = torch.cat([A / V * x, -0.5 * A.square() / V], 2) @ known.mT
        mean_0 = logits.softmax(2) @ members
        gain = (d_a * a * spread_l**2 + d_b * b) / V
        velocity = d_a * shrink * (mean_0 + centre) + gain * (x - A * mean_0)
        return (x + A * centre).flatten(0, 1), velocity.flatten(0, 1)


def kd_order(x: Tensor, leaf: int = 16) -> Tensor:
    """Return an order of the rows in which each of the 2^l equal parts of the list is a compact cell.

    >>> kd_order(torch.tensor([[3.0], [1.0], [2.0], [0.0]]), leaf=1).tolist()
    [3, 1, 2, 0]
    """
    pending, order = [torch.arange(len(x))], []
    rows = x.detach().cpu()
    while pending:
        part = pending.pop()
        if len(part) <= leaf:
            order.append(part)
            continue
        inside = rows[part]
        widest = int((inside.amax(0) - inside.amin(0)).argmax())
        ranked = part[inside[:, widest].argsort(stable=True)]
        half = len(part) // 2
        pending += [ranked[half:], ranked[:half]]  # the lower half is taken next
    return torch.cat(order).to(x.device)
