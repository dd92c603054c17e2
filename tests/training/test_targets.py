import math

import pytest
import torch
from drawn import averaged, pairs
from hypothesis import given
from hypothesis import strategies as st

from lfmkit import methods, nets, oracles, paths
from lfmkit.training.pool import Pool
from lfmkit.training.targets import Batch, Pairs, kd_order
from lfmkit.training.times import Power
from lfmkit.training.trainer import measure_moments
from lfmkit.utils.references import choose

CASES = [(path, gamma, T) for path in paths.PATHS for gamma, T in ((0.02, 0.0), (0.3, 0.1), (math.inf, 0.4))]


def draw(source, n, seed=0):
    return source.draw(n, torch.Generator().manual_seed(seed))


def sources(x, T, gamma, path):
    coupling = "ou" if math.isfinite(gamma) else "gaussian"
    some = averaged(x[kd_order(x)], T, gamma, path, group=64, share=4)
    return pairs(x, T, gamma, path, coupling), some


@given(st.integers(1, 200), st.integers(1, 4), st.integers(1, 9))
def test_kd_order_is_a_permutation(n, dim, leaf):
    x = torch.randn(n, dim, generator=torch.Generator().manual_seed(n))
    assert torch.equal(kd_order(x, leaf).sort().values, torch.arange(n))


def test_kd_order_makes_compact_cells():
    x = torch.randn(4096, 2, generator=torch.Generator().manual_seed(0))
    cells = x[kd_order(x)].reshape(64, 64, 2)
    assert cells.var(1).mean() < 0.05 * x.var()


@pytest.mark.parametrize(("path", "gamma", "T"), CASES)
def test_both_sources_draw_the_same_law(path, gamma, T, mixture):
    """Same times, same places, and at each place the same mean velocity: tested by moments."""
    x = mixture.sample(20_000, seed=1)
    single, mean = (draw(source, 80_000) for source in sources(x, T, gamma, path))
    for batch in (single, mean):
        assert batch.x.shape == batch.velocity.shape == (80_000, 2)
        assert float(batch.t.min()) >= 0
        assert float(batch.t.max()) <= 1
    scale = float(single.velocity.std())

    def moments(batch):
        t = batch.t[:, None]
        features = [torch.ones_like(batch.x), batch.x, t * batch.x, torch.sin(3 * batch.x), batch.x.flip(1)]
        moment = [(f * batch.velocity).mean(0) / scale for f in features]
        return torch.stack(
            [*moment, batch.x.mean(0), batch.x.square().mean(0), (t * batch.x.square()).mean(0)]
        )

    assert torch.allclose(moments(single), moments(mean), atol=0.03)


@pytest.mark.parametrize(("path", "gamma", "T"), CASES)
def test_averaging_takes_noise_away_and_no_signal(path, gamma, T, mixture):
    """Around the exact velocity the mean error stays zero and the variance falls."""
    x = mixture.sample(50_000, seed=1)
    # the exact velocity of the block whose left end is the mixture after time T
    exact = oracles._block_velocity(mixture.ou(T), choose(path, paths.PATHS, "path"), gamma)
    noise = []
    for source in sources(x, T, gamma, path):
        batch = draw(source, 600, seed=2)
        v = torch.cat([exact(p[None], t) for p, t in zip(batch.x, batch.t, strict=True)])
        error = (batch.velocity - v) / v.std()
        assert error.mean(0).abs().max() < 5 * float(error.std()) / math.sqrt(600) + 0.01
        noise.append(float(error.square().mean()))
    assert noise[1] < 0.5 * noise[0]


def test_a_small_pool_still_works():
    x = torch.randn(5, 3)
    batch = draw(averaged(x[kd_order(x)], 0.0, 0.1, "linear"), 33)
    assert batch.x.shape == (33, 3)
    assert torch.isfinite(batch.velocity).all()


@pytest.mark.parametrize("coupling", ["ou", "shuffled", "gaussian"])
@pytest.mark.parametrize("path", paths.PATHS)
def test_preconditioned_targets_have_unit_size(path, coupling, mixture):
    """A network that answers 0 has the loss 1, in every block: c_skip x is the best linear guess."""
    flow = methods.lfm(2, (0.01, 0.5), path, nets.MLP(width=8, depth=1, fourier=2), coupling)
    x = mixture.sample(50_000, seed=3)
    for block, T in zip(flow.chain, (0.0, 0.01, 0.51), strict=True):
        source = Pairs(Pool(x), T, block)
        measure_moments(block, source, n=200_000)
        with torch.no_grad():
            loss = float(block.loss(*draw(source, 100_000)[:4]))
        assert loss == pytest.approx(1, abs=0.03)


def test_preconditioning_is_only_a_change_of_variables(tiny_net):
    """The plain loss of the velocity is the preconditioned loss weighted by c_out^2."""
    flow = methods.lfm(2, (0.3,), "linear", tiny_net)
    block = flow.chain[0]
    with torch.no_grad():
        block.net.out.weight.normal_()
    x, t, v = torch.randn(100, 2), torch.rand(100), torch.randn(100, 2)
    _, _, out, _ = block._scales(t)
    for k in range(5):
        one = Batch(x[k : k + 1], t[k : k + 1], v[k : k + 1])
        plain = (block(one.x, one.t) - one.velocity).square().mean()
        assert torch.allclose(plain, block.loss(*one[:4]) * out[k] ** 2, rtol=1e-3)


@pytest.mark.parametrize("near_data", [0.5, 1.0, 3.0])
def test_times_near_the_data(near_data, mixture):
    """t = u^p has the distribution function t^(1/p), and only the times change, not what is learned there."""
    source = pairs(mixture.sample(5000), 0.0, 0.3, "linear", "ou", times=Power(near_data))
    batch = source.draw(40_000, torch.Generator().manual_seed(3))
    for at in (0.1, 0.5, 0.8):
        assert float((batch.t <= at).double().mean()) == pytest.approx(at ** (1 / near_data), abs=0.01)
    near = (batch.t - 0.5).abs() < 0.05
    even = pairs(mixture.sample(5000), 0.0, 0.3, "linear", "ou").draw(
        40_000, torch.Generator().manual_seed(4)
    )
    same = (even.t - 0.5).abs() < 0.05
    for a, b in ((batch.x[near], even.x[same]), (batch.velocity[near], even.velocity[same])):
        assert torch.allclose(a.mean(0), b.mean(0), atol=0.1)
        assert torch.allclose(a.std(0), b.std(0), rtol=0.1)
