"""Measure batch runs: overhead over plain papermill, how well two cores are used, the table of many runs.

``make bench-batch`` runs all of it (about 15 minutes on two cores, which should have nothing else to do);
``python benchmarks/batch.py NAME ...`` runs the parts named: results, overhead, sweep.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import nbformat

from lfmkit.runs import records
from lfmkit.runs.sweep import run_locally
from lfmkit.runs.sweepfile import read_sweep

SWEEP = Path(__file__).parents[1] / "notebooks" / "sweeps" / "schedules.yaml"


def seconds_of(work: Callable[[], object]) -> float:
    """Return the wall-clock seconds of a call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


COMMAND = """
import sys
from lfmkit import __main__
__main__.main(["results", *sys.argv[1:]])
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0], file=sys.stderr)
"""


def some_record(number: int) -> records.RunRecord:
    """Return a record with 20 parameters and 10 metrics; every fiftieth failed."""
    failed = number % 50 == 7
    own = {"method": ("lfm", "fm")[number % 2], "width": 2 ** (number % 7), "seed": number}
    return records.RunRecord(
        id=f"{number:012x}", notebook="experiment", outcome="failed" if failed else "completed",
        reason="ValueError: no" * failed, cell={"number": 12, "source": "log = fit(flow, x)"},
        parameters=own | {f"parameter_{k}": k / 7 for k in range(17)},
        metrics={f"metric_{k}": number / (k + 1) for k in range(10)}, started=records.now(),
        ended=records.now(), seconds=60.0, peak_memory=500_000_000, commit="0" * 40,
        figures=[{"file": f"figures/{k:02}.png", "alt": "samples and density"} for k in range(3)],
        versions=dict.fromkeys(("python", "torch", "numpy", "scipy", "papermill"), "2.13.0"),
        hardware={"processor": "an ordinary processor", "cores": 2, "threads": 1, "memory": 8 << 30},
    )  # fmt: skip


def results() -> None:
    """Print what the table of 10,000 recorded runs takes: seconds and peak memory of a fresh process."""
    count, calls = 10_000, {"table": [], "means": ["--by", "method", "--by", "width"], "page": ["--html"]}
    with tempfile.TemporaryDirectory() as root:
        for number in range(count):
            record = some_record(number)
            folder = Path(root, record.notebook, record.id)
            folder.mkdir(parents=True)
            about = {"format": records.FORMAT, **asdict(record)}
            (folder / records.RECORD_FILE).write_text(json.dumps(about, indent=1))
        print(f"\nResults: {count:,} recorded runs, a fresh process, the fastest of three")
        for name, words in calls.items():
            peaks: list[float] = []

            def read(words: list[str] = words, peaks: list[float] = peaks) -> None:
                command = [sys.executable, "-c", COMMAND, root, *words]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                peaks.append(float(done.stderr) / 1024)

            seconds = min(seconds_of(read) for _ in range(3))
            print(f"- {name}: **{seconds:.1f} s**, {max(peaks):.0f} MiB at its peak")


def overhead() -> None:
    """Print what `lfmkit run` takes longer than plain papermill for a notebook that does next to nothing."""
    parameters = nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell("print(seed)")])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    seconds: dict[str, list[float]] = {"papermill": [], "lfmkit": []}
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(notebook, f"{folder}/nothing.ipynb")
        for seed in range(7):
            there = ["-p", "seed", str(seed)]
            commands = {
                "papermill": ["papermill", "nothing.ipynb", "out.ipynb", *there],
                "lfmkit": ["lfmkit", "run", "nothing.ipynb", *there],
            }
            for name, words in commands.items():
                command = [sys.executable, "-m", *words]
                quiet = {"capture_output": True, "check": True, "cwd": folder}
                seconds[name].append(seconds_of(lambda c=command, q=quiet: subprocess.run(c, **q)))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    more = medians["lfmkit"] - medians["papermill"]
    print("\nOverhead: medians of 7 calls; lfmkit also writes a record, a page and the pictures")
    print(f"- papermill {medians['papermill']:.2f} s, lfmkit run {medians['lfmkit']:.2f} s")
    print(f"- **{more:.2f} s** more")


def sweep() -> None:
    """Print how long 24 runs on all cores take, against the sum of their times alone."""
    cores, kept = os.cpu_count() or 1, Path("runs/bench")
    alone, together = (read_sweep(SWEEP, kept / name) for name in ("alone", "together"))
    limits = replace(alone.limits, threads=1)
    tally = run_locally(alone.plans, limits, 1, again=True)
    total = sum(record.seconds for record in tally.records)
    wall = seconds_of(lambda: run_locally(together.plans, limits, cores, again=True))
    share = wall / (total / cores)
    print(f"\nSweep: {len(alone.plans)} runs, one at a time {total:.0f} s, {cores} at a time {wall:.0f} s")
    print(f"- **{share:.2f}** times a {cores}th of the sum")


PARTS = {part.__name__: part for part in (results, overhead, sweep)}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or PARTS:
        PARTS[wanted]()
