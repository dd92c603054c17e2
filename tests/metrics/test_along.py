"""Measures along trajectories and between blocks against closed forms."""

import math

import pytest
import scipy.integrate
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lfmkit import Solver, metrics, oracles
from lfmkit.flows.block import Block
from lfmkit.flows.flow import Flow
from lfmkit.flows.integrate import Trajectory
from lfmkit.solvers import solve

TIGHT = Solver("dopri8", rtol=1e-9, atol=1e-9)
MEASURES = [metrics.path_length, metrics.straightness, metrics.kinetic_energy]


def exact_flow(density, schedule, path):
    steps = (*schedule, math.inf)
    blocks = [
        Block(v, g, path, "ou")
        for v, g in zip(oracles.velocities(density, schedule, path), steps, strict=True)
    ]
    return Flow(blocks, density.dim, solver=TIGHT)


def recorded(x, blocks=1, decode=False):
    """A trajectory through states (records, n, d) with equally many records in each block."""
    records = len(x)
    s = torch.linspace(0, blocks, records, dtype=torch.float64)
    block = (s.ceil() - 1).clamp(min=0)
    t = s - block
    if decode:
        block = s.floor().clamp(max=blocks - 1)
        t, block = (s - block).flip(0), block.flip(0)
    return Trajectory(t, x, block.long(), (records - 1,) * blocks)


def arc(angle, records):
    phi = torch.linspace(0, angle, records, dtype=torch.float64)
    return torch.stack([phi.cos(), phi.sin()], 1)[:, None]


# Closed forms


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=5),
    st.integers(1, 4),
    st.integers(1, 6),
    st.booleans(),
)
def test_straight_lines(ends, blocks, each, decode):
    """Straight at constant speed over the whole chain: straightness 0, energy the squared displacement."""
    ends = torch.tensor(ends, dtype=torch.float64)
    s = torch.linspace(0, 1, blocks * each + 1, dtype=torch.float64)
    line = recorded(s[:, None, None] * ends + 1, blocks, decode)
    far = ends.norm(dim=1)
    length, bend, energy = (measure(line) for measure in MEASURES)
    assert float(length) == pytest.approx(float(far.mean()), abs=1e-9)
    assert float(bend) == pytest.approx(0, abs=1e-9)
    assert float(energy) == pytest.approx(float(far.square().mean()), abs=1e-9)
    assert length.displacement == pytest.approx(float(length), abs=1e-9)
    assert length.blocks == pytest.approx((float(length) / blocks,) * blocks, abs=1e-9)


@pytest.mark.parametrize("angle", [0.5, 2.0, 2 * math.pi])
def test_an_arc_of_a_circle(angle):
    trajectory = recorded(arc(angle, 201))
    chord = (2 * math.sin(angle / 2)) ** 2
    expected = (angle, angle**2 - chord, angle**2)
    for measure, value in zip(MEASURES, expected, strict=True):
        result = measure(trajectory)
        missing = value - float(result)
        assert 0 < missing < 1e-3 * value  # a polygon, so from below
        assert result.resolution == pytest.approx(missing, rel=0.02)


def test_an_arc_through_two_blocks_at_two_speeds():
    """A quarter of a circle in the first half of the time, a straight line of length 2 in the second."""
    quarter = arc(math.pi / 2, 301)
    line = torch.tensor([[[0.0, 1.0]]]) + torch.linspace(0, 2, 301)[1:, None, None] * torch.tensor(
        [-1.0, 0.0]
    )
    trajectory = recorded(torch.cat([quarter, line]), blocks=2)
    a = math.pi / 2
    length, bend, energy = (measure(trajectory) for measure in MEASURES)
    assert length.blocks == pytest.approx((a, 2), rel=1e-4)
    assert float(length) == pytest.approx(a + 2, rel=1e-4)
    assert energy.blocks == pytest.approx((a**2, 4), rel=1e-4)
    assert float(energy) == pytest.approx(2 * (a**2 + 4), rel=1e-4)
    assert bend.blocks == pytest.approx((a**2 - 2, 0), rel=1e-4, abs=1e-9)
    assert float(bend) == pytest.approx(2 * (a**2 + 4) - (9 + 1), rel=1e-4)  # from (1, 0) to (-2, 1)


