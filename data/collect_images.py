"""Gather what tests/benchmarks/hours.py and recipe.py measured on photographs: numbers, and some samples.

Run ``python data/collect_images.py [runs/bench/images] [runs/bench/recipe]`` after them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lfmkit import tensorfiles

TARGET = Path(__file__).parent / "checkpoints" / "images"
SHOWN = 32  # samples of each flow
KEPT = (
    "data", "method", "seed", "parameters", "steps", "train", "n", "fd_small", "fd_baseline", "kd_small",
    "kd_stderr", "bits", "bits_stderr", "copies", "accuracy",
)  # fmt: skip
PROTOCOLS = {
    "core": "16x16 pixels, float32, batches of 64, pool 'ou', one core of a CPU for each flow, for about "
    "4,000 s; 2,000 samples by dopri5 at 1e-3 against the training images; bits of 256 test images; one seed",
    "gpu": "32x32 pixels, the published networks, bf16, compiled, batches of 200, pool 'ou', one H100 for "
    "minutes; 1,364 samples by dopri5 at 1e-3 against the training images; bits of 170 test images; one seed",
}


def rounded(row: dict) -> dict:
    """Return what is kept of a result, with four digits behind the point."""
    chosen = {name: row[name] for name in KEPT}
    return {name: round(x, 4) if isinstance(x, float) else x for name, x in chosen.items()}


def results(folder: Path) -> list[dict]:
    """Return the results that a benchmark left in a folder, in the order of data and method."""
    file = folder / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return sorted(rows, key=lambda row: (row["data"], row["method"]))


def main(hours: Path, recipe: Path) -> None:
    """Write numbers.json and samples.safetensors."""
    numbers: dict[str, dict] = {name: {"protocol": text, "runs": []} for name, text in PROTOCOLS.items()}
    samples = {}
    for row in results(hours):
        if row["share"] == 1:
            run = rounded(row) | {"seconds": round(row["core_seconds"]), "nfe": row["nfe"]}
            numbers["core"]["runs"].append(run)
            folder = f"{row['data']}-{row['method'].replace(', ', '-').lower()}-1-{row['seed']}"
            found, _ = tensorfiles.read_tensors(hours / folder / "samples.safetensors")
            samples[f"core/{row['data']}/{row['method']}"] = found["samples"][:SHOWN].clone()
    for row in results(recipe):
        by_nfe = {
            name: {"nfe": sum(about["nfe"]), "fd_small": round(about["fd_small"], 4)}
            for name, about in sorted(row["solvers"].items(), key=lambda item: sum(item[1]["nfe"]))
        }
        run = rounded(row) | {"peak_gb": round(row["peak_gb"], 2), "solvers": by_nfe}
        numbers["gpu"]["runs"].append(run | {"nfe": row["solvers"]["dopri5"]["nfe"]})
        found, _ = tensorfiles.read_tensors(recipe / f"{row['slug']}.safetensors")
        samples[f"gpu/{row['data']}/{row['method']}"] = found["samples"][:SHOWN].clone()
        if row["method"] == "LFM":
            samples["gpu/stages"] = found["stages"]
    TARGET.mkdir(parents=True, exist_ok=True)
    text = json.dumps(numbers).replace('{"data"', '\n {"data"').replace('"gpu"', '\n"gpu"')
    (TARGET / "numbers.json").write_text(text + "\n")
    tensorfiles.write_tensors(TARGET / "samples.safetensors", samples, {"shown": SHOWN})
    print(f"{sum(len(part['runs']) for part in numbers.values())} runs in {TARGET}")


if __name__ == "__main__":
    folders = [Path(word) for word in sys.argv[1:]] or [Path("runs/bench/images"), Path("runs/bench/recipe")]
    main(*folders)
