import math

import pytest
import torch
from drawn import averaged, bare, conditional, pairs
from hypothesis import given
from hypothesis import strategies as st

import lfmkit
from lfmkit import couplings, methods, metrics, nets, oracles, paths, schedules
from lfmkit.training.pool import Pool
from lfmkit.training.targets import Batch, Conditional, Pairs, given_row, kd_order
from lfmkit.training.times import Power
from lfmkit.training.trainer import measure_moments
from lfmkit.utils.references import choose

CASES = [(path, gamma, T) for path in paths.PATHS for gamma, T in ((0.02, 0.0), (0.3, 0.1), (math.inf, 0.4))]


def draw(source, n, seed=0):
    return source.draw(n, torch.Generator().manual_seed(seed))


def sources(x, T, gamma, path):
    coupling = "ou" if math.isfinite(gamma) else "gaussian"
    some = averaged(x[kd_order(x)], T, gamma, path, group=64, share=4)
    return pairs(x, T, gamma, path, coupling), some, conditional(x, T, gamma, path)


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
    single, mean, given_row = (draw(source, 80_000) for source in sources(x, T, gamma, path))
    for batch in (single, mean, given_row):
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
    assert torch.allclose(moments(single), moments(given_row), atol=0.03)


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
    assert noise[1] < 1.1 * noise[2] < 1.2 * noise[0]  # the row alone takes away some of it


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


def rows_and_pairs(x, T, gamma, path, n, seed=0):
    """Return x_0, times, and places and velocities of pairs that start from x_0."""
    generator = torch.Generator().manual_seed(seed)
    x_0 = x[torch.randint(len(x), (n,), generator=generator)]
    x_l = couplings.ou(x_0, T, generator)
    x_r = couplings.ou(x_l, gamma, generator)
    t = 0.02 + 0.96 * torch.rand(n, generator=generator)
    alpha, beta, d_alpha, d_beta, sigma, d_sigma = (c[:, None] for c in paths.PATHS[path](t, gamma))
    e = torch.randn(x_l.shape, generator=generator)
    return x_0, t, alpha * x_l + beta * x_r + sigma * e, d_alpha * x_l + d_beta * x_r + d_sigma * e


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize(("path", "gamma", "T"), CASES)
def test_the_velocity_given_the_row_is_the_mean_of_pairs(path, gamma, T, dim):
    """A pair's error against it has no mean, no correlation with x_0 or x_t, and the predicted size."""
    x = torch.randn(500, dim, generator=torch.Generator().manual_seed(5)) * 0.7 + 0.4
    x_0, t, x_t, velocity = rows_and_pairs(x.double(), T, gamma, path, 200_000)
    A, _, d_A, gain = given_row(paths.PATHS[path], T, gamma, t)
    error = velocity - (d_A * x_0 + gain * (x_t - A * x_0))
    scale = float(velocity.std())
    for feature in (torch.ones_like(x_0), x_0, x_t, t[:, None] * x_t, (t > 0.5)[:, None] * x_0):
        assert abs(float((error * feature).mean())) / scale < 0.01

    right, spread_r = schedules.ou_factors(gamma)
    alpha, beta, d_alpha, d_beta, sigma, d_sigma = (c[:, None] for c in paths.PATHS[path](t, gamma))
    s, a, d_a = schedules.ou_factors(T)[1], alpha + beta * right, d_alpha + d_beta * right
    # noises: of x_l, of the step, of the path; what is left of the velocity once their sum in x_t is known
    inside = torch.stack([a * s, beta * spread_r, sigma])
    moving = torch.stack([d_a * s, d_beta * spread_r, d_sigma])
    left = (moving.square().sum(0) - (inside * moving).sum(0).square() / inside.square().sum(0)).clamp(min=0)
    assert float(error.square().mean()) == pytest.approx(float(left.mean()), rel=0.02, abs=1e-6)


@pytest.mark.parametrize("path", ["linear", "trig", "great_circle", "vp"])
def test_a_global_flow_has_the_velocity_of_pairs(path, mixture):
    """One block from data to noise: the row is the pair's own end, so nothing is left to average."""
    x = mixture.sample(500)
    single = draw(pairs(x, 0.0, math.inf, path, "gaussian"), 200)
    given = draw(conditional(x, 0.0, math.inf, path), 200)
    assert torch.equal(single.t, given.t)
    assert torch.allclose(single.x, given.x, atol=1e-5)
    away = single.t > 1e-3  # where the noise vanishes its velocity is lost in rounding
    assert torch.allclose(single.velocity[away], given.velocity[away], rtol=1e-3, atol=1e-3)


def test_images_flips_and_conditions_are_given_with_their_rows():
    images = torch.zeros(40, 1, 1, 2, dtype=torch.uint8)
    images[:, :, :, 0] = 255  # bright on the left
    labels = torch.eye(2)[torch.arange(40) % 2]
    block = bare(0.2, "linear", "ou")
    batch = draw(Conditional(Pool(images, labels), 0.1, block, drop=0.5, flip=True), 4000)
    assert batch.x.shape == (4000, 2)
    bright = batch.x[:, 0] > batch.x[:, 1]
    assert 0.45 < float(bright.double().mean()) < 0.55
    assert 0.45 < float(batch.cond[:, 2].mean()) < 0.55
    assert (batch.cond[:, :2].sum(1) == batch.cond[:, 2]).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_flows_learn_from_targets_given_the_row(workers, mixture):
    """At equal steps the likelihood is better than with pairs, whose noise it lacks."""
    x, test = mixture.sample(4000, seed=1), mixture.sample(1000, seed=2)
    found = {}
    for targets in ("pairs", "conditional"):
        flow = methods.lfm(2, (0.3, 0.6), net=nets.MLP(width=32, depth=2, fourier=8, scale=1.0))
        call = {"steps": 300, "batch": 128, "pool": "ou", "targets": targets, "workers": workers}
        log = lfmkit.fit(flow, x, val=test[:200], progress=False, **call)
        found[targets] = metrics.nll(flow, test).nll, sum(block.loss[-1][1] for block in log.blocks)
    assert found["conditional"][0] < found["pairs"][0] + 0.01
    assert found["conditional"][1] < 0.8 * found["pairs"][1]


@pytest.mark.parametrize("wrong", [{"pool": "pushed"}, {"flow": {"coupling": "shuffled"}}])
def test_targets_given_the_row_need_an_ou_pool(wrong, mixture):
    flow = methods.lfm(2, (0.3,), net=nets.MLP(width=8, depth=1), **wrong.get("flow", {}))
    with pytest.raises(ValueError, match="conditional targets need pool='ou'"):
        lfmkit.fit(flow, mixture.sample(50), targets="conditional", pool=wrong.get("pool", "ou"))
