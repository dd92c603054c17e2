"""Compare all methods at equal parameters and equal core-seconds, and the controls that could refute blocks.

``make bench-methods`` (two cores: about 45 minutes), or for less, for example
``python benchmarks/methods.py --seconds 20 --targets rose --seeds 1``. Every run has one core to
itself; its steps are set from the processor time of a step. Runs are appended to --out as JSON lines and not
repeated when they are there; the table is printed at the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from loky import ProcessPoolExecutor, as_completed

import lfmkit
from lfmkit import Flow, Solver, data, distillation, methods, metrics, nets

SCHEDULE = (0.005, 0.03, 0.2)
SHARES = (0.5, 0.18, 0.16, 0.16)  # of LFM's steps
SMALL, WIDE = nets.MLP(width=128), nets.MLP(width=292)  # four of the small have as many parameters
SAMPLES, TEST, DRAWN = 200_000, 2_000, 10_000
FEW = (1, 2, 4, 8)

Build = Callable[[int], Flow]
ROWS: dict[str, tuple[Build, str]] = {
    "LFM": (lambda seed: methods.lfm(2, SCHEDULE, net=SMALL, seed=seed), "pairs"),
    "FM": (lambda seed: methods.fm(2, net=WIDE, seed=seed), "pairs"),
    "InterFlow": (lambda seed: methods.interflow(2, net=WIDE, seed=seed), "pairs"),
    "VP": (lambda seed: methods.vp(2, net=WIDE, seed=seed), "pairs"),
    "OT-CFM": (lambda seed: methods.ot_cfm(2, net=WIDE, seed=seed), "pairs"),
    "SB-CFM": (lambda seed: methods.sb_cfm(2, net=WIDE, seed=seed), "pairs"),
    "rectified flow": (lambda seed: methods.fm(2, net=WIDE, seed=seed), "reflow"),
    "FM, small": (lambda seed: methods.fm(2, net=SMALL, seed=seed), "pairs"),
    "LFM, averaged targets": (lambda seed: methods.lfm(2, SCHEDULE, net=SMALL, seed=seed), "averaged"),
    "FM, averaged targets": (lambda seed: methods.fm(2, net=WIDE, seed=seed), "averaged"),
    "FM, small, averaged targets": (lambda seed: methods.fm(2, net=SMALL, seed=seed), "averaged"),
}


def settings_of(name: str, seed: int) -> dict[str, object]:
    """Return what `fit` is called with."""
    kind = "averaged" if ROWS[name][1] == "averaged" else "pairs"
    return {"pool": "ou", "targets": kind, "seed": seed, "progress": False}


def step_seconds(name: str) -> float:
    """Return the processor time of a training step; measured before anything else runs."""
    torch.set_num_threads(1)
    x, costs = data.picture("rose").sample(SAMPLES), []
    flow = ROWS[name][0](0)
    block = Flow([flow.chain[-1]], 2, flow.net)  # the blocks of a chain cost the same
    for _ in range(3):  # two lengths, since what fit does before the first step is no step
        spent = []
        for steps in (16, 144):
            start = time.process_time()
            lfmkit.fit(block, x, steps=steps, **settings_of(name, 0))
            spent.append(time.process_time() - start)
        costs.append((spent[1] - spent[0]) / 128)
    return statistics.median(costs)


def train(name: str, x: torch.Tensor, total: float, seconds: float, seed: int) -> tuple[Flow, float]:
    """Return the trained flow after `total` steps over all blocks, and the processor time it took."""
    build, targets = ROWS[name]
    settings, flow, start = settings_of(name, seed), build(seed), time.process_time()
    if targets == "reflow":
        lfmkit.fit(flow, x, steps=round(total / 2), **settings)
        quick = Solver(rtol=1e-4, atol=1e-4)
        decoding = time.process_time()
        flow.decode(flow.noise(2_000), quick)
        spent = 25 * (time.process_time() - decoding)  # 50,000 pairs will cost this
        left = max(0.1, 1 / 2 - spent / seconds)
        flow = distillation.reflow(
            flow, 50_000, steps=round(left * total), solver=quick, seed=seed, progress=False
        )
    else:
        shares = SHARES if len(flow.blocks) > 1 else (1.0,)
        lfmkit.fit(flow, x, steps=[round(total * share) for share in shares], **settings)
    return flow, time.process_time() - start


def run(target: str, name: str, seed: int, seconds: float, steps: int) -> dict[str, object]:
    """Train one method once and measure it."""
    torch.set_num_threads(1)
    picture = data.picture(target)
    x = picture.sample(SAMPLES, seed=seed)
    test, drawn = picture.sample(TEST, seed=1_000), picture.sample(DRAWN, seed=1_001)
    flow, spent = train(name, x, steps, seconds, seed)
    nll = metrics.nll(flow, test, -float(picture.log_prob(test).mean()))
    z, distance = flow.noise(DRAWN, seed=7), {}
    for few in FEW:
        if few % len(flow.blocks) == 0:
            euler = Solver("euler", steps=few // len(flow.blocks))
            distance[str(few)] = float(metrics.sliced_wasserstein(flow.decode(z, euler), drawn))
    distance["adaptive"] = float(metrics.sliced_wasserstein(flow.decode(z), drawn))
    nfe, cost = sum(flow.last_nfe), metrics.cost(flow)
    way = flow.trajectory(z[:1_000], points=21)
    return {
        "target": target, "method": name, "seed": seed, "seconds": seconds, "spent": spent, "steps": steps,
        "parameters": flow.parameters_count, "excess": nll.excess, "stderr": nll.stderr,
        "distance": distance, "nfe": nfe, "cost": float(cost),
        "length": float(metrics.path_length(way)), "straightness": float(metrics.straightness(way)),
    }  # fmt: skip


def table(target: str, rows: list[dict]) -> str:
    """Return the means over seeds, and half the range of the first measure, as Markdown."""
    picture = data.picture(target)
    two = [picture.sample(DRAWN, seed=seed) for seed in (1_001, 2_000)]
    noise = float(metrics.sliced_wasserstein(*two))
    seeds, seconds = len({row["seed"] for row in rows}), rows[0]["seconds"]
    lines = [
        f"\n{target}: {seconds:.0f} core-seconds each, {seeds} seed(s), {SAMPLES:,} training points. "
        f"NLL - floor on {TEST:,} fresh points, dopri5 at 1e-5, +- half the range over seeds. SW: sliced "
        f"Wasserstein-2 of {DRAWN:,} samples at that NFE (Euler), two sets of data differ by {noise:.3f}. "
        "Cost: NFE x parameters of the network called, in millions.\n",
        "| method | parameters | steps | NLL - floor | SW 1 | SW 2 | SW 4 | SW 8 | SW adaptive | NFE | cost "
        "| length | straightness |",
        "|---" * 13 + "|",
    ]
    for name in ROWS:
        mine = [row for row in rows if row["method"] == name]
        if not mine:
            continue
        mean = {
            key: statistics.fmean(row[key] for row in mine) for key in ("excess", "nfe", "cost", "length")
        }
        bend = statistics.fmean(row["straightness"] for row in mine)
        spread = max(row["excess"] for row in mine) - min(row["excess"] for row in mine)
        few = [
            f"{statistics.fmean(row['distance'][str(k)] for row in mine):.3f}"
            if str(k) in mine[0]["distance"]
            else "-"
            for k in (*FEW, "adaptive")
        ]
        cells = [
            name, f"{mine[0]['parameters']:,}", f"{mine[0]['steps']:,}",
            f"{mean['excess']:.3f} +- {spread / 2:.3f}", *few, f"{mean['nfe']:.0f}",
            f"{mean['cost'] / 1e6:.0f}", f"{mean['length']:.2f}", f"{bend:.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--targets", nargs="+", default=["rose", "tree"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/methods.jsonl"))
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    known = {(row["target"], row["method"], row["seed"], row["seconds"]) for row in done}
    jobs = [
        (target, name, seed, asked.seconds)
        for seed in range(asked.seeds) for target in asked.targets for name in ROWS
        if (target, name, seed, asked.seconds) not in known
    ]  # fmt: skip
    needed = {name: round(asked.seconds / step_seconds(name)) for name in {job[1] for job in jobs}}
    with ProcessPoolExecutor(asked.workers) as pool:
        for finished in as_completed([pool.submit(run, *job, needed[job[1]]) for job in jobs]):
            row = finished.result()
            done.append(row)
            with asked.out.open("a") as out:
                out.write(json.dumps(row) + "\n")
            print(f"{row['target']:5} {row['method']:28} seed {row['seed']}: {row['excess']:.3f}", flush=True)
    for target in asked.targets:
        print(
            table(
                target, [row for row in done if row["target"] == target and row["seconds"] == asked.seconds]
            )
        )
