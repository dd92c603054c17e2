"""Distances between samples against closed forms, SciPy and POT."""

import functools
import math

import numpy as np
import ot
import pytest
import scipy.integrate
import scipy.spatial.distance
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lfmkit import metrics
from lfmkit.metrics import sliced

DISTANCES = [metrics.sliced_wasserstein, metrics.mmd, metrics.energy_distance]
every = pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: d.__name__)


def normal(n, d, seed, mean=0.0, scale=1.0):
    return mean + scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).double()


def sets(d=None, least=2):
    numbers = st.floats(-50, 50, width=32)
    dims = st.integers(1, 4) if d is None else st.just(d)
    sizes = st.tuples(st.integers(least, 12), st.integers(least, 12))
    return st.tuples(sizes, dims).flatmap(
        lambda s: st.tuples(*(arrays(np.float64, (n, s[1]), elements=numbers) for n in s[0]))
    )


def tensors(pair):
    return tuple(torch.from_numpy(points) for points in pair)


# One dimension: exact


@settings(deadline=None)
@given(sets(d=1))
def test_in_one_dimension_wasserstein_1_is_scipys(pair):
    x, y = tensors(pair)
    expected = scipy.stats.wasserstein_distance(x[:, 0], y[:, 0])
    assert float(metrics.sliced_wasserstein(x, y, p=1)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(sets(d=1))
def test_in_one_dimension_wasserstein_2_is_an_optimal_plan(pair):
    x, y = tensors(pair)
    plan = ot.emd2_1d(x[:, 0].numpy(), y[:, 0].numpy(), metric="sqeuclidean")
    assert float(metrics.sliced_wasserstein(x, y)) ** 2 == pytest.approx(plan, rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(sets(d=1))
def test_in_one_dimension_energy_distance_is_scipys(pair):
    x, y = tensors(pair)
    expected = scipy.stats.energy_distance(x[:, 0], y[:, 0])
    assert float(metrics.energy_distance(x, y)) == pytest.approx(expected, rel=1e-6, abs=1e-5)


# More dimensions: the same sums, made by others


@pytest.mark.parametrize(("n", "m", "d"), [(40, 40, 2), (30, 47, 2), (64, 16, 5)])
@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_sliced_wasserstein_agrees_with_pot(n, m, d, p):
    x, y = normal(n, d, 0), normal(m, d, 1, mean=0.3)
    theta = sliced.directions(d, 50, seed=4).numpy()
    expected = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=theta, p=p)
    assert float(metrics.sliced_wasserstein(x, y, 50, p, seed=4)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("d", [1, 2, 40])
def test_mmd_is_the_mean_over_pairs(d):
    x, y = normal(30, d, 0), normal(25, d, 1, mean=0.5)
    bandwidths = 0.7 * 2.0 ** np.array([-1, -0.5, 0, 0.5, 1])

    def k(a, b):
        squares = scipy.spatial.distance.cdist(a, b, "sqeuclidean")
        return np.mean([np.exp(-squares / (2 * s**2)) for s in bandwidths], axis=0)

    kx, ky = k(x, x), k(y, y)
    expected = (kx.sum() - 30) / (30 * 29) + (ky.sum() - 25) / (25 * 24) - 2 * k(x, y).mean()
    assert float(metrics.mmd(x, y, bandwidth=0.7)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("d", [2, 40])
def test_energy_distance_is_the_mean_over_pairs(d):
    x, y = normal(30, d, 0), normal(25, d, 1, mean=0.5)
    xx, yy, xy = (scipy.spatial.distance.cdist(*pair).mean() for pair in ((x, x), (y, y), (x, y)))
    expected = math.sqrt(2 * xy - xx - yy)
    assert float(metrics.energy_distance(x, y)) == pytest.approx(expected, rel=1e-6)


# Closed forms of Gaussians


def test_sliced_wasserstein_of_a_shift_and_a_scale():
    """A shift by m counts (m . theta)^2 in each direction, which equal angles average to |m|^2 / 2."""
    x = normal(500, 2, 0)
    shift = torch.tensor([0.6, -0.8])
    assert float(metrics.sliced_wasserstein(x + shift, x, projections=2)) == pytest.approx(math.sqrt(0.5))
    variance = torch.cov(x.T, correction=0).trace() + x.mean(0).square().sum()
    scaled = metrics.sliced_wasserstein(3 * x, x)
    assert float(scaled) == pytest.approx(2 * math.sqrt(float(variance) / 2))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_sliced_wasserstein_of_gaussians(d):
    """W_2 of N(m, s^2) and N(0, 1) in one dimension is sqrt(m^2 + (s - 1)^2)."""
    x, y = normal(6000, d, 0, mean=0.5, scale=1.4), normal(5000, d, 1)
    result = metrics.sliced_wasserstein(x, y, projections=200)
    expected = math.sqrt(0.5**2 + 0.4**2)
    assert abs(float(result) - expected) < 4 * result.stderr
    assert result.stderr < 0.03


@pytest.mark.parametrize("d", [1, 2, 5])
def test_mmd_of_gaussians(d):
    """E exp(-|z|^2 / 2 s^2) of z ~ N(m, v I) is (s^2 / (s^2 + v))^(d/2) exp(-|m|^2 / (2 (s^2 + v)))."""
    x, y = normal(4000, d, 0, mean=0.5, scale=1.4), normal(3000, d, 1)

    def mean_kernel(square, v):
        terms = [(s2 / (s2 + v)) ** (d / 2) * math.exp(-square / (2 * (s2 + v))) for s2 in squares]
        return sum(terms) / 5

    squares = [1.2**2 * 2.0**k for k in (-2, -1, 0, 1, 2)]
    expected = mean_kernel(0, 2 * 1.4**2) + mean_kernel(0, 2) - 2 * mean_kernel(0.25 * d, 1 + 1.4**2)
    result = metrics.mmd(x, y, bandwidth=1.2)
    assert abs(float(result) - expected) < 4 * result.stderr
    assert result.stderr < 0.1 * expected


@pytest.mark.parametrize("d", [1, 3])
def test_energy_distance_of_gaussians(d):
    """E|N(m, v I)| is sqrt(v) times the mean of a noncentral chi variable."""
    x, y = normal(4000, d, 0, mean=0.5, scale=1.4), normal(3000, d, 1)

    def mean_norm(square, v):
        def tail(r):
            return scipy.stats.ncx2.sf(r * r, d, square / v) if square else scipy.stats.chi2.sf(r * r, d)

        return math.sqrt(v) * scipy.integrate.quad(tail, 0, 20)[0]

    square = 2 * mean_norm(0.25 * d, 1 + 1.4**2) - mean_norm(0, 2 * 1.4**2) - mean_norm(0, 2)
    result = metrics.energy_distance(x, y)
    assert abs(float(result) - math.sqrt(square)) < 4 * result.stderr
    assert result.stderr < 0.1 * math.sqrt(square)


# Standard errors and the noise floor


@every
@pytest.mark.parametrize("mean", [0.0, 0.4])
@pytest.mark.parametrize("d", [2, 3])
def test_standard_errors_are_of_the_size_of_the_scatter(distance, mean, d):
    """Over 100 fresh pairs of sets, with and without a difference."""
    results = [distance(normal(150, d, 2 * k, mean), normal(200, d, 2 * k + 1)) for k in range(100)]
    scatter = np.std([float(r) for r in results])
    stated = np.mean([r.stderr for r in results])
    low, high = (0.6, 1.2) if distance is metrics.sliced_wasserstein else (0.82, 1.2)
    assert low < stated / scatter < (high if mean else 1.6)  # without a difference on the safe side


@every
def test_the_baseline_is_the_distance_of_two_halves(distance):
    x, y = normal(50, 2, 0), normal(41, 2, 1)
    result = distance(x, y, seed=3)
    order = torch.randperm(41, generator=torch.Generator().manual_seed(3))
    a, b = y[order[:20]], y[order[20:]]
    if distance is metrics.mmd:
        middle = float(result.settings.split()[3])
        assert result.baseline == pytest.approx(float(metrics.mmd(a, b, bandwidth=middle)), rel=1e-2)
    else:
        assert result.baseline == pytest.approx(float(distance(a, b, seed=3)), rel=1e-9)
    assert distance(x, y[:3]).baseline is None


@every
def test_a_set_as_good_as_the_reference_is_near_the_baseline(distance):
    same = distance(normal(2000, 2, 0), normal(2000, 2, 1))
    other = distance(normal(2000, 2, 0, mean=0.3), normal(2000, 2, 1))
    assert float(same) < 2 * abs(same.baseline) + 3 * same.stderr
    assert float(other) > 3 * abs(other.baseline)


@every
def test_the_mean_over_chance_is_what_the_docstring_says(distance):
    """Without a difference: MMD is 0 in the mean, energy distance squared (1/n + 1/m) E|y - y'|."""
    values = [float(distance(normal(60, 2, 2 * k), normal(40, 2, 2 * k + 1), seed=k)) for k in range(100)]
    if distance is metrics.mmd:
        assert abs(np.mean(values)) < 4 * np.std(values) / 10
        assert 0.2 < np.mean(np.array(values) < 0) < 0.8
    elif distance is metrics.energy_distance:
        expected = (1 / 60 + 1 / 40) * math.sqrt(math.pi)  # E|N(0, 2 I)| in the plane
        squares = np.square(values)
        assert abs(squares.mean() - expected) < 4 * squares.std() / 10


# Invariances


def middling(distance):
    """MMD at a fixed bandwidth: the median of few points may jump with their last digit."""
    return functools.partial(distance, bandwidth=10.0) if distance is metrics.mmd else distance


@every
@settings(deadline=None)
@given(pair=sets())
def test_symmetric(distance, pair):
    x, y = tensors(pair)
    assert float(distance(x, y)) == pytest.approx(float(distance(y, x)), rel=1e-6, abs=1e-5)


@every
@settings(deadline=None)
@given(pair=sets(), shift=st.floats(-100, 100))
def test_a_common_shift_changes_nothing(distance, pair, shift):
    x, y = tensors(pair)
    distance = middling(distance)
    assert float(distance(x + shift, y + shift)) == pytest.approx(float(distance(x, y)), rel=1e-5, abs=1e-4)


@every
@settings(deadline=None)
@given(pair=sets(least=3))
def test_the_order_of_rows_changes_nothing(distance, pair):
    x, y = tensors(pair)
    distance = middling(distance)
    one, other = distance(x, y), distance(x.flip(0), y.roll(1, 0))
    assert float(one) == pytest.approx(float(other), rel=1e-6, abs=1e-5)


@settings(deadline=None)
@given(sets())
def test_a_set_is_at_no_distance_from_itself(pair):
    x, _ = tensors(pair)
    assert float(metrics.sliced_wasserstein(x, x)) == 0
    assert float(metrics.energy_distance(x, x)) == pytest.approx(0, abs=1e-5)
    assert float(metrics.mmd(x, x)) < 1e-12  # unbiased: its own pairs are left out, so it falls below zero


@settings(deadline=None)
@given(sets())
def test_sliced_wasserstein_is_at_most_the_wasserstein_distance(pair):
    x, y = tensors(pair)
    costs = scipy.spatial.distance.cdist(x, y, "sqeuclidean")
    full = math.sqrt(max(ot.emd2([], [], costs), 0))
    limit = full / math.sqrt(x.shape[1]) if x.shape[1] < 3 else full
    assert float(metrics.sliced_wasserstein(x, y)) <= limit * (1 + 1e-6) + 1e-6
