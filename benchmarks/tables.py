"""Tables at equal compute: LFM against one global flow, small and of equal parameters, several seeds.

``make bench-tables`` (two cores: some four hours for POWER with all rows and three seeds), or for less,
for example ``python benchmarks/tables.py --share 0.1 --rows FM --seeds 1``, or another table of
SETUPS, which $LFMKIT_DATA must hold. Every run has one core to itself. Its steps are fixed beforehand so
that on POWER it takes about 1,800 core-seconds (15 minutes of two cores); the seconds it really took are
printed with it. A run that is interrupted goes on when called again; finished ones are appended to
--out/results.jsonl and not repeated. The validation split chooses the weights; the test split is scored
once, at the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import NamedTuple

import torch
from loky import ProcessPoolExecutor, as_completed

import lfmkit
from lfmkit import Flow, data, methods, metrics, nets

METHODS = ("LFM", "FM", "FM, wide")


class Setup(NamedTuple):
    """How a table is learned: networks of a block and of the wide control, steps over all blocks."""

    small: nets.MLP
    wide: nets.MLP  # as many parameters as LFM's blocks together
    schedule: tuple[float, ...]
    steps: int  # of LFM and of the small network, over all blocks
    steps_wide: int
    near_data: tuple[float, float]  # of LFM, whose first block is near the data anyway, and of the others
    whiten: bool  # NLLs are those of the rows themselves all the same


SETUPS = {
    "power": Setup(
        nets.MLP(width=192, depth=4, fourier=96, scale=40.0, columns=True),
        nets.MLP(width=414, depth=4, fourier=96, scale=40.0, columns=True),
        (0.005, 0.03, 0.2), 240_000, 62_000, (1.0, 2.0), whiten=False,
    ),
    "miniboone": Setup(
        nets.MLP(width=128, depth=2, fourier=0), nets.MLP(width=270, depth=2, fourier=0),
        (0.05, 0.3), 12_000, 8_000, (1.0, 1.0), whiten=True,
    ),
    "bsds300": Setup(
        nets.MLP(width=512, depth=2, fourier=0), nets.MLP(width=900, depth=2, fourier=0),
        (0.05, 0.3), 60_000, 25_000, (1.0, 1.0), whiten=True,
    ),
}  # fmt: skip
SETTINGS = {"batch": 512, "lr": 2e-3, "pool": "ou", "progress": False}


def build(name: str, setup: Setup, dim: int, seed: int) -> tuple[Flow, int]:
    """Return an untrained flow, and the steps of each of its blocks."""
    if name == "LFM":
        flow, steps = methods.lfm(dim, setup.schedule, net=setup.small, seed=seed), setup.steps
    else:
        wide = name == "FM, wide"
        flow = methods.fm(dim, net=setup.wide if wide else setup.small, seed=seed)
        steps = setup.steps_wide if wide else setup.steps
    return flow, steps // len(flow.blocks)


def run(table: str, name: str, seed: int, share: float, folder: Path) -> dict[str, object]:
    """Train one flow, choose its weights by the validation split, and score the whole test split."""
    torch.set_num_threads(1)
    setup, rows, volume = SETUPS[table], data.table(table), 0.0
    gaussian = data.gaussian_nll(rows)["test"]
    if setup.whiten:
        rows, into = data.whitened(rows)
        volume = into.log_volume
    flow, steps = build(name, setup, rows.dim, seed)
    out = folder / f"{table}-{name.replace(', ', '-').lower()}-{share:g}-{seed}"
    near_data = setup.near_data[name != "LFM"]
    log = lfmkit.fit(
        flow, rows.train, val=rows.val, steps=round(share * steps), seed=seed, out=out,
        training=lfmkit.Training(clip=1.0, near_data=near_data), **SETTINGS,
    )  # fmt: skip
    test = metrics.nll(flow, rows.test, split="test")
    return {
        "table": table, "method": name, "seed": seed, "share": share, "train_rows": len(rows.train),
        "near_data": near_data,
        "steps": [block.steps for block in log.blocks], "best": [block.best for block in log.blocks],
        "core_seconds": log.core_seconds, "parameters": flow.parameters_count, "gaussian": gaussian,
        "nll": test.nll + volume, "stderr": test.stderr, "test_rows": test.n, "nfe": test.nfe,
        "seconds_scoring": test.seconds,
    }  # fmt: skip


def as_markdown(rows: list[dict]) -> str:
    """Return the means over seeds, and their range."""
    head = ("method", "parameters", "steps", "core-s", "seeds", "test NLL", "range", "stderr of one", "NFE")
    lines = [
        f"\n{rows[0]['table']}: {rows[0]['train_rows']:,} training rows, {rows[0]['test_rows']:,} test rows, "
        f"exact divergence, dopri5 at 1e-5; a Gaussian with full covariance: {rows[0]['gaussian']:.2f}\n",
        f"| {' | '.join(head)} |", "|---" * len(head) + "|",
    ]  # fmt: skip
    for name in METHODS:
        mine = [row for row in rows if row["method"] == name]
        if mine:
            nll = [row["nll"] for row in mine]
            mean = {
                key: statistics.fmean(row[key] for row in mine) for key in ("core_seconds", "stderr", "nfe")
            }
            cells = [
                name, f"{mine[0]['parameters']:,}", f"{sum(mine[0]['steps']):,}",
                f"{mean['core_seconds']:,.0f}", str(len(mine)), f"{statistics.fmean(nll):.3f}",
                f"{min(nll):.3f} .. {max(nll):.3f}", f"{mean['stderr']:.3f}", f"{mean['nfe']:.0f}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", default="power", choices=list(SETUPS))
    parser.add_argument("--rows", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the steps")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/tables"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    results = asked.out / "results.jsonl"
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    known = {(row["table"], row["method"], row["seed"], row["share"]) for row in done}
    jobs = [
        (asked.table, name, seed, asked.share)
        for seed in range(asked.seeds) for name in asked.rows
        if (asked.table, name, seed, asked.share) not in known
    ]  # fmt: skip
    with ProcessPoolExecutor(asked.workers) as pool:
        for finished in as_completed([pool.submit(run, *job, asked.out) for job in jobs]):
            row = finished.result()
            done.append(row)
            with results.open("a") as out:
                out.write(json.dumps(row) + "\n")
            print(f"{row['table']} {row['method']:10} seed {row['seed']}: {row['nll']:.3f}", flush=True)
    print(as_markdown([row for row in done if (row["table"], row["share"]) == (asked.table, asked.share)]))
