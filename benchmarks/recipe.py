"""The published CIFAR-10 recipe on one GPU, as far as some minutes go: speed, memory, quality.

``python benchmarks/recipe.py``, from $LFMKIT_DATA or from the hub. `speed` times training
steps of the kit beside a bare loop, and sampling beside the loops of two peers; `memory` finds what one block
and the global network of equal total size take; `quality` trains LFM, one network of a block's size with all
steps, and the global one, at equal cost by those times. On a CPU everything is tiny, to see that it runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import hours
import torch
from flow_matching.solver import ODESolver
from images import Field, Net, turns
from torch import Tensor
from torchdiffeq import odeint

import lfmkit
from lfmkit import Flow, Solver, budgets, data, methods, metrics, nets, pixels
from lfmkit.budgets import GB, needs
from lfmkit.training import trainer
from lfmkit.training.gradients import Gradients
from lfmkit.utils.tensors import write_tensors

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
SHAPE, DIM, BATCH = (3, 32, 32), 3072, 200 if ON_GPU else 4
TINY = nets.UNet(SHAPE, (16, 32), layers=1), nets.UNet(SHAPE, (32, 64), layers=1)
BLOCK, GLOBAL = (nets.published.CIFAR10_BLOCK, nets.published.CIFAR10_GLOBAL) if ON_GPU else TINY
PRECISION = "bf16" if ON_GPU else "float32"
SCHEDULE = (0.1, 0.15, 0.225)
TRAINING = lfmkit.Training(clip=1.0, ema=0.05, flip=True, precision=PRECISION)
SETTINGS = {"batch": BATCH, "lr": 5e-4, "pool": "ou", "device": DEVICE, "training": TRAINING}
SPEED, SCORED = "speed.json", 170  # seconds of steps; test images whose bits are measured
FEW = (4, 8, 16)  # evaluations of samples by Euler's method, in all blocks together


def finish() -> None:
    """Wait for the device."""
    if ON_GPU:
        torch.cuda.synchronize()


def bare(net: torch.nn.Module, images: Tensor, steps: int, compiled: bool) -> float:
    """Return the seconds a step of a hand-written loop takes, with all that `quality` asks of the kit's."""
    net, generator = net.to(DEVICE), torch.Generator(DEVICE).manual_seed(0)
    weights = list(net.parameters())
    average = [p.detach().clone() for p in weights]
    optimiser = torch.optim.Adam(weights, lr=5e-4, fused=True)

    def loss(x: Tensor, z: Tensor, t: Tensor) -> Tensor:
        return (net((1 - t[:, None]) * x + t[:, None] * z, t) - (z - x)).square().mean()

    loss_of = torch.compile(loss) if compiled else loss
    for k in range(2 * steps):
        if k == steps:
            finish()
            started = time.perf_counter()
        x = images[torch.randint(len(images), (BATCH,), device=DEVICE)]
        x = torch.where(torch.rand(BATCH, 1, 1, 1, device=DEVICE) < 0.5, x.flip(3), x)
        x = pixels.as_rows(x, generator)
        optimiser.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=ON_GPU):
            value = loss_of(x, torch.randn_like(x), torch.rand(BATCH, device=DEVICE))
        value.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        if (k + 1) % 5 == 0:
            torch._foreach_lerp_(average, [p.detach() for p in weights], 0.1)
    finish()
    return (time.perf_counter() - started) / steps


