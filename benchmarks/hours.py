"""Photographs at equal compute: LFM, a small flow with all its steps, a wide one; an hour for each.

``python benchmarks/hours.py cifar10`` or ``flowers102``, from $LFMKIT_DATA or from the hub.
Every run has one core to itself and is meant to train for about 3,600 s; steps are fixed before, what they
really took is in the results. A run that is interrupted goes on when called again; finished ones are
appended to --out/results.jsonl and not repeated. Test images are looked at once, at the end. For a try:
``--share 0.01 --samples 200``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from loky import ProcessPoolExecutor, as_completed
from torch import Tensor

import lfmkit
from lfmkit import Flow, Solver, data, methods, metrics, nets, pixels
from lfmkit.utils.tensors import write_tensors

SIZE, SHAPE = 16, (3, 16, 16)
SMALL = nets.UNet(SHAPE, widths=(32, 32), layers=1)
WIDE = nets.UNet(SHAPE, widths=(64, 64), layers=1)  # as many parameters as four blocks
SCHEDULES = {"cifar10": (0.1, 0.15, 0.225), "flowers102": (0.5, 0.75, 1.125)}  # the published ones
STEPS = {"cifar10": 36_000, "flowers102": 18_000}  # over all blocks
WIDE_SHARE = 13 / 36  # of them, for a step of the wide network takes longer by its inverse
TRAINING = lfmkit.Training(clip=1.0, ema=0.05, flip=True, patience=1.0)
SETTINGS = {"batch": 64, "lr": 2e-3, "training": TRAINING, "pool": "ou", "progress": False}
SHOWN = 60  # samples kept beside the numbers
SOLVER = Solver(rtol=1e-3, atol=1e-3)
ROWS = ("LFM", "FM, small", "FM, wide")


def build(source: str, name: str, seed: int) -> tuple[Flow, int]:
    """Return an untrained flow, and the steps of each of its blocks."""
    dim = 3 * SIZE * SIZE
    if name == "LFM":
        flow, steps = methods.lfm(dim, SCHEDULES[source], net=SMALL, seed=seed), STEPS[source]
    elif name == "FM, small":
        flow, steps = methods.fm(dim, net=SMALL, seed=seed), STEPS[source]
    else:
        flow, steps = methods.fm(dim, net=WIDE, seed=seed), round(WIDE_SHARE * STEPS[source])
    return flow, steps // len(flow.blocks)


def run(source: str, name: str, seed: int, share: float, out: Path, n: int) -> dict[str, object]:
    """Train one flow, and measure it on images it has not seen."""
    torch.set_num_threads(1)
    images = data.images(source, size=SIZE)
    train, test = images.train, images.test
    if source == "flowers102":  # its training split has 1,020 images: half of the test split joins it
        half = len(test) // 2
        train, test = torch.cat([train, test[half:]]), test[:half]
    flow, steps = build(source, name, seed)
    folder = out / f"{source}-{name.replace(', ', '-').lower()}-{share:g}-{seed}"
    log = lfmkit.fit(
        flow, train, val=images.val, steps=max(1, round(share * steps)), seed=seed, out=folder,
        **SETTINGS,
    )  # fmt: skip
    started = time.perf_counter()
    drawn = pixels.as_images(flow.sample(n, seed, SOLVER), SHAPE)
    seconds, nfe = time.perf_counter() - started, flow.last_nfe
    write_tensors(folder / "samples.safetensors", {"samples": drawn[:SHOWN]}, {"nfe": nfe})
    features = metrics.train_features(images.train, images.train_labels, images.test, images.test_labels)
    return {
        "data": source, "method": name, "seed": seed, "share": share, "train": len(train), "n": n,
        "steps": [block.steps for block in log.blocks], "best": [block.best for block in log.blocks],
        "core_seconds": log.core_seconds, "parameters": flow.parameters_count, "nfe": nfe,
        "images_a_second": n / seconds, **measured(flow, drawn, features, train, test),
    }  # fmt: skip


def measured(
    flow: Flow, drawn: Tensor, features: metrics.SmallCNN, train: Tensor, test: Tensor, scored: int = 256
) -> dict[str, object]:
    """Return the distances of samples to the training images, bits per dimension, and the share of copies."""
    n = len(drawn)
    protocol = {"features": features, "baseline": test[:n], "split": "train"}
    fd = metrics.frechet_distance(drawn, train, **protocol)
    kd = metrics.kid(drawn, train, **protocol, subset_size=min(1000, n))
    bits = metrics.bits_per_dim(flow, test[:scored], solver=SOLVER, split="test")
    copies = metrics.memorised(drawn, train, held_out=test[:n])
    return {
        "fd_small": fd.value, "fd_baseline": fd.baseline,
        "kd_small": kd.value, "kd_stderr": kd.stderr, "kd_baseline": kd.baseline,
        "accuracy": features.accuracy,
        "bits": bits.value, "bits_stderr": bits.stderr, "copies": copies.value, "nearer": copies.nearer,
    }  # fmt: skip


def as_markdown(rows: list[dict]) -> str:
    """Return one line a run."""
    head = ("method", "parameters", "steps", "core-s", "FD_small", "KD_small", "bits/dim", "NFE", "copies")
    first = rows[0]
    lines = [
        f"\n{first['data']} at {SIZE}x{SIZE}, {first['train']:,} training images, {first['n']:,} samples, "
        f"dopri5 at 1e-3; features of a small CNN (test accuracy {first['accuracy']:.2f}); test images score "
        f"{first['fd_baseline']:.2f} and {first['kd_baseline']:.4f}\n",
        f"| {' | '.join(head)} |", "|---" * len(head) + "|",
    ]  # fmt: skip
    for row in sorted(rows, key=lambda row: (ROWS.index(row["method"]), row["seed"])):
        cells = [
            row["method"], f"{row['parameters']:,}", f"{sum(row['steps']):,}", f"{row['core_seconds']:,.0f}",
            f"{row['fd_small']:.2f}", f"{row['kd_small']:.4f} ± {row['kd_stderr']:.4f}",
            f"{row['bits']:.3f} ± {row['bits_stderr']:.3f}", f"{sum(row['nfe']):.0f}", f"{row['copies']:.1%}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", choices=list(SCHEDULES))
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="of the steps")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/images"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    results = asked.out / "results.jsonl"
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    known = {(row["data"], row["method"], row["seed"], row["share"]) for row in done}
    jobs = [(asked.source, name, seed, asked.share) for seed in range(asked.seeds) for name in asked.rows]
    with ProcessPoolExecutor(asked.workers) as pool:
        wanted = [pool.submit(run, *job, asked.out, asked.samples) for job in jobs if job not in known]
        for finished in as_completed(wanted):
            row = finished.result()
            done.append(row)
            with results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(
                f"{row['data']} {row['method']:10} seed {row['seed']}: FD_small {row['fd_small']:.2f}",
                flush=True,
            )
    print(as_markdown([row for row in done if (row["data"], row["share"]) == (asked.source, asked.share)]))
