import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lfmkit import nets


@given(
    width=st.integers(1, 9),
    depth=st.integers(1, 4),
    fourier=st.integers(0, 5),
    dim=st.integers(1, 4),
    cond=st.integers(0, 3),
)
def test_shapes_time_and_condition(width, depth, fourier, dim, cond):
    net = nets.MLP(width=width, depth=depth, fourier=fourier)(dim, cond)
    x, t = torch.randn(6, dim), torch.rand(6)
    condition = torch.randn(6, cond) if cond else None
    v = net(x, t, condition)
    assert v.shape == (6, dim)
    one = net(x[2:3], t[2], None if condition is None else condition[2:3])
    assert torch.allclose(one, v[2:3], atol=1e-5)


def test_every_input_matters():
    torch.manual_seed(0)
    net = nets.MLP(width=16, depth=2, fourier=3)(2, 2)
    x, t, c = (
        torch.randn(4, 2, requires_grad=True),
        torch.rand(4, requires_grad=True),
        torch.randn(4, 2, requires_grad=True),
    )
    for gradient in torch.autograd.grad(net(x, t, c).square().sum(), (x, t, c)):
        assert gradient.abs().sum() > 0


def test_a_recipe_survives_json():
    recipe = nets.MLP(width=7, depth=1, fourier=0, scale=2.5)
    assert nets.from_json(nets.to_json(recipe)) == recipe


@pytest.mark.parametrize(
    "fields", [{"width": 0}, {"depth": 0}, {"fourier": -1}, {"scale": 0.0}, {"scale": float("nan")}]
)
def test_bad_recipes(fields):
    with pytest.raises(ValueError, match="must be positive"):
        nets.MLP(**fields)


def test_recipes_that_cannot_be_read_or_written():
    with pytest.raises(ValueError, match=r"unknown network recipe 'os\.system'"):
        nets.from_json({"recipe": "os.system"})
    with pytest.raises(ValueError, match="do not fit"):
        nets.from_json({"recipe": "MLP", "wideness": 3})
    with pytest.raises(ValueError, match="must be a"):
        nets.to_json(lambda dim: None)
