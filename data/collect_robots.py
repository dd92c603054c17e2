"""Gather what benchmarks/robots.py measured into data/checkpoints/robots/numbers.json.

Run ``python data/collect_robots.py [runs/bench/robots …]`` after it; of a rate that is there twice the first
counts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TARGET = Path(__file__).parent / "checkpoints" / "robots" / "numbers.json"
KEPT = (
    "task", "method", "seed", "demos", "steps", "nfe", "n", "success", "died", "parameters", "core_seconds",
    "nfe_chunk", "pace",
)  # fmt: skip


def main(benches: list[Path]) -> None:
    """Write the numbers of all runs."""
    lines = [line for bench in benches for line in (bench / "results.jsonl").read_text().splitlines()]
    found = {}
    for run in map(json.loads, lines):
        key = tuple(run[k] for k in ("task", "demos", "method", "nfe", "seed"))
        found.setdefault(key, run)
    runs = [found[key] for key in sorted(found)]
    numbers = {
        "protocol": "episodes with seeds apart from all demonstrations; observe 1, predict 8, execute 4; "
        "experts' actions shaken by 0.1; nfe 0: dopri5 at 1e-4, else Euler; one thread",
        "runs": [
            {k: round(run[k], 4) if isinstance(run[k], float) else run[k] for k in KEPT if k in run}
            for run in runs
        ],
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(run) for run in numbers["runs"])
    text = f'{{\n"protocol": {json.dumps(numbers["protocol"])},\n"runs": [\n{lines}\n]\n}}\n'
    TARGET.write_text(text)
    print(f"{len(runs)} rates in {TARGET}")


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:] or ["runs/bench/robots"]])
