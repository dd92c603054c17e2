"""Train the rose and tree flows the kit ships, and write their numbers beside them.

Run ``python data/train_checkpoints.py [name ...]``; about ten minutes a flow on two cores. A run that is
interrupted continues when it is started again. The result goes to ``data/checkpoints/<name>``, its training
run to ``runs/checkpoints/<name>``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lfmkit
from lfmkit import data, methods, metrics

HERE = Path(__file__).parent
SCHEDULE = (0.005, 0.03, 0.2)
STEPS = (36_000, 12_000, 11_000, 11_000)  # block 1, next to the data, is the hard one


def main(name: str) -> None:
    """Train one flow and measure it on 20,000 fresh points."""
    picture = data.picture(name)
    x = picture.sample(1_000_000, seed=0)
    flow = methods.lfm(dim=2, schedule=SCHEDULE)
    run = HERE.parent / "runs" / "checkpoints" / name
    log = lfmkit.fit(flow, x, steps=STEPS, pool="ou", targets="averaged", workers=2, out=run)
    test = picture.sample(20_000, seed=1)
    result = metrics.nll(flow, test, -float(picture.log_prob(test).mean()))
    folder = HERE / "checkpoints" / name
    flow.save(folder)
    numbers = {
        "nll": round(result.nll, 4),
        "floor_on_these_points": round(result.nll - result.excess, 4),
        "excess": round(result.excess, 4),
        "test_points": result.n,
        "nfe": result.nfe,
        "solver": "dopri5, rtol = atol = 1e-5",
        "parameters": result.parameters,
        "training_points": len(x),
        "steps": list(STEPS),
        "core_seconds": round(log.core_seconds),
        "seed": 0,
    }
    (folder / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
    print(name, numbers)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or ("rose", "tree"):
        main(chosen)
