"""Gather what `make bench-tables` measured on POWER into data/checkpoints/power: weights, log, numbers.

Run ``python data/collect_power.py [runs/bench/tables]`` after it. The flow that is shipped is the one whose
validation NLL is lowest; the test split has no say in that.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import lfmkit
from lfmkit import data, metrics

HERE = Path(__file__).parent
TARGET = HERE / "checkpoints" / "power"
ROWS = 5_000  # of the validation split


def main(bench: Path) -> None:
    """Write the numbers of all POWER runs, and ship the best flow with its log."""
    lines = (bench / "results.jsonl").read_text().splitlines()
    runs = [row for row in map(json.loads, lines) if row["table"] == "power"]
    table = data.table("power")
    for row in runs:
        row["folder"] = f"power-{row['method'].replace(', ', '-').lower()}-{row['share']:g}-{row['seed']}"
        flow = lfmkit.load(bench / row["folder"])
        row["val"] = metrics.nll(flow, table.val[:ROWS], split="val").nll
        print(f"{row['folder']}: val {row['val']:.4f}, test {row['nll']:.4f}", flush=True)
    best = min(runs, key=lambda row: row["val"])
    shutil.rmtree(TARGET, ignore_errors=True)
    flow = lfmkit.load(bench / best["folder"])
    flow.save(TARGET)
    shutil.copy(bench / best["folder"] / "run.json", TARGET / "run.json")
    kept = ("method", "seed", "share", "parameters", "steps", "near_data", "nll", "stderr", "nfe", "val")
    numbers = {
        "protocol": f"{runs[0]['train_rows']:,} training rows; the {runs[0]['test_rows']:,} test rows, exact "
        f"divergence, dopri5 at 1e-5; val: the first {ROWS:,} validation rows; share: of the steps that take "
        "about 1,800 core-seconds",
        "shipped": best["folder"],
        "first_2000_test_rows": round(metrics.nll(flow, table.test[:2_000]).nll, 4),
        "runs": [
            {k: round(row[k], 4) if isinstance(row[k], float) else row[k] for k in kept} for row in runs
        ],
    }
    (TARGET / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
    print(f"{best['folder']} is shipped in {TARGET}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/bench/tables"))
