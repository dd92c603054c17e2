"""Runs that are killed: nothing is lost, and nothing is left running."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

import lfmkit
from lfmkit import files


def same(a, b):
    theirs = b.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in a.state_dict().items())


RUN = """
import sys, torch, lfmkit
from lfmkit import methods, nets
if __name__ == "__main__":
    pool, workers, steps, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(1)
    x = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0)) * 0.3 + 1
    flow = methods.lfm(2, (0.1, 0.4), net=nets.MLP(width=24, depth=2, fourier=6, scale=1.0))
    call = dict(steps=steps, batch=32, pool=pool, workers=workers, out=out, save_every=0.05)
    lfmkit.fit(flow, x, progress=False, **call)
"""


class Run:
    """A training run in a process group of its own."""

    def __init__(self, folder, pool, workers, out, steps=5000):
        script, self.log, self.out = folder / "run.py", folder / "log", out
        script.write_text(RUN)
        with open(self.log, "w") as log:
            command = [sys.executable, script, pool, str(workers), str(steps), out]
            self.process = subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log)

    def wait(self):
        assert self.process.wait(180) == 0, self.log.read_text()

    def wait_for_a_checkpoint(self):
        """Return once this run has written one (or has ended)."""

        def written():
            return {p.name: p.stat().st_mtime_ns for p in self.out.glob("block-*.safetensors")}

        before = written()
        while written() == before and self.process.poll() is None:
            time.sleep(0.005)

    def kill(self, everybody=True):
        kill = os.killpg if everybody else os.kill
        kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.mark.parametrize(("pool", "workers"), [("pushed", 1), ("ou", 2)])
def test_killed_at_five_moments_and_resumed(pool, workers, tmp_path):
    """kill -9 of all processes, at any moment; the last call ends where an undisturbed one ends."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    Run(tmp_path, pool, workers, whole).wait()
    moments = random.Random(pool)
    for _ in range(5):
        run = Run(tmp_path, pool, workers, killed)
        run.wait_for_a_checkpoint()
        time.sleep(moments.uniform(0, 0.5))
        assert run.process.poll() is None, "the run ended before it could be killed: " + run.log.read_text()
        run.kill()
    Run(tmp_path, pool, workers, killed).wait()
    assert same(lfmkit.load(whole), lfmkit.load(killed))
    ends = [json.loads((folder / "run.json").read_text())["end"] for folder in (whole, killed)]
    assert ends[0] == ends[1]
    assert not list(killed.glob(".*.tmp"))


def test_workers_end_when_the_run_is_killed(tmp_path):
    """Only the parent is killed: its workers notice and stop, and the folder is free again."""
    run = Run(tmp_path, "ou", 2, tmp_path / "out", steps=1_000_000)
    run.wait_for_a_checkpoint()
    run.kill(everybody=False)
    with files.locked(tmp_path / "out"):
        pass
    deadline = time.monotonic() + 20
    while left := subprocess.run(["pgrep", "-g", str(run.process.pid)], capture_output=True).stdout:
        assert time.monotonic() < deadline, f"still running: {left.decode()}"
        time.sleep(0.2)


def test_a_damaged_training_state_is_named(tmp_path):
    run = Run(tmp_path, "pushed", 1, tmp_path / "out")
    run.wait_for_a_checkpoint()
    run.kill()
    (state,) = (tmp_path / "out").glob("block-1.safetensors")
    state.write_bytes(state.read_bytes()[:500])
    again = Run(tmp_path, "pushed", 1, tmp_path / "out")
    assert again.process.wait(60) != 0
    last = again.log.read_text().splitlines()[-1]
    assert "block-1.safetensors is cut off or damaged" in last
    assert "delete it" in last
