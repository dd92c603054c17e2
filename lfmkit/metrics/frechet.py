"""Distances between images through their features: Frechet distance (FID) and kernel distance (KID).

Only with the Inception network of 2015-12-05 they are called FID and KID; with other features FD and KD.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from lfmkit.metrics.features import Features, SmallCNN, as_features, bytes_or_features, label
from lfmkit.metrics.inception import Inception
from lfmkit.metrics.records import Record
from lfmkit.metrics.samples import shuffle

ENOUGH = 50_000  # images, for which published FIDs are measured
ROWS = 8192  # in float64 at a time: bounds memory


@dataclass(frozen=True, kw_only=True, repr=False)
class FeatureDistance(Record):
    """A distance between the features of two sets of images and how it was measured.

    Attributes:
        value: The distance; measure is its name, which depends on the features.
        stderr: Standard error of value; None where none is known.
        baseline: The same distance between other real images and the reference, or between two random
            halves of the reference: what is shown where there is no difference.
        n: Number of samples.
        reference: Number of reference images.
        split: Name of the data split that the reference is.
        features: Name of the features.
        dim: Number of features.
        notes: What else the value depends on, and warnings.
        seed: Seed of halves and subsets.
    """

    stderr: float | None
    baseline: float | None
    n: int
    reference: int
    split: str | None
    features: str
    dim: int
    notes: tuple[str, ...]
    seed: int

    @property
    def settings(self) -> str:
        """Features, their number and the notes, in one text."""
        return ", ".join([self.features, f"{self.dim:,} features", *self.notes])


def frechet_distance(
    samples: Tensor,
    reference: Tensor,
    features: Features | None = None,
    baseline: Tensor | None = None,
    split: str | None = None,
    seed: int = 0,
) -> FeatureDistance:
    """Measure the Frechet distance between Gaussians fitted to the features of samples and reference images.

    |m - m'|^2 + tr(C + C' - 2 (C C')^1/2): the squared 2-Wasserstein distance of N(m, C) and N(m', C'). It is
    called FID for `Inception`, FD_small for the features of `train_features`, and FD for others.

    Finite sets show about k (1/n + 1/m) more than there is, with a k that depends on features and data:
    compare values at equal n and m only, and with the baseline. From two halves of the reference that is
    k 4/m, twice what two sets as large as the reference show. Published FIDs have n = 50,000 and as
    reference the whole training split; the record says so where n or m is less.

    Args:
        samples: Images (n, C, H, W) of bytes, or their features (n, d).
        reference: Images (m, C, H, W) of bytes, or their features (m, d).
        features: What turns images into features; of matrices, what they were computed by.
        baseline: Real images (or their features) that are neither in the reference nor shown to the model,
            best as many as samples. None: the baseline is that of two random halves of the reference.
        split: Name of the data split that the reference is; only recorded.
        seed: Seed of the halves.

    Raises:
        TypeError: Images are not of bytes.
        ValueError: Fewer than two images, unequal numbers of features, NaN features, images without features.

    References:
        GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, arXiv 1706.08500.
        The bias: Effectively Unbiased FID and Inception Score and Where to Find Them, arXiv 1911.07023.

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> float(frechet_distance(x + 3, x))
    9.0
    """
    started = time.perf_counter()
    x, y, others, notes = _sets(samples, reference, features, baseline)
    target, floor = _Gaussian.of(y), None
    if others is not None:
        floor = _Gaussian.of(others).distance(target)
    elif len(y) >= 4:
        floor = _Gaussian.of(_half(y, seed, 0)).distance(_Gaussian.of(_half(y, seed, 1)))
    if min(len(x), len(y)) <= x.shape[1]:
        notes += ("singular covariances: more images than features are needed",)
    if min(len(x), len(y)) < ENOUGH:
        notes += (f"biased upwards: fewer than {ENOUGH:,} images",)
    return FeatureDistance(
        measure=_name(features, "FID", "FD"),
        value=_Gaussian.of(x).distance(target),
        stderr=None,
        baseline=floor,
        n=len(x),
        reference=len(y),
        split=split,
        features=label(features),
        dim=x.shape[1],
        notes=notes,
        seed=seed,
        seconds=time.perf_counter() - started,
    )


def kid(
    samples: Tensor,
    reference: Tensor,
    features: Features | None = None,
    baseline: Tensor | None = None,
    subsets: int = 100,
    subset_size: int = 1000,
    split: str | None = None,
    seed: int = 0,
) -> FeatureDistance:
    """Measure the kernel distance between the features of samples and reference images.

    The squared maximum mean discrepancy with the kernel (x . y / d + 1)^3, unbiased, as its mean over random
    subsets of both: unlike the Frechet distance it does not depend on how many images there are, and it is
    negative about half of the time where there is no difference. It is called KID for `Inception`, KD_small
    for the features of `train_features`, and KD for others.

    The spread over the subsets, which others print behind the value, is in the notes. It says how sure one
    subset is. The standard error is that of the mean, from the spread and how much of the smaller set one
    subset is; None where that is all of it. It errs upwards where there is no difference.

    Args:
        samples: Images (n, C, H, W) of bytes, or their features (n, d).
        reference: Images (m, C, H, W) of bytes, or their features (m, d).
        features: What turns images into features; of matrices, what they were computed by.
        baseline: As for `frechet_distance`; None where halves of the reference are smaller than subset_size.
        subsets: Number of subsets.
        subset_size: Images of each set in a subset.
        split: Name of the data split that the reference is; only recorded.
        seed: Seed of subsets and halves.

    Raises:
        TypeError: Images are not of bytes.
        ValueError: As for `frechet_distance`; fewer images than subset_size; subsets < 1, subset_size < 2.

    References:
        Demystifying MMD GANs, arXiv 1801.01401.
    """
    started = time.perf_counter()
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"subsets must be >= 1 and subset_size >= 2, got {subsets} and {subset_size}")
    x, y, others, notes = _sets(samples, reference, features, baseline)
    for name, rows in (("samples", x), ("reference", y), ("baseline", y if others is None else others)):
        if len(rows) < subset_size:
            raise ValueError(
                f"{name} has {len(rows)} images, fewer than subset_size = {subset_size}: lower it"
            )
    values, floor = _discrepancies(x, y, subsets, subset_size, seed), None
    if others is not None:
        floor = float(_discrepancies(others, y, subsets, subset_size, seed).mean())
    elif len(y) >= 2 * subset_size:
        halves = _half(y, seed, 0), _half(y, seed, 1)
        floor = float(_discrepancies(*halves, subsets, subset_size, seed).mean())
    spread = float(values.std()) if subsets > 1 else math.nan
    part = subset_size / min(len(x), len(y))
    known = part < 1 and subsets > 1
    return FeatureDistance(
        measure=_name(features, "KID", "KD"),
        value=float(values.mean()),
        stderr=spread * math.sqrt(1 / subsets + part / (1 - part)) if known else None,
        baseline=floor,
        n=len(x),
        reference=len(y),
        split=split,
        features=label(features),
        dim=x.shape[1],
        notes=(f"{subsets} subsets of {subset_size:,}, spread {spread:.2g}", *notes),
        seed=seed,
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True)
class _Gaussian:
    """A mean (d,) and a root R (r, d) of a covariance R^T R, in float64."""

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, features: Tensor) -> _Gaussian:
        mean = features.mean(0, dtype=torch.float64)
        root = mean.new_zeros(0, len(mean))
        for part in features.split(ROWS):
            root = torch.linalg.qr(torch.cat([root, part.double() - mean]), mode="r").R
        return cls(mean, root / math.sqrt(len(features) - 1))

    def distance(self, other: _Gaussian) -> float:
        """Return the Frechet distance. tr (C C')^1/2 is the sum of the singular values of R R'^T.

        Nothing is squared whose root is taken later, which would lose half of the digits, and singular
        covariances are no special case.
        """
        together = float(torch.linalg.svdvals(self.root @ other.root.T).sum())
        apart = (self.mean - other.mean, self.root, other.root)
        return max(0.0, sum(float(x.square().sum()) for x in apart) - 2 * together)


def _sets(
    samples: Tensor, reference: Tensor, features: Features | None, baseline: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, tuple[str, ...]]:
    """Return the features of both sets and of the baseline on one device, and what to note about them."""
    given = {"samples": samples, "reference": reference}
    given |= {} if baseline is None else {"baseline": baseline}
    shapes: list[tuple[int, ...]] = []
    for name, x in given.items():  # all of it before features are computed, which may take an hour
        if len(bytes_or_features(x, name)) < 2:
            raise ValueError(f"{name} has one image: a distance between distributions needs 2 or more")
        if x.ndim == 4 and tuple(x.shape[1:]) not in shapes:
            shapes.append(tuple(x.shape[1:]))
    if len(shapes) > 1:
        raise ValueError(
            f"{' and '.join(given)} must be images of one shape, got {shapes[0]} and {shapes[1]}"
        )
    found = {name: as_features(features, x, name) for name, x in given.items()}
    dim, device = found["reference"].shape[1], found["reference"].device
    for name, rows in found.items():
        if rows.shape[1] != dim:
            raise ValueError(f"{name} has {rows.shape[1]} features, reference has {dim}")
    x, y = found["samples"].to(device), found["reference"]
    if baseline is None:
        return x, y, None, ()
    return x, y, found["baseline"].to(device), (f"baseline of {len(baseline):,} other images",)


def _half(rows: Tensor, seed: int, which: int) -> Tensor:
    half = len(rows) // 2
    order = shuffle(len(rows), seed).to(rows.device)
    return rows[order[half:] if which else order[:half]]


def _discrepancies(x: Tensor, y: Tensor, subsets: int, size: int, seed: int) -> Tensor:
    """Return unbiased estimates of the squared MMD from random subsets of x and y, shape (subsets,)."""
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(subsets):
        a, b = (
            rows[torch.randperm(len(rows), generator=generator)[:size].to(rows.device)].double()
            for rows in (x, y)
        )
        within = _kernel(a, a) + _kernel(b, b)
        within = (within.sum() - within.trace()) / (size * (size - 1))
        values.append(within - 2 * _kernel(a, b).mean())
    return torch.stack(values)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _name(features: Features | None, known: str, other: str) -> str:
    if isinstance(features, Inception):
        return known
    return f"{other}_small" if isinstance(features, SmallCNN) else other
