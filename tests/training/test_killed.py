"""Runs that are killed: nothing is lost, and nothing is left running."""

import json
import os
import random
import signal
import subprocess
import time

import pytest
import torch
from killable import fit, fit_slowly, start

import lfmkit
from lfmkit.utils import files
from lfmkit.utils.tensors import read_tensors

LAST = 300  # steps of all blocks, after which no run is killed: it may be at its end at any time


def same(a, b):
    theirs = b.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in a.state_dict().items())


class Run:
    """A training run in a process group of its own."""

    def __init__(self, folder, function, out, **call):
        self.log, self.out = folder / "log", out
        self.process = start(function, self.log, out=out, **call)

    def wait_for_a_checkpoint(self, steps=0):
        """Return once this run has written one and has done so many steps (or has ended)."""
        before, done = self._written(), 0
        while self.process.is_alive() and done < max(1, steps):
            time.sleep(0.01)
            if (now := self._written()) != before:
                before = now
                done = sum(read_tensors(state)[1]["history"]["steps"] for state in now)

    def _written(self):
        """Return when the state of each block was written."""
        return {state: state.stat().st_mtime_ns for state in self.out.glob("block-*.safetensors")}

    def kill(self, everybody=True):
        assert self.process.is_alive(), "the run ended before it could be killed: " + self.log.read_text()
        kill = os.killpg if everybody else os.kill
        kill(self.process.pid, signal.SIGKILL)
        self.process.join()

    def wait_for_the_end(self):
        """Return once no process of this run is left."""
        deadline = time.monotonic() + 20
        while left := subprocess.run(["pgrep", "-g", str(self.process.pid)], capture_output=True).stdout:
            assert time.monotonic() < deadline, f"still running: {left.decode()}"
            time.sleep(0.1)


@pytest.mark.parametrize(("pool", "workers"), [("pushed", 1), ("ou", 2)])
def test_killed_at_five_moments_and_resumed(pool, workers, tmp_path):
    """kill -9 of all processes, at any moment; the last call ends where an undisturbed one ends."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = fit(pool, whole)
    moments = random.Random(pool)
    for k in range(5):
        run = Run(tmp_path, fit_slowly, killed, pool=pool, workers=workers)
        run.wait_for_a_checkpoint(moments.uniform(k, k + 1) * LAST / 5)
        time.sleep(moments.uniform(0, 0.05))
        run.kill()
        run.wait_for_the_end()  # workers that are forks hold its lock, too
    fit(pool, killed)
    assert same(lfmkit.load(killed), undisturbed)
    ends = [json.loads((folder / "run.json").read_text())["end"] for folder in (whole, killed)]
    assert ends[0] == ends[1]
    assert not list(killed.glob(".*.tmp"))


def test_workers_end_when_the_run_is_killed(tmp_path):
    """Only the parent is killed: its workers notice and stop, and the folder is free again."""
    run = Run(tmp_path, fit, tmp_path / "out", pool="ou", workers=2, steps=1_000_000)
    run.wait_for_a_checkpoint()
    run.kill(everybody=False)
    with files.locked(tmp_path / "out"):
        pass
    run.wait_for_the_end()


def test_a_damaged_training_state_is_named(tmp_path):
    run = Run(tmp_path, fit_slowly, tmp_path / "out", pool="pushed")
    run.wait_for_a_checkpoint()
    run.kill()
    (state,) = (tmp_path / "out").glob("block-1.safetensors")
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"block-1.safetensors is cut off or damaged.*delete it"):
        fit("pushed", tmp_path / "out")
