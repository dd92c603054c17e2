"""Blocks trained on a real Dask cluster: a scheduler and two worker processes on the loopback interface."""

import ast
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from asked import asked
from daskprocesses import end, start, start_scheduler, start_workers

import lfmkit
from lfmkit import cluster, methods, nets
from lfmkit.training import on_dask

NET = nets.MLP(width=24, depth=2, fourier=6, scale=1.0)
LONG = 1_000_000  # steps nobody waits for
GUIDE = Path(__file__).parents[2] / "docs" / "cluster.md"


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Workers take long to start on a busy machine."""
    for module in (cluster, on_dask):
        monkeypatch.setattr(module, "TIMEOUT", 60)


@pytest.fixture
def bare(tmp_path):
    """The address of a scheduler of its own, without workers."""
    scheduler, address = start_scheduler(tmp_path)
    yield address
    end(scheduler)


@pytest.fixture
def x(mixture):
    return mixture.sample(4000, seed=1)


def new(**more):
    return methods.lfm(2, (0.1, 0.4), net=NET, **more)


def same(a, b):
    theirs = b.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in a.state_dict().items())


def at_work(client):
    """Return the process number of the worker that trains each block now."""

    def blocks(dask_worker):
        return [(int(str(task.key).rpartition("-")[2]), os.getpid()) for task in dask_worker.state.executing]

    answers = client.run(blocks, on_error="return").values()  # an exception where a worker is dying
    return dict(pair for answer in answers if isinstance(answer, list) for pair in answer)


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("targets", ["pairs", "averaged"])
def test_a_cluster_trains_what_this_process_trains(targets, client, x, tmp_path, monkeypatch, capsys):
    call = {"steps": (60, 20, 40), "batch": 32, "pool": "ou", "targets": targets, "seed": 5}
    here, there, calls = new(), new(), []
    lfmkit.fit(here, x, **call, progress=False)
    monkeypatch.chdir(tmp_path)  # the workers' current folder is another one
    listen = {"progress": calls.append}
    log = lfmkit.fit(there, x, **call, **listen, compute=lfmkit.Compute(client=client), out="run")
    assert same(here, there)
    assert same(lfmkit.load(tmp_path / "run"), here)
    assert [block.steps for block in log.blocks] == [60, 20, 40]
    assert log.core_seconds > 0
    assert {told.block: told.step for told in calls} == {0: 60, 1: 20, 2: 40}
    for k, block in enumerate(log.blocks):
        assert [(told.step, told.loss) for told in calls if told.block == k] == block.loss
    assert capsys.readouterr() == ("", "")
    wait_until(lambda: client.run_on_scheduler(lambda dask_scheduler: not dask_scheduler.tasks))  # all let go
    again = new()  # found finished, without a cluster
    assert lfmkit.fit(again, x, **call, progress=False, out=tmp_path / "run").blocks == log.blocks


def test_a_flow_of_one_block_needs_no_pool(client, x):
    here, there = (methods.fm(2, net=NET, cond=1) for _ in range(2))
    call = {"steps": 20, "batch": 32, "cond": x[:, :1].sign(), "progress": False}
    lfmkit.fit(here, x, **call)
    lfmkit.fit(there, x, **call, compute=lfmkit.Compute(client=client))
    assert same(here, there)


def test_a_network_that_only_this_process_knows_travels(client, x):
    code = """
class Bent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 2)

    def forward(self, x, t):
        return self.inner(torch.cat([x, t.expand(len(x))[:, None]], 1).sin())
