import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lfmkit import nets


def filled(net):
    """Give the last layer, which starts at zero, random weights."""
    torch.manual_seed(0)
    torch.nn.init.normal_(net.out.weight)
    return net


def check_rows(net, dim, cond):
    """The shape is right, and a row's velocity does not depend on the others."""
    x, t = torch.randn(6, dim), torch.rand(6)
    condition = torch.randn(6, cond) if cond else None
    v = net(x, t, cond=condition)
    assert v.shape == (6, dim)
    one = net(x[2:3], t[2], cond=None if condition is None else condition[2:3])
    assert torch.allclose(one, v[2:3], atol=1e-5)


@given(
    width=st.integers(1, 9),
    depth=st.integers(1, 4),
    fourier=st.integers(0, 5),
    dim=st.integers(1, 4),
    cond=st.integers(0, 3),
)
def test_shapes_time_and_condition(width, depth, fourier, dim, cond):
    net = nets.MLP(width=width, depth=depth, fourier=fourier)(dim, cond)
    check_rows(net, dim, cond)


def test_every_input_matters():
    net = filled(nets.MLP(width=16, depth=2, fourier=3)(2, 2))
    inputs = [torch.randn(4, 2), torch.rand(4), torch.rand(4), torch.randn(4, 2)]
    inputs = [value.requires_grad_() for value in inputs]
    for gradient in torch.autograd.grad(net(*inputs).square().sum(), inputs):
        assert gradient.abs().sum() > 0


def test_noise_damps_the_features_that_it_hides():
    net = filled(nets.MLP(width=16, depth=2, fourier=8, scale=20.0)(2))
    x, t = torch.randn(50, 2), torch.tensor(0.5)
    far = x + 0.02 * torch.randn(50, 2)

    @torch.no_grad()
    def change(noise):
        return float((net(x, t, torch.tensor(noise)) - net(far, t, torch.tensor(noise))).square().mean())

    assert torch.allclose(net(x, t), net(x, t, torch.tensor(0.0)))
    assert change(1.0) < 0.05 * change(0.0)


@pytest.mark.parametrize("recipe", [nets.MLP(width=7, depth=1, fourier=0, scale=2.5), nets.FiLM(9, 2)])
def test_a_recipe_survives_json(recipe):
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
    with pytest.raises(ValueError, match="cannot be stored, because no name"):
        nets.to_json(lambda dim: None)


@pytest.mark.parametrize(("dim", "fourier"), [(3, 12), (3, 13), (5, 5), (4, 2), (2, 0)])
def test_columns_have_frequencies_of_their_own(dim, fourier):
    net = nets.MLP(width=4, depth=1, fourier=fourier, scale=32.0, columns=True)(dim)
    frequencies = net.frequencies
    assert frequencies.shape == (dim, fourier)
    assert ((frequencies != 0).sum(0) == 1).all()
    each = (frequencies != 0).sum(1)
    assert each.max() - each.min() <= 1
    if fourier == 12:
        expected = 32 ** torch.tensor([0, 1 / 3, 2 / 3, 1])
        assert all(torch.allclose(row[row != 0], expected) for row in frequencies)
    assert net(torch.randn(5, dim), torch.tensor(0.5)).shape == (5, dim)


@given(width=st.integers(1, 9), depth=st.integers(1, 4), dim=st.integers(1, 4), cond=st.integers(0, 3))
def test_film_shapes_time_and_condition(width, depth, dim, cond):
    net = filled(nets.FiLM(width=width, depth=depth)(dim, cond))
    check_rows(net, dim, cond)


def test_every_input_of_film_matters():
    net = filled(nets.FiLM(width=16, depth=2)(2, 2))
    inputs = [torch.randn(4, 2), torch.rand(4), torch.randn(4, 2)]
    x, t, cond = (value.requires_grad_() for value in inputs)
    for gradient in torch.autograd.grad(net(x, t, cond=cond).square().sum(), (x, t, cond)):
        assert (gradient.abs().reshape(4, -1).sum(1) > 0).all()


def test_film_modulates_every_layer():
    """By hand: each layer adds back(silu((1 + scale) hidden(h) + shift)), scale and shift being its own."""
    net = filled(nets.FiLM(width=5, depth=3)(2, 2))
    x, t, cond = torch.randn(4, 2), torch.rand(4), torch.randn(4, 2)
    silu = torch.nn.functional.silu
    frequencies = torch.pi * torch.tensor([0.5, 1, 2, 4])
    angle = t[:, None] * frequencies
    told = net.told(torch.cat([angle.sin(), angle.cos(), cond], 1))
    h = net.first(x)
    for k in range(3):
        scale, shift = net.film[k](told)[:, :5], net.film[k](told)[:, 5:]
        h = h + net.back[k](silu((1 + scale) * net.hidden[k](h) + shift))
    assert torch.allclose(net(x, t, cond=cond), net.out(silu(h)), atol=1e-6)


def test_films_last_layer_starts_at_zero():
    assert torch.equal(nets.FiLM(8, 2)(3)(torch.randn(5, 3), torch.tensor(0.3)), torch.zeros(5, 3))


@pytest.mark.parametrize("fields", [{"width": 0}, {"depth": 0}, {"width": -1}])
def test_bad_recipes_of_film(fields):
    with pytest.raises(ValueError, match="must be positive"):
        nets.FiLM(**fields)
