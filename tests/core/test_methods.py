"""Every method in the same form; and which of them share the one map."""

import math

import ot
import pytest
import torch

import lfmkit
from lfmkit import methods, nets, oracles, paths, schedules
from lfmkit.flows.block import Block
from lfmkit.flows.flow import Flow
from lfmkit.solvers import Solver
from lfmkit.training.pool import Pool
from lfmkit.training.targets import Pairs
from lfmkit.training.trainer import measure_moments

NET = nets.MLP(width=16, depth=2, fourier=4, scale=1.0)
ALL = [methods.lfm, methods.fm, methods.interflow, methods.vp, methods.ot_cfm, methods.sb_cfm]
IDS = [method.__name__ for method in ALL]
TIGHT = Solver("dopri8", rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", ALL, ids=IDS)
@pytest.mark.parametrize("schedule", [(), (0.1, 0.4)])
def test_every_method_takes_a_schedule(method, schedule):
    """Alone, or inside every block of a chain; what it learns beats the Gaussian of the same moments."""
    islands = oracles.GaussianMixture([[-1.5, 0.0], [1.5, 0.0]], 0.05)
    flow = method(2, schedule, net=NET, seed=3)
    assert flow.schedule == schedule
    assert len({(block.path, block.coupling) for block in flow.chain[:-1]}) <= 1
    lfmkit.fit(flow, islands.sample(5000), steps=250, batch=128, pool="ou", progress=False)
    test = islands.sample(300, seed=1)
    spread = test.std(0)
    gaussian = torch.distributions.Normal(0.0, spread).log_prob(test).sum(1).mean()
    assert flow.log_prob(test).mean() > gaussian + 0.3


@pytest.mark.parametrize("method", [*ALL, methods.rectified_flow])
def test_the_seed_makes_the_weights(method):
    first, again, other = (method(2, net=NET, seed=seed).chain[0].net.hidden[0].weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("method", [methods.fm, methods.interflow, methods.vp, methods.lfm])
def test_methods_with_independent_noise_learn_the_one_map(method, mixture):
    """Trained a little, each is nearer to the exact map than half of what identity would be off."""
    flow = method(2, net=nets.MLP(width=64, depth=2, fourier=16, scale=1.0))
    lfmkit.fit(flow, mixture.sample(20_000), steps=800, batch=512, pool="ou", progress=False)
    exact = oracles.velocities(mixture, flow.schedule)
    steps = (*flow.schedule, math.inf)
    blocks = [Block(v, g, "linear", "ou") for v, g in zip(exact, steps, strict=True)]
    x = mixture.sample(300, seed=1)
    z = Flow(blocks, 2).encode(x)
    assert (flow.encode(x) - z).norm(dim=1).mean() < 0.15 * (x - z).norm(dim=1).mean()


def shuffled_velocity(mixture, gamma, path):
    """The exact velocity between x_l and an independent x_r of the OU marginal: pairs of components."""
    right = mixture.ou(gamma)

    def velocity(x, t):
        a, b, d_a, d_b, *_ = (float(c) for c in path(t.double(), gamma))
        total, logs = [], []
        for w, m, C in zip(mixture.weights, mixture.means, mixture.covariances, strict=True):
            for v, n, D in zip(right.weights, right.means, right.covariances, strict=True):
                normal = torch.distributions.MultivariateNormal(a * m + b * n, a * a * C + b * b * D)
                gain = (a * d_a * C + b * d_b * D) @ normal.precision_matrix
                total.append(d_a * m + d_b * n + (x - normal.loc) @ gain.T)
                logs.append((w * v).log() + normal.log_prob(x))
        return (torch.stack(logs).softmax(0)[..., None] * torch.stack(total)).sum(0)

    return velocity


@pytest.mark.parametrize("path", [paths.linear, paths.trig])
def test_the_shuffled_coupling_leads_elsewhere(path, mixture):
    """Same marginals, same path, another map: by far more than the oracle's own agreement of 1e-6."""
    x, gamma = mixture.sample(60, seed=3).double(), 0.3
    exact = oracles.velocities(mixture, (gamma,), path.__name__)[0]
    ends = [
        Flow([Block(v, gamma, path.__name__, "ou")], 2, solver=TIGHT).encode(x)
        for v in (exact, shuffled_velocity(mixture, gamma, path))
    ]
    assert (ends[0] - ends[1]).norm(dim=1).mean() > 0.01
    for end in ends:  # both reach the OU marginal
        assert float(mixture.ou(gamma).log_prob(end).mean()) == pytest.approx(
            float(mixture.ou(gamma).log_prob(mixture.ou(gamma).sample(100_000)).mean()), abs=0.35
        )


def test_the_one_map_is_not_the_optimal_transport():
    """So OT-CFM, which tends to it, has another map: the one map's ends can be paired more cheaply."""
    ends = oracles.GaussianMixture([[-2.0, 0.0], [2.0, 0.0], [2.0, 3.0]], 0.02, [0.6, 0.2, 0.2])
    x = ends.sample(600, seed=0).double()
    flow = Flow([Block(oracles.velocities(ends, ())[0], math.inf, "linear", "gaussian")], 2)
    z = flow.encode(x, Solver(rtol=1e-8, atol=1e-8))
    cost = torch.cdist(x, z).square().numpy()
    assert ot.emd2([], [], cost) < 0.998 * float((x - z).square().sum(1).mean())


def test_vp_and_interflow_differ_in_their_clock_only():
    """The same curve x_t = A x_l + B g with A^2 + B^2 = 1: at equal A, equal B and equal direction."""
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    a, b, d_a, d_b, *_ = paths.vp(t, math.inf)
    same = paths.trig(torch.atan2(b, a) / (math.pi / 2), math.inf)
    assert torch.allclose(a, same.alpha)
    assert torch.allclose(d_a / d_b, same.d_alpha / same.d_beta)


@pytest.mark.parametrize("path", ["linear", "bridge", "vp"])
def test_preconditioning_predicts_the_target_moments(path, mixture):
    """c_skip x is the best linear guess of the velocity, c_out the size of what it misses, at each t."""
    block = methods.lfm(2, (), path, NET).chain[0]
    source = Pairs(Pool(mixture.sample(100_000)), 0.0, block)
    measure_moments(block, source, n=100_000)
    x, t, velocity, *_ = source.draw(400_000, torch.Generator().manual_seed(0))
    scale, skip, out, _ = (c[:, None] for c in block._scales(t))
    rest = (velocity - skip * x) / out
    for part in torch.linspace(0, 1, 6)[:-1]:
        here = (t >= part) & (t < part + 0.2)
        assert float(rest[here].square().mean()) == pytest.approx(1, abs=0.02)
        assert float((rest * scale * x)[here].mean()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: methods.fm(2, cond=-1), "cond must be a whole number >= 0"),
        (lambda: methods.ot_cfm(2, (0.1,), cond=3), "would pair samples of different conditions"),
        (lambda: methods.lfm(2, (0.1,), coupling="shuffled", cond=3), "different conditions"),
        (lambda: methods.vp(2, (0.0,)), "gamma_1 is 0.0"),
        (lambda: methods.fm(2, net=lambda dim: torch.nn.Linear(dim, dim), cond=2), "no conditional networks"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_schedules_may_be_any_sequence():
    assert methods.interflow(2, schedules.geometric(0.1, 2.0, 2), NET).schedule == (0.1, 0.2)