@pytest.mark.parametrize("spread", [0.3, 1.0, 2.0])
def test_the_exact_flow_of_one_gaussian(spread):
    """They run along x_0 sqrt((1 - t)^2 spread^2 + t^2) / spread: straight, but not at constant speed."""
    gaussian = oracles.GaussianMixture([[0.0, 0.0]], spread**2)
    x = gaussian.sample(30).double()
    trajectory = exact_flow(gaussian, (), "linear").trajectory(x, points=200, encode=True)

    def speed(t):
        return (t - (1 - t) * spread**2) / (spread * math.hypot((1 - t) * spread, t))

    turn = spread**2 / (1 + spread**2)
    total = scipy.integrate.quad(lambda t: abs(speed(t)), 0, 1, points=[turn])[0]
    square = scipy.integrate.quad(lambda t: speed(t) ** 2, 0, 1)[0]
    radius, radius2 = float(x.norm(dim=1).mean()), float(x.square().sum(1).mean())
    assert float(metrics.path_length(trajectory)) == pytest.approx(radius * total, rel=1e-3)
    assert float(metrics.kinetic_energy(trajectory)) == pytest.approx(radius2 * square, rel=1e-3)
    bend = square - (1 / spread - 1) ** 2
    assert float(metrics.straightness(trajectory)) == pytest.approx(radius2 * bend, rel=1e-3)


@pytest.mark.parametrize("schedule", [(), (0.1, 0.4)])
def test_on_the_great_circle_the_flow_follows_the_probability_flow(mixture, schedule):
    """Same curves, whatever the blocks: the same length, which is that of the OU process itself."""
    x = mixture.sample(40, seed=2).double()
    trajectory = exact_flow(mixture, schedule, "great_circle").trajectory(x, points=150, encode=True)
    times = torch.cat([torch.linspace(0, 1, 400), torch.linspace(1, 18, 800)[1:]]).double()
    flow = solve(oracles.probability_flow(mixture), x, times, TIGHT)
    length = float(flow.x.diff(dim=0).norm(dim=2).sum(0).mean())
    assert float(metrics.path_length(trajectory)) == pytest.approx(length, rel=1e-3)


def test_the_great_circle_is_shorter(mixture):
    """The great circle is shorter than straight pairs, and both lead to the same noise."""
    x = mixture.sample(100, seed=2).double()
    great, linear = (
        metrics.path_length(exact_flow(mixture, (), path).trajectory(x, points=60, encode=True))
        for path in ("great_circle", "linear")
    )
    assert great.displacement < float(great) < float(linear)
    assert great.displacement == pytest.approx(linear.displacement, rel=1e-6)  # one map


