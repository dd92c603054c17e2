import math

import pytest
import torch
from asked import asked

import lfmkit
from lfmkit import methods, metrics, nets
from lfmkit.training import chain
from lfmkit.utils import files

NET = nets.MLP(width=24, depth=2, fourier=6, scale=1.0)
SCHEDULE = (0.1, 0.4)


@pytest.fixture
def x(mixture):
    return mixture.sample(4000, seed=1)


def new(seed=0):
    return methods.lfm(2, SCHEDULE, net=NET, seed=seed)


def same(a, b):
    theirs = b.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in a.state_dict().items())


@pytest.mark.parametrize(("pool", "targets"), [("ou", "pairs"), ("ou", "averaged"), ("pushed", "pairs")])
def test_fit_learns_the_density(pool, targets, mixture):
    flow = methods.lfm(2, (0.1, 0.4), net=nets.MLP(width=48, depth=2, fourier=16, scale=1.0))
    test = mixture.sample(2000, seed=9)
    floor = -float(mixture.log_prob(test).mean())
    before = metrics.nll(flow, test, floor)
    log = lfmkit.fit(
        flow, mixture.sample(50_000), steps=600, batch=256, pool=pool, targets=targets, progress=False
    )
    after = metrics.nll(flow, test, floor)
    assert before.excess > 0.3
    assert -0.02 < after.excess < 0.05
    assert len(log.blocks) == 3
    assert all(block.steps == 600 for block in log.blocks)
    assert 0 < log.core_seconds <= log.seconds


@pytest.mark.parametrize(("targets", "several"), [("pairs", 3), ("conditional", 2), ("averaged", 2)])
def test_results_do_not_depend_on_workers(targets, several, x):
    flows = []
    for workers in (1, several):
        flow = new()
        call = {"pool": "ou", "targets": targets, "workers": workers, "seed": 5, "progress": False}
        lfmkit.fit(flow, x, steps=(40, 10, 20), batch=32, **call)
        flows.append(flow)
    assert same(flows[0], flows[1])
    assert not same(flows[0], new())


@pytest.mark.parametrize(("pool", "workers"), [("pushed", 1), ("ou", 1), ("ou", 2)])
def test_progress_may_be_a_function(pool, workers, x, capsys):
    flow, calls = new(), []
    log = lfmkit.fit(flow, x, steps=200, batch=16, pool=pool, workers=workers, progress=calls.append)
    assert capsys.readouterr().out == ""
    for block, history in enumerate(log.blocks):
        steps = [told.step for told in calls if told.block == block]
        assert steps == sorted(set(steps))
        assert steps[-1] == 200
        assert [(told.step, told.loss) for told in calls if told.block == block] == history.loss
        assert len(steps) == 100
    assert all(told.steps == 200 and 0 <= told.lr <= 6e-3 and math.isnan(told.val) for told in calls)


def test_seeds_matter(x):
    a, b = new(), new()
    lfmkit.fit(a, x, steps=5, batch=16, progress=False, seed=0)
    lfmkit.fit(b, x, steps=5, batch=16, progress=False, seed=1)
    assert not same(a, b)


def test_shuffled_pairs_have_no_averaged_targets(x):
    flow = methods.lfm(2, SCHEDULE, net=NET, coupling="shuffled")
    with pytest.raises(ValueError, match="the coupling 'ou' in local blocks"):
        lfmkit.fit(flow, x, pool="ou", targets="averaged")


def test_warm_start_begins_where_the_block_before_ended(x):
    cold, warm = new(), new()
    for flow, start in ((cold, False), (warm, True)):
        lfmkit.fit(
            flow,
            x,
            steps=30,
            lr=1e-9,
            batch=16,
            pool="pushed",
            training=lfmkit.Training(warm_start=start),
            progress=False,
        )
    first, second = (warm.chain[k].state_dict() for k in (0, 1))
    names = [name for name in first if name.startswith("net.")]
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in names)
    first, second = (cold.chain[k].state_dict() for k in (0, 1))
    assert not torch.allclose(first["net.hidden.0.weight"], second["net.hidden.0.weight"], atol=1e-3)


