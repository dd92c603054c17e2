import copy
import json
import math
import pickle
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lfmkit
from lfmkit import divergence, methods, nets
from lfmkit.nets import published
from lfmkit.solvers import Solver

TINY = nets.UNet((1, 4, 4), (4, 8), layers=1, attention=(4,))


def filled(module, scale=0.3):
    """Move all weights by random numbers, also those that start at zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return module


def build(recipe=TINY, cond=0):
    torch.manual_seed(0)
    return filled(recipe(math.prod(recipe.shape), cond)).double()


def images(n, dim=16):
    return torch.randn(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@st.composite
def recipes(draw):
    widths = draw(st.lists(st.sampled_from([4, 8, 12]), min_size=1, max_size=3))
    whole = 2 ** (len(widths) - 1)
    height, width = (whole * draw(st.integers(1, 2)) for _ in range(2))
    sides = [height // 2**k for k in range(len(widths))]
    attention = draw(st.lists(st.sampled_from(sides), unique=True))
    return nets.UNet((draw(st.integers(1, 3)), height, width), tuple(widths), 1, tuple(attention))


@settings(max_examples=10, deadline=None)
@given(recipe=recipes(), cond=st.integers(0, 2))
def test_rows_do_not_mix_and_time_may_be_one_for_all(recipe, cond):
    dim = math.prod(recipe.shape)
    net, x, t = build(recipe, cond), images(3, dim), torch.rand(3, dtype=torch.float64)
    condition = images(3, cond) if cond else None
    v = net(x, t, cond=condition)
    assert v.shape == (3, dim)
    one = net(x[2:], t[2], cond=None if condition is None else condition[2:])
    assert torch.allclose(one, v[2:], atol=1e-9)
    assert torch.allclose(net(x, t[0], cond=condition), net(x, t[:1].expand(3), cond=condition))


@settings(max_examples=10, deadline=None)
@given(recipe=recipes())
def test_a_recipe_survives_json(recipe):
    again = nets.from_json(json.loads(json.dumps(nets.to_json(recipe))))
    assert again == recipe
    assert hash(again) == hash(recipe)


def test_a_block_starts_from_its_linear_guess():
    flow, x, t = methods.fm(dim=16, net=TINY), images(5).float(), torch.tensor(0.3)
    block = flow.chain[0]
    assert not block.net(x, t).any()
    ratio = block(x, t) / x
    assert torch.allclose(ratio, ratio[0, 0].expand(5, 16))


def test_all_parameters_learn():
    net = build(cond=3)
    (net(images(6), torch.rand(6), cond=images(6, 3)) - images(6)).square().mean().backward()
    still = {name for name, p in net.named_parameters() if p.grad.abs().max() < 1e-12}
    keys = {name for name, _ in net.named_parameters() if name.endswith("to_k.bias")}
    assert still == keys  # a softmax does not see what is added to all of its keys
    assert keys


@pytest.mark.parametrize("width", [4, 8, 32])
def test_time_enters_in_full_precision(width):
    net, x = build(nets.UNet((1, 2, 2), (width,), layers=1)), images(2, 4)
    t = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(net(x, t).sum(), t)
    with torch.no_grad():
        difference = (net(x, t + 1e-6) - net(x, t - 1e-6)).sum() / 2e-6
    assert float(difference) == pytest.approx(float(slope), rel=1e-5)
    assert slope.abs() > 1e-3


def test_conditions():
    net, x, t = build(cond=2), images(4), torch.tensor(0.5)
    free = net(x, t)
    assert torch.equal(free, net(x, t, cond=torch.zeros(4, 2).double()))
    told = net(x, t, cond=torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).double())
    change = (told - free).abs().amax(1)
    assert change[0] == 0
    assert (change[1:] > 1e-3).all()


def test_precisions():
    net, x, t = build(), images(6), torch.rand(6)
    exact = net(x, t.double())
    single = net.float()(x.float(), t)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), exact, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(x.float(), t)
    assert half.dtype == torch.float32
    assert not torch.equal(half, single)
    assert (half - single).std() < 0.1 * single.std()


def test_divergence():
    """Probes along an orthogonal basis of signs add up to the trace of the Jacobian."""
    net, x, t = build(), images(2), torch.tensor(0.3, dtype=torch.float64)
    signs = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(4):
        signs = torch.kron(signs, torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64))
    v, estimates = divergence.by_probes(net, x, t, signs[:, None].expand(16, 2, 16))
    jacobians = [torch.autograd.functional.jacobian(lambda y: net(y[None], t)[0], row) for row in x]
    expected = torch.stack([jacobian.trace() for jacobian in jacobians])
    assert torch.equal(v, net(x, t))
    assert estimates.std(1).min() > 1e-3
    assert torch.allclose(estimates.mean(1), expected, rtol=1e-9)
    assert torch.allclose(divergence.exact(net, x, t)[1], expected, rtol=1e-9)


def test_decode_inverts_encode():
    flow = filled(methods.lfm(dim=16, schedule=(0.2,), net=TINY).double(), 0.1)
    x, tight = images(4), Solver(rtol=1e-6, atol=1e-6)
    z = flow.encode(x, tight)
    assert (z - x).abs().max() > 0.1
    assert torch.allclose(flow.decode(z, tight), x, atol=1e-4)


def test_a_conditional_flow_is_saved_loaded_and_copied(tmp_path):
    flow = filled(methods.lfm(dim=16, schedule=(0.2,), net=TINY, cond=10))
    flow.solver = Solver("midpoint", steps=3)
    z, classes = images(4).float(), torch.tensor([0, 3, 9, 3])
    expected = flow.decode(z, cond=classes)
    assert not torch.allclose(expected, flow.decode(z))
    flow.save(tmp_path)
    for again in (lfmkit.load(tmp_path), copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        assert torch.equal(again.decode(z, cond=classes), expected)
    assert lfmkit.load(tmp_path).net == TINY


def test_weights_follow_from_the_seed():
    one, same, other = (methods.fm(dim=16, net=TINY, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_fit_learns_two_images():
    x = torch.where(torch.arange(64)[:, None] % 2 == 0, 1.0, -1.0) * torch.linspace(-1, 1, 16)
    flow = methods.fm(dim=16, net=nets.UNet((1, 4, 4), (16,), layers=1))
    log = lfmkit.fit(flow, x, steps=80, batch=32, progress=False)
    losses = torch.tensor([loss for _, loss in log.blocks[0].loss])
    assert losses[-10:].mean() < 0.6 * losses[:10].mean()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (3, 8)}, "channels, height and width"),
        ({"shape": (3, 0, 8)}, "shape must be a tuple of whole numbers >= 1"),
        ({"shape": (3, 6, 8)}, "with 3 widths height and width must be multiples of 4, got 6 and 8"),
        ({"widths": ()}, "one or more multiples of 4"),
        ({"widths": (4, 6, 8)}, "one or more multiples of 4"),
        ({"widths": [4, 8]}, "widths must be a tuple"),
        ({"widths": (4.0, 8.0)}, "widths must be a tuple of whole numbers"),
        ({"layers": 0}, "layers must be a whole number >= 1"),
        ({"layers": True}, "layers must be a whole number >= 1"),
        ({"attention": (16,)}, r"some of the heights \(8, 4, 2\), got \(16,\)"),
        ({"attention": (0,)}, "attention must be a tuple of whole numbers >= 1"),
    ],
)
def test_bad_recipes(changes, message):
    fields = {"shape": (3, 8, 8), "widths": (4, 4, 8)}
    with pytest.raises(ValueError, match=message):
        nets.UNet(**(fields | changes))


def test_data_of_another_size():
    with pytest.raises(ValueError, match=r"shape \(1, 4, 4\) has 16 values, the data 48"):
        methods.fm(dim=48, net=TINY)


def test_without_diffusers(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"pip install 'lfmkit\[images\]'"):
        TINY(16)


def count(recipe):
    with torch.device("meta"):  # nothing is allocated
        return sum(p.numel() for p in recipe(math.prod(recipe.shape)).parameters())


@pytest.mark.parametrize(
    ("name", "block", "whole"),  # millions: as published, or counted on networks of the released code
    [
        ("CIFAR10", 35.75, 142.9),
        ("IMAGENET32", 49.06, 196.1),
        ("FLOWERS128", 116, 463.5),
        ("FLOWERS128_SMALL", 21.42, 85.6),
    ],
)
def test_published_sizes(name, block, whole):
    parts, one = (count(getattr(published, f"{name}_{kind}")) for kind in ("BLOCK", "GLOBAL"))
    within = 0.01 if name == "FLOWERS128" else 5e-4
    assert parts / 1e6 == pytest.approx(block, rel=within)
    assert one / 1e6 == pytest.approx(whole, rel=within)
    assert 4 * parts == pytest.approx(one, rel=2e-3)


def test_the_published_block_to_the_last_parameter():
    assert count(published.CIFAR10_BLOCK) == 35_746_307
