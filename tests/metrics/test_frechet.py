"""Frechet and kernel distances of features against closed forms, SciPy, and plain sums over pairs."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lfmkit import metrics

IMAGES = torch.randint(0, 256, (40, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(9))
both = pytest.mark.parametrize("distance", [metrics.frechet_distance, metrics.kid], ids=lambda d: d.__name__)


def normal(n, d, seed, mean=0.0, scale=1.0):
    return mean + scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).double()


def exactly(mean, root, n=60, seed=0):
    """Points whose sample mean is mean (d,) and whose sample covariance is root root^T."""
    x = normal(n, len(mean), seed)
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(torch.cov(x.T).view(len(mean), -1)), x.T, upper=False
    ).T
    return mean + white @ root.T


def pixels(images):
    return images.flatten(1).float()


# Frechet distance


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.floats(-5, 5), st.floats(0, 4), st.floats(0, 4)),
        min_size=1,
        max_size=6,
    )
)
def test_gaussians_with_common_axes(columns):
    """sum of (m - m')^2 + (s - s')^2; a spread of zero makes the covariance singular."""
    shift, a, b = torch.tensor(columns, dtype=torch.float64).T
    x, y = exactly(shift, torch.diag(a), seed=1), exactly(torch.zeros_like(shift), torch.diag(b), seed=2)
    expected = float(shift.square().sum() + (a - b).square().sum())
    assert float(metrics.frechet_distance(x, y)) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("d", [2, 5, 30])
def test_gaussians_with_different_axes_are_scipys(d):
    x, y = normal(200, d, 0) @ normal(d, d, 1), normal(150, d, 2, mean=0.5) @ normal(d, d, 3)
    a, b = np.cov(x.numpy().T), np.cov(y.numpy().T)
    shift = float((x.mean(0) - y.mean(0)).square().sum())
    expected = shift + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    result = metrics.frechet_distance(x, y)
    assert float(result) == pytest.approx(expected, rel=1e-9)
    assert float(metrics.frechet_distance(y, x)) == pytest.approx(expected, rel=1e-9)
    assert float(metrics.frechet_distance(x.float(), y.float())) == pytest.approx(expected, rel=1e-5)


def test_fewer_points_than_dimensions():
    """Points in a subspace have the distance that they have there."""
    x, y = normal(40, 3, 0), normal(35, 3, 1, mean=0.2, scale=1.3)
    axes = torch.linalg.qr(normal(100, 3, 2)).Q
    flat, deep = metrics.frechet_distance(x, y), metrics.frechet_distance(x @ axes.T, y @ axes.T)
    assert float(deep) == pytest.approx(float(flat), rel=1e-9)
    assert deep.baseline == pytest.approx(flat.baseline, rel=1e-9)
    assert "singular" in deep.settings
    assert "singular" not in flat.settings


def test_small_differences_keep_their_digits():
    """Scaled by 1 + e a set is tr C e^2 away from itself: here 1e-12 of the terms of the sum."""
    x = exactly(torch.zeros(20).double(), normal(20, 20, 1), n=500)
    trace = float(torch.cov(x.T).trace())
    assert float(metrics.frechet_distance(x, x)) < 1e-13 * trace
    assert float(metrics.frechet_distance(x * (1 + 1e-6), x)) == pytest.approx(1e-12 * trace, rel=0.01)


def test_constant_sets():
    one, other = torch.zeros(5, 3), torch.ones(6, 3)
    assert float(metrics.frechet_distance(one, other)) == 3
    assert metrics.frechet_distance(one, other).baseline == 0


def test_the_baseline_of_halves_is_twice_what_whole_sets_show():
    results = [metrics.frechet_distance(normal(400, 8, k), normal(400, 8, -1 - k)) for k in range(150)]
    value, baseline = (np.mean([getattr(r, name) for r in results]) for name in ("value", "baseline"))
    assert 1.85 < baseline / value < 2.15


def test_a_baseline_of_other_images():
    x, y, others = normal(50, 4, 0, mean=1), normal(60, 4, 1), normal(30, 4, 2)
    result = metrics.frechet_distance(x, y, baseline=others)
    assert result.baseline == float(metrics.frechet_distance(others, y))
    assert "baseline of 30 other images" in result.settings
    assert metrics.frechet_distance(x, y[:3]).baseline is None


# Kernel distance


@pytest.mark.parametrize("d", [1, 7])
def test_one_subset_of_all_is_the_sum_over_pairs(d):
    x, y = normal(20, d, 0).numpy(), normal(20, d, 1, mean=0.5).numpy()
    pairs = [(i, j) for i in range(20) for j in range(20)]
    k = {
        name: np.mean([(a[i] @ b[j] / d + 1) ** 3 for i, j in pairs if a is not b or i != j])
        for name, a, b in (("xx", x, x), ("yy", y, y), ("xy", x, y))
    }
    result = metrics.kid(torch.from_numpy(x), torch.from_numpy(y), subsets=1, subset_size=20)
    assert float(result) == pytest.approx(k["xx"] + k["yy"] - 2 * k["xy"], rel=1e-9)
    assert result.stderr is None
    assert result.baseline is None


def test_the_kernel_compares_three_moments():
    """In one dimension MMD^2 is 3 D1^2 + 3 D2^2 + D3^2, D the moments' differences: N(m, 1), N(0, 1)."""
    m = 0.4
    expected = 3 * m**2 + 3 * m**4 + (m**3 + 3 * m) ** 2
    results = [
        metrics.kid(normal(600, 1, k, mean=m), normal(500, 1, k + 500), subsets=20, subset_size=100)
        for k in range(60)
    ]
    values = np.array([float(r) for r in results])
    assert abs(values.mean() - expected) < 3 * values.std() / math.sqrt(60)
    assert 0.75 < np.mean([r.stderr for r in results]) / values.std() < 1.5
    floors = np.array([r.baseline for r in results])
    assert abs(floors.mean()) < 3 * floors.std() / math.sqrt(60)


