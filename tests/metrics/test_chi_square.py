"""Chi-square by quadrature against closed forms."""

import math

import pytest
import scipy.integrate
import torch

from lfmkit import data, metrics, oracles
from lfmkit.flows.block import Block
from lfmkit.flows.flow import Flow


@pytest.mark.parametrize("mean", [[0.0, 0.0], [0.05, 0.05], [0.6, -0.8], [1.5, 0.0]])
def test_chi2_of_a_shift(mean):
    result = metrics.chi2(oracles.GaussianMixture([mean], 1.0).log_prob)
    assert float(result) == pytest.approx(math.expm1(sum(m * m for m in mean)), rel=1e-5, abs=1e-12)
    assert result.settings == "201 x 201 points on [-8, 8]^2"
    assert abs(result.outside) < 1e-9


def test_chi2_of_a_mixture_and_its_contraction(mixture):
    """chi2 falls at least like e^-2t along the OU process."""
    values = []
    for T in (0.0, 0.2, 0.5, 1.0):
        later = mixture.ou(T)
        result = metrics.chi2(later.log_prob, limits=(-10, 10), points=301)
        assert float(result) == pytest.approx(later.chi2(), rel=1e-6)
        assert result.resolution < 1e-3 * float(result)
        values.append(float(result) * math.exp(2 * T))
    assert values == sorted(values, reverse=True)


def test_chi2_of_wide_variances():
    """Closed form for N(0, v): 1 / (v sqrt(2/v - 1))^2 - 1 in two dimensions, infinite from v = 2."""
    wide = oracles.GaussianMixture([[0.0, 0.0]], 1.5)
    expected = 1 / (1.5**2 * (2 / 1.5 - 1)) - 1
    assert float(metrics.chi2(wide.log_prob, limits=(-18, 18), points=401)) == pytest.approx(
        expected, rel=1e-6
    )
    with pytest.raises(ValueError, match="cuts the integrand off"):
        metrics.chi2(wide.log_prob, limits=(-6, 6))
    with pytest.raises(ValueError, match="or chi-square is infinite"):
        metrics.chi2(oracles.GaussianMixture([[0.0, 0.0]], 2.2).log_prob, limits=(-40, 40), points=801)


def test_chi2_between_two_densities(mixture):
    p, q = oracles.GaussianMixture([[0.2, 0.0]], 0.5), oracles.GaussianMixture([[-0.1, 0.1]], 0.5)
    expected = math.expm1((0.3**2 + 0.1**2) / 0.5)
    assert float(metrics.chi2(p.log_prob, q.log_prob)) == pytest.approx(expected, rel=1e-6)
    assert float(metrics.chi2(mixture.log_prob, mixture.log_prob)) == 0


def test_chi2_of_a_density_with_holes():
    """A uniform square has -inf outside: chi2 from N(0, I) is one integral squared, less one."""

    def log_square(x):
        inside = (x.abs() < 1).all(1)
        return torch.where(inside, -math.log(4), -math.inf)

    side = scipy.integrate.quad(lambda u: math.sqrt(2 * math.pi) * math.exp(u * u / 2) / 4, -1, 1)[0]
    limits, points = (-6.006, 6.006), 1001  # edges of the square in the middle of two points
    result = metrics.chi2(log_square, limits=limits, points=points, tolerance=0.02)
    assert float(result) == pytest.approx(side**2 - 1, rel=0.02)
    with pytest.raises(ValueError, match="q is 0 where p is not"):
        metrics.chi2(
            lambda x: -0.5 * x.square().sum(1) - math.log(2 * math.pi), log_square, limits, points, 0.02
        )


def test_chi2_of_a_flow_is_that_of_its_density():
    gaussian = oracles.GaussianMixture([[0.3, 0.0]], 0.8)
    (velocity,) = oracles.velocities(gaussian, (), "great_circle")
    flow = Flow([Block(velocity, math.inf, "great_circle", "gaussian")], 2)
    result = metrics.chi2(flow.log_prob, limits=(-7, 7), points=61)
    assert float(result) == pytest.approx(gaussian.chi2(), rel=1e-3)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"limits": (3, -3)}, "two increasing finite numbers"),
        ({"limits": (0, math.inf)}, "two increasing finite numbers"),
        ({"points": 100}, "odd whole number"),
        ({"points": 5}, "odd whole number"),
        ({"points": 101.0}, "odd whole number"),
        ({"tolerance": 0.0}, "tolerance must lie between"),
        ({"limits": (-2, 2)}, r"^p has the mass 0\.9\d+ on \[-2, 2\]\^2, not 1"),
        ({"log_q": lambda x: x[:, 0]}, "^q has the mass"),
        ({"log_p": lambda x: x}, "^log_p must return the shape"),
        ({"log_p": lambda x: 1.0}, "^log_p must return the shape .* got float"),
        ({"log_p": lambda x: x[:, 0] * math.nan}, "^log_p is NaN"),
        ({"log_p": oracles.GaussianMixture([[0.0, 0.0]], 1e-4).log_prob}, "^p has the mass"),
    ],
)
def test_bad_input_to_chi2(keywords, message):
    with pytest.raises(ValueError, match=message):
        metrics.chi2(**({"log_p": oracles.GaussianMixture([[0.1, 0.0]], 1.0).log_prob} | keywords))


def test_chi2_of_a_picture_after_a_step_falls():
    rose = data.picture("rose")
    values = [float(metrics.chi2(rose.ou(T).log_prob, limits=(-7, 7), points=121)) for T in (0.3, 0.6)]
    assert values[1] < math.exp(-0.6) * values[0]
