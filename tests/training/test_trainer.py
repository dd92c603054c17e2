import contextlib
import math

import pytest
import torch
from drawn import pairs
from hypothesis import given
from hypothesis import strategies as st

from lfmkit import methods, nets, oracles
from lfmkit.training.chain import make_trainer
from lfmkit.training.pool import Pool
from lfmkit.training.settings import Settings, Training

NET = nets.MLP(width=32, depth=2, fourier=8, scale=1.0)


def trainer(settings, path="linear", schedule=(0.3,), block=0, x=None, T=0.0, state_file=None):
    flow = methods.lfm(2, schedule, path, NET)
    x = oracles.GaussianMixture([[0.5, -0.5]], 0.5).sample(5000) if x is None else x
    return make_trainer(flow.chain[block], Pool(x), T, settings, block, state_file=state_file)


@pytest.mark.parametrize("path", ["linear", "trig", "great_circle"])
@pytest.mark.parametrize("block", [0, 1])
def test_training_finds_the_exact_velocity(path, block, mixture):
    """Against the closed form, in the mean over the block's own samples and times."""
    settings = Settings(steps=1500, batch=256, seed=1)
    T = (0.0, 0.3)[block]
    job = trainer(settings, path, (0.3,), block, mixture.sample(20_000, seed=2), T)
    job.run()
    exact = oracles.velocities(mixture, (0.3,), path)[block]
    x, t, single, _, _ = job.targets.draw(1000, torch.Generator().manual_seed(9))
    v = torch.cat([exact(place[None], time) for place, time in zip(x, t, strict=True)])
    with torch.no_grad():
        error = (job.block(x, t) - v).square().mean()
    assert error < 0.01 * single.square().mean()  # the linear guess alone is off by 2 % and more


@pytest.mark.parametrize("steps", [1, 7, 250])
def test_history(steps):
    seen = []
    history = trainer(Settings(steps=steps, batch=16)).run(lambda told: seen.append((told.step, told.loss)))
    assert history.steps == steps
    assert history.loss == seen
    assert history.loss[-1][0] == steps
    assert len(history.loss) <= 130
    assert 0 < history.core_seconds <= 1.05 * history.seconds + 0.02  # two clocks


def test_the_loss_falls(mixture):
    history = trainer(Settings(steps=400, batch=128), x=mixture.sample(5000)).run()
    first, last = (sum(v for _, v in part) for part in (history.loss[:10], history.loss[-10:]))
    assert last < 0.95 * first


def test_the_ou_pool_has_the_right_marginal(mixture):
    source = pairs(mixture.sample(100_000), 0.6, math.inf, "linear", "gaussian")
    x, _ = source.ends(100_000, torch.Generator().manual_seed(0))
    later = mixture.ou(0.6)
    assert -float(later.log_prob(x).mean()) == pytest.approx(later.floor, abs=0.015)


def weights(job):
    return [p.detach().clone() for p in job.block.parameters()]


def interrupt_at(stop):
    def report(told):
        if told.step == stop:
            raise KeyboardInterrupt

    return report


def test_going_on_from_any_step_ends_bit_for_bit(tmp_path):
    settings = Settings(steps=60, batch=32, training=Training(save_every=0.0))
    whole = trainer(settings)
    whole_history = whole.run()
    for stop in (1, 14, 15, 16, 17, 20, 33, 49, 59, 60):  # before, at and behind the ends of chunks
        file = tmp_path / f"{stop}.safetensors"
        for k in (stop, stop + 1, stop + 3):  # again and again, within one chunk of batches
            with contextlib.suppress(KeyboardInterrupt):
                trainer(settings, state_file=file).run(interrupt_at(k))
        second = trainer(settings, state_file=file)
        history = second.run()
        assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(second), strict=True)), stop
        assert history.loss == whole_history.loss


def test_ema_is_an_average_of_the_weights():
    """With 0 the last weights are kept; with a long average the result lags behind them."""
    last = trainer(Settings(steps=50, batch=64, training=Training(ema=0.0)))
    mean = trainer(Settings(steps=50, batch=64, training=Training(ema=0.5)))
    last.run()
    mean.run()
    distance = sum(float((a - b).norm()) for a, b in zip(weights(last), weights(mean), strict=True))
    assert 0 < distance < 1
    assert all(torch.equal(a, b) for a, b in zip(weights(mean), mean.average, strict=True))


def test_a_loss_that_blows_up_is_named():
    job = trainer(Settings(steps=50, batch=16, lr=1e30, training=Training(warmup=0.0)))
    with pytest.raises(RuntimeError, match=r"no longer finite at step \d+: lower lr"):
        job.run()


@given(
    st.sampled_from(
        [
            {"steps": 0},
            {"steps": 2.5},
            {"batch": 0},
            {"warmup": -0.1},
            {"lr": 0.0},
            {"lr": math.nan},
            {"ema": 1.0},
            {"ema": -0.1},
            {"clip": 0.0},
            {"clip": math.nan},
            {"steps": True},
        ]
    )
)
def test_bad_settings(keywords):
    (name,) = keywords
    kind = Settings if name in ("steps", "batch", "lr") else Training
    with pytest.raises(ValueError, match=f"^{name} must"):
        kind(**keywords)