def speed(out: Path, compiled: bool, steps: int = 120 if ON_GPU else 10) -> None:
    """Print and keep the seconds of training steps, and compare sampling with peers."""
    images = torch.randint(256, (5000, *SHAPE), dtype=torch.uint8)
    found = {}
    trainer.RECORDS_PER_RUN = (
        10  # looks at the loss, each of which waits for the device, as rare as in long runs
    )
    for name, net in (("block", BLOCK), ("global", GLOBAL)):
        flow, seen = methods.fm(DIM, net=net), [time.perf_counter()]
        lfmkit.fit(
            flow, images, steps=steps, progress=lambda _, seen=seen: seen.append(time.perf_counter()),
            compute=lfmkit.Compute(compiled=compiled), **SETTINGS,
        )  # fmt: skip
        ours = 10 * statistics.median(b - a for a, b in itertools.pairwise(seen[1:])) / steps
        by_hand = bare(net(DIM), images.to(DEVICE), steps // 2, compiled)
        found[name], one = ours, needs(flow.chain[0], DIM)
        print(
            f"- step of the {name} network ({one.parameters:,} parameters, batch {BATCH}, {PRECISION}, "
            f"compiled {compiled}): {1000 * ours:.1f} ms, {one.flops * BATCH / ours / 1e12:.0f} TFLOP/s; "
            f"a bare loop {1000 * by_hand:.1f} ms, ratio {ours / by_hand:.2f}; before the first steps "
            f"{seen[1] - seen[0] - ours * steps / 10:.0f} s",
            flush=True,
        )
    (out / SPEED).write_text(json.dumps(found))
    sampling()


def sampling(n: int = 512 if ON_GPU else 4, steps: int = 10) -> None:
    """Print how many images a second are sampled, beside the loops of two peers with the same velocity."""
    flow = methods.fm(DIM, net=BLOCK).to(DEVICE)
    block, z, times = flow.chain[0], flow.noise(n), torch.linspace(1, 0, steps + 1, device=DEVICE)
    solver = ODESolver(velocity_model=Net(block))

    @torch.no_grad()
    def torchcfm() -> Tensor:
        return odeint(Field(block), z, times, method="euler")[-1]

    def meta() -> Tensor:
        return solver.sample(x_init=z, method="euler", step_size=1 / steps, time_grid=times[[0, -1]])

    def ours() -> Tensor:
        return flow.decode(z, Solver("euler", steps=steps))

    def timed(job: Callable[[], Tensor]) -> Callable[[], Callable[[], object]]:
        return lambda: lambda: (job(), finish())

    jobs = {"torchcfm's loop": torchcfm, "flow_matching": meta, "lfmkit": ours}
    same = max(float((job() - ours()).abs().max()) for job in (torchcfm, meta))
    found = turns({name: timed(job) for name, job in jobs.items()})
    rates = ", ".join(f"{name} {n / seconds:.0f}" for name, seconds in found.items())
    print(f"- images a second, {n} at once, Euler with {steps} steps: {rates}; largest difference {same:.0e}")


def memory() -> None:
    """Print the peak memory of training steps of one block and of the global network, and what would fit."""
    if not ON_GPU:
        print("- memory is measured on a GPU only")
        return
    room = torch.cuda.get_device_properties(0).total_memory
    for half in ("bf16", "float32"):
        fits = []
        for name, net in (("block", BLOCK), ("global", GLOBAL)):
            peaks = {}
            for n in (40, 130):
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                block = methods.fm(DIM, net=net).chain[0].to(DEVICE)
                gradients = Gradients(block, lfmkit.Training(precision=half))
                optimiser = torch.optim.Adam(gradients.weights, fused=True)
                for _ in range(2):
                    gradients(budgets.example(n, DIM, 0, DEVICE))
                    optimiser.step()
                peaks[n] = torch.cuda.max_memory_allocated()
                del block, gradients, optimiser
            each = (peaks[130] - peaks[40]) / 90
            fits.append((room - peaks[40]) / each + 40)
            sizes = ", ".join(f"{peak / GB:.2f} GB at batch {n}" for n, peak in peaks.items())
            print(
                f"- {half}, {name}: {sizes}, {each / 1e6:.0f} MB a sample, "
                f"{fits[-1]:.0f} in {room / GB:.0f} GB"
            )
        print(
            f"- {half}: batches of {fits[0]:.0f} against {fits[1]:.0f}, {fits[0] / fits[1]:.1f} times",
            flush=True,
        )


def quality(rows: Sequence[str], steps: int, samples: int, compiled: bool, out: Path) -> None:
    """Train and measure flows, each at the cost of so many steps of a block; keep numbers and samples."""
    images = data.images("cifar10")
    features = known_features(images, out / "features.safetensors")
    seconds = json.loads((out / SPEED).read_text())
    flows = {
        "LFM": (methods.lfm(DIM, SCHEDULE, net=BLOCK), steps // 4),
        "FM, small": (methods.fm(DIM, net=BLOCK), steps),
        "FM, wide": (methods.fm(DIM, net=GLOBAL), round(steps * seconds["block"] / seconds["global"])),
    }
    for name in rows:
        flow, count = flows[name]
        row = trained(flow, name, count, compiled, images.train, out)
        row["n"] = samples
        about, of_solver = drawn(flow, samples)
        kept = {"samples": of_solver["dopri5"], "stages": stages(flow)}
        write_tensors(out / f"{row['slug']}.safetensors", kept, {})
        row |= hours.measured(flow, kept["samples"], features, images.train, images.test, SCORED)
        for solver, few in of_solver.items():
            distance = metrics.frechet_distance(few, images.train, features, images.test[:samples])
            about[solver]["fd_small"] = distance.value
        with (out / "results.jsonl").open("a") as file:
            file.write(json.dumps(row | {"solvers": about}) + "\n")
        print(name, row["fd_small"], row["bits"], about, flush=True)


def known_features(images: data.Images, file: Path) -> metrics.SmallCNN:
    """Return features that were trained before, or train them."""
    if not file.exists():
        sets = images.train, images.train_labels, images.test, images.test_labels
        metrics.train_features(*sets).save(file)
    features = metrics.SmallCNN.load(file)
    features.network.to(DEVICE)
    return features


def trained(
    flow: Flow, name: str, steps: int, compiled: bool, images: Tensor, out: Path
) -> dict[str, object]:
    """Train one flow and say what it took."""
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    slug = name.replace(", ", "-").lower()
    compute = lfmkit.Compute(compiled=compiled)
    log = lfmkit.fit(flow, images, steps=steps, progress=False, out=out / slug, compute=compute, **SETTINGS)
    peak = torch.cuda.max_memory_allocated() / GB if ON_GPU else math.nan
    return {
        "data": "cifar10", "method": name, "slug": slug, "seed": 0, "settings": log.settings, "peak_gb": peak,
        "steps": [block.steps for block in log.blocks], "seconds": [block.seconds for block in log.blocks],
        "loss": [block.loss for block in log.blocks], "parameters": flow.parameters_count,
        "train": len(images),
    }  # fmt: skip


def drawn(flow: Flow, n: int) -> tuple[dict[str, dict[str, object]], dict[str, Tensor]]:
    """Return samples of a flow by an adaptive solver and by few steps, and what they cost."""
    blocks, found, about = len(flow.blocks), {}, {}
    few = {f"euler {nfe}": Solver("euler", steps=nfe // blocks) for nfe in FEW}
    for name, solver in ({"dopri5": hours.SOLVER} | few).items():
        finish()
        started = time.perf_counter()
        found[name] = pixels.as_images(flow.sample(n, 0, solver).cpu(), SHAPE)
        about[name] = {"nfe": flow.last_nfe, "images_a_second": n / (time.perf_counter() - started)}
    return about, found


def stages(flow: Flow) -> Tensor:
    """Return 16 samples as images, (blocks + 1, 16, C, H, W): as noise, and after each block."""
    way = flow.trajectory(flow.noise(16), points=2, solver=hours.SOLVER).x.cpu()
    return torch.stack([pixels.as_images(x, SHAPE) for x in way])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=["speed", "memory", "quality"])
    parser.add_argument("--rows", nargs="+", default=hours.ROWS, choices=hours.ROWS)
    parser.add_argument("--steps", type=int, default=4000, help="of the small flow")
    parser.add_argument("--samples", type=int, default=2046)
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/recipe"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    compiled = ON_GPU and not asked.eager
    if "speed" in asked.parts:
        speed(asked.out, compiled)
    if "memory" in asked.parts:
        memory()
    if "quality" in asked.parts:
        quality(asked.rows, asked.steps, asked.samples, compiled, asked.out)
