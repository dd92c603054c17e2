import math

import pytest
import torch

from lfmkit import Solver, methods, metrics, oracles
from lfmkit.flows import Block, Flow


def test_nll_of_an_exact_flow_is_the_floor(mixture):
    (velocity,) = oracles.velocities(mixture, (), "linear")
    flow = Flow([Block(velocity, math.inf, "linear", "gaussian")], 2)
    x = mixture.sample(500, seed=1)
    log_p = mixture.log_prob(x)
    result = metrics.nll(flow, x, -float(log_p.mean()))
    assert abs(result.excess) < 1e-3
    assert result.stderr == pytest.approx(float(log_p.std()) / math.sqrt(500), rel=1e-3)
    assert (result.n, result.parameters, result.solver) == (500, 0, Solver())
    assert result.nfe == sum(flow.last_nfe) > 0
    assert result.seconds > 0


def test_without_a_floor_there_is_no_excess(tiny_flow):
    result = metrics.nll(tiny_flow, torch.randn(10, 2), solver=Solver("rk4", steps=3))
    assert math.isnan(result.excess)
    assert result.solver == Solver("rk4", steps=3)
    assert result.nfe == 3 * 4 * 3


def test_one_point_has_no_standard_error(tiny_flow):
    with pytest.raises(ValueError, match="2 or more points"):
        metrics.nll(tiny_flow, torch.zeros(1, 2))


def test_an_untrained_flow_is_near_the_normal_density():
    """The network starts at zero, so the field is the linear guess: for N(0, I) data the exact one."""
    flow = methods.fm(2)
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    expected = 0.5 * x.square().sum(1) + math.log(2 * math.pi)
    assert torch.allclose(-flow.log_prob(x), expected, atol=1e-3)
