import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from lfmkit import couplings, paths, schedules
from lfmkit.utils.references import choose

N = 200_000


@pytest.fixture
def x_l():
    return torch.randn(N, 2, generator=torch.Generator().manual_seed(0)) * 0.5 + 2.0


def draw(name, x_l, gamma, seed=1):
    return choose(name, couplings.COUPLINGS, "coupling")(x_l, gamma, torch.Generator().manual_seed(seed))


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
    x_l = x_l[:1000]
    for name in set(couplings.COUPLINGS) - {"pairs"}:
        assert torch.equal(draw(name, x_l, 0.3), draw(name, x_l, 0.3))
        assert not torch.equal(draw(name, x_l, 0.3), draw(name, x_l, 0.3, seed=2))


@pytest.mark.parametrize("name", ["minibatch_ot", "sinkhorn"])
@pytest.mark.parametrize("gamma", [0.1, math.inf])
def test_plans_keep_the_marginal(name, gamma, x_l):
    some = x_l[:20_000]
    shrink, spread = schedules.ou_factors(gamma)
    x_r = draw(name, some, gamma)
    assert torch.allclose(x_r.mean(0), shrink * some.mean(0), atol=0.04)
    assert torch.allclose(x_r.var(0), shrink**2 * some.var(0) + spread**2, rtol=0.05)


@pytest.mark.parametrize("n", [1, 3, 256, 300, 600])
def test_the_exact_plan_deals_each_sample_once(n, x_l):
    """And no way of dealing is shorter: a linear assignment by scipy finds the same cost."""
    some = x_l[:n]
    dealt, drawn = draw("minibatch_ot", some, math.inf), draw("gaussian", some, math.inf)
    for first in range(0, n, couplings.GROUP):
        group = slice(first, first + couplings.GROUP)
        a, b, before = some[group], dealt[group], drawn[group]
        assert torch.equal(b.sort(0).values, before.sort(0).values)
        cost = torch.cdist(a, before).square().double()
        rows, columns = linear_sum_assignment(cost.numpy())
        assert float((a - b).square().sum()) == pytest.approx(float(cost[rows, columns].sum()), rel=1e-5)


def test_the_entropic_plan_is_that_of_a_schroedinger_bridge():
    """Between Gaussians its cross-covariance c is known: c^2 + r c / 2 = s^2, r the regularisation.

    Source: Entropic Optimal Transport between Unbalanced Gaussian Measures has a Closed Form,
    arXiv 2006.02572.
    """
    s, r = 1.5, 2 * paths.BRIDGE**2
    x_l = s * torch.randn(40_000, 1, generator=torch.Generator().manual_seed(3))
    found = float((x_l * draw("sinkhorn", x_l, math.inf)).mean())
    assert found == pytest.approx(math.sqrt(s**2 + r**2 / 16) - r / 4, rel=0.02)


@pytest.mark.parametrize("name", ["minibatch_ot", "sinkhorn"])
def test_a_degenerate_plan_is_named(name):
    with pytest.raises(RuntimeError, match="the transport plan is degenerate"):
        draw(name, torch.tensor([[0.0, 1.0], [math.nan, 0.0], [1.0, 1.0]]), math.inf)


def test_given_pairs_are_not_drawn(x_l):
    with pytest.raises(ValueError, match="give the noise-side ends"):
        draw("pairs", x_l, math.inf)


def test_one_sample_cannot_be_shuffled():
    with pytest.raises(ValueError, match="2 or more samples"):
        draw("shuffled", torch.zeros(1, 2), 0.1)


def test_unknown_coupling():
    with pytest.raises(ValueError, match="unknown coupling 'minibatch': choose one of"):
        choose("minibatch", couplings.COUPLINGS, "coupling")