"""
    own = {"torch": torch, "__name__": "__main__"}  # as in a notebook
    exec(code, own)
    torch.manual_seed(0)
    flow = lfmkit.Flow([lfmkit.Block(own["Bent"](), 0.1, "linear", "ou")], 2)
    before = next(flow.parameters()).clone()
    lfmkit.fit(flow, x, steps=20, batch=32, pool="ou", progress=False, compute=lfmkit.Compute(client=client))
    assert not torch.equal(next(flow.parameters()), before)


@pytest.mark.parametrize(("how", "shared"), [("killed", True), ("killed", False), ("leaves", True)])
def test_a_worker_ends_in_the_middle_of_a_block(how, shared, client, x, tmp_path):
    steps, calls, ended_at = 600, [], []
    call = {"steps": steps, "batch": 32, "pool": "ou"}
    here, there = new(), new()
    lfmkit.fit(here, x, **call, progress=False)

    async def leave(dask_worker):  # as at the end of its lifetime; its nanny starts another
        await dask_worker.close_gracefully(restart=True)

    def listen(told):
        block, step = told.block, told.step
        calls.append((block, step))
        if not ended_at and step > steps / 3 and block in (workers := at_work(client)):
            ended_at.append(len(calls))
            if how == "killed":
                os.kill(workers[block], signal.SIGKILL)
            else:
                (one,) = [worker for worker, pid in client.run(os.getpid).items() if pid == workers[block]]
                client.run(leave, workers=[one], wait=False)

    out = {"out": tmp_path, "training": lfmkit.Training(save_every=0.05)} if shared else {}
    lfmkit.fit(there, x, **call, **out, compute=lfmkit.Compute(client=client), progress=listen)
    assert ended_at
    assert same(here, there)
    block = calls[ended_at[0] - 1][0]
    after = [step for k, step in calls[ended_at[0] :] if k == block]
    assert after[-1] == steps
    if shared:  # it went on from its checkpoint
        assert min(after) > steps / 6


def test_a_block_whose_workers_die_again_and_again(client, x):
    killed = []

    def kill(told):
        pid = at_work(client).get(told.block)
        if pid and pid not in killed:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    flow = methods.fm(2, net=NET)
    with pytest.raises(RuntimeError, match="2 workers were killed one after another"):
        lfmkit.fit(flow, x, steps=20_000, batch=32, compute=lfmkit.Compute(client=client), progress=kill)
    assert len(killed) == 2
    assert same(flow, methods.fm(2, net=NET))


def test_an_interrupt_stops_the_workers(client, x):
    """Blocks whose next report is far away, too."""

    def interrupt():
        try:
            wait_until(lambda: len(at_work(client)) == 2)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    flow = new()
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            lfmkit.fit(
                flow,
                x,
                steps=LONG,
                batch=32,
                pool="ou",
                compute=lfmkit.Compute(client=client),
                progress=False,
            )
        done.result()
    wait_until(lambda: not at_work(client))
    assert same(flow, new())


def test_an_error_in_a_block_is_raised_here_and_stops_the_others(client, x, tmp_path):
    class EnoughError(Exception):
        pass

    def stop(told):
        if told.block == 0 and told.step == 2:
            raise EnoughError

    call = {
        "steps": (2, LONG, LONG),
        "batch": 32,
        "pool": "ou",
        "compute": lfmkit.Compute(client=client),
        "out": tmp_path,
    }
    with pytest.raises(EnoughError):
        lfmkit.fit(new(), x, **call, progress=stop)
    wait_until(lambda: not at_work(client))
    state = tmp_path / "block-1.safetensors"
    state.write_bytes(state.read_bytes()[:500])
    flow = new()
    with pytest.raises(ValueError, match=r"block-1.safetensors is cut off or damaged"):
        lfmkit.fit(flow, x, **call, progress=False)
    wait_until(lambda: not at_work(client))
    assert same(flow, new())
    with pytest.raises(RuntimeError, match="the loss is no longer finite at step 2: lower lr"):
        lfmkit.fit(
            flow,
            x,
            steps=200,
            lr=1e30,
            training=lfmkit.Training(warmup=0.0),
            pool="ou",
            compute=lfmkit.Compute(client=client),
            progress=False,
        )


RUN = """
import sys, torch, lfmkit
from lfmkit import cluster, methods
with cluster.connect(sys.argv[1]) as client:
    x = torch.randn(3000, 2)
    compute = lfmkit.Compute(client=client)
    lfmkit.fit(methods.lfm(2, (0.1, 0.4)), x, steps=1_000_000, pool="ou", compute=compute, progress=False)
"""


def test_workers_stop_when_the_caller_is_killed(client, address):
    caller = start("-c", RUN, address)
    try:
        wait_until(lambda: len(at_work(client)) == 2)
    finally:
        end(caller)
    wait_until(lambda: not at_work(client))


def test_a_worker_with_several_threads_and_its_end(bare, x, tmp_path, monkeypatch):
    """It trains one block at a time: torch's number of threads is a setting of the whole process."""
    worker = start_workers(bare, tmp_path, "--nthreads", "3")
    here, there = new(), new()
    call = {"batch": 32, "pool": "ou", "progress": False}
    lfmkit.fit(here, x, steps=300, **call)
    try:
        with cluster.connect(bare) as client:
            log = lfmkit.fit(there, x, steps=300, **call, compute=lfmkit.Compute(client=client))
            assert same(here, there)
            assert log.core_seconds <= log.seconds
            monkeypatch.setattr(on_dask, "TIMEOUT", 1)
            with ThreadPoolExecutor(1) as thread:
                ended = thread.submit(lambda: (wait_until(lambda: at_work(client)), end(worker)))
                with pytest.raises(UserWarning, match="no workers left: waiting"):  # an error, in tests
                    lfmkit.fit(there, x, steps=LONG, **call, compute=lfmkit.Compute(client=client))
                ended.result()
    finally:
        end(worker)
    assert same(here, there)


