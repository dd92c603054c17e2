"""A sweep made by the workers of a real Dask cluster: the same numbers, and the same care when they die."""

import os
import signal
import threading
import time

import pytest

from lfmkit import __main__, cluster
from lfmkit.runs import plans, records, sweep, sweepfile

PARAMETERS = 'a = 1\nnote = ""\nseed = 0\nout = None'
CELLS = [
    "import os, random, time\nfrom lfmkit import report",
    "with open(note or os.devnull, 'a') as file:\n    file.write(f'{a} {os.getppid()}\\n')",
    "time.sleep(1)\nx = random.Random(seed).gauss(0, 1)",
    "report(x=x, product=a * x)",
]
LIMITS = plans.Limits(timeout=120)


@pytest.fixture
def sweep_file(tmp_path, make_notebook):
    make_notebook("walk", PARAMETERS, CELLS)

    def write(text):
        (tmp_path / "sweep.yaml").write_text(f"notebook: walk.ipynb\n{text}")
        return tmp_path / "sweep.yaml"

    return write


def numbers(root):
    found = map(records.read, records.folders(root))
    return {(r.parameters["a"], r.parameters["seed"]): (r.outcome, r.metrics) for r in found}


def test_the_numbers_are_those_of_this_machine(sweep_file, address, client, tmp_path, capsys):
    path = sweep_file("parameters: {a: 3}\nseeds: 2")
    wanted = sweepfile.read_sweep(path, tmp_path / "here")
    assert sweep.run_locally(wanted.plans, wanted.limits, 2).completed == 2
    call = ["sweep", str(path), "--runs", str(tmp_path / "there"), "--scheduler", address]
    assert __main__.main(call) == 0
    assert "2 Dask worker(s) with 2 thread(s) in all" in capsys.readouterr().out
    assert numbers(tmp_path / "there") == numbers(tmp_path / "here")
    assert len({metrics["product"] for _, metrics in numbers(tmp_path / "here").values()}) == 2
    assert __main__.main(call) == 0
    assert "2 completed before, 0 to make" in capsys.readouterr().out
    assert [path for path in (tmp_path / "there").iterdir() if path.name.startswith(".stop")] == []


def test_a_worker_that_is_killed(sweep_file, client, tmp_path):
    root, note = tmp_path / "runs", tmp_path / "note"
    wanted = sweepfile.read_sweep(sweep_file(f"parameters: {{note: {note}}}\ngrid: {{a: [1, 2]}}"), root)
    tallies = []

    def make():
        tallies.append(sweep.run_on_cluster(wanted.plans, LIMITS, client, tell=lambda line: None))

    thread = threading.Thread(target=make)
    thread.start()
    end = time.monotonic() + 60
    while not note.exists() or not note.read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    pids = client.run(lambda dask_worker: os.getpid() if dask_worker.state.all_running_tasks else 0)
    os.kill(max(pids.values()), signal.SIGKILL)
    thread.join(120)
    assert not thread.is_alive()
    (tally,) = tallies
    assert (tally.completed, tally.lost) == (2, [])
    assert {a for a, _ in numbers(root)} == {1, 2}
    client.wait_for_workers(2, timeout=60)  # Dask starts another


def test_stopping_ends_what_is_at_work(sweep_file, client, tmp_path):
    root, note = tmp_path / "runs", tmp_path / "note"
    wanted = sweepfile.read_sweep(
        sweep_file(f"parameters: {{note: {note}}}\ngrid: {{a: [1, 2, 3, 4]}}"), root
    )
    said = []

    def tell(line):
        said.append(line)
        if line.startswith("["):  # the first run has ended
            raise KeyboardInterrupt

    tally = sweep.run_on_cluster(wanted.plans, LIMITS, client, tell=tell)
    assert tally.stopped
    assert 1 <= tally.completed < 4
    end = time.monotonic() + 20
    while any(client.run(lambda dask_worker: len(dask_worker.state.all_running_tasks)).values()):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert sweep.run_on_cluster(wanted.plans, LIMITS, client, tell=said.append).completed == 4


def test_mistakes_in_the_call(sweep_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", 0.5)
    path = sweep_file("seeds: 1")
    for address, message in (
        ("nonsense", "looks like tcp://host:8786"),
        ("tcp://127.0.0.1:1", "no Dask scheduler"),
    ):
        assert (
            __main__.main(["sweep", str(path), "--runs", str(tmp_path / "runs"), "--scheduler", address]) == 2
        )
        assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
