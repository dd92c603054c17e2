"""Early stopping: what is kept is what was best on rows that were not trained on."""

import contextlib

import pytest
import torch

import lfmkit
from lfmkit import data, methods, metrics, nets, oracles
from lfmkit.training.chain import make_trainer
from lfmkit.training.early_stopping import HeldOut
from lfmkit.training.objectives import Velocity
from lfmkit.training.pool import Pool
from lfmkit.training.settings import Settings, Training
from lfmkit.training.targets import Pairs
from lfmkit.training.team import Team
from lfmkit.training.trainer import History

WIDE = nets.MLP(width=64, depth=3, fourier=32, scale=4.0)  # enough to learn 40 rows by heart
GAUSSIAN = oracles.GaussianMixture([[0.0, 0.0]], 1.0)
FEW = {"steps": 1500, "batch": 64, "progress": False}


@pytest.fixture
def rose():
    return data.picture("rose")


def few():
    return GAUSSIAN.sample(40, seed=1)


def state(flow):
    return torch.cat([p.detach().flatten() for p in flow.parameters()])


def test_held_out_rows_keep_the_best_weights_and_stop_a_run_that_only_memorises():
    apart, test = GAUSSIAN.sample(2000, seed=2), GAUSSIAN.sample(2000, seed=3)
    floor = -float(GAUSSIAN.log_prob(test).mean())
    plain, careful = methods.fm(2, net=WIDE), methods.fm(2, net=WIDE)
    lfmkit.fit(plain, few(), **FEW)
    log = lfmkit.fit(careful, few(), val=apart, **FEW).blocks[0]
    assert metrics.nll(plain, test, floor).excess > 0.5  # learned by heart
    assert metrics.nll(careful, test, floor).excess < 0.5 * metrics.nll(plain, test, floor).excess
    assert log.steps < 1500
    assert (log.best, min(loss for _, loss in log.val)) == min(log.val, key=lambda look: look[1])
    assert log.steps - log.best >= 0.25 * 1500
    assert log.steps - log.best < 0.25 * 1500 + 1500 / 25 + 1


def test_patience_of_the_whole_run_never_stops_it():
    log = lfmkit.fit(
        methods.fm(2, net=WIDE),
        few(),
        val=GAUSSIAN.sample(500),
        training=lfmkit.Training(patience=1.0),
        **FEW,
    ).blocks[0]
    assert log.steps == 1500
    assert len(log.val) == 25
    assert log.best < 1500


def test_looking_changes_no_step_of_the_training(rose):
    x, apart = rose.sample(5000, seed=1), rose.sample(5000, seed=2)
    flows = [methods.fm(2, net=nets.MLP(width=32, depth=2, fourier=8)) for _ in range(2)]
    call = {"steps": 300, "batch": 64, "progress": False}
    plain = lfmkit.fit(flows[0], x, **call).blocks[0]
    looked = lfmkit.fit(flows[1], x, val=apart, training=lfmkit.Training(patience=1.0), **call).blocks[0]
    assert looked.loss == plain.loss
    assert torch.equal(state(flows[0]), state(flows[1])) == (looked.best == 300)


@pytest.mark.parametrize("pool", ["pushed", "ou"])
def test_all_blocks_are_held_out_in_both_pools(pool):
    flow = methods.lfm(2, (0.2,), net=nets.MLP(width=16, depth=1, fourier=0))
    log = lfmkit.fit(flow, few(), val=GAUSSIAN.sample(300), steps=50, batch=32, pool=pool, progress=False)
    assert [len(block.val) for block in log.blocks] == [25, 25] or all(block.val for block in log.blocks)
    assert all(0 < block.best <= block.steps for block in log.blocks)


def test_workers_and_a_finished_run_give_the_same(tmp_path):
    flows, logs = [], []
    for workers in (1, 2, 1):
        flow = methods.lfm(2, (0.2,), net=WIDE)
        call = {"val": GAUSSIAN.sample(300), "pool": "ou", "steps": 120, "batch": 32, "progress": False}
        out = tmp_path if workers == 1 else None
        logs.append(lfmkit.fit(flow, few(), workers=workers, out=out, **call))
        flows.append(state(flow))
    assert torch.equal(flows[0], flows[1])
    assert torch.equal(flows[0], flows[2])
    assert [block.val for block in logs[0].blocks] == [block.val for block in logs[2].blocks]
    flow = methods.lfm(2, (0.2,), net=WIDE)
    with pytest.raises(ValueError, match="other data"):
        lfmkit.fit(flow, few(), out=tmp_path, **{**call, "val": GAUSSIAN.sample(300, seed=8)})


def trainer(file=None):
    block = methods.fm(2, net=WIDE).chain[0]
    settings = Settings(steps=600, batch=32, training=Training(save_every=0.0))
    pool = Pool(few(), val=GAUSSIAN.sample(200, seed=2))
    return make_trainer(block, pool, 0.0, settings, state_file=file)


def test_an_interrupted_run_ends_where_a_whole_one_ends(tmp_path):
    whole = trainer()
    whole.run()
    assert whole.history.steps < 600  # it stops early

    def stop_at(step):
        def report(told):
            if told.step >= step:
                raise KeyboardInterrupt

        return report

    file = tmp_path / "state.safetensors"
    for step in (6, 24, 48, 150, whole.history.steps - 10):
        with contextlib.suppress(KeyboardInterrupt):
            trainer(file).run(stop_at(step))
    again = trainer(file)
    again.run()
    assert (again.history.val, again.history.best) == (whole.history.val, whole.history.best)
    assert all(torch.equal(a, b) for a, b in zip(again.weights, whole.weights, strict=True))


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_runs_of_few_steps_have_a_look_before_they_end(steps):
    call = {"val": GAUSSIAN.sample(300), "steps": steps, "batch": 8, "progress": False}
    log = lfmkit.fit(methods.fm(2, net=WIDE), few(), **call).blocks[0]
    assert 1 <= log.best <= log.steps <= steps


def test_held_out_rows_too_large_for_any_loss():
    flow = methods.fm(2, net=WIDE)
    with pytest.raises(RuntimeError, match="never finite: look for very large numbers in val="):
        lfmkit.fit(flow, few(), val=1e30 * GAUSSIAN.sample(300), **FEW)


def test_conditions_have_no_held_out_rows():
    flow = methods.fm(2, net=WIDE, cond=2)
    with pytest.raises(ValueError, match="without conditions"):
        lfmkit.fit(flow, few(), cond=torch.zeros(40).long(), val=few(), **FEW)


def test_the_samples_of_a_look_are_fixed():
    block = methods.fm(2, net=WIDE).chain[0]
    held_out = HeldOut(Pairs(Pool(few()), 0.0, block), 2, Velocity(), 0.5, torch.Generator())
    weights = list(block.parameters())
    first = held_out.look(block, weights, weights, 10, Team())
    assert held_out.look(block, weights, weights, 20, Team()) == first
    assert held_out.step == 10  # the earlier of two equals
    assert not held_out.gave_up(59, 100)
    assert held_out.gave_up(60, 100)


def test_histories_of_before_can_be_read():
    past = History.from_json({"steps": 7, "seconds": 1.0, "loss": [[7, 0.5]]})
    assert past == History(7, 1.0, 1.0, [(7, 0.5)], [], 7)
