import math

import pytest
import torch

from lfmkit import data, oracles, paths, schedules
from lfmkit.flows.block import Block
from lfmkit.flows.flow import Flow
from lfmkit.solvers import Solver, solve

TIGHT = Solver("dopri8", rtol=1e-10, atol=1e-10)
SCHEDULES = {
    "global": (),
    "one step": (0.3,),
    "log-SNR": schedules.log_snr(3),
    "the paper's": schedules.geometric(0.025, 1.25, 8),
    "long": schedules.geometric(0.5, 1.5, 3),
}


def exact_flow(density, schedule, path):
    velocities = oracles.velocities(density, schedule, path)
    steps = (*schedule, math.inf)
    return Flow([Block(v, g, path, "ou") for v, g in zip(velocities, steps, strict=True)], 2, solver=TIGHT)


@pytest.fixture
def points(mixture):
    return mixture.sample(40, seed=3).double()


@pytest.fixture
def one_map(mixture, points):
    """The map of global flow matching with exact velocity: what all others must agree with."""
    return exact_flow(mixture, (), "linear").encode(points)


@pytest.mark.parametrize("path", paths.PATHS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_one_map(mixture, points, one_map, schedule, path):
    """LFM of every schedule on every path is the same data-to-noise map, and carries the exact density."""
    flow = exact_flow(mixture, schedule, path)
    assert (flow.encode(points) - one_map).abs().max() < 1e-6
    assert (flow.log_prob(points) - mixture.log_prob(points)).abs().max() < 1e-6
    assert (flow.decode(one_map) - points).abs().max() < 1e-6


def test_the_ou_probability_flow_is_the_same_map(mixture, points, one_map):
    flow = oracles.probability_flow(mixture)
    end = solve(flow, points, torch.tensor([0.0, 18.0], dtype=torch.float64), TIGHT).x[-1]
    assert (end - one_map).abs().max() < 1e-6


def test_one_map_on_a_picture():
    """The same for the rose, of 8,000 components: its exact flow carries its exact density."""
    rose = data.picture("rose")
    points = rose.sample(20, seed=5).double()
    flow = exact_flow(rose, (0.005, 0.03, 0.2), "great_circle")
    flow.solver = Solver(rtol=1e-6, atol=1e-6)
    global_flow = exact_flow(rose, (), "linear")
    global_flow.solver = Solver(rtol=1e-6, atol=1e-6)
    assert (flow.encode(points) - global_flow.encode(points)).abs().max() < 1e-3
    for exact in (flow, global_flow):
        assert (exact.log_prob(points) - rose.log_prob(points)).abs().max() < 0.02


def test_the_density_integrates_to_one(mixture):
    side = torch.linspace(-7, 7, 281, dtype=torch.float64)
    total = mixture.log_prob(torch.cartesian_prod(side, side)).exp().sum() * (side[1] - side[0]) ** 2
    assert float(total) == pytest.approx(1, abs=1e-8)


def test_the_score_is_the_gradient(mixture, points):
    points.requires_grad_()
    (gradient,) = torch.autograd.grad(mixture.log_prob(points).sum(), points)
    assert torch.allclose(mixture.score(points), gradient, atol=1e-10)


@pytest.mark.parametrize("coefficients", [(0.8, 0.3, -1.0, 0.7), (1.0, 0.0, 0.2, 1.0), (0.0, 1.0, -1.0, 0.0)])
def test_the_velocity_is_a_conditional_mean(mixture, coefficients):
    """Against a weighted mean over a million joint samples of x_l and g, at a few places."""
    a, b, d_a, d_b = coefficients
    if b == 0:  # x determines x_l, and g stays free with mean 0
        x = mixture.sample(5, seed=1).double()
        assert torch.allclose(mixture.velocity(x, a, b, d_a, d_b), d_a * x)
        return
    x_l = mixture.sample(1_000_000, seed=1).double()
    at = mixture.affine(a, b).sample(5, seed=2).double()
    g = (at[:, None] - a * x_l) / b  # the noise that would lead from x_l to the place
    weight = (-0.5 * g.square().sum(2)).softmax(1)
    expected = ((d_a * x_l + d_b * g) * weight[..., None]).sum(1)
    assert torch.allclose(mixture.velocity(at, a, b, d_a, d_b), expected, atol=0.02)


def test_one_gaussian_has_a_linear_velocity():
    """v = A'm + (A A' s^2 + B B')/(A^2 s^2 + B^2) (x - A m) for N(m, s^2 I)."""
    m, s, a, b, d_a, d_b = torch.tensor([0.3, -2.0]), 0.7, 0.6, 0.5, -0.9, 0.4
    x = torch.randn(10, 2, dtype=torch.float64)
    slope = (a * d_a * s**2 + b * d_b) / (a**2 * s**2 + b**2)
    v = oracles.GaussianMixture(m[None], s**2).velocity(x, a, b, d_a, d_b)
    assert torch.allclose(v, d_a * m + slope * (x - a * m), atol=1e-6)


def test_samples_have_the_mixture_moments(mixture):
    x = mixture.sample(400_000, seed=0).double()
    mean = (mixture.weights[:, None] * mixture.means).sum(0)
    centred = mixture.means - mean
    second = mixture.covariances + centred[:, :, None] * centred[:, None, :]
    covariance = (mixture.weights[:, None, None] * second).sum(0)
    assert torch.allclose(x.mean(0), mean, atol=0.01)
    assert torch.allclose(x.T.cov(), covariance, atol=0.01)


def test_ou_marginals(mixture):
    """Diffusing samples and diffusing the density agree, and both end in N(0, I)."""
    later = mixture.ou(0.4)
    shrink, spread = schedules.ou_factors(0.4)
    x = shrink * mixture.sample(200_000, seed=4) + spread * torch.randn(200_000, 2)
    entropy = -later.log_prob(x).mean()
    assert float(entropy) == pytest.approx(later.floor, abs=0.01)
    assert mixture.ou(40.0).chi2() < 1e-12


def test_floor_of_one_gaussian_is_its_entropy():
    one = oracles.GaussianMixture([[1.0, 2.0]], torch.tensor([[[2.0, 0.5], [0.5, 1.0]]]))
    expected = 0.5 * math.log((2 * math.pi * math.e) ** 2 * 1.75)
    assert one.floor == pytest.approx(expected)


def test_chi2_closed_forms(mixture):
    mu = torch.tensor([[0.6, -0.8]])
    assert oracles.GaussianMixture(mu, 1.0).chi2() == pytest.approx(math.e - 1)
    s2 = 1.7  # one dimension: 1/(s sqrt(2 - s^2)) - 1
    assert oracles.GaussianMixture([[0.0]], s2).chi2() == pytest.approx(1 / math.sqrt(s2 * (2 - s2)) - 1)
    assert oracles.GaussianMixture([[0.0]], 2.0).chi2() == math.inf
    side = torch.linspace(-9, 9, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    normal = -0.5 * grid.square().sum(1) - math.log(2 * math.pi)
    integral = (2 * mixture.log_prob(grid) - normal).exp().sum() * (side[1] - side[0]) ** 2 - 1
    assert mixture.chi2() == pytest.approx(float(integral), rel=1e-6)


@pytest.mark.parametrize("t", [0.1, 0.5, 2.0])
def test_ou_contracts_chi2(mixture, t):
    assert mixture.ou(t).chi2() <= math.exp(-2 * t) * mixture.chi2() + 1e-12


@pytest.mark.parametrize(
    ("means", "covariances", "weights", "message"),
    [
        ([], 1.0, None, "means need the shape"),
        ([[0.0, 0.0]], [1.0, 2.0], None, "expand|covariances"),
        ([[0.0, 0.0]], 0.0, None, "positive definite"),
        ([[0.0, 0.0]], 1.0, [-1.0], "weights"),
        ([[0.0, 0.0]], 1.0, [1.0, 1.0], "weights"),
        ([[math.nan, 0.0]], 1.0, None, "finite"),
    ],
)
def test_bad_mixtures(means, covariances, weights, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        oracles.GaussianMixture(means, covariances, weights)


def test_bad_points(mixture):
    with pytest.raises(ValueError, match=r"points need the shape \(n, 2\)"):
        mixture.log_prob(torch.zeros(3, 5))
