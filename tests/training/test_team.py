"""Two processes on the CPU (gloo) that train together, against one alone."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from killable import fit_together, start

import lfmkit

accelerate = pytest.importorskip("accelerate", reason="the extra `images` is not installed")

RUN = """
import sys, torch
from killable import fit_together
torch.set_num_threads(1)
fit_together(sys.argv[1])
"""


def torchrun(out, processes):
    """Run in so many processes and return what they said; ``accelerate launch`` starts one on a CPU."""
    script = out.with_suffix(".py")
    script.write_text(RUN)
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    path = os.pathsep.join([str(Path(__file__).parents[1] / "helpers"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *several, script, out], env=os.environ | {"PYTHONPATH": path}, timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


class Pair:
    """A run in two processes that torchrun did not start."""

    def __init__(self, folder, out):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.logs = [folder / f"log-{rank}" for rank in range(2)]
        self.processes = [
            start(fit_together, log, out=out, place=(rank, 2, port)) for rank, log in enumerate(self.logs)
        ]

    def at_work(self):
        return all(process.is_alive() for process in self.processes)

    def said(self):
        return "".join(log.read_text() for log in self.logs if log.exists())

    def finish(self):
        for process in self.processes:
            process.join(120)
        assert [process.exitcode for process in self.processes] == [0, 0], self.said()

    def kill(self):
        assert self.at_work(), "the run ended before it could be killed: " + self.said()
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):  # one whose partner is gone may end by itself first
                os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes:
            process.join()


def near(a, b):
    ours, theirs = (lfmkit.load(folder).state_dict() for folder in (a, b))
    assert all(torch.allclose(value, theirs[name], atol=1e-4) for name, value in ours.items())
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_two_processes_learn_what_one_learns_and_go_on_when_killed(tmp_path):
    one, two, killed = (tmp_path / name for name in ("one", "two", "killed"))
    alone = start(fit_together, tmp_path / "log", out=one)
    said = ["", torchrun(two, 2)]
    alone.join(120)
    said[0] = (tmp_path / "log").read_text()
    assert alone.exitcode == 0, said[0]
    assert ["one of 1" in said[0], said[1].count("one of 2")] == [True, 2]
    assert [text.count("trained 2 block(s), 300 steps in all") for text in said] == [1, 1]  # one speaks
    assert not near(one, two)  # sums in another order
    blocks = [json.loads((out / "run.json").read_text())["blocks"] for out in (one, two)]
    for a, b in zip(*blocks, strict=True):
        assert torch.allclose(torch.tensor(a["loss"]), torch.tensor(b["loss"]), rtol=1e-3)
        assert torch.allclose(torch.tensor(a["val"]), torch.tensor(b["val"]), rtol=1e-3)

    run = Pair(tmp_path, killed)
    while run.at_work() and not (killed / "block-1.safetensors").exists():
        time.sleep(0.005)
    run.kill()
    Pair(tmp_path, killed).finish()
    assert near(two, killed)  # bit for bit


def test_an_accelerator_and_what_does_not_go_with_it(tiny_flow, tmp_path):
    class Two:
        process_index, num_processes, device = 0, 2, "cpu"

    def call(**more):
        lfmkit.fit(
            tiny_flow,
            torch.randn(40, 2),
            steps=2,
            compute=lfmkit.Compute(accelerator=Two()),
            progress=False,
            **more,
        )

    with pytest.raises(ValueError, match="give out=, a folder all see"):
        call(batch=8)
    with pytest.raises(ValueError, match="a batch of 1 is too small for 2 processes"):
        call(batch=1, out=tmp_path)
    with pytest.raises(ValueError, match="no workers= or client="):
        call(batch=8, out=tmp_path, workers=2, pool="ou")
