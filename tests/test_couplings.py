import math

import pytest
import torch

from lfmkit import couplings, schedules

N = 200_000


@pytest.fixture
def x_l():
    return torch.randn(N, 2, generator=torch.Generator().manual_seed(0)) * 0.5 + 2.0


def draw(name, x_l, gamma, seed=1):
    return couplings.named(name)(x_l, gamma, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["ou", "shuffled"])
@pytest.mark.parametrize("gamma", [0.01, 0.7, math.inf])
def test_right_marginal_is_the_ou_step(name, gamma, x_l):
    shrink, spread = schedules.ou_factors(gamma)
    x_r = draw(name, x_l, gamma)
    assert torch.allclose(x_r.mean(0), shrink * x_l.mean(0), atol=0.012)
    variance = shrink**2 * x_l.var(0) + spread**2
    assert torch.allclose(x_r.var(0), variance, rtol=0.02)


@pytest.mark.parametrize(("name", "dependence"), [("ou", 1.0), ("shuffled", 0.0), ("gaussian", 0.0)])
def test_who_depends_on_whom(name, dependence, x_l):
    gamma = 0.2
    covariance = ((x_l - x_l.mean(0)) * draw(name, x_l, gamma)).mean(0)
    expected = dependence * math.exp(-gamma) * x_l.var(0)
    assert torch.allclose(covariance, expected, atol=0.01)


def test_gaussian_ignores_everything(x_l):
    assert torch.equal(draw("gaussian", x_l, 0.1), draw("gaussian", x_l + 5, math.inf))


def test_same_seed_same_draw(x_l):
    for name in couplings.COUPLINGS:
        assert torch.equal(draw(name, x_l, 0.3), draw(name, x_l, 0.3))
        assert not torch.equal(draw(name, x_l, 0.3), draw(name, x_l, 0.3, seed=2))


def test_one_sample_cannot_be_shuffled():
    with pytest.raises(ValueError, match="2 or more samples"):
        draw("shuffled", torch.zeros(1, 2), 0.1)


def test_unknown_coupling():
    with pytest.raises(ValueError, match="unknown coupling 'minibatch': choose one of"):
        couplings.named("minibatch")