def test_kid_says_how_it_was_measured():
    x, y = normal(50, 3, 0), normal(60, 3, 1)
    result = metrics.kid(x, y, subsets=7, subset_size=30, split="test", seed=3)
    assert "7 subsets of 30, spread" in result.settings
    assert result.value == metrics.kid(x, y, subsets=7, subset_size=30, seed=3).value
    assert result.value != metrics.kid(x, y, subsets=7, subset_size=30, seed=4).value
    given = metrics.kid(x, y, baseline=normal(40, 3, 5), subsets=7, subset_size=30)
    assert given.baseline == metrics.kid(normal(40, 3, 5), y, subsets=7, subset_size=30).value


# Names and protocol


def test_only_inception_makes_it_fid(monkeypatch):
    monkeypatch.setattr(metrics.Inception, "__call__", lambda self, images: pixels(images))
    inception = object.__new__(metrics.Inception)
    small = metrics.train_features(IMAGES, torch.arange(40) % 2, IMAGES, torch.arange(40) % 2, steps=1)
    names = {}
    for features in (inception, small, pixels):
        fd = metrics.frechet_distance(IMAGES[:20], IMAGES[20:], features)
        kd = metrics.kid(IMAGES[:20], IMAGES[20:], features, subsets=2, subset_size=10)
        names[fd.measure, kd.measure] = fd.features
    assert list(names) == [("FID", "KID"), ("FD_small", "KD_small"), ("FD", "KD")]
    assert list(names.values()) == ["Inception 2015-12-05, antialias off", small.label, "pixels"]
    assert metrics.frechet_distance(normal(9, 2, 0), normal(9, 2, 1)).measure == "FD"


