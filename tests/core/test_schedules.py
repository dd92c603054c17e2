import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lfmkit import oracles, schedules

BAD_STEPS = st.one_of(
    st.floats(max_value=0.0), st.just(math.nan), st.just(math.inf), st.just(-math.inf), st.just(-0.0)
)


@given(st.lists(st.floats(1e-6, 10), max_size=5), BAD_STEPS, st.integers(0, 5))
def test_a_bad_step_is_named(good, bad, where):
    steps = [*good[:where], bad, *good[where:]]
    with pytest.raises(ValueError, match=f"gamma_{min(where, len(good)) + 1} is"):
        schedules.check(steps)


def test_no_numbers():
    with pytest.raises(TypeError, match="tuple of positive floats"):
        schedules.check(0.1)
    with pytest.raises(ValueError, match=r"could not convert|positive"):
        schedules.check("abc")


@given(st.integers(0, 12))
def test_families_have_n_positive_steps(n):
    for schedule in (
        schedules.constant(0.2, n),
        schedules.geometric(0.025, 1.25, n),
        schedules.cosine(n),
        schedules.linear_beta(n),
        schedules.log_snr(n),
    ):
        assert len(schedule) == n
        assert all(gamma > 0 for gamma in schedule)


def test_published_lists():
    # the 2D runs of the paper's authors: c = .025, rho = 1.25, eight steps, sum .495
    assert sum(schedules.geometric(0.025, 1.25, 8)) == pytest.approx(0.496, abs=2e-3)
    assert schedules.geometric(0.1, 1.5, 3) == pytest.approx((0.1, 0.15, 0.225))


def test_log_snr_has_equal_factors():
    T = torch.tensor(schedules.times(schedules.log_snr(5, 0.05, 2.0)), dtype=torch.float64)
    ratio = (1 - (-2 * T).exp()).sqrt() / (-T).exp()
    assert ratio[0] == pytest.approx(0.05)
    assert ratio[-1] == pytest.approx(2.0)
    steps = ratio.log().diff()
    assert torch.allclose(steps, steps[0].expand_as(steps))


def test_adaptive_shares_match_the_exact_divergence():
    """On a mixture whose KL from N(0, I) is known by Monte Carlo each block takes an equal share."""
    target = oracles.GaussianMixture([[-1.5, 0.0], [1.5, 0.0], [0.0, 1.5]], 0.05)
    steps = schedules.adaptive(target.sample(6000, seed=1), 3)

    def divergence(T):
        density = target.ou(T)
        x = density.sample(40_000, seed=2)
        return float((density.log_prob(x) + 0.5 * x.double().square().sum(1)).mean() + math.log(2 * math.pi))

    left = [divergence(T) for T in (0.0, *schedules.times(steps))] + [0.0]
    shares = [(a - b) / left[0] for a, b in itertools.pairwise(left)]
    assert shares == pytest.approx([0.25] * 4, abs=0.05)


def test_adaptive_is_for_data_with_structure():
    assert schedules.adaptive(torch.randn(50, 2) * 0.1, 0) == ()
    for bad in (torch.randn(5, 2), torch.full((20, 2), math.nan), torch.randn(20)):
        with pytest.raises(ValueError, match="finite rows"):
            schedules.adaptive(bad, 2)


@pytest.mark.parametrize("n", [-1, 1.5, True, "3"])
def test_a_count_is_a_whole_number(n):
    with pytest.raises(ValueError, match="whole number"):
        schedules.constant(0.1, n)


@pytest.mark.parametrize(("first", "last"), [(0.0, 1.0), (0.5, 0.1), (0.3, 0.3), (-1.0, 1.0)])
def test_log_snr_needs_rising_ratios(first, last):
    with pytest.raises(ValueError, match="first"):
        schedules.log_snr(3, first, last)


def test_signal_left():
    assert schedules.signal_left(()) == 1.0
    assert schedules.signal_left((0.25, 0.25, 0.25)) == pytest.approx(math.exp(-0.75))