# What holds for every trajectory


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(0, 9))
def test_relations(blocks, each, n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(blocks * each + 1, n, 2, generator=generator, dtype=torch.float64)
    there, back = recorded(x, blocks), recorded(x.flip(0), blocks, decode=True)
    length, bend, energy = (measure(there) for measure in MEASURES)
    square = float((x[-1] - x[0]).square().sum(1).mean())
    assert float(bend) == pytest.approx(float(energy) - square, rel=1e-9, abs=1e-9)
    assert float(energy) == pytest.approx(blocks * sum(energy.blocks), rel=1e-9)
    assert float(length) == pytest.approx(sum(length.blocks), rel=1e-9)
    assert float(length) >= length.displacement - 1e-9
    assert float(length) ** 2 <= float(energy) * (1 + 1e-9)
    for measure in MEASURES:
        one, other = measure(there), measure(back)
        assert other.value == pytest.approx(one.value, rel=1e-9)
        assert other.blocks == pytest.approx(one.blocks, rel=1e-9)
    assert (length.resolution is None) == (each == 1)
    assert (length.stderr is None) == (n == 1)


def test_a_flows_trajectory_and_its_protocol(tiny_flow):
    trajectory = tiny_flow.trajectory(torch.randn(20, 2), points=7)
    result = metrics.path_length(trajectory)
    assert (result.n, result.nfe, result.settings) == (20, sum(trajectory.nfe), "19 records")
    assert len(result.blocks) == 3
    lengths = trajectory.x.double().diff(dim=0).norm(dim=2).sum(0)
    assert result.stderr == pytest.approx(float(lengths.std()) / math.sqrt(20))
    whole = tiny_flow.trajectory(trajectory.x[-1], points=7, encode=True)
    assert float(metrics.straightness(whole)) == pytest.approx(
        float(metrics.straightness(trajectory)), rel=1e-3
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_bad_trajectories(measure):
    good = recorded(arc(1.0, 5))
    x = good.x.clone()
    x[3, 0, 1] = math.nan
    block = torch.zeros(5)
    for bad, message in [
        (Trajectory(good.t[:1], good.x[:1], block[:1], (1,)), "2 or more records, got 1$"),
        (Trajectory(good.t, x, block, (1,)), "NaN or infinite states, first in record 3$"),
        (Trajectory(good.t, good.x[:, 0], block, (1,)), "shape"),
        (Trajectory(good.t, good.x[:, :0], block, (1,)), "shape"),
        (Trajectory(good.t[:4], good.x, block, (1,)), "as many times"),
        (Trajectory(good.t, good.x, block, ()), "as many times"),
        (Trajectory(good.t * 0.9, good.x, block, (1,)), "every block, from 0 to 1"),
        (Trajectory(good.t, good.x, block, (1, 1)), "every block, from 0 to 1"),
        (Trajectory(good.t * 0, good.x, block, (1,)), "every block, from 0 to 1"),
        (Trajectory(good.t[[0, 2, 1, 3, 4]], good.x, block, (1,)), "every block, from 0 to 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            measure(bad)


# Successive distributions


def test_successive_distributions_of_a_gaussian_are_known():
    """Every pool is N(0, v I), so the distance is the difference of the spreads."""
    gaussian = oracles.GaussianMixture([[0.0, 0.0]], 0.25)
    schedule = (0.1, 0.4)
    x = gaussian.sample(8000, seed=1).double()
    table = metrics.successive(exact_flow(gaussian, schedule, "great_circle"), x, split="train")
    assert table.names == ("block 1", "block 2", "free block")
    spreads = [0.5, *(math.sqrt(float(gaussian.ou(T).variances[0, 0])) for T in (0.1, 0.5)), 1.0]
    for row, left, right in zip(table, spreads[:-1], spreads[1:], strict=True):
        assert float(row) == pytest.approx(right - left, rel=0.03)
        assert row.displacement == pytest.approx((right - left) * math.sqrt(math.pi / 2), rel=0.03)
        assert 0 < row.baseline < 0.3 * float(row)
        assert (row.n, row.split, row.solver) == (8000, "train", TIGHT)
    assert [row.gamma for row in table] == [0.1, 0.4, math.inf]


def test_successive_rows_are_parts_of_encode(tiny_flow):
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    fixed = Solver("rk4", steps=4)
    table = metrics.successive(tiny_flow, x, solver=fixed, projections=20, p=1, seed=3)
    middle = tiny_flow.push(x, 0, fixed)
    expected = metrics.sliced_wasserstein(middle, x, 20, 1, 3)
    row = table["block 1"]
    assert (row.value, row.stderr, row.baseline) == (expected.value, expected.stderr, expected.baseline)
    assert (row.nfe, row.parameters * 3) == (16, tiny_flow.parameters_count)
    moved = (middle.double() - x.double()).norm(dim=1).mean()
    assert float(row) <= row.displacement == pytest.approx(float(moved))
    assert table[2].settings == "p = 1, 20 equal angles"
    for bad in (torch.zeros(1, 2), torch.zeros(3, 3), torch.full((3, 2), math.nan)):
        with pytest.raises(ValueError, match=r"one row|shape|NaN"):
            metrics.successive(tiny_flow, bad)
