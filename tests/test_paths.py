import math

import pytest
import torch

from lfmkit import paths, schedules

STEPS = [1e-6, 0.005, 0.3, 4.0, math.inf]


@pytest.mark.parametrize("gamma", STEPS)
@pytest.mark.parametrize("path", paths.PATHS.values(), ids=paths.PATHS)
def test_ends_and_derivatives(path, gamma):
    t = torch.linspace(0, 1, 21, dtype=torch.float64, requires_grad=True)
    alpha, beta, d_alpha, d_beta = path(t, gamma)
    ends = torch.stack([alpha[[0, -1]], beta[[0, -1]]]).detach()
    assert torch.allclose(ends, torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64), atol=1e-12)
    for curve, derivative in ((alpha, d_alpha), (beta, d_beta)):
        (exact,) = torch.autograd.grad(curve.sum(), t, retain_graph=True)
        assert torch.allclose(derivative, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gamma", STEPS)
def test_great_circle_follows_the_ou_process(gamma):
    """With the OU coupling x_t is A x_l + B g with A^2 + B^2 = 1: an OU marginal at every t."""
    shrink, spread = schedules.ou_factors(gamma)
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    alpha, beta, *_ = paths.great_circle(t, gamma)
    power = (alpha + beta * shrink).square() + (beta * spread).square()
    assert torch.allclose(power, torch.ones_like(power), atol=1e-9)


def test_great_circle_is_trig_in_the_free_block():
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    for ours, trig in zip(paths.great_circle(t, math.inf), paths.trig(t, math.inf), strict=True):
        assert torch.allclose(ours, trig)


def test_trig_swells_near_ends():
    alpha, beta, *_ = paths.trig(torch.tensor(0.5), 0.01)
    assert float(alpha + beta) == pytest.approx(math.sqrt(2))


def test_unknown_path():
    with pytest.raises(ValueError, match="unknown path 'cubic': choose one of linear, trig, great_circle"):
        paths.named("cubic")
