"""Conditional flows and guidance."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lfmkit
from lfmkit import Solver, methods, nets
from lfmkit.flows.guidance import Field
from lfmkit.flows.inputs import as_conditions

NET = nets.MLP(width=32, depth=2, fourier=0)
PLACES = torch.tensor([[-1.5, 0.0], [1.5, 0.0], [0.0, 1.5]])
PAIRED = [methods.ot_cfm, methods.sb_cfm]  # their noise is paired across classes, see methods.ot_cfm
ALL = [methods.lfm, methods.fm, methods.interflow, methods.vp, *PAIRED]


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (6000,), generator=generator)
    return PLACES[labels] + 0.2 * torch.randn(6000, 2, generator=generator), labels


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.__name__)
def test_each_class_goes_to_its_place(method, data):
    x, labels = data
    schedule = (0.5,) if method is methods.lfm else ()
    flow = method(2, schedule, net=NET, cond=3)
    lfmkit.fit(flow, x, cond=labels, steps=500, batch=256, pool="ou", progress=False)
    for k in range(3):
        means = flow.sample(400, cond=torch.tensor(k), solver=Solver("midpoint", steps=12)).mean(0)
        assert (means - PLACES[k]).norm() < (0.35 if method not in PAIRED else 0.8)
    free = flow.sample(900, solver=Solver("midpoint", steps=12))
    nearest = torch.cdist(free, PLACES).argmin(1).bincount(minlength=3) / 900
    assert (nearest - 1 / 3).abs().max() < 0.12


@pytest.fixture(scope="module")
def flow(data):
    x, labels = data
    flow = methods.lfm(2, (0.5,), net=NET, cond=3)
    lfmkit.fit(flow, x, cond=labels, steps=300, batch=256, progress=False)
    return flow


def test_vectors_and_class_numbers_say_the_same(flow):
    labels = torch.tensor([0, 2, 1, 1])
    z = flow.noise(4)
    assert torch.equal(flow.decode(z, cond=labels), flow.decode(z, cond=torch.eye(3)[labels]))
    assert torch.equal(flow.decode(z, cond=torch.tensor(2)), flow.decode(z, cond=torch.eye(3)[2]))


def test_decode_inverts_encode_and_the_trajectory_agrees(flow, data):
    x, labels = data[0][:50], data[1][:50]
    tight = Solver(rtol=1e-6, atol=1e-6)
    z = flow.encode(x, tight, cond=labels, guidance=1.5)
    assert torch.allclose(flow.decode(z, tight, cond=labels, guidance=1.5), x, atol=1e-3)
    way = flow.trajectory(z, 5, tight, cond=labels, guidance=1.5)
    assert torch.allclose(way.x[-1], x, atol=1e-3)


def test_the_right_class_is_the_likeliest(flow, data):
    x, labels = data[0][:300], data[1][:300]
    scores = torch.stack([flow.log_prob(x, cond=torch.tensor(k)) for k in range(3)], 1)
    assert (scores.argmax(1) == labels).float().mean() > 0.98


def test_guidance_is_the_stated_combination(flow):
    """0 is the flow without condition, 1 the conditional one; NFE counts both networks."""
    z, label, once = flow.noise(30), torch.tensor(1), Solver("euler", steps=1)
    free, given_ = flow.decode(z, once), flow.decode(z, once, cond=label)
    plain = sum(flow.last_nfe)
    assert torch.allclose(flow.decode(z, once, cond=label, guidance=0.0), free, atol=1e-5)
    assert sum(flow.last_nfe) == 2 * plain
    block = flow.chain[-1]
    with torch.no_grad():
        velocity = Field(block, torch.eye(3)[[1] * 30], 3.0)
        count = velocity.evaluations
        v_free, v_given = (Field(block, c, 1.0)(z, torch.tensor(1.0)) for c in (None, torch.eye(3)[[1] * 30]))
        assert count == 2
        assert torch.allclose(velocity(z, torch.tensor(1.0)), v_free + 3 * (v_given - v_free), atol=1e-5)
    assert not torch.allclose(free, given_)


def test_chunks_keep_their_conditions(flow, monkeypatch):
    labels, z = torch.arange(10) % 3, flow.noise(10)
    whole = flow.decode(z, Solver("rk4", steps=4), cond=labels)
    monkeypatch.setattr("lfmkit.flows.integrate.POINTS_PER_SOLVE", 3)
    assert torch.allclose(flow.decode(z, Solver("rk4", steps=4), cond=labels), whole, atol=1e-5)


def test_a_conditional_flow_survives_the_disk(flow, tmp_path):
    flow.save(tmp_path)
    again = lfmkit.load(tmp_path)
    assert again.cond == 3
    assert torch.equal(again.sample(5, cond=torch.tensor(2)), flow.sample(5, cond=torch.tensor(2)))


def test_a_run_with_other_conditions_is_another_run(data, tmp_path):
    x, labels = data[0][:200], data[1][:200]
    flow = methods.fm(2, net=NET, cond=3)
    lfmkit.fit(flow, x, cond=labels, steps=5, out=tmp_path, progress=False)
    with pytest.raises(ValueError, match="a run with other data"):
        lfmkit.fit(
            methods.fm(2, net=NET, cond=3), x, cond=labels.flip(0), steps=5, out=tmp_path, progress=False
        )


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"guidance": 2.0}, "guidance=2.0 needs a condition"),
        ({"cond": torch.tensor(1), "guidance": math.nan}, "guidance must be finite"),
        ({"cond": torch.tensor(3)}, "between 0 and 2"),
        ({"cond": torch.tensor([-1, 0, 0, 0])}, "between 0 and 2"),
        ({"cond": torch.tensor([0, 1])}, r"class numbers need the shape \(4,\)"),
        ({"cond": torch.zeros(4, 2)}, r"needs the shape \(4, 3\)"),
        ({"cond": torch.full((4, 3), math.nan)}, "the condition has NaN"),
    ],
)
def test_bad_conditions(keywords, message, flow):
    with pytest.raises(ValueError, match=message):
        flow.sample(4, **keywords)


@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 5))
def test_shapes_that_do_not_fit_are_refused(n, rows, columns):
    cond = torch.zeros(rows, columns)
    if (rows, columns) == (n, 3):
        assert as_conditions(cond, 3, n, 1.0, torch.zeros(n, 2)).shape == (n, 3)
    else:
        with pytest.raises(ValueError, match="needs the shape"):
            as_conditions(cond, 3, n, 1.0, torch.zeros(n, 2))


def test_a_condition_is_a_tensor(flow):
    with pytest.raises(TypeError, match="a condition must be a tensor, got int"):
        flow.sample(4, cond=2)


def test_flows_and_conditions_must_agree(data):
    x, labels = data
    with pytest.raises(ValueError, match="takes no condition"):
        methods.fm(2, net=NET).sample(3, cond=torch.tensor(0))
    with pytest.raises(ValueError, match="takes no condition"):
        lfmkit.fit(methods.fm(2, net=NET), x, cond=labels, steps=1)
    with pytest.raises(ValueError, match="takes a condition of 3 columns"):
        lfmkit.fit(methods.fm(2, net=NET, cond=3), x, steps=1)
    with pytest.raises(ValueError, match="take no conditions"):
        lfmkit.fit(methods.fm(2, net=NET, cond=3), x, cond=labels, steps=1, pool="ou", targets="averaged")
    with pytest.raises(ValueError, match="drop must lie"):
        lfmkit.fit(
            methods.fm(2, net=NET, cond=3), x, cond=labels, steps=1, training=lfmkit.Training(drop=1.5)
        )
