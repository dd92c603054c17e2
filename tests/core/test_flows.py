import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lfmkit import Block, Flow, Solver, methods, nets

FLOW = methods.lfm(3, (0.2,), net=nets.MLP(width=8, depth=1, fourier=0))


@given(
    rows=st.integers(1, 40),
    where=st.tuples(st.integers(0, 39), st.integers(0, 2)),
    bad=st.sampled_from([math.nan, math.inf, -math.inf]),
)
def test_rows_that_are_not_finite_are_named(rows, where, bad):
    x = torch.zeros(rows, 3)
    row = where[0] % rows
    x[row, where[1]] = bad
    for use in (FLOW.encode, FLOW.decode, FLOW.log_prob, FLOW.trajectory):
        with pytest.raises(
            ValueError, match=f"1 of {rows} rows with NaN or infinity, the first is row {row}$"
        ):
            use(x)


@given(st.lists(st.integers(0, 5), max_size=4).filter(lambda s: len(s) != 2 or s[1] != 3 or s[0] == 0))
def test_wrong_shapes(shape):
    with pytest.raises(ValueError, match=r"needs the shape \(n, 3\)|is empty"):
        FLOW.encode(torch.zeros(shape))


@pytest.mark.parametrize(
    "x", [np.zeros((4, 3)), [[0.0, 0.0, 0.0]], torch.zeros(4, 3, dtype=torch.int64), None]
)
def test_wrong_types(x):
    with pytest.raises(TypeError, match="floating-point tensor"):
        FLOW.log_prob(x)


def test_wrong_counts():
    with pytest.raises(ValueError, match="number of samples"):
        FLOW.sample(0)
    with pytest.raises(ValueError, match="2 or more points"):
        FLOW.trajectory(torch.zeros(1, 3), points=1)
    with pytest.raises(ValueError, match="at least one block"):
        Flow([], 2)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"dim": 0}, "dim must be"),
        ({"dim": 2.0}, "dim must be"),
        ({"dim": 2, "schedule": (0.1, 0.0)}, "gamma_2 is 0.0"),
        ({"dim": 2, "schedule": (math.nan,)}, "gamma_1 is nan"),
        ({"dim": 2, "path": "straight"}, "unknown path 'straight'"),
        ({"dim": 2, "schedule": (0.1,), "coupling": "optimal"}, "unknown coupling 'optimal'"),
    ],
)
def test_bad_methods(keywords, message):
    with pytest.raises(ValueError, match=message):
        methods.lfm(**keywords)


def test_inputs_are_taken_to_the_dtype_of_the_flow():
    x = torch.randn(5, 3)
    assert FLOW.encode(x.double()).dtype == torch.float32
    double = methods.lfm(3, (0.2,)).double()
    assert double.log_prob(x).dtype == torch.float64


def test_many_points_are_solved_in_chunks(monkeypatch):
    x = torch.randn(50, 3)
    fixed = Solver("rk4", steps=4)
    whole = FLOW.log_prob(x, fixed)
    monkeypatch.setattr("lfmkit.flows.integrate.POINTS_PER_SOLVE", 16)
    assert torch.allclose(FLOW.log_prob(x, fixed), whole, atol=1e-6)
    assert FLOW.last_nfe == (16.0, 16.0)


def test_a_block_that_fails_is_named():
    rough = Flow(
        [
            Block(lambda x, t: x * 0, 0.1, "linear", "ou"),
            Block(lambda x, t: x * math.inf, math.inf, "linear", "gaussian"),
        ],
        2,
    )
    with pytest.raises(RuntimeError, match="block 2 of 2"):
        rough.encode(torch.zeros(3, 2))


def test_weights_come_from_the_seed_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b, c = (methods.lfm(2, (0.1,), seed=s) for s in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    same = [torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    other = [torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True)]
    assert all(same)
    assert not all(other)


def test_push_is_one_block_of_encode():
    x = torch.randn(20, 3)
    z = FLOW.push(FLOW.push(x, 0), 1)
    assert torch.allclose(z, FLOW.encode(x), atol=1e-6)


def test_an_expression_for_readers():
    assert FLOW.schedule == (0.2,)
    assert FLOW.parameters_count == sum(p.numel() for p in FLOW.parameters())
