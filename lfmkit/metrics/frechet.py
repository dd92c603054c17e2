"""Distances between images through their features: Frechet distance (FID) and kernel distance (KID).

They are called FID and KID only with the Inception network of 2015-12-05; with other features FD and KD.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lfmkit.metrics.features import Features, SmallCNN, as_features, bytes_or_features, label
from lfmkit.metrics.inception import Inception
from lfmkit.metrics.samples import Distance, halves

ENOUGH = 50_000  # images that published FIDs are measured with
ROWS = 8192  # rows of features in float64 at a time: bounds memory


@dataclass(frozen=True, kw_only=True, repr=False)
class FeatureDistance(Distance):
    """A distance between the features of two sets of images and how it was measured.

    Attributes:
        value: The distance; measure is its name, which depends on the features.
        baseline: The same distance between other real images and the reference, or between two random
            halves of the reference: the value to expect where there is no difference.
        settings: Features, their number and the notes, in one text.
        features: Name of the features.
        dim: Number of features.
        notes: What else the value depends on, and warnings.
    """

    features: str
    dim: int
    notes: tuple[str, ...]


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

    Finite sets add about k (1/n + 1/m) to the true distance, with a k that depends on features and data:
    compare values only at equal n and m, and with the baseline. The baseline of two halves of the reference
    contains k 4/m, twice as much as two sets as large as the reference. Published FIDs have n = 50,000 and
    the whole training split as reference; the record has a warning where n or m is smaller.

    Args:
        samples: Images (n, C, H, W) of bytes, or their features (n, d).
        reference: Images (m, C, H, W) of bytes, or their features (m, d).
        features: Function that turns images into features; for given features, the one that computed them.
        baseline: Real images (or their features) that are neither in the reference nor shown to the model,
            best as many as samples. None: the baseline is that of two random halves of the reference.
        split: Name of the data split that the reference is; only recorded.
        seed: Seed of the halves.

    Raises:
        TypeError: Images are not of bytes.
        ValueError: Fewer than two images, unequal numbers of features, NaN features, or images without
            `features`.

    References:
        GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, arXiv 1706.08500.
        The bias: Effectively Unbiased FID and Inception Score and Where to Find Them, arXiv 1911.07023.

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> float(frechet_distance(x + 3, x))
    9.0
    """
    started = time.perf_counter()
    x, y, control, notes = _sets(samples, reference, features, baseline, seed)
    if min(len(x), len(y)) <= x.shape[1]:
        notes += ("singular covariances: more images than features are needed",)
    if min(len(x), len(y)) < ENOUGH:
        notes += (f"biased upwards: fewer than {ENOUGH:,} images",)
    target = _Gaussian.of(y)
    floor = None
    if control is not None:
        floor = _Gaussian.of(control[0]).distance(target if control[1] is y else _Gaussian.of(control[1]))
    return FeatureDistance(
        **_about(x, y, features, "FID", "FD", notes),
        value=_Gaussian.of(x).distance(target),
        stderr=None,
        baseline=floor,
        split=split,
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

    It is the squared maximum mean discrepancy with the kernel (x . y / d + 1)^3, unbiased, averaged over
    random subsets of both sets: unlike the Frechet distance it does not depend on the number of images, and
    it is negative about half of the time where there is no difference. It is called KID for `Inception`,
    KD_small for the features of `train_features`, and KD for others.

    The notes contain the spread over the subsets, which other programs print after the value; it is the
    uncertainty of one subset. The standard error is that of the mean, computed from the spread and from the
    share of the smaller set that one subset takes; it is None if a subset takes all of it. Where there is no
    difference it errs upwards.

    Args:
        samples: Images (n, C, H, W) of bytes, or their features (n, d).
        reference: Images (m, C, H, W) of bytes, or their features (m, d).
        features: As for `frechet_distance`.
        baseline: As for `frechet_distance`; the record has none where halves of the reference are smaller
            than subset_size.
        subsets: Number of subsets.
        subset_size: Images of each set in a subset.
        split: Name of the data split that the reference is; only recorded.
        seed: Seed of subsets and halves.

    Raises:
        TypeError: Images are not of bytes.
        ValueError: As for `frechet_distance`, or fewer images than subset_size, subsets < 1, subset_size < 2.

    References:
        Demystifying MMD GANs, arXiv 1801.01401.
    """
    started = time.perf_counter()
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"subsets must be >= 1 and subset_size >= 2, got {subsets} and {subset_size}")
    x, y, control, notes = _sets(samples, reference, features, baseline, seed, subset_size)
    values = _discrepancies(x, y, subsets, subset_size, seed)
    floor = None
    if control is not None:
        floor = float(_discrepancies(*control, subsets, subset_size, seed).mean())
    spread = float(values.std()) if subsets > 1 else math.nan
    part = subset_size / min(len(x), len(y))
    known = part < 1 and subsets > 1
    notes = (f"{subsets} subsets of {subset_size:,}, spread {spread:.2g}", *notes)
    return FeatureDistance(
        **_about(x, y, features, "KID", "KD", notes),
        value=float(values.mean()),
        stderr=spread * math.sqrt(1 / subsets + part / (1 - part)) if known else None,
        baseline=floor,
        split=split,
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

        No number is squared and rooted again, which would lose half of the digits, and singular covariances
        need no special case.
        """
        together = float(torch.linalg.svdvals(self.root @ other.root.T).sum())
        apart = (self.mean - other.mean, self.root, other.root)
        return max(0.0, sum(float(x.square().sum()) for x in apart) - 2 * together)


def _sets(
    samples: Tensor,
    reference: Tensor,
    features: Features | None,
    baseline: Tensor | None,
    seed: int,
    subset_size: int = 0,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None, tuple[str, ...]]:
    """Return the features of both sets, those of two sets for the baseline, and a note about the baseline."""
    given = {"samples": samples, "reference": reference}
    given |= {} if baseline is None else {"baseline": baseline}
    shapes: list[tuple[int, ...]] = []
    for name, x in given.items():  # before features are computed, which may take an hour
        if len(bytes_or_features(x, name)) < 2:
            raise ValueError(f"{name} has one image: a distance between distributions needs 2 or more")
        if x.ndim == 4 and tuple(x.shape[1:]) not in shapes:
            shapes.append(tuple(x.shape[1:]))
    if len(shapes) > 1:
        raise ValueError(
            f"{' and '.join(given)} must be images of one shape, got {shapes[0]} and {shapes[1]}"
        )
    found = {name: as_features(features, x, name) for name, x in given.items()}
    y = found["reference"]
    for name, rows in found.items():
        if rows.shape[1] != y.shape[1]:
            raise ValueError(f"{name} has {rows.shape[1]} features, reference has {y.shape[1]}")
        if len(rows) < subset_size:
            raise ValueError(
                f"{name} has {len(rows)} images, fewer than subset_size = {subset_size}: lower it"
            )
    x = found["samples"].to(y.device)
    if baseline is None:
        return x, y, halves(y, seed, max(2, subset_size)), ()
    return x, y, (found["baseline"].to(y.device), y), (f"baseline of {len(baseline):,} other images",)


def _about(
    x: Tensor, y: Tensor, features: Features | None, known: str, other: str, notes: tuple[str, ...]
) -> dict[str, Any]:
    """Return the fields of a record that describe sets and features; `known` is its name with Inception."""
    small = f"{other}_small" if isinstance(features, SmallCNN) else other
    name = label(features)
    return {
        "measure": known if isinstance(features, Inception) else small,
        "settings": ", ".join([name, f"{x.shape[1]:,} features", *notes]),
        "n": len(x),
        "reference": len(y),
        "features": name,
        "dim": x.shape[1],
        "notes": notes,
    }


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
