"""Distances between samples: chunks, seeds, protocols and bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lfmkit import metrics
from lfmkit.metrics import pairwise, sliced

DISTANCES = [metrics.sliced_wasserstein, metrics.mmd, metrics.energy_distance]
every = pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: d.__name__)


def normal(n, d, seed, mean=0.0):
    return mean + torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("d", [2, 40])
def test_chunks_change_nothing(monkeypatch, d):
    x, y = normal(53, d, 0), normal(71, d, 1, mean=0.2)
    whole = [distance(x, y) for distance in DISTANCES]
    monkeypatch.setattr(pairwise, "PAIRS", 100)
    monkeypatch.setattr(sliced, "VALUES", 300)
    for before, distance in zip(whole, DISTANCES, strict=True):
        after = distance(x, y)
        for name in ("value", "stderr", "baseline"):
            if getattr(before, name) is not None:
                assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-6)


@every
def test_a_result_depends_on_the_seed_alone(distance):
    x, y = normal(200, 3, 0).float(), normal(150, 3, 1).float()
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    one = distance(x, y, seed=7, split="test")
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    two = distance(x, y, seed=7, split="test")
    assert (one.value, one.stderr, one.baseline) == (two.value, two.stderr, two.baseline)
    assert (one.n, one.reference, one.split, one.seed) == (200, 150, "test", 7)
    assert distance(x, y, seed=8).baseline != one.baseline
    assert x.dtype == torch.float32


def test_protocols():
    x, y = normal(20, 2, 0), normal(20, 2, 1)
    assert metrics.sliced_wasserstein(x, y, 30, 1).settings == "p = 1, 30 equal angles"
    assert metrics.sliced_wasserstein(x[:, :1], y[:, :1]).settings == "p = 2, exact"
    assert metrics.mmd(x, y, 0.5).settings == "Gaussians, bandwidth 0.5 x (1/2 .. 2)"
    pooled = torch.pdist(torch.cat([x, y])).median()
    assert metrics.mmd(x, y).settings == f"Gaussians, median bandwidth {pooled:.4g} x (1/2 .. 2)"
    assert metrics.sliced_wasserstein(x, y).stderr is None  # too few points for tenths


@every
@settings(deadline=None)
@given(rows=st.integers(2, 8), row=st.integers(0, 7), bad=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_rows_that_are_not_finite_are_named(distance, rows, row, bad):
    x, y = torch.zeros(rows, 2), torch.zeros(5, 2)
    x[row % rows, 1] = bad
    with pytest.raises(ValueError, match=rf"^x has 1 of {rows} rows .* first is row {row % rows}$"):
        distance(x, y)
    with pytest.raises(ValueError, match=r"^y has 1 of"):
        distance(y, x)


@every
@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 3), ValueError, r"^x needs the shape \(n, 3\), got \(3, 2\)$"),
        (torch.zeros(0, 2), torch.zeros(3, 2), ValueError, "^x is empty"),
        (torch.zeros(3, 2), torch.zeros(0, 2), ValueError, "^y is empty"),
        (torch.zeros(1, 2), torch.zeros(3, 2), ValueError, "^x has one row"),
        (torch.zeros(3, 2), torch.zeros(1, 2), ValueError, "^y has one row"),
        (torch.zeros(3), torch.zeros(3), ValueError, "^y needs the shape"),
        (torch.zeros(3, 0), torch.zeros(3, 0), ValueError, "^y needs the shape"),
        (np.zeros((3, 2)), torch.zeros(3, 2), TypeError, "^x must be a floating-point tensor"),
        (torch.zeros(3, 2), [[0.0, 1.0]], TypeError, "^y must be a floating-point tensor"),
        (torch.zeros(3, 2), torch.zeros(3, 2).int(), TypeError, "^y must be a floating-point tensor"),
        (torch.zeros(3, 2, 2), torch.zeros(3, 2), ValueError, "^x needs the shape"),
    ],
)
def test_bad_sets(distance, x, y, error, message):
    with pytest.raises(error, match=message):
        distance(x, y)


@pytest.mark.parametrize("projections", [0, -3, 2.5, True, None])
def test_bad_projections(projections):
    with pytest.raises(ValueError, match=r"^projections must be a whole number >= 1, got"):
        metrics.sliced_wasserstein(torch.zeros(3, 2), torch.zeros(3, 2), projections)


@pytest.mark.parametrize("p", [0.99, -1, math.nan, math.inf])
def test_bad_orders(p):
    with pytest.raises(ValueError, match=r"^p must be a finite number >= 1"):
        metrics.sliced_wasserstein(torch.zeros(3, 2), torch.zeros(3, 2), p=p)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, math.nan, math.inf])
def test_bad_bandwidths(bandwidth):
    with pytest.raises(ValueError, match=r"^the bandwidth must be positive"):
        metrics.mmd(torch.zeros(3, 2), torch.zeros(3, 2), bandwidth)


def test_points_that_all_coincide_have_a_bandwidth_too():
    assert float(metrics.mmd(torch.zeros(4, 2), torch.zeros(5, 2))) == 0
    mostly = torch.zeros(6, 2)
    mostly[0] = 3
    assert float(metrics.mmd(mostly, torch.ones(6, 2))) > 0.1
