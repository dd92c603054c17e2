"""Measure, in one run on one machine: quality at equal cost, and the speed of training and of likelihoods.

``make bench`` runs all of it (about 15 minutes on two cores, and up to eight for the last two parts);
``python benchmarks/run.py NAME ...`` runs the parts named: quality, workers, overhead,
parity, likelihood, traces, memory. Results are printed as Markdown.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import peers
import torch
import traces
from torch import Tensor

import lfmkit
from lfmkit import data, methods, nets
from lfmkit.solvers import Solver
from lfmkit.training.chain import make_trainer
from lfmkit.training.pool import Pool
from lfmkit.training.settings import Settings
from lfmkit.training.targets import kd_order

SECONDS = 60.0  # training wall-clock of each method
SCHEDULE = (0.005, 0.03, 0.2)
SHARES = (0.5, 0.18, 0.16, 0.16)  # of the steps: block 1 on one worker, the other three on the other
SAMPLES, TEST = 200_000, 10_000


def seconds_of(work: Callable[[], object], repeats: int = 1) -> float:
    """Return the shortest wall-clock time of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def seconds_a_step(x: Tensor, averaged: str) -> float:
    """Return the time of one training step of one block while both cores are training."""
    probe = methods.lfm(2, (0.1,))
    fit(probe, x, 100, averaged)  # starts the workers
    log = fit(probe, x, 250, averaged)
    return log.core_seconds / 500


def fit(flow: lfmkit.Flow, x: Tensor, steps: int | list[int], targets: str) -> lfmkit.FitLog:
    """Train with the kit's defaults on two workers."""
    return lfmkit.fit(flow, x, steps=steps, pool="ou", targets=targets, workers=2, progress=False)


def quality() -> None:
    """Print NLL - floor on the rose after 60 s of training, two cores, one method after the other."""
    rose = data.picture("rose")
    x, test = rose.sample(SAMPLES, seed=0), rose.sample(TEST, seed=1)
    floor = -float(rose.log_prob(test).mean())
    print(f"\nQuality: rose, {SAMPLES:,} training points, {TEST:,} fresh test points, floor {floor:.3f},")
    print(f"dopri5 at 1e-5, exact divergence, {SECONDS:.0f} s of training on {os.cpu_count()} cores\n")
    print("| method | NLL - floor | stderr | steps | parameters | wall s | core-s |")
    print("|---|---|---|---|---|---|---|")

    def row(name: str, nll: Tensor, steps: int, parameters: int, wall: float, core: float) -> None:
        excess = nll.double() + rose.log_prob(test)  # paired: both on the same points
        error = float(excess.std()) / math.sqrt(len(test))
        mean = float(excess.mean())
        print(f"| {name} | {mean:.3f} | {error:.3f} | {steps:,} | {parameters:,} | {wall:.0f} | {core:.0f} |")
        sys.stdout.flush()

    for targets in ("averaged", "pairs"):
        step = seconds_a_step(x, targets)
        total = SECONDS * 2 * 0.96 / step  # the rest is for sorting the pool and starting
        flow = methods.lfm(2, SCHEDULE)
        log = fit(flow, x, [round(total * share) for share in SHARES], targets)
        steps = sum(history.steps for history in log.blocks)
        row(f"lfmkit LFM, {targets} targets", -flow.log_prob(test), steps, flow.parameters_count, log.seconds,
            log.core_seconds)  # fmt: skip
        for path in ("linear", "great_circle") if targets == "averaged" else ():
            flow = methods.fm(2, path)
            log = fit(flow, x, round(total), targets)
            row(f"lfmkit global FM, {path}, equal core-s", -flow.log_prob(test), round(total),
                flow.parameters_count, log.seconds, log.core_seconds)  # fmt: skip

    recipes: dict[str, tuple[int, Callable[[], tuple[torch.nn.Module, int]]]] = {
        "torchcfm I-CFM recipe": (1, lambda: peers.torchcfm(x, SECONDS)),
        "torchcfm OT-CFM recipe": (1, lambda: peers.torchcfm(x, SECONDS, transport=True)),
        "flow_matching recipe (512, batch 4096)": (2, lambda: peers.flow_matching(x, SECONDS)),
        "flow_matching, 64 units, batch 256": (1, lambda: peers.flow_matching(x, SECONDS, 64, 256)),
    }
    for name, (threads, train) in recipes.items():
        torch.set_num_threads(threads)  # more threads only slow the small networks down
        net, steps = train()
        torch.set_num_threads(os.cpu_count() or 1)
        parameters = sum(p.numel() for p in net.parameters())
        row(name, -peers.log_prob(net, test), steps, parameters, SECONDS, threads * SECONDS)


def workers() -> None:
    """Print how much faster two workers train four equal blocks than one."""
    x = data.picture("rose").sample(SAMPLES)
    walls = {}
    for count in (1, 2):
        for steps in (50, 1200):  # the first fit starts the processes
            log = lfmkit.fit(
                methods.lfm(2, SCHEDULE), x, steps=steps, pool="ou", workers=count, progress=False
            )
        walls[count] = log.seconds
    print(f"\nWorkers: 4 blocks x 1,200 steps: {walls[1]:.1f} s with one worker, {walls[2]:.1f} s with two: "
          f"**{walls[1] / walls[2]:.2f} times faster**")  # fmt: skip


