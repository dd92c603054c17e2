"""Make one run: a process of its own, watched for time and memory, and a record of how it ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from lfmkit.runs import artifacts, machine, records
from lfmkit.runs.plans import Limits, Plan
from lfmkit.runs.records import FOLDER_VARIABLE, METRICS_FILE, PARAMS_FILE, RunRecord
from lfmkit.utils import files

LOOK = 0.1  # seconds between two looks at a running process
RESERVED = 64_000  # bytes


def perform(
    plan: Plan, limits: Limits, stopped: Callable[[], bool] = lambda: False, again: bool = False
) -> RunRecord:
    """Make a run, unless it is recorded as completed, and return its record.

    Args:
        plan: The notebook and its parameters.
        limits: Limits of the run; without a number of threads it gets one, without memory there is no limit.
        stopped: Asked several times a second whether to end the run.
        again: Make the run even if it is recorded as completed.

    Raises:
        files.InUseError: Another process makes this run now.
        OSError: The folder cannot be written.
    """
    folder = plan.folder
    with files.locked(folder):
        if not again and (before := records.completed(folder)):
            return before
        _clear(folder)
        files.write_json(folder / PARAMS_FILE, plan.parameters)
        number, tries = 0, limits.retries + 1
        while number < tries:
            number += 1
            record = _attempt(plan, limits, stopped, number)
            if record.outcome in ("completed", "stopped"):
                break
            never_began = record.cell is None and record.outcome in ("failed", "killed")
            if never_began and number == 1 and record.reason != artifacts.DISK_FULL:
                tries = max(tries, 2)  # two kernels that start together may pick the same port
        for name in artifacts.TRANSIENT:
            (folder / name).unlink(missing_ok=True)
        record.write(folder)
        return record


def _attempt(plan: Plan, limits: Limits, stopped: Callable[[], bool], number: int) -> RunRecord:
    """Execute the notebook in a process of its own, and return how that ended."""
    folder, started, threads = plan.folder, records.now(), limits.threads or 1
    for name in (artifacts.OUTCOME, artifacts.CELL, METRICS_FILE):
        (folder / name).unlink(missing_ok=True)
    files.write(folder / artifacts.RESERVE, bytes(RESERVED))
    files.write(folder / artifacts.SOURCE, plan.source.text.encode())
    given = plan.given_with(os.path.relpath(folder / artifacts.FILES, plan.cwd))
    task = {"name": plan.source.name, "given": given, "cwd": str(plan.cwd)}
    files.write_json(folder / artifacts.TASK, task)
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    begin = time.monotonic()
    with open(folder / artifacts.LOG, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lfmkit.runs.child", str(folder.resolve())],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env=os.environ | counts | {FOLDER_VARIABLE: str(folder.resolve())},
        )  # fmt: skip
        outcome, reason, peak = _watch(process, limits, stopped)
    seconds = time.monotonic() - begin
    if not outcome:
        outcome, reason = _ended(folder, process.returncode)
    try:
        metrics, data = _metrics(folder)
    except ValueError as error:
        metrics, data = {}, {}
        if outcome == "completed":
            outcome, reason = "failed", str(error)
    figures, cell = [], None
    with suppress(OSError, ValueError):
        if (folder / artifacts.EXECUTING).exists():  # of a process that was ended
            figures = artifacts.keep(folder, plan.source.name)
        else:
            figures = files.read_json(folder / artifacts.OUTCOME)["figures"]
    with suppress(FileNotFoundError, ValueError):
        cell = files.read_json(folder / artifacts.CELL)
    return RunRecord(
        id=plan.id, notebook=plan.source.name, outcome=outcome, reason=reason, cell=cell,
        parameters=plan.parameters, metrics=metrics, started=started, ended=records.now(),
        seconds=round(seconds, 2), attempts=number, peak_memory=peak, figures=figures, data=data,
        source=plan.source.digest, library=machine.library_digest(), commit=plan.source.commit,
        versions=machine.versions(), hardware=machine.hardware(threads),
    )  # fmt: skip


def _watch(
    process: subprocess.Popen[bytes], limits: Limits, stopped: Callable[[], bool]
) -> tuple[str, str, int]:
    """Wait for the process to end, or end it; return outcome and reason if ended here, and peak memory."""
    seen: dict[int, psutil.Process] = {}
    begin, peak = time.monotonic(), 0
    outcome = reason = ""
    try:
        while process.poll() is None and not outcome:
            time.sleep(LOOK)
            tree, now = _tree(process.pid)
            seen |= {each.pid: each for each in tree}
            peak = max(peak, now)
            if stopped():
                outcome, reason = "stopped", "stopped by Ctrl-C"
            elif time.monotonic() - begin > limits.timeout:
                outcome, reason = "timeout", f"ran longer than its timeout of {limits.timeout:g} s"
            elif limits.memory is not None and now > limits.memory:
                reason = f"used {now / 1e6:,.0f} MB, more than its {limits.memory / 1e6:,.0f} MB"
                outcome = "memory"
    finally:
        for each in seen.values():  # the kernel outlives a killed parent
            with suppress(psutil.Error):
                each.kill()
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
    return outcome, reason, peak


def _tree(pid: int) -> tuple[list[psutil.Process], int]:
    """Return a process with all below it, and their resident bytes together."""
    tree, total = [], 0
    with suppress(psutil.Error):
        first = psutil.Process(pid)
        tree = [first, *first.children(recursive=True)]
    for process in tree:
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return tree, total


def _ended(folder: Path, code: int) -> tuple[str, str]:
    """Return outcome and reason of a process that ended by itself."""
    try:
        reason = files.read_json(folder / artifacts.OUTCOME)["reason"]
    except (FileNotFoundError, ValueError):
        if code < 0:
            return "killed", f"its process was killed (signal {-code}): by hand, or by the system"
        last = (folder / artifacts.LOG).read_text(errors="replace").strip().splitlines() or ["no message"]
        return "failed", f"its process ended with exit code {code}: {last[-1]}"
    if reason == artifacts.DEAD_KERNEL:
        return "killed", reason
    return ("failed", reason) if reason else ("completed", "")


def _metrics(folder: Path) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return the numbers that the notebook reported, and the checksums of its data.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        about = files.read_json(folder / METRICS_FILE)
    except FileNotFoundError:
        return {}, {}
    except ValueError as error:
        raise ValueError(f"{METRICS_FILE} is damaged: {error.__cause__}") from None
    metrics, data = about.get("metrics"), about.get("data", {})
    number = (int, float, type(None))
    if not isinstance(metrics, dict) or not all(isinstance(value, number) for value in metrics.values()):
        raise ValueError(f"{METRICS_FILE} is damaged: numbers by name were expected; use lfmkit.report")
    return metrics, data if isinstance(data, dict) else {}


def _clear(folder: Path) -> None:
    """Remove the files of an earlier attempt, except those of its notebook (checkpoints to go on from)."""
    (folder / records.RECORD_FILE).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.name in (artifacts.FILES, ".lock", artifacts.BUSY):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
