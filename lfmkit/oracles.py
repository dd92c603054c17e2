"""Closed forms for Gaussian mixtures: density, score, OU marginals, exact velocities, chi-square.

They are what every learned quantity of the kit can be checked against. With the OU coupling each block
path is x_t = A(t) x_l + B(t) g with independent Gaussian g, and for a mixture left end the marginal
velocity E[A' x_l + B' g | x_t = x] is known exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from lfmkit import paths, schedules
from lfmkit.utils.references import choose

Velocity = Callable[[Tensor, Tensor], Tensor]


class Density(Protocol):
    """A density with closed-form Gaussian smoothing: what the exact velocities need."""

    def affine(self, a: float, b: float) -> Density:
        """Return the density of a x + b g, g ~ N(0, I)."""

    def velocity(self, x: Tensor, a: float, b: float, d_a: float, d_b: float) -> Tensor:
        """Return E[d_a x_l + d_b g | a x_l + b g = x], x_l from this density."""


class GaussianMixture:
    """A mixture of K Gaussians in d dimensions, in float64.

    Args:
        means: Component means, shape (K, d).
        covariances: One variance for all, (K,) variances, or (K, d, d) matrices.
        weights: Positive weights, shape (K,); equal when left out. They are normalised.

    Raises:
        ValueError: Shapes do not fit, a weight is not positive, a covariance is not positive definite.

    >>> mixture = GaussianMixture([[0.0, 0.0]], 1.0)
    >>> mixture.log_prob(torch.zeros(1, 2)) # -log(2 pi)
    tensor([-1.8379], dtype=torch.float64)
    """

    def __init__(
        self,
        means: Tensor | Sequence[Sequence[float]],
        covariances: Tensor | Sequence[float] | float,
        weights: Tensor | Sequence[float] | None = None,
    ) -> None:
        self.means = torch.as_tensor(means, dtype=torch.float64)
        if self.means.ndim != 2 or self.means.numel() == 0:
            raise ValueError(f"means need the shape (components, dim), got {tuple(self.means.shape)}")
        count, dim = self.means.shape
        given = torch.as_tensor(covariances, dtype=torch.float64)
        if given.ndim < 2:
            given = given.expand(count)[:, None, None] * torch.eye(dim, dtype=torch.float64)
        if given.shape != (count, dim, dim):
            raise ValueError(f"covariances need the shape {(count, dim, dim)}, got {tuple(given.shape)}")
        weight = torch.ones(count) if weights is None else torch.as_tensor(weights)
        weight = weight.double()
        if weight.shape != (count,) or not (weight > 0).all() or not torch.isfinite(weight).all():
            raise ValueError(f"weights need {count} positive finite numbers, got {weight.tolist()}")
        if not (torch.isfinite(self.means).all() and torch.isfinite(given).all()):
            raise ValueError("means and covariances must be finite")
        self.weights = weight / weight.sum()
        self.covariances = given
        self.variances, self.axes = torch.linalg.eigh(given)  # (K, d) and (K, d, d): C = Q diag(v) Q^T
        if not (self.variances > 0).all():
            raise ValueError("covariances must be positive definite")

    @property
    def dim(self) -> int:
        """The number of dimensions."""
        return self.means.shape[1]

    def affine(self, a: float, b: float) -> GaussianMixture:
        """Return the mixture of a x + b g, g ~ N(0, I)."""
        eye = torch.eye(self.dim, dtype=torch.float64)
        return GaussianMixture(a * self.means, a * a * self.covariances + b * b * eye, self.weights)

    def ou(self, T: float) -> GaussianMixture:
        """Return the mixture after OU time T."""
        return self.affine(*schedules.ou_factors(T))

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Return n float32 samples, shape (n, d)."""
        generator = torch.Generator().manual_seed(seed)
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        g = torch.randn(n, self.dim, generator=generator, dtype=torch.float64) * self.variances[k].sqrt()
        return (self.means[k] + torch.einsum("nij,nj->ni", self.axes[k], g)).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density at x (n, d), shape (n,), nats."""
        return torch.logsumexp(self._log_joint(x)[0], 1)

    def score(self, x: Tensor) -> Tensor:
        """Return the gradient of the log density at x (n, d), shape (n, d)."""
        log_joint, z = self._log_joint(x)
        return torch.einsum("nk,kij,nkj->ni", log_joint.softmax(1), self.axes, -z / self.variances)

    def velocity(self, x: Tensor, a: float, b: float, d_a: float, d_b: float) -> Tensor:
        """Return E[d_a x_l + d_b g | a x_l + b g = x] for x_l from this mixture, shape (n, d).

        Component k contributes d_a m_k + (a d_a C_k + b d_b I)(a^2 C_k + b^2 I)^-1 (x - a m_k), weighted by
        its posterior probability.
        """
        variances = a * a * self.variances + b * b
        log_joint, z = self._log_joint(x, a, variances)
        gain = (a * d_a * self.variances + b * d_b) / variances
        pull = torch.einsum("kij,nkj->nki", self.axes, gain * z)
        return torch.einsum("nk,nki->ni", log_joint.softmax(1), d_a * self.means + pull)

    @property
    def floor(self) -> float:
        """The entropy in nats, by Monte Carlo on 200,000 seeded samples (exact for one component)."""
        if len(self.means) == 1:
            return 0.5 * (self.dim * (1 + math.log(2 * math.pi)) + float(self.variances.log().sum()))
        return -float(self.log_prob(self.sample(200_000)).mean())

    def chi2(self) -> float:
        """Return the chi-square divergence from N(0, I), closed form; math.inf where a variance reaches 2.

        >>> near = GaussianMixture([[-0.05, -0.05]], 1.0)
        >>> abs(near.chi2() - math.expm1(0.005)) < 1e-12  # e^|mu|^2 - 1
        True
        """
        precision = torch.linalg.inv(self.covariances)
        pull = torch.einsum("kij,kj->ki", precision, self.means)
        joint = precision[:, None] + precision[None, :] - torch.eye(self.dim, dtype=torch.float64)
        if not (torch.linalg.eigvalsh(joint) > 0).all():
            return math.inf
        both = pull[:, None] + pull[None, :]
        energy = torch.einsum("ki,ki->k", self.means, pull)
        log_det = torch.logdet(precision)
        exponent = 0.5 * (torch.einsum("kli,klij,klj->kl", both, torch.linalg.inv(joint), both)
                          - energy[:, None] - energy[None, :]
                          + log_det[:, None] + log_det[None, :] - torch.logdet(joint))  # fmt: skip
        return float(torch.einsum("k,l,kl->", self.weights, self.weights, exponent.exp())) - 1

    def _log_joint(self, x: Tensor, a: float = 1.0, variances: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return log(weight x density) per component (n, K) and x - a m_k in its eigenbasis (n, K, d)."""
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"points need the shape (n, {self.dim}), got {tuple(x.shape)}")
        variances = self.variances if variances is None else variances
        z = torch.einsum("kij,nki->nkj", self.axes, x.double()[:, None] - a * self.means)
        quadratic = (z.square() / variances).sum(2) + variances.log().sum(1)
        return self.weights.log() - 0.5 * (quadratic + self.dim * math.log(2 * math.pi)), z