def test_protocol():
    result = metrics.frechet_distance(IMAGES[:15], IMAGES[15:], pixels, split="test", seed=4)
    row = result.cells()
    assert (row["n"], row["n reference"], row["split"], row["seed"]) == ("15", "25", "test", "4")
    assert row["settings"].startswith("pixels, 16 features, singular")
    assert "biased upwards: fewer than 50,000" in row["settings"]
    assert (result.dim, float(result)) == (16, result.value)
    assert result.seconds > 0
    assert "biased" not in metrics.frechet_distance(normal(50_000, 1, 0), normal(50_000, 1, 1)).settings


def test_features_may_be_computed_before():
    whole = metrics.frechet_distance(IMAGES[:15], IMAGES[15:], pixels)
    again = metrics.frechet_distance(pixels(IMAGES[:15]), pixels(IMAGES[15:]), pixels)
    mixed = metrics.frechet_distance(IMAGES[:15], pixels(IMAGES[15:]), pixels)
    assert whole.value == again.value == mixed.value
    assert whole.settings == again.settings


# Errors


@both
@pytest.mark.parametrize(
    ("samples", "features", "error", "message"),
    [
        (
            IMAGES.float(),
            pixels,
            TypeError,
            r"samples must be bytes \(torch.uint8\), got torch.float32",
        ),
        (IMAGES.flatten(1), pixels, ValueError, r"samples needs the shape \(n, C, H, W\)"),
        (IMAGES[:0], pixels, ValueError, "samples is empty"),
        (IMAGES[:1], pixels, ValueError, "samples has one image: .* needs 2 or more"),
        (IMAGES[..., :2], pixels, ValueError, r"one shape, got \(1, 4, 2\) and \(1, 4, 4\)"),
        (IMAGES.expand(-1, 3, -1, -1), pixels, ValueError, r"one shape, got \(3, 4, 4\) and \(1, 4, 4\)"),
        (IMAGES, None, ValueError, "samples are images: say features="),
        (IMAGES, lambda x: x, ValueError, r"features must return a tensor \(n, d\), n = 40 for samples"),
        (IMAGES, lambda x: None, ValueError, "got NoneType"),
        (IMAGES, lambda x: pixels(x) / 0, ValueError, "features of samples has 40 of 40 rows with NaN"),
        (torch.zeros(30, 5), pixels, ValueError, "samples has 5 features, reference has 16"),
        (torch.full((30, 16), math.nan), pixels, ValueError, "samples has 30 of 30 rows with NaN"),
        (None, pixels, TypeError, "got NoneType"),
    ],
)
def test_bad_sets(distance, samples, features, error, message):
    with pytest.raises(error, match=message):
        distance(samples, IMAGES, features)


@both
def test_all_sets_are_looked_at_before_features_are_computed(distance):
    def never(images):
        raise AssertionError

    for sets in ((IMAGES, IMAGES.float()), (IMAGES, IMAGES, never, IMAGES.float())):
        with pytest.raises(TypeError, match="must be bytes"):
            distance(*(sets if len(sets) > 2 else (*sets, never)))
    with pytest.raises(
        ValueError, match=r"samples and reference and baseline must be .* got \(1, 4, 4\) and"
    ):
        distance(IMAGES, IMAGES, never, IMAGES[..., 1:])


def test_bad_subsets():
    x = normal(30, 2, 0)
    with pytest.raises(ValueError, match="samples has 30 images, fewer than subset_size = 1000"):
        metrics.kid(x, normal(2000, 2, 1))
    with pytest.raises(ValueError, match="reference has 30 images, fewer than subset_size = 1000"):
        metrics.kid(normal(2000, 2, 1), x)
    with pytest.raises(ValueError, match="baseline has 5 images"):
        metrics.kid(x, x, baseline=x[:5], subset_size=10)
    with pytest.raises(ValueError, match="subsets must be >= 1 and subset_size >= 2, got 0 and 1"):
        metrics.kid(x, x, subsets=0, subset_size=1)