def test_a_folder_that_workers_do_not_see(client, x, monkeypatch, tmp_path):
    seen = tmp_path / "seen" / "by all"
    cluster.check_folder(client, seen)
    assert list(seen.iterdir()) == []
    monkeypatch.chdir(tmp_path)
    blind = Path("/proc/self/cwd/run")  # each process has its own
    with pytest.raises(RuntimeError, match=r"2 of 2 workers do not see .*/run here \(tcp://.*, tcp://.*\)"):
        cluster.check_folder(client, blind)
    flow = new()
    with pytest.raises(RuntimeError, match="a file system that all machines share"):
        lfmkit.fit(
            flow, x, steps=2, pool="ou", compute=lfmkit.Compute(client=client), out=blind, progress=False
        )
    assert same(flow, new())
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]
    with pytest.raises(OSError, match="cannot write"):
        cluster.check_folder(client, "/proc/nowhere")


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"pool": "pushed"}, ValueError, "waits for the one before: use workers=1 and no client"),
        ({"workers": 2}, ValueError, "a cluster has workers of its own"),
        ({"client": "tcp://127.0.0.1:8786"}, TypeError, "must be a distributed.Client, as .* got str"),
    ],
)
def test_bad_calls(more, error, message, client, x):
    flow = new()
    with pytest.raises(error, match=message):
        lfmkit.fit(flow, x, **asked(**{"pool": "ou", "client": client, "progress": False, **more}))
    assert same(flow, new())


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the device exists")
def test_the_device_is_the_workers(client, x):
    with pytest.raises((AssertionError, RuntimeError), match="CUDA"):
        lfmkit.fit(new(), x, pool="ou", compute=lfmkit.Compute(client=client), device="cuda", progress=False)


def test_a_client_that_was_closed(client, address, x):
    with cluster.connect(address) as other:
        pass
    with pytest.raises(ConnectionError, match="the client is closed"):
        lfmkit.fit(new(), x, pool="ou", compute=lfmkit.Compute(client=other))


@pytest.mark.parametrize(
    "bad",
    ["", "nonsense", "host:8786", "tcp://", "tcp://host", "ftp://host:1", "tcp://host:x", "tcp://host:99999"],
)
def test_malformed_addresses(bad):
    with pytest.raises(ValueError, match="looks like tcp://host:8786, not like"):
        cluster.connect(bad)


@pytest.fixture
def silent():
    """The address of a port that is open and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_nobody_answers(silent, monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    threads = threading.active_count()
    for address in (silent, closed, "tcp://no.such.host.invalid:8786"):
        with pytest.raises(ConnectionError, match=f"no Dask scheduler answers at {address}: nothing came"):
            cluster.connect(address)
    assert threading.active_count() <= threads


def test_the_address_of_a_worker(client):
    with pytest.raises(ConnectionError, match=r"a Dask worker answers at .*: give the scheduler's address"):
        cluster.connect(next(iter(client.nthreads())))


def test_no_workers(bare, monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    with pytest.raises(ConnectionError, match=f"at {bare} has no workers, .*`dask worker {bare}"):
        cluster.connect(bare)


def test_another_version(client, address, monkeypatch):
    there = cluster.__version__
    monkeypatch.setattr(cluster, "__version__", "9.9")
    everybody = rf"scheduler {address}: {there}; worker tcp://.*: {there}; worker tcp://.*: {there}"
    with pytest.raises(
        RuntimeError, match=f"lfmkit is 9.9 here, and another one there: .* \\({everybody}\\)"
    ):
        cluster.connect(address)


def test_dask_is_not_installed(monkeypatch, x):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'lfmkit\[cluster\]'"):
        cluster.connect("tcp://127.0.0.1:8786")
    with pytest.raises(ImportError, match=r"pip install 'lfmkit\[cluster\]'"):
        lfmkit.fit(new(), x, pool="ou", compute=lfmkit.Compute(client=object()))


def test_nothing_is_imported_before_it_is_needed():
    code = (
        "import sys, lfmkit.cluster; assert not {'torch', 'distributed', 'dask'} & set(sys.modules);"
        "import lfmkit.training.fitting; assert not {'distributed', 'dask'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def blocks_of(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def test_the_guide_compiles():
    assert len(blocks_of("python")) >= 3
    for block in blocks_of("python"):
        ast.parse(block)


def test_options_in_the_guide_exist():
    from distributed.cli import dask_scheduler, dask_worker

    known = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
    lines = [line for block in blocks_of("bash") for line in block.splitlines() if line.startswith("dask ")]
    assert len(lines) >= 2
    for line in lines:
        which, options = line.split()[1], re.findall(r"--[a-z-]+", line)
        assert set(options) <= {option for p in known[which].params for option in p.opts}, line
