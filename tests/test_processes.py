"""Two processes on the CPU (gloo) that train together, against one alone."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import lfmkit

accelerate = pytest.importorskip("accelerate", reason="the extra `images` is not installed")

RUN = """
import sys, torch, lfmkit
from accelerate import Accelerator
from lfmkit import methods, nets, rows
rows.CHUNK = 40
torch.set_num_threads(1)
x = torch.randint(256, (500, 1, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
flow = methods.lfm(4, (0.3,), net=nets.MLP(width=16, depth=2, fourier=0))
accelerator = Accelerator(cpu=True)
lfmkit.fit(
    flow, x, val=x[:50], steps=int(sys.argv[2]), batch=33, flip=True, clip=1.0, micro=10, out=sys.argv[1],
    save_every=0.1, progress=True, accelerator=accelerator,
)
print(f"one of {accelerator.num_processes}")
"""


def launch(folder, out, processes, steps=150):
    """Start a run in so many processes: by torchrun, for ``accelerate launch`` starts one on a CPU."""
    script = folder / "run.py"
    script.write_text(RUN)
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(several if processes > 1 else []), script, out, str(steps)]
    return subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(run):
    said = run.communicate(timeout=120)[0]
    assert run.returncode == 0, said
    return said


def near(a, b):
    ours, theirs = (lfmkit.load(folder).state_dict() for folder in (a, b))
    assert all(torch.allclose(value, theirs[name], atol=1e-4) for name, value in ours.items())
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_two_processes_learn_what_one_learns_and_go_on_when_killed(tmp_path):
    one, two, killed = (tmp_path / name for name in ("one", "two", "killed"))
    runs = [launch(tmp_path, one, 1), launch(tmp_path, two, 2)]
    said = [finish(run) for run in runs]
    assert ["one of 1" in said[0], said[1].count("one of 2")] == [True, 2]
    assert [text.count("trained 2 block(s), 300 steps in all") for text in said] == [1, 1]  # one speaks
    assert not near(one, two)  # sums in another order
    blocks = [json.loads((out / "run.json").read_text())["blocks"] for out in (one, two)]
    for a, b in zip(*blocks, strict=True):
        assert torch.allclose(torch.tensor(a["loss"]), torch.tensor(b["loss"]), rtol=1e-3)
        assert torch.allclose(torch.tensor(a["val"]), torch.tensor(b["val"]), rtol=1e-3)

    run = launch(tmp_path, killed, 2)
    while run.poll() is None and not (killed / "block-1.safetensors").exists():
        time.sleep(0.005)
    assert run.poll() is None, "the run ended before it could be killed"
    mine = subprocess.run(["pgrep", "-f", str(killed)], capture_output=True, text=True).stdout.split()
    assert len(mine) >= 3  # the launcher and its two, which have process groups of their own
    for pid in mine:
        os.kill(int(pid), signal.SIGKILL)
    run.communicate()
    finish(launch(tmp_path, killed, 2))
    assert near(two, killed)  # bit for bit


def test_an_accelerator_and_what_does_not_go_with_it(tiny_flow, tmp_path):
    class Two:
        process_index, num_processes, device = 0, 2, "cpu"

    def call(**more):
        lfmkit.fit(tiny_flow, torch.randn(40, 2), steps=2, accelerator=Two(), progress=False, **more)

    with pytest.raises(ValueError, match="give out=, a folder all see"):
        call(batch=8)
    with pytest.raises(ValueError, match="a batch of 1 is too small for 2 processes"):
        call(batch=1, out=tmp_path)
    with pytest.raises(ValueError, match="no workers= or client="):
        call(batch=8, out=tmp_path, workers=2, pool="ou")