def velocities(
    density: _WithOU, schedule: Iterable[float], path: paths.Path | str = "linear"
) -> list[Velocity]:
    """Return the exact velocity of every block of an LFM with the OU coupling, data side first.

    Args:
        density: The data's density, a `GaussianMixture` or a picture.
        schedule: Local step sizes; the free block is added.
        path: Name of the path, or a function as those of `lfmkit.paths`.

    Returns:
        Functions (x of shape (n, d), scalar t) -> velocity (n, d), in the dtype of x.
    """
    steps = schedules.check(schedule)
    lefts = (0.0, *schedules.times(steps))
    curves = choose(path, paths.PATHS, "path")
    return [
        _block_velocity(density.ou(T), curves, gamma)
        for T, gamma in zip(lefts, (*steps, math.inf), strict=True)
    ]


def probability_flow(density: _WithOU) -> Velocity:
    """Return the velocity -x - grad log p_T(x) of the OU process's probability-flow ODE in its own time T.

    Reference: Score-Based Generative Modeling through SDEs, arXiv 2011.13456.
    """

    def velocity(x: Tensor, T: Tensor) -> Tensor:
        return -x - density.ou(float(T)).score(x).to(x.dtype)

    return velocity


class _WithOU(Density, Protocol):
    def ou(self, T: float) -> _WithOU: ...

    def score(self, x: Tensor) -> Tensor: ...


def _block_velocity(left: Density, path: paths.Path, gamma: float) -> Velocity:
    shrink, spread = schedules.ou_factors(gamma)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        # x_t = alpha x_l + beta (e^-gamma x_l + sqrt(1 - e^-2gamma) g) + sigma e is a x_l + b g'
        curves = (float(c) for c in path(t.double(), gamma))
        alpha, beta, d_alpha, d_beta, sigma, d_sigma = curves
        a, d_a = alpha + beta * shrink, d_alpha + d_beta * shrink
        b = math.hypot(beta * spread, sigma)  # independent noises are one: b b' = sum of their products
        d_b = (beta * spread * d_beta * spread + sigma * d_sigma) / b if b > 0 else d_beta * spread
        return left.velocity(x, a, b, d_a, d_b).to(x.dtype)

    return velocity