def test_a_finished_run_is_read(x, tmp_path):
    flow = new()
    log = lfmkit.fit(flow, x, steps=20, batch=16, progress=False, out=tmp_path)
    again = new()
    second = lfmkit.fit(again, x, steps=20, batch=16, progress=False, out=tmp_path)
    assert same(flow, again)
    assert second.blocks == log.blocks
    third = lfmkit.fit(flow, x, steps=20, batch=16, progress=False, out=tmp_path)  # the trained flow itself
    assert third.blocks == log.blocks
    assert same(lfmkit.load(tmp_path), flow)
    left = sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith((".", "weights")))
    assert left == ["flow.json", "run.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 21}, r"steps=\[20, 20, 20\] instead of \[21, 21, 21\]"),
        ({"pool": "ou"}, "pool='pushed' instead of 'ou'"),
        ({"seed": 3}, "seed=0 instead of 3"),
        ({"x": torch.ones(10, 2)}, "other data"),
        ({"flow": methods.lfm(2, SCHEDULE, net=NET, seed=1)}, "other starting weights"),
        ({"flow": methods.lfm(2, SCHEDULE, "trig", net=NET)}, "or another architecture"),
    ],
)
def test_a_folder_belongs_to_one_call(change, message, x, tmp_path):
    call = {"flow": new(), "x": x, "steps": 20, "batch": 16, "progress": False, "out": tmp_path}
    lfmkit.fit(**call)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message):
        lfmkit.fit(**{**call, "flow": new(), **change})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_two_runs_cannot_share_a_folder(x, tmp_path):
    with files.locked(tmp_path), pytest.raises(RuntimeError, match="in use by another run"):
        lfmkit.fit(new(), x, steps=2, progress=False, out=tmp_path)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"x": torch.zeros(0, 2)}, "is empty"),
        ({"x": torch.zeros(1, 2)}, "2 or more rows"),
        ({"x": torch.zeros(5, 3)}, r"the data needs the shape \(n, 2\)"),
        ({"x": torch.full((5, 2), float("nan"))}, "5 of 5 rows with NaN"),
        ({"pool": "random"}, "unknown pool 'random'"),
        ({"targets": "means"}, "unknown targets 'means'"),
        ({"targets": "averaged"}, "averaged targets need pool='ou'"),
        ({"steps": (5, 5)}, "one for each of the 3 blocks, got 2"),
        ({"workers": 0}, "workers must be"),
        ({"workers": 2}, "waits for the one before"),
        ({"steps": 0}, "steps must be"),
        ({"lr": float("inf")}, "lr must be"),
        ({"val": torch.zeros(5, 3)}, r"val needs the shape \(n, 2\)"),
        ({"val": torch.full((5, 2), float("inf"))}, "val has 5 of 5 rows"),
        ({"patience": 0.0}, "patience is a share"),
        ({"patience": 1.5}, "patience is a share"),
        ({"near_data": 0.0}, "near_data must be positive"),
        ({"near_data": float("nan")}, "near_data must be positive"),
        ({"near_data": 2.0, "targets": "averaged", "pool": "ou"}, "spread their times evenly"),
    ],
)
def test_bad_calls_write_nothing(keywords, message, x, tmp_path):
    flow = new()
    with pytest.raises(ValueError, match=message):
        lfmkit.fit(flow, **asked(**{"x": x, "progress": False, "out": tmp_path / "run", **keywords}))
    assert not (tmp_path / "run").exists()
    assert same(flow, new())


def test_flows_that_cannot_be_trained(x, tmp_path):
    fixed = lfmkit.Flow([lfmkit.Block(lambda x, t: x, 0.1, "linear", "ou")], 2)
    with pytest.raises(ValueError, match="no trainable parameters"):
        lfmkit.fit(fixed, x, progress=False)
    bare = lfmkit.Flow([lfmkit.Block(NET(2), 0.1, "linear", "ou")], 2)
    with pytest.raises(ValueError, match="network recipe"):
        lfmkit.fit(bare, x, progress=False, out=tmp_path / "run")


def test_an_error_leaves_the_flow_as_it_was(x):
    flow = new()
    with pytest.raises(RuntimeError, match="no longer finite"):
        lfmkit.fit(flow, x, steps=200, lr=1e30, training=lfmkit.Training(warmup=0.0), progress=False)
    assert same(flow, new())


def test_an_error_in_a_worker_is_raised_here(x):
    with pytest.raises(RuntimeError, match="no longer finite"):
        lfmkit.fit(
            new(),
            x,
            steps=200,
            lr=1e30,
            training=lfmkit.Training(warmup=0.0),
            pool="ou",
            workers=2,
            progress=False,
        )


def test_progress_is_one_line_where_output_is_stored(x, capsys):
    lfmkit.fit(new(), x, steps=10, batch=8)
    said = capsys.readouterr()
    assert said.out.startswith("trained 3 block(s), 30 steps in all, elapsed ")
    assert said.out.count("\n") == 1
    lfmkit.fit(new(), x, steps=10, batch=8, progress=False)
    silent = capsys.readouterr()
    assert (silent.out, silent.err, said.err) == ("", "", "")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_from_progress_stops_and_changes_nothing(workers, x):
    class EnoughError(Exception):
        pass

    def stop(told):
        raise EnoughError

    flow = new()
    with pytest.raises(EnoughError):
        lfmkit.fit(flow, x, steps=2000, batch=16, pool="ou", workers=workers, progress=stop)
    assert same(flow, new())


def test_a_pool_may_stay_on_disk(tmp_path, monkeypatch):
    """What is trained on is the file itself, mapped into memory: no copy of it."""
    file = tmp_path / "pool"
    file.write_bytes(torch.randn(2000).numpy().tobytes())
    pool = torch.from_file(str(file), shared=True, size=2000).view(1000, 2)
    trained_on = []

    class Watched(chain.Pairs):
        def __init__(self, pool, *rest, **more):
            trained_on.append(pool.x.data_ptr())
            super().__init__(pool, *rest, **more)

    monkeypatch.setattr(chain, "Pairs", Watched)
    lfmkit.fit(new(), pool, steps=3, batch=8, pool="ou", out=tmp_path / "run", progress=False)
    assert trained_on == [pool.data_ptr()] * 3


@pytest.mark.parametrize("more", [{"near_data": 2.0}, {"precision": "bf16"}])
def test_a_folder_is_for_one_call_also_where_settings_are_left_out(more, x, tmp_path):
    call = {"steps": 3, "batch": 8, "out": tmp_path / "run", "progress": False}
    lfmkit.fit(new(), x, **call, **asked(**more))
    with pytest.raises(ValueError, match=f"holds a run with {next(iter(more))}=.* instead of None"):
        lfmkit.fit(new(), x, **call)
