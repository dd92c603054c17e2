"""Bits per dimension against densities whose flows are known exactly."""

import math

import pytest
import torch

from lfmkit import Solver, methods, metrics, oracles, pixels
from lfmkit.flows.block import Block
from lfmkit.flows.flow import Flow


def noise_images(n, shape, seed=0):
    """Images whose pixels are uniform and independent: their entropy is 8 bits a pixel."""
    return torch.randint(
        0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def exact_flow(density, dim, **options):
    (velocity,) = oracles.velocities(density, (), "linear")
    return Flow([Block(velocity, math.inf, "linear", "gaussian")], dim, **options)


def gaussian(dim, variance, mean=0.1):
    return oracles.GaussianMixture([[mean] * dim], variance)


class Uniform:
    """The uniform density on [-1, 1)^d, smoothed by Gaussians in closed form."""

    def ou(self, T):
        assert T == 0
        return self

    def velocity(self, x, a, b, d_a, d_b):
        """x_l given x is N(x / a, (b / a)^2) cut off at -1 and 1."""
        x = x.double()
        if b == 0:
            return d_a * x / a
        if a == 0:
            return d_b * x / b
        normal = torch.distributions.Normal(0.0, 1.0)
        low, high = (-a - x) / b, (a - x) / b
        # far from [-a, a] both ends lie in the same tail: taken from the side where it is small
        flip = torch.where(low > 0, -1.0, 1.0)
        mass = normal.cdf(torch.maximum(high * flip, low * flip)) - normal.cdf(
            torch.minimum(high * flip, low * flip)
        )
        pull = (normal.log_prob(low).exp() - normal.log_prob(high).exp()) / mass.clamp(min=1e-300)
        left = (x + b * pull) / a
        return d_a * left + d_b * (x - a * left) / b


def test_a_gaussian_has_the_bits_of_its_density():
    images, density = noise_images(50, (1, 2, 2)), gaussian(4, 0.3)
    result = metrics.bits_per_dim(exact_flow(density, 4), images, seed=5, split="test")
    rows = pixels.as_rows(images, torch.Generator().manual_seed(5))
    bits = -density.log_prob(rows) / (4 * math.log(2)) + math.log2(128)
    assert float(result) == pytest.approx(float(bits.mean()), abs=1e-3)
    assert result.stderr == pytest.approx(float(bits.std()) / math.sqrt(50), rel=1e-3)
    assert (result.measure, result.n, result.split, result.seed) == ("bits/dim", 50, "test", 5)
    assert result.trace_error is None
    assert result.settings == "uniform dequantisation"
    assert result.nfe > 0
    assert result.seconds > 0


def test_no_flow_codes_noise_in_less_than_eight_bits():
    """N(0, s^2) needs 7 + log2(s sqrt(2 pi)) + 1 / (6 s^2 ln 2) for it."""
    images = noise_images(2000, (1, 2, 2))
    for s in (0.4, 3**-0.5, 1.0):
        result = metrics.bits_per_dim(exact_flow(gaussian(4, s * s, mean=0.0), 4), images)
        expected = 7 + math.log2(s * math.sqrt(2 * math.pi)) + 1 / (6 * s * s * math.log(2))
        assert abs(result.value - expected) < 3 * result.stderr + 1e-3
        assert result.value > 8


def test_the_uniform_density_needs_eight_bits_for_anything():
    """In the limit of a density cut off sharply: its field is steep near the walls, next to the data."""
    images = noise_images(40, (1, 1, 3)).clamp(8, 247)
    flow = exact_flow(Uniform(), 3)
    result = metrics.bits_per_dim(flow, images, solver=Solver("dopri5", rtol=1e-6, atol=1e-6))
    assert result.value == pytest.approx(8, abs=2e-3)


def test_probes_above_128_dimensions():
    few, many = noise_images(3, (2, 8, 8)), noise_images(3, (3, 7, 7))
    assert "probes" not in metrics.bits_per_dim(exact_flow(gaussian(128, 0.3), 128), few).settings
    # the field of an isotropic Gaussian has a multiple of I as its derivative: one probe is exact
    density = gaussian(147, 0.3)
    result = metrics.bits_per_dim(exact_flow(density, 147), many)
    rows = pixels.as_rows(many, torch.Generator().manual_seed(0))
    expected = -float(density.log_prob(rows).mean()) / (147 * math.log(2)) + 7
    assert result.value == pytest.approx(expected, abs=1e-3)
    assert "1 probes" in result.settings
    assert math.isnan(result.trace_error)


def test_the_share_of_the_probes():
    skew = oracles.GaussianMixture([[0.0] * 4], (torch.eye(4) * 0.1 + 0.1)[None])
    images, flow = noise_images(60, (1, 2, 2)), exact_flow(skew, 4)
    exact = metrics.bits_per_dim(flow, images, probes=0)
    result = metrics.bits_per_dim(flow, images, probes=4)
    assert 0 < result.trace_error < result.stderr
    assert abs(result.value - exact.value) < 4 * result.trace_error


def test_dequantisation_has_a_seed():
    flow, images = methods.fm(4), noise_images(10, (1, 2, 2))
    a, b, c = (metrics.bits_per_dim(flow, images, seed=s).value for s in (1, 1, 2))
    assert a == b != c


def test_bad_images():
    flow = methods.fm(4)
    with pytest.raises(TypeError, match="images must be bytes"):
        metrics.bits_per_dim(flow, torch.zeros(3, 1, 2, 2))
    with pytest.raises(ValueError, match=r"of the shape \(1, 3, 2\) have 6 numbers, the flow takes 4"):
        metrics.bits_per_dim(flow, noise_images(3, (1, 3, 2)))
    with pytest.raises(ValueError, match="2 or more points"):
        metrics.bits_per_dim(flow, noise_images(1, (1, 2, 2)))
    with pytest.raises(ValueError, match="is empty"):
        metrics.bits_per_dim(flow, noise_images(0, (1, 2, 2)))
