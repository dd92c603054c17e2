"""What every flow keeps: each path x coupling x number of local steps, in float64."""

import math

import pytest
import torch
from torchdiffeq import odeint

import lfmkit
from lfmkit import couplings, methods, nets, paths
from lfmkit.solvers import Solver
from lfmkit.training.pool import Pool
from lfmkit.training.targets import Pairs

SCHEDULES = [(), (0.2,), (0.05, 0.15, 0.4)]
DRAWN = set(couplings.COUPLINGS) - {"pairs"}  # the partners of "pairs" are given, not drawn
TIGHT = Solver("dopri8", rtol=1e-9, atol=1e-9)
# One network answers for all dimensions of the contract; big weights make its field worth inverting.
NET = nets.MLP(width=12, depth=2, fourier=3, scale=1.0)


def build(path, coupling, schedule, net=NET, cond=0):
    flow = methods.lfm(2, schedule, path, net, coupling, seed=1, cond=cond).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    return flow


@pytest.fixture(params=[(p, c, s) for p in paths.PATHS for c in sorted(DRAWN) for s in SCHEDULES],
                ids=lambda v: f"{v[0]}-{v[1]}-{len(v[2])}")  # fmt: skip
def flow(request):
    return build(*request.param)


@pytest.fixture(params=[(p, "ou", s) for p in paths.PATHS for s in SCHEDULES],
                ids=lambda v: f"{v[0]}-{len(v[2])}")  # fmt: skip
def field(request):
    """For what only the velocity decides: a coupling has its say in training."""
    return build(*request.param)


@pytest.fixture
def x():
    return torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_shapes_and_counts(field, x):
    assert field.encode(x).shape == field.decode(x).shape == (12, 2)
    assert field.log_prob(x).shape == (12,)
    assert len(field.last_nfe) == len(field.blocks)
    assert all(n >= 6 for n in field.last_nfe)
    assert field.sample(3, seed=1).dtype == torch.float64
    assert torch.equal(field.sample(3, seed=1), field.decode(field.noise(3, seed=1)))


def test_gradients_reach_every_parameter(flow, x):
    for block in flow.chain:
        pairs = Pairs(Pool(x), 0.1, block)
        block.loss(*pairs.draw(30, torch.Generator().manual_seed(0))[:4]).backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_decode_inverts_encode(field, x):
    assert torch.allclose(field.decode(field.encode(x, TIGHT), TIGHT), x, atol=1e-6)


def test_log_det_against_autograd(field, x):
    """The integrated divergence is log |det| of the encoder's Jacobian, taken by autograd through RK4."""
    times = torch.linspace(0, 1, 41, dtype=torch.float64)

    def encode(y):
        for block in field.blocks:
            y = odeint(lambda t, s, block=block: block(s, t), y, times, method="rk4")[-1]
        return y

    some = x[:3]
    # points do not see each other: the derivative of their sum is each one's own Jacobian
    jacobians = torch.autograd.functional.jacobian(lambda y: encode(y).sum(0), some).transpose(0, 1)
    z = encode(some)
    expected = (
        torch.linalg.slogdet(jacobians).logabsdet - 0.5 * z.square().sum(1) - math.log(2 * math.pi)
    ).detach()
    assert torch.allclose(field.log_prob(some, TIGHT), expected, atol=2e-5)


def test_the_density_integrates_to_one(field):
    with torch.no_grad():  # a gentle field keeps the mass inside the grid
        for parameter in field.parameters():
            parameter.mul_(0.7)
    side = torch.linspace(-9, 9, 61, dtype=torch.float64)
    log_p = field.log_prob(torch.cartesian_prod(side, side), Solver("rk4", steps=12))
    assert float(log_p.exp().sum() * (side[1] - side[0]) ** 2) == pytest.approx(1, abs=5e-3)


def test_save_and_load(flow, x, tmp_path):
    flow.solver = Solver("rk4", steps=2)
    flow.save(tmp_path)
    again = lfmkit.load(tmp_path)
    assert again.encode(x).shape == again.decode(x).shape == (12, 2)
    assert torch.equal(again.log_prob(x), flow.log_prob(x))
    assert again.last_nfe == flow.last_nfe
    assert again.schedule == flow.schedule
    assert [(b.path, b.coupling) for b in again.blocks] == [(b.path, b.coupling) for b in flow.blocks]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_conditional_flows_of_another_network(schedule, x, tmp_path):
    """What is told in every layer decides, can be undone, and is the same when it is loaded again."""
    flow = build("linear", "ou", schedule, nets.FiLM(width=12, depth=2), cond=3)
    cond = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    z = flow.encode(x, TIGHT, cond)
    assert torch.allclose(flow.decode(z, TIGHT, cond), x, atol=1e-6)
    assert not torch.allclose(flow.encode(x, TIGHT, cond.flip(0)), z, atol=1e-2)
    flow.save(tmp_path)
    again = lfmkit.load(tmp_path)
    assert again.net == flow.net
    assert torch.equal(again.encode(x, TIGHT, cond), z)


def test_trajectory(field, x):
    there = field.trajectory(x, points=6, encode=True)
    back = field.trajectory(field.encode(x), points=6)
    records = 1 + 5 * len(field.blocks)
    for trajectory in (there, back):
        assert trajectory.x.shape == (records, 12, 2)
        assert trajectory.t.shape == trajectory.block.shape == (records,)
        assert len(trajectory.nfe) == len(field.blocks)
    assert torch.equal(there.x[0], x)
    assert torch.allclose(there.x[-1], field.encode(x), atol=1e-3)
    assert torch.allclose(back.x[-1], x, atol=1e-2)
    assert there.block[0] == back.block[-1] == 0
    assert there.t[0] == back.t[-1] == 0
