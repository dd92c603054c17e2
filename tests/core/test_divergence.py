"""Divergences: what networks compute in their own way, and what probes estimate, against gradients."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lfmkit import Block, Flow, Solver, methods, nets, oracles
from lfmkit.divergence import Trace, by_gradients, by_probes, exact
from lfmkit.flows.guidance import Field
from lfmkit.paths import PATHS


def stirred(module):
    """Give all weights, of which the last layer's start at zero, random values in double precision."""
    generator = torch.Generator().manual_seed(0)
    for p in module.parameters():
        p.data.copy_(torch.randn(p.shape, generator=generator) / p.shape[-1] ** 0.5)
    return module.double()


def points(n, dim, seed=1):
    return torch.randn(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(
    dim=st.integers(1, 6),
    width=st.integers(1, 9),
    depth=st.integers(1, 3),
    fourier=st.sampled_from([0, 0, 5]),
    columns=st.booleans(),
    cond=st.integers(0, 2),
    noise=st.one_of(st.none(), st.floats(0.0, 2.0)),
)
def test_a_network_knows_its_divergence(dim, width, depth, fourier, columns, cond, noise):
    net = stirred(nets.MLP(width, depth, fourier, 5.0, columns)(dim, cond))
    x, t = points(4, dim), torch.tensor(0.3, dtype=torch.float64)
    more = (None if noise is None else torch.tensor(noise).double(), points(4, cond) if cond else None)
    v, divergence = net.with_divergence(x, t, *more)
    expected = by_gradients(lambda y, s: net(y, s, *more), x, t)
    assert torch.allclose(v, expected[0])
    assert torch.allclose(divergence, expected[1])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("precondition", [True, False])
def test_blocks_of_every_path_know_their_divergence(path, precondition):
    for block in methods.lfm(3, (0.2,), path, nets.MLP(8, 2, 0)).chain:
        block.precondition = precondition
        block = stirred(block)
        block.moments.copy_(torch.tensor([1.5, 0.4, 1.1]))
        for t in torch.tensor([0.01, 0.5, 0.99], dtype=torch.float64):
            v, divergence = exact(block, points(5, 3), t)
            expected = by_gradients(lambda y, s, block=block: block(y, s), points(5, 3), t)
            assert torch.allclose(v, expected[0])
            assert torch.allclose(divergence, expected[1])


@pytest.mark.parametrize("guidance", [1.0, 0.0, 2.5])
def test_guided_fields_know_their_divergence(guidance):
    block = stirred(methods.fm(3, net=nets.MLP(8, 2, 0), cond=2).chain[0])
    field = Field(block, points(5, 2), guidance)
    t = torch.tensor(0.4, dtype=torch.float64)
    expected = by_gradients(lambda y, s: field(y, s), points(5, 3), t)
    v, divergence = exact(field, points(5, 3), t)
    assert torch.allclose(v, expected[0])
    assert torch.allclose(divergence, expected[1])


def test_the_bilinear_trace_takes_no_gradients(monkeypatch):
    """Otherwise it would cost as many of them as there are dimensions."""
    monkeypatch.setattr(torch.autograd, "grad", None)
    flow = methods.fm(40, net=nets.MLP(16, 2, 0))
    assert torch.isfinite(flow.log_prob(torch.randn(5, 40), Solver("euler", steps=2))).all()
    with pytest.raises(TypeError, match="NoneType"):
        methods.fm(3, net=nets.MLP(16, 3, 0)).log_prob(torch.randn(5, 3), Solver("euler", steps=2))


def test_all_probes_together_are_exact():
    """The mean over every vector of signs is the divergence itself."""
    net = stirred(nets.MLP(7, 2, 3)(3))
    x, t = points(4, 3), torch.tensor(0.6, dtype=torch.float64)
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
    v, estimates = by_probes(net, x, t, signs[:, None].expand(-1, 4, -1))
    assert estimates.shape == (4, 8)
    assert torch.allclose(v, net(x, t))
    assert torch.allclose(estimates.mean(1), by_gradients(net, x, t)[1])


@pytest.fixture(scope="module")
def flow():
    return stirred(methods.lfm(5, (0.3,), net=nets.MLP(16, 2, 4, 1.0)))


@pytest.mark.parametrize("solver", [Solver(rtol=1e-6, atol=1e-6), Solver("rk4", steps=8)])
def test_probes_estimate_the_likelihood_as_well_as_they_say(flow, solver):
    x = points(400, 5)
    true = flow.log_prob(x, solver)
    assert flow.last_trace_error == 0
    errors, claims = [], []
    for seed in range(12):
        estimate = flow.log_prob(x, solver, probes=3, seed=seed)
        errors.append(float((estimate - true).mean()))
        claims.append(flow.last_trace_error)
    spread = math.sqrt(sum(error**2 for error in errors) / 12)
    assert 0.5 < spread / (sum(claims) / 12) < 1.6  # 12 draws: chi within about 20 %
    more = flow.log_prob(x, solver, probes=48)
    assert flow.last_trace_error < 0.35 * claims[0]  # 1/4 expected
    assert (more - true).abs().mean() < 0.35 * (estimate - true).abs().mean()


def test_one_probe_does_not_know_its_error(flow):
    x = points(50, 5)
    once = flow.log_prob(x, probes=1, seed=3)
    assert math.isnan(flow.last_trace_error)
    assert torch.equal(flow.log_prob(x, probes=1, seed=3), once)
    assert not torch.allclose(flow.log_prob(x, probes=1, seed=4), once)
    flow.log_prob(x)
    assert flow.last_trace_error == 0


def test_in_one_dimension_every_probe_is_exact():
    flow = stirred(methods.fm(1, net=nets.MLP(8, 3, 4, 1.0)))
    x = points(30, 1)
    assert torch.allclose(flow.log_prob(x, probes=2), flow.log_prob(x))


def test_the_solver_with_probes_meets_the_exact_likelihood():
    """The Jacobian of a round Gaussian's field is diagonal, so that every probe is exact."""
    target = oracles.GaussianMixture([[0.5, -1.0, 0.2]], 0.4)
    velocities = oracles.velocities(target, (0.3,), "linear")
    blocks = [Block(v, gamma, "linear", "ou") for v, gamma in zip(velocities, (0.3, math.inf), strict=True)]
    x = points(60, 3)
    log_prob = Flow(blocks, 3).log_prob(x, Solver(rtol=1e-8, atol=1e-8), probes=1)
    assert torch.allclose(log_prob, target.log_prob(x), atol=1e-5)


@pytest.mark.parametrize("probes", [-1, 1.5, True, "2"])
def test_bad_numbers_of_probes(probes):
    with pytest.raises(ValueError, match="probes must be a whole number >= 0"):
        Trace(probes)
