"""Gather what benchmarks/hours.py and recipe.py measured on photographs: numbers, and some samples.

Run ``python data/collect_images.py [runs/bench/images] [runs/bench/recipe]`` after them. What is kept already
stays, unless the same run was done anew: the runs may come from several machines, one after another.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from torch import Tensor

from lfmkit.utils.tensors import read_tensors, write_tensors

TARGET = Path(__file__).parent / "checkpoints" / "images"
SAMPLES = TARGET / "samples.safetensors"
SHOWN = 32  # samples of each flow
KEPT = (
    "data", "method", "seed", "parameters", "steps", "train", "n", "fd_small", "fd_baseline", "kd_small",
    "kd_stderr", "bits", "bits_stderr", "copies", "accuracy",
)  # fmt: skip
PROTOCOLS = {
    "core": "16x16 pixels, float32, batches of 64, pool 'ou', one core of a CPU for each flow, for about "
    "4,000 s (on a slower machine: CIFAR-10's wide one, 7,600 s, and Flowers-102, whose flows learn from "
    "half of its test split, too); 2,000 samples by dopri5 at 1e-3 against the training images; bits of 256 "
    "test images; one seed",
    "gpu": "32x32 pixels, the published networks, bf16, compiled, batches of 200, pool 'ou', one H100 for "
    "minutes; 1,364 samples by dopri5 at 1e-3 against the training images; bits of 170 test images; one seed",
}


def rounded(row: dict) -> dict:
    """Return what is kept of a result, with four digits behind the point."""
    chosen = {name: row[name] for name in KEPT}
    return {name: round(x, 4) if isinstance(x, float) else x for name, x in chosen.items()}


def add(runs: list[dict], run: dict) -> None:
    """Put a run in its place among others, for the same one done before."""

    def key(run: dict) -> tuple:
        return run["data"], run["method"], run["seed"]

    runs[:] = sorted([old for old in runs if key(old) != key(run)] + [run], key=key)


def results(folder: Path) -> list[dict]:
    """Return the results that a benchmark left in a folder."""
    file = folder / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def kept() -> tuple[dict[str, list[dict]], dict[str, Tensor]]:
    """Return the runs and the samples that were gathered before."""
    if not (TARGET / "numbers.json").exists():
        return {name: [] for name in PROTOCOLS}, {}
    numbers = json.loads((TARGET / "numbers.json").read_text())
    return {name: numbers[name]["runs"] for name in PROTOCOLS}, read_tensors(SAMPLES)[0]


def main(hours: Path, recipe: Path) -> None:
    """Write numbers.json and samples.safetensors."""
    runs, samples = kept()
    for row in results(hours):
        if row["share"] == 1:
            add(runs["core"], rounded(row) | {"seconds": round(row["core_seconds"]), "nfe": row["nfe"]})
            folder = f"{row['data']}-{row['method'].replace(', ', '-').lower()}-1-{row['seed']}"
            found, _ = read_tensors(hours / folder / "samples.safetensors")
            samples[f"core/{row['data']}/{row['method']}"] = found["samples"][:SHOWN].clone()
    for row in results(recipe):
        by_nfe = {
            name: {"nfe": sum(about["nfe"]), "fd_small": round(about["fd_small"], 4)}
            for name, about in sorted(row["solvers"].items(), key=lambda item: sum(item[1]["nfe"]))
        }
        run = rounded(row) | {"peak_gb": round(row["peak_gb"], 2), "solvers": by_nfe}
        add(runs["gpu"], run | {"nfe": row["solvers"]["dopri5"]["nfe"]})
        found, _ = read_tensors(recipe / f"{row['slug']}.safetensors")
        samples[f"gpu/{row['data']}/{row['method']}"] = found["samples"][:SHOWN].clone()
        if row["method"] == "LFM":
            samples["gpu/stages"] = found["stages"]
    TARGET.mkdir(parents=True, exist_ok=True)
    numbers = {name: {"protocol": text, "runs": runs[name]} for name, text in PROTOCOLS.items()}
    text = json.dumps(numbers).replace('{"data"', '\n {"data"').replace('"gpu"', '\n"gpu"')
    (TARGET / "numbers.json").write_text(text + "\n")
    write_tensors(SAMPLES, samples, {"shown": SHOWN})
    print(f"{sum(map(len, runs.values()))} runs in {TARGET}")


if __name__ == "__main__":
    folders = [Path(word) for word in sys.argv[1:]] or [Path("runs/bench/images"), Path("runs/bench/recipe")]
    main(*folders)
