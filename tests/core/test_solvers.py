import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lfmkit.divergence import by_gradients
from lfmkit.solvers import ADAPTIVE, FIXED, Solver, clenshaw_curtis, solve

ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)
TURN = torch.tensor([[0.0, -2.0], [2.0, 0.0]], dtype=torch.float64)


def spiral(x, t):
    """x' = R x - x: turns by 2 radians and shrinks by e, with divergence -2."""
    return x @ TURN.T - x


def spiral_end(x):
    return math.exp(-1) * x @ torch.linalg.matrix_exp(TURN).T


@pytest.fixture
def start():
    return torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", ADAPTIVE)
def test_adaptive_solvers_reach_their_tolerance(method, start):
    found = solve(spiral, start, ENDS, Solver(method, rtol=1e-6, atol=1e-6), divergence=True)
    assert (found.x[-1] - spiral_end(start)).abs().max() < 3e-5
    assert torch.allclose(found.divergence, torch.full((50,), -2.0).double(), atol=1e-6)


@pytest.mark.parametrize(
    ("method", "order", "evaluations"), [("euler", 1, 1), ("midpoint", 2, 2), ("rk4", 4, 4)]
)
def test_fixed_solvers_have_their_order_and_cost(method, order, evaluations, start):
    errors = []
    for steps in (20, 40):
        found = solve(spiral, start, ENDS, Solver(method, steps=steps))
        assert found.nfe == steps * evaluations
        errors.append(float((found.x[-1] - spiral_end(start)).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 49])
def test_the_number_of_steps_is_exact_in_both_directions(steps, start):
    for ends in (ENDS, ENDS.flip(0)):
        assert solve(spiral, start, ends, Solver("euler", steps=steps)).nfe == steps


def test_recording_does_not_change_the_steps(start):
    plain = solve(spiral, start, ENDS, Solver("euler", steps=4))
    recorded = solve(spiral, start, torch.linspace(0, 1, 9).double(), Solver("euler", steps=4))
    assert recorded.nfe == 4
    assert torch.allclose(recorded.x[-1], plain.x[-1])
    assert torch.allclose(
        recorded.x[1], (recorded.x[0] + recorded.x[2]) / 2
    )  # straight between Euler's steps


def test_backwards_is_the_inverse(start):
    tight = Solver(rtol=1e-9, atol=1e-9)
    there = solve(spiral, start, ENDS, tight).x[-1]
    back = solve(spiral, there, ENDS.flip(0), tight, divergence=True)
    assert (back.x[-1] - start).abs().max() < 1e-7
    assert torch.allclose(back.divergence, torch.full((50,), 2.0).double(), atol=1e-7)


def rough(x, t):
    """An easy path, x' = (1, 0), along which the divergence 5 cos(20 t) cos(y) varies a lot."""
    wiggle = torch.sin(x[:, 1]) - torch.sin(x[:, 1].detach())  # zero, with a slope
    return torch.stack([torch.ones_like(wiggle), 5 * torch.cos(20 * t) * wiggle], 1)


def test_the_divergence_has_its_own_error_control(start):
    """The rough integrand is resolved, although the steps of x could not see it."""
    solver = Solver(rtol=1e-5, atol=1e-5)
    plain, both = solve(rough, start, ENDS, solver), solve(rough, start, ENDS, solver, True)
    assert plain.nfe <= 20
    assert both.nfe >= plain.nfe + 21
    expected = 5 * math.sin(20) / 20 * torch.cos(start[:, 1])
    assert torch.allclose(both.divergence, expected, atol=1e-5)
    assert torch.equal(both.x[-1], solve(rough, start, ENDS, solver, True).x[-1])
    assert torch.allclose(both.x[-1], plain.x[-1], atol=1e-6)


@pytest.mark.parametrize(("omega", "evaluations"), [(2, 21), (25, 21), (35, 41), (50, 41), (80, 81)])
def test_the_divergence_takes_as_many_evaluations_as_it_varies(start, omega, evaluations):
    def waves(x, t):  # x stays where it is
        return torch.cos(omega * t) * (torch.sin(x) - torch.sin(x.detach()))

    solver = Solver(rtol=1e-5, atol=1e-5)
    found = solve(waves, start, ENDS, solver, True)
    expected = math.sin(omega) / omega * torch.cos(start).sum(1)
    assert (found.divergence - expected).abs().mean() < 6e-5
    assert found.nfe == solve(waves, start, ENDS, Solver(rtol=1e-6, atol=1e-6)).nfe + evaluations


@pytest.mark.parametrize("n", [2, 5, 8, 32])
def test_clenshaw_curtis_is_exact_for_polynomials(n):
    nodes, weights = clenshaw_curtis(n)
    finer, _ = clenshaw_curtis(2 * n)
    assert torch.allclose(finer[::2], nodes)
    for degree in range(n + 1):
        assert float((weights * nodes**degree).sum()) == pytest.approx(1 / (degree + 1), rel=1e-12)


def test_a_field_that_ignores_x_has_no_divergence(start):
    for method in ("dopri5", "rk4"):
        found = solve(lambda x, t: torch.ones_like(x) * t, start, ENDS, Solver(method), True)
        assert torch.equal(found.divergence, torch.zeros(50).double())


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_divergence_against_autograd(dim):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(dim, 9), torch.nn.SiLU(), torch.nn.Linear(9, dim)).double()
    x, t = torch.randn(6, dim, dtype=torch.float64), torch.tensor(0.3)

    def velocity(x, t):
        return net(x) * t

    v, divergence = by_gradients(velocity, x, t)
    jacobian = torch.stack(
        [torch.autograd.functional.jacobian(lambda y: velocity(y[None], t)[0], row) for row in x]
    )
    assert torch.allclose(v, velocity(x, t))
    assert torch.allclose(divergence, jacobian.diagonal(dim1=1, dim2=2).sum(1))


def test_a_field_that_blows_up_is_named(start):
    with pytest.raises(RuntimeError, match=r"cannot go on|finite"):
        solve(lambda x, t: x.square().sum(1, keepdim=True) * x * 1e3, start, ENDS, Solver())
    with pytest.raises(RuntimeError, match="left the finite numbers"):
        solve(lambda x, t: x * math.inf, start, ENDS, Solver("euler"))


@given(st.text().filter(lambda name: name not in ADAPTIVE + FIXED))
def test_unknown_solver(name):
    with pytest.raises(ValueError, match="unknown solver"):
        Solver(name)


@given(st.one_of(st.floats(max_value=0), st.just(math.nan), st.just(math.inf)))
def test_bad_tolerance(value):
    for keywords in ({"rtol": value}, {"atol": value}):
        with pytest.raises(ValueError, match="tolerances must be positive"):
            Solver(**keywords)


def test_no_steps():
    with pytest.raises(ValueError, match="at least 1 step"):
        Solver("euler", steps=0)
