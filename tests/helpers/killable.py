"""Training runs to be killed, for tests: processes that are forks of one that has imported torch already."""

import atexit
import multiprocessing
import os
import time

import torch
from loky.backend.context import set_start_method

import lfmkit
from lfmkit import Flow, methods, nets
from lfmkit.flows import integrate
from lfmkit.training import trainer

STEPS = (100, 100, 400)
PUSHED = 40  # rows pushed at a time
PAUSE = 0.005  # seconds before each step of a run to be killed: no machine has it at its end too soon


def start(function, log, **call):
    """Start a function in a process, and a process group, of its own; what it says is in the file `log`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lfmkit.training.fitting", "lfmkit.methods", "pytest"])
    process = context.Process(target=_run, args=(function, log, call))
    process.start()
    atexit.register(process.kill)  # what a test that failed has left
    return process


def _run(function, log, call):
    os.setsid()
    with open(log, "w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    torch.set_num_threads(1)
    function(**call)


def fit(pool, out, steps=STEPS, **more):
    """Train a small flow and return it."""
    x = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0)) * 0.3 + 1
    flow = methods.lfm(2, (0.1, 0.4), net=nets.MLP(width=24, depth=2, fourier=6, scale=1.0))
    lfmkit.fit(
        flow,
        x,
        pool=pool,
        out=out,
        steps=steps,
        batch=32,
        training=lfmkit.Training(save_every=0.05),
        progress=False,
        **more,
    )
    return flow


def fit_slowly(**call):
    """Do the same, not at once; workers are forks, too."""
    step = trainer.Trainer._step

    def slowly(*rest):
        time.sleep(PAUSE)
        step(*rest)

    trainer.Trainer._step = slowly
    set_start_method("fork")
    fit(**call)


def push(out):
    """Train a small flow of two blocks: the second one's pool is 50 chunks."""
    x = torch.randint(256, (2000, 1, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    flow = methods.lfm(4, (0.3,), net=nets.MLP(width=16, depth=2, fourier=0))
    lfmkit.fit(
        flow, x, val=x[:50], steps=100, batch=32, training=lfmkit.Training(flip=True), out=out, progress=False
    )


def push_slowly(out):
    """Do the same, not at once."""
    integrate.POINTS_PER_SOLVE, at_once = PUSHED, Flow.push

    def slowly(*rest, **more):
        time.sleep(0.02)
        return at_once(*rest, **more)

    Flow.push = slowly
    push(out)


def fit_together(out, place=None):
    """Train on images in a process of several: (rank, count, port) is its place if torchrun gave it none."""
    from accelerate import Accelerator

    if place is not None:
        names = ("RANK", "WORLD_SIZE", "MASTER_PORT")
        os.environ |= {"MASTER_ADDR": "127.0.0.1"} | dict(zip(names, map(str, place), strict=True))
        os.environ["LOCAL_RANK"] = os.environ["RANK"]
    integrate.POINTS_PER_SOLVE = PUSHED
    x = torch.randint(256, (500, 1, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    flow = methods.lfm(4, (0.3,), net=nets.MLP(width=16, depth=2, fourier=0))
    accelerator = Accelerator(cpu=True)
    training = lfmkit.Training(flip=True, clip=1.0, save_every=0.1)
    compute = lfmkit.Compute(micro=10, accelerator=accelerator)
    lfmkit.fit(flow, x, val=x[:50], steps=150, batch=33, out=out, training=training, compute=compute)
    print(f"one of {accelerator.num_processes}", flush=True)
    accelerator.end_training()  # else torch's threads now and then outlive the interpreter, which aborts