def overhead() -> None:
    """Print the time of a step of the kit's training loop over that of a bare hand-written loop."""
    torch.set_num_threads(1)
    x = data.picture("rose").sample(SAMPLES)
    gamma, steps, size = 0.1, 600, 1024
    shrink, spread = math.exp(-gamma), math.sqrt(-math.expm1(-2 * gamma))

    def bare() -> None:
        net = nets.MLP()(2)
        optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(steps):
            x_l = x[torch.randint(len(x), (size,))]
            x_r = shrink * x_l + spread * torch.randn_like(x_l)
            t = torch.rand(size, 1)
            loss = (net((1 - t) * x_l + t * x_r, t[:, 0]) - (x_r - x_l)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def ours(targets: str) -> Callable[[], object]:
        block = methods.lfm(2, (gamma,)).chain[0]
        settings = Settings(steps=steps, batch=size, targets=targets)
        return make_trainer(block, Pool(x[kd_order(x)]), 0.0, settings).run

    base = seconds_of(bare, 3)
    print(f"\nOverhead: {1000 * base / steps:.2f} ms a step of a bare loop (batch {size}, one thread)")
    for targets in ("pairs", "averaged"):
        ratio = min(seconds_of(ours(targets)) for _ in range(3)) / base
        print(f"- with {targets} targets the kit's step takes **{ratio:.2f} times** as long")
    torch.set_num_threads(os.cpu_count() or 1)


def parity() -> None:
    """Print NLL - floor of FM and OT-CFM with the kit's pairs and with torchcfm's own, all else equal."""
    torch.set_num_threads(1)
    tree = data.picture("tree")
    x, test = tree.sample(50_000), tree.sample(2_000, seed=1)
    floor, net = -float(tree.log_prob(test).mean()), nets.MLP(width=64, depth=3, fourier=64, scale=3.0)
    settings = Settings(steps=1500, batch=256, lr=3e-3)
    print(
        "\nParity: tree, MLP of 3 x 64, 1,500 steps of 256, the kit's optimiser; NLL - floor on 2,000 points"
    )
    for name, method in (("FM", methods.fm), ("OT-CFM", methods.ot_cfm)):
        found: dict[str, list[float]] = {"lfmkit": [], "torchcfm": []}
        for seed in range(3):
            for whose, results in found.items():
                flow = method(2, net=net, seed=seed)
                trainer = make_trainer(flow.chain[0], Pool(x), 0.0, replace(settings, seed=seed))
                if whose == "torchcfm":
                    trainer.targets = peers.Pairs(x, name == "OT-CFM", settings.batch)
                trainer.run()
                results.append(-float(flow.log_prob(test).mean()) - floor)
        shown = {whose: ", ".join(f"{value:.3f}" for value in values) for whose, values in found.items()}
        print(f"- {name}: lfmkit {shown['lfmkit']}; torchcfm {shown['torchcfm']}")
    torch.set_num_threads(os.cpu_count() or 1)


def likelihood() -> None:
    """Print the speed of exact log-likelihoods of one network against flow_matching's."""
    torch.set_num_threads(1)
    rose = data.picture("rose")
    x, test = rose.sample(SAMPLES), rose.sample(2000, seed=1)
    net, _ = peers.flow_matching(x, 20.0, 128, 256)

    def turned(y: Tensor, t: Tensor) -> Tensor:  # their time runs from noise to data
        return -net(y, 1 - t)

    flow = lfmkit.Flow([lfmkit.Block(turned, math.inf, "linear", "gaussian")], 2)
    tight = Solver(rtol=1e-5, atol=1e-5)
    difference = (flow.log_prob(test, tight) - peers.log_prob(net, test)).abs()
    net = net.double()  # the truth, to eight digits
    truth = flow.log_prob(test.double(), Solver(rtol=1e-9, atol=1e-9))
    net = net.float()
    off = [(f - truth).abs() for f in (flow.log_prob(test, tight), peers.log_prob(net, test))]
    mean, worst = ([float(e) for e in each] for each in zip(*((o.mean(), o.max()) for o in off), strict=True))
    ours = theirs = math.inf
    for _ in range(8):  # in turns: a neighbour's load then meets both
        ours = min(ours, seconds_of(lambda: flow.log_prob(test, tight)))
        theirs = min(theirs, seconds_of(lambda: peers.log_prob(net, test)))
    print(f"\nLikelihood: 2,000 points, tolerance 1e-5, the same network (four layers of 128, trained 20 s): "
          f"{ours:.2f} s here, {theirs:.2f} s by compute_likelihood: **{theirs / ours:.2f} times faster**, "
          f"largest difference {float(difference.max()):.1e}, in the mean {float(difference.mean()):.1e}, "
          f"NFE {sum(flow.last_nfe):.0f}; error against a solution at 1e-9: {mean[0]:.1e} here, "
          f"{mean[1]:.1e} there in the mean, {worst[0]:.1e} and {worst[1]:.1e} at worst")  # fmt: skip
    torch.set_num_threads(os.cpu_count() or 1)


PARTS = {
    part.__name__: part
    for part in (quality, workers, overhead, parity, likelihood, traces.traces, traces.memory)
}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or PARTS:
        PARTS[wanted]()
