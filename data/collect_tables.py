"""Gather what `make bench-tables` measured: numbers of all tables, and POWER's best flow with its log.

Run ``python data/collect_tables.py [runs/bench/tables]`` after it. The flow that is shipped is the one whose
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
KEPT = (
    "table", "method", "seed", "share", "parameters", "steps", "best", "core_seconds", "near_data",
    "train_rows", "test_rows", "gaussian", "nll", "stderr", "nfe",
)  # fmt: skip


def main(bench: Path) -> None:
    """Write the numbers of all runs, and ship POWER's best flow with its log."""
    lines = (bench / "results.jsonl").read_text().splitlines()
    runs = sorted(map(json.loads, lines), key=lambda row: [row[key] for key in KEPT[:4]])
    table = data.table("power")
    val = {}
    for row in runs:
        folder = f"{row['table']}-{row['method'].replace(', ', '-').lower()}-{row['share']:g}-{row['seed']}"
        if row["table"] == "power":
            flow = lfmkit.load(bench / folder)
            val[folder] = metrics.nll(flow, table.val[:ROWS], split="val").nll
            print(f"{folder}: val {val[folder]:.4f}, test {row['nll']:.4f}", flush=True)
    best = min(val, key=lambda folder: val[folder])
    shutil.rmtree(TARGET, ignore_errors=True)
    flow = lfmkit.load(bench / best)
    flow.save(TARGET)
    shutil.copy(bench / best / "run.json", TARGET / "run.json")
    numbers = {
        "protocol": "whole test splits, exact divergence, dopri5 at 1e-5; share: of the steps of 15 minutes "
        f"of two cores on POWER; val: POWER's first {ROWS:,} validation rows",
        "shipped": best,
        "val": {folder: round(value, 4) for folder, value in val.items()},
        "first_2000_test_rows": round(metrics.nll(flow, table.test[:2_000]).nll, 4),
        "runs": [
            {k: round(row[k], 4) if isinstance(row[k], float) else row[k] for k in KEPT} for row in runs
        ],
    }
    text = json.dumps(numbers, indent=None).replace('{"table"', '\n {"table"').replace("}]}", "}\n]}")
    (TARGET / "numbers.json").write_text(text + "\n")
    print(f"{best} is shipped in {TARGET}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/bench/tables"))
