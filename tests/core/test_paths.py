import math

import pytest
import torch

from lfmkit import paths, schedules
from lfmkit.utils.references import choose

STEPS = [1e-6, 0.005, 0.3, 4.0, math.inf]


@pytest.mark.parametrize("gamma", STEPS)
@pytest.mark.parametrize("path", paths.PATHS.values(), ids=paths.PATHS)
def test_ends_and_derivatives(path, gamma):
    t = torch.linspace(0, 1, 21, dtype=torch.float64, requires_grad=True)
    alpha, beta, d_alpha, d_beta, sigma, d_sigma = path(t, gamma)
    ends = torch.stack([curve[[0, -1]] for curve in (alpha, beta, sigma)]).detach()
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    assert torch.allclose(ends, expected, atol=1e-12)
    for curve, derivative in ((alpha, d_alpha), (beta, d_beta), (sigma, d_sigma)):
        assert torch.isfinite(derivative).all()
        if curve.requires_grad:
            (exact,) = torch.autograd.grad(curve.sum(), t, retain_graph=True)
            known = torch.isfinite(exact)  # autograd cannot take the root in `vp` at t = 0
            assert known[1:].all()
            assert torch.allclose(derivative[known], exact[known], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", paths.PATHS.values(), ids=paths.PATHS)
def test_single_precision_keeps_its_digits(path):
    t = torch.linspace(0, 1, 101)
    for small, exact in zip(path(t, 0.01), path(t.double(), 0.01), strict=True):
        assert torch.allclose(small.double(), exact, rtol=1e-3, atol=1e-4)


def test_vp_starts_as_it_goes_on():
    """The limit at t = 0, where the formula is 0/0, continues the curve."""
    for gamma in STEPS:
        start, next_ = paths.vp(torch.tensor([0.0, 1e-5], dtype=torch.float64), gamma).d_beta
        assert float(start) == pytest.approx(float(next_), rel=1e-4)


@pytest.mark.parametrize("path", [paths.great_circle, paths.vp])
@pytest.mark.parametrize("gamma", STEPS)
def test_two_paths_follow_the_ou_process(path, gamma):
    """With the OU coupling x_t is A x_l + B g with A^2 + B^2 = 1: an OU marginal at every t."""
    shrink, spread = schedules.ou_factors(gamma)
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    alpha, beta, *_ = path(t, gamma)
    power = (alpha + beta * shrink).square() + (beta * spread).square()
    assert torch.allclose(power, torch.ones_like(power), atol=1e-9)


def test_great_circle_is_trig_in_the_free_block():
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    for ours, trig in zip(paths.great_circle(t, math.inf), paths.trig(t, math.inf), strict=True):
        assert torch.allclose(ours, trig)


def test_trig_swells_near_ends():
    alpha, beta, *_ = paths.trig(torch.tensor(0.5), 0.01)
    assert float(alpha + beta) == pytest.approx(math.sqrt(2))


def test_the_bridge_is_a_brownian_bridge():
    """At share u of the way the noise has variance BRIDGE^2 u (1 - u)."""
    curves = paths.bridge(torch.linspace(0, 1, 9, dtype=torch.float64), math.inf)
    assert torch.allclose(curves.sigma.square(), paths.BRIDGE**2 * curves.alpha * curves.beta)


def test_unknown_path():
    with pytest.raises(ValueError, match="unknown path 'cubic': choose one of linear, trig, great"):
        choose("cubic", paths.PATHS, "path")
