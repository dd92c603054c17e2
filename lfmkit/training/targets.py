"""What a block's network is regressed on: batches of (x_t, t, dx_t/dt), drawn without end.

`Pairs` is the textbook form: draw x_l from the pool and x_r from the coupling, and regress on the velocity
of the path between them. In an OU pool its mean is known in closed form: `Conditional` regresses on the mean
given the data row, `Averaged` on that given a group of rows. All three have the same minimiser.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from lfmkit import couplings, schedules
from lfmkit.flows.block import Block
from lfmkit.flows.guidance import with_flag
from lfmkit.paths import Path, is_noisy
from lfmkit.training.pool import Pool, take
from lfmkit.training.times import Power, Times

TIME_BINS = 16  # bins of t in which `Averaged` chooses its cells
GROUPS_PER_CHUNK = 32  # groups of it whose means are computed at a time: few, so that they stay in the cache


class Batch(NamedTuple):
    """Samples to train on.

    Attributes:
        x: Places x_t, shape (n, d).
        t: Times, shape (n,).
        velocity: Velocities to be learned there, shape (n, d).
        cond: Conditions as networks see them, shape (n, c + 1), or None.
        r: Second times of objectives that ask for one, shape (n,), or None.
    """

    x: Tensor
    t: Tensor
    velocity: Tensor
    cond: Tensor | None = None
    r: Tensor | None = None

    def part(self, first: int, n: int) -> Batch:
        """Return n samples of it, from number `first` on."""
        some = slice(first, first + n)
        cond, r = (None if part is None else part[some] for part in (self.cond, self.r))
        return Batch(self.x[some], self.t[some], self.velocity[some], cond, r)


class Targets(Protocol):
    """A source of training batches."""

    def draw(self, n: int, generator: Generator) -> Batch:
        """Return n samples in random order."""


class Pairs:
    """Velocities of single paths between x_l and x_r.

    Args:
        pool: Rows to draw from, with their conditions and partners.
        T: OU time by which the rows are diffused to give x_l; 0 takes them as they are.
        block: The block, for its step size, path and coupling.
        times: Distribution of t.
        drop: Share of the samples that are shown without their condition, for guidance.
        flip: Mirror images from left to right, half of the time.
    """

    def __init__(
        self,
        pool: Pool,
        T: float,
        block: Block,
        times: Times = Power(1.0),
        drop: float = 0.0,
        flip: bool = False,
    ) -> None:
        self.pool, self.T, self.times, self.drop, self.flip = pool, T, times, drop, flip
        self.gamma, self.path, self.coupling = block.gamma, block.path, block.coupling
        self.noisy = is_noisy(self.path, self.gamma)

    def ends(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return n pairs x_l, x_r, each (n, d); rows are drawn with replacement."""
        return self._ends(self._rows(n, generator), generator)

    def draw(self, n: int, generator: Generator) -> Batch:
        """Return n samples, t on [0, 1)."""
        rows = self._rows(n, generator)
        x_l, x_r = self._ends(rows, generator)
        t = self.times(torch.rand(n, generator=generator, dtype=x_l.dtype, device=x_l.device))
        curves = (c[:, None] for c in self.path(t, self.gamma))
        alpha, beta, d_alpha, d_beta, sigma, d_sigma = curves
        x, velocity = alpha * x_l + beta * x_r, d_alpha * x_l + d_beta * x_r
        if self.noisy:
            e = couplings.gaussian(x_l, self.gamma, generator)
            x, velocity = x + sigma * e, velocity + d_sigma * e
        return Batch(x, t, velocity, self._seen(rows, generator, x))

    def _seen(self, rows: Tensor, generator: Generator, like: Tensor) -> Tensor | None:
        """Return the conditions of some rows as networks see them."""
        if self.pool.cond is None:
            return None
        u = torch.rand(len(rows), 1, generator=generator, dtype=like.dtype, device=like.device)
        return with_flag(self.pool.cond[rows], u >= self.drop)

    def _rows(self, n: int, generator: Generator) -> Tensor:
        return torch.randint(len(self.pool.x), (n,), generator=generator, device=generator.device)

    def _ends(self, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        x_l = take(self.pool.x, rows, generator, self.flip)
        if self.pool.partners is not None:
            return x_l, self.pool.partners[rows]
        if self.T > 0:
            x_l = couplings.ou(x_l, self.T, generator)
        return x_l, self.coupling(x_l, self.gamma, generator)


class Conditional(Pairs):
    """Velocities given the data row: E[dx_t/dt | x_0, x_t], the same minimiser without needless noise.

    In an OU pool x_t = A x_0 + sqrt(V) e. The velocity of a pair also depends on how e is divided between the
    noise of x_l and that of the step, which x_t cannot tell. Its mean given x_0 and x_t is the conditional
    velocity of a Gaussian path (Flow Matching, arXiv 2210.02747, Theorem 3) on the block's window. In the
    first block the two are equal, unless the path adds noise; so they are for a global flow.

    Args: as for `Pairs`; the coupling is "ou" in a local block and "gaussian" in the free one.
    """

    def draw(self, n: int, generator: Generator) -> Batch:
        """Return n samples, t on [0, 1)."""
        rows = self._rows(n, generator)
        x_0 = take(self.pool.x, rows, generator, self.flip)
        e = couplings.gaussian(x_0, self.gamma, generator)
        t = self.times(torch.rand(n, generator=generator, dtype=x_0.dtype, device=x_0.device))
        A, V, d_A, gain = given_row(self.path, self.T, self.gamma, t)
        noise = V.sqrt() * e
        return Batch(A * x_0 + noise, t, d_A * x_0 + gain * noise, self._seen(rows, generator, x_0))


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
        block: The block, for its step size and path.
        seed: Seed of the choice of cells.
        group: Members of a group.
        share: Samples x_t that share a group.
    """

    def __init__(
        self,
        data: Tensor,
        T: float,
        block: Block,
        seed: int = 0,
        group: int = 256,
        share: int = 16,
    ) -> None:
        self.data = data
        self.T, self.gamma, self.path = T, block.gamma, block.path
        self.group, self.share = min(group, len(data)), share
        self.levels = torch.zeros(TIME_BINS, dtype=torch.long, device=data.device)
        generator = torch.Generator(data.device).manual_seed(seed)
        sizes = []
        finest = int(math.log2(len(data) / self.group))
        for level in range(finest + 1):
            self.levels.fill_(level)
            batch = self.draw(32 * self.share * TIME_BINS, generator)
            square = batch.velocity.square().mean(1)
            bins = (batch.t * TIME_BINS).long().clamp(max=TIME_BINS - 1)
            sizes.append(torch.zeros(TIME_BINS).to(square).index_add_(0, bins, square))
        self.levels = torch.stack(sizes).argmin(0)

    def draw(self, n: int, generator: Generator) -> Batch:
        """Return n samples in random order, t stratified over its bins."""
        data, share, device = self.data, self.share, self.data.device
        groups = -(-n // share)
        bins = torch.randperm(groups, generator=generator, device=device) % TIME_BINS
        u = torch.rand(groups, share, generator=generator, device=device).to(data)
        t = (bins[:, None] + u) / TIME_BINS  # (groups, share)
        parts = [
            self._velocities(t_part, self.levels[bin_part], generator)
            for t_part, bin_part in zip(t.split(GROUPS_PER_CHUNK), bins.split(GROUPS_PER_CHUNK), strict=True)
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

        A, V, d_A, gain = given_row(self.path, self.T, self.gamma, t)
        noise = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype, device=device)
        x = A * x_0 + V.sqrt() * noise
        # log p(x_t | x_0) up to a constant: A/V x x_0 - A^2/(2V) |x_0|^2, as one product
        known = torch.cat([members, members.square().sum(2, keepdim=True)], 2)
        logits = torch.cat([A / V * x, -0.5 * A.square() / V], 2) @ known.mT
        mean_0 = logits.softmax(2) @ members
        velocity = d_A * (mean_0 + centre) + gain * (x - A * mean_0)
        return (x + A * centre).flatten(0, 1), velocity.flatten(0, 1)


def given_row(path: Path, T: float, gamma: float, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return A, V, dA/dt and the gain of x_t = A x_0 + sqrt(V) e in an OU pool, each of shape (*t.shape, 1).

    The velocity given the data row is E[dx_t/dt | x_0, x_t] = dA/dt x_0 + gain (x_t - A x_0).

    Args:
        path: The block's path; its coupling is "ou", or "gaussian" with gamma = inf.
        T: OU time at the block's data side.
        gamma: The block's step size.
        t: Times in the block.
    """
    shrink, spread_l = schedules.ou_factors(T)  # x_l = shrink x_0 + spread_l e
    right, spread_r = schedules.ou_factors(gamma)  # x_r = right x_l + spread_r e
    curves = (c[..., None] for c in path(t.clamp(min=1e-6), gamma))
    alpha, beta, d_alpha, d_beta, sigma, d_sigma = curves
    a, b = alpha + beta * right, (beta * spread_r).hypot(sigma)  # x_t = a x_l + b e
    d_a = d_alpha + d_beta * right
    d_b = (beta * spread_r * d_beta * spread_r + sigma * d_sigma) / b
    V = (a * spread_l).square() + b.square()
    return a * shrink, V, d_a * shrink, (d_a * a * spread_l**2 + d_b * b) / V


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
