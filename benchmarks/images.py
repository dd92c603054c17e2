"""Images: what a training step, a sample and a block's memory cost, beside hand-written loops and peers.

``make bench-images``, or some parts of it: ``python benchmarks/images.py step sampling memory``.
Ratios are taken within one run, in turns, with the same UNet on the same threads.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from flow_matching.solver import ODESolver
from flow_matching.utils import ModelWrapper
from torch import Tensor, nn
from torchdiffeq import odeint

from lfmkit import Solver, methods, nets
from lfmkit.budgets import GB, needs
from lfmkit.pixels import as_rows
from lfmkit.training.chain import make_trainer
from lfmkit.training.pool import Pool
from lfmkit.training.settings import Settings

SHAPE, BATCH, STEPS, ROUNDS = (3, 16, 16), 32, 8, 5
NET = nets.UNet(SHAPE, widths=(32, 64, 64), layers=1, attention=())
DIM = 3 * 16 * 16


def turns(jobs: dict[str, Callable[[], Callable[[], object]]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of what each job returns; they take turns on a busy machine."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for k in range(rounds + 1):
        for name, prepare in jobs.items():
            job = prepare()
            started = time.perf_counter()
            job()
            if k > 0:  # the first is for warming up
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def bare(images: Tensor) -> Callable[[], object]:
    """Return a hand-written loop: flow matching on dequantised images, Adam, an average of the weights."""
    net, generator = NET(DIM), torch.Generator().manual_seed(0)
    average = [p.detach().clone() for p in net.parameters()]
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

    def run() -> None:
        for k in range(STEPS):
            x = as_rows(images[torch.randint(len(images), (BATCH,))], generator)
            z, t = torch.randn_like(x), torch.rand(BATCH)
            loss = (net((1 - t[:, None]) * x + t[:, None] * z, t) - (z - x)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if (k + 1) % 5 == 0:
                torch._foreach_lerp_(average, [p.detach() for p in net.parameters()], 0.1)

    return run


def step() -> None:
    """Print how long a training step takes, as a ratio to a bare loop with the same UNet."""
    images = torch.randint(256, (2000, *SHAPE), dtype=torch.uint8)

    def ours() -> Callable[[], object]:
        block = methods.fm(DIM, net=NET).chain[0]
        settings = Settings(steps=STEPS, batch=BATCH, lr=1e-3)
        return make_trainer(block, Pool(images), 0.0, settings).run

    found = turns({"bare": lambda: bare(images), "ours": ours})
    size, ratio = sum(p.numel() for p in NET(DIM).parameters()), found["ours"] / found["bare"]
    print(f"\nStep: UNet of {size:,} parameters, {SHAPE}, batch {BATCH}, {torch.get_num_threads()} thread(s)")
    print(
        f"- a bare loop {1000 * found['bare'] / STEPS:.0f} ms a step; the kit's **{ratio:.2f} times** as long"
    )


class Net(ModelWrapper):
    """A velocity on rows as flow_matching's solver calls it."""

    def forward(self, x: Tensor, t: Tensor, **_: object) -> Tensor:
        """Return the velocity at x (n, d) and time t."""
        return self.model(x, t)


class Field(nn.Module):
    """A velocity on rows as torchcfm's notebooks hand it to torchdiffeq."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the velocity at x (n, d) and time t."""
        return self.net(x, t)


def sampling() -> None:
    """Print how many images a second are sampled, beside the loops of two peers with the same velocity."""
    flow = methods.fm(DIM, net=NET)
    block, n, steps = flow.chain[0], 64, 10
    z = flow.noise(n)
    solver = ODESolver(velocity_model=Net(block))
    times = torch.linspace(1, 0, steps + 1)

    @torch.no_grad()
    def torchcfm() -> Tensor:  # its CIFAR-10 script calls torchdiffeq, too
        return odeint(Field(block), z, times, method="euler")[-1]

    def meta() -> Tensor:
        ends = torch.tensor([1.0, 0.0])
        return solver.sample(x_init=z, method="euler", step_size=1 / steps, time_grid=ends)

    def ours() -> Tensor:
        return flow.decode(z, Solver("euler", steps=steps))

    same = [float((other() - ours()).abs().max()) for other in (torchcfm, meta)]
    found = turns(
        {
            name: lambda job=job: job
            for name, job in (("torchcfm's loop", torchcfm), ("flow_matching", meta), ("lfmkit", ours))
        }
    )
    print(f"\nSampling: {n} images of {SHAPE}, Euler with {steps} steps; largest difference {max(same):.0e}")
    for name, seconds in found.items():
        print(f"- {name}: {n / seconds:.1f} images/s, {found['lfmkit'] / seconds:.2f} of lfmkit's")


MEASURED = """
import resource, sys, torch
from lfmkit import methods, nets
from lfmkit.budgets import example
from lfmkit.training.gradients import Gradients
from lfmkit.training.settings import Execution
torch.set_num_threads(2)
preset, n = sys.argv[1], int(sys.argv[2])
flow = methods.fm(3072, net=getattr(nets.published, preset))
gradients = Gradients(flow.chain[0], how=Execution(micro=n))
optimiser = torch.optim.Adam(gradients.weights)
for _ in range(2):
    gradients(example(n, 3072, 0, "cpu"))
    optimiser.step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


IDLE = """
import resource, torch, lfmkit.training.chain
from diffusers import UNet2DModel
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak(script: str, *words: object) -> int:
    """Return the peak memory that a script of its own prints, bytes."""
    command = [sys.executable, "-c", script, *map(str, words)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory() -> None:
    """Print the peak memory of training one published block and the global network of equal total size."""
    idle, few, many = peak(IDLE), 2, 10
    print(
        "\nMemory: peak of two training steps at 32x32 without the libraries' own; in brackets the estimate"
    )
    weights, kept = {}, {}
    for preset in ("CIFAR10_BLOCK", "CIFAR10_GLOBAL"):
        one = needs(methods.fm(3072, net=getattr(nets.published, preset)).chain[0], 3072)
        peaks = {n: peak(MEASURED, preset, n) - idle for n in (few, many)}
        for n, found in peaks.items():
            guess = one.weights - 4 * one.parameters + n * one.kept  # no average here
            size = f"{found / GB:.2f} GB ({guess / GB:.2f})"
            print(f"- {preset}, {one.parameters:,} parameters, batch {n}: {size}")
        kept[preset] = (peaks[many] - peaks[few]) / (many - few)
        weights[preset] = peaks[few] - few * kept[preset]
    print("- a sample takes " + " against ".join(f"{size / 1e6:.0f} MB" for size in kept.values()))
    for room in (40, 80):
        block, whole = ((room * GB - weights[preset]) / kept[preset] for preset in kept)
        print(f"- in {room} GB: batches of {block:,.0f} against {whole:,.0f}, {block / whole:.1f} times")


PARTS = {part.__name__: part for part in (step, sampling, memory)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), choices=[*PARTS, []])
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for name in asked.parts:
        PARTS[name]()
