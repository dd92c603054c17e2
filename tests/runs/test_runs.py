"""Runs and sweeps: what is recorded, and that no fault loses what was finished or hides what was not."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from queue import Empty
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

from lfmkit.runs import artifacts, child, plans, records, supervise, sweep, sweepfile
from lfmkit.runs.supervise import perform
from lfmkit.utils import files

PARAMETERS = """
a = 1
fault = ""
seconds = 0.0
note = ""  # a file that gets a line from each run
seed = 0
out = None
"""
CELLS = [
    "import os, time, pathlib\nfrom lfmkit import report",
    'with open(note or os.devnull, "a") as file:\n    file.write(f"{a}\\n")',
    "time.sleep(seconds)\nreport(double=2 * a, seed=seed)",
    """# faults
if fault == "raise":
    raise ValueError("asked for")
if fault == "hang":
    time.sleep(1000)
if fault == "memory":
    big = b"x" * 10**9
    time.sleep(1000)
if fault == "metrics":
    pathlib.Path(os.environ["LFMKIT_RUN_FOLDER"], "metrics.json").write_text('{"metrics": {"a"')
if fault == "kernel":
    os.kill(os.getpid(), 9)
if fault == "worker":
    os.kill(os.getppid(), 9)
    time.sleep(1000)
if fault == "once" and len(open(note).readlines()) < 2:
    raise OSError("the first time")
if fault == "disk":
    pathlib.Path(os.environ["LFMKIT_RUN_FOLDER"], "big").write_bytes(bytes(10**7))
""",
    "pathlib.Path(out).mkdir(exist_ok=True)\npathlib.Path(out, 'end.txt').write_text('whole')",
]
LIMITS = plans.Limits(timeout=120)


@pytest.fixture
def notebook(make_notebook):
    return make_notebook("walk", PARAMETERS, CELLS)


@pytest.fixture
def sweep_file(tmp_path, notebook):
    """Write a sweep file of this notebook and return its path."""

    def write(text, limits="{timeout: 120}"):
        path = tmp_path / "sweep.yaml"
        path.write_text(f"notebook: walk.ipynb\nlimits: {limits}\n{text}")
        return path

    return write


def start(*words, **settings):
    command = [sys.executable, "-m", "lfmkit", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **settings)


def call(*words):
    process = start(*words)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def finished(root):
    """Return the time of each completed run's record, by id."""
    found = {}
    for folder in records.folders(root) if root.exists() else []:
        if (folder / records.RECORD_FILE).exists() and records.read(folder).completed:
            found[folder.name] = (folder / records.RECORD_FILE).stat().st_mtime_ns
    return found


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def processes_of(root):
    """Return the processes that work on runs below a folder: what executes notebooks, and kernels."""
    found = []
    for process in psutil.process_iter():
        try:
            about = [*process.cmdline(), process.environ().get("LFMKIT_RUN_FOLDER", "")]
        except psutil.Error:
            continue
        if any(word.startswith(f"{root}/") for word in about):
            found.append(process)
    return found


# What is recorded


def test_a_run_and_its_record(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "hunter2-do-not-tell")
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    code, output = call("run", notebook, "-p", "a", "21", "--runs", root)
    assert code == 0, output
    (folder,) = records.folders(root)
    record = records.read(folder)
    assert record.outcome == "completed"
    assert record.metrics == {"double": 42.0, "seed": 0.0}
    assert record.parameters == {"a": 21, "fault": "", "seconds": 0.0, "note": "", "seed": 0}
    assert record.cell == {"number": 7, "source": "pathlib.Path(out).mkdir(exist_ok=True)"}
    assert record.peak_memory > 10**7
    assert record.versions["torch"]
    assert record.hardware["cores"] == record.hardware["threads"] == os.cpu_count()  # it had the machine
    assert f"runs/walk/{record.id}" in output
    assert "double 42" in output
    assert (folder / "files" / "end.txt").read_text() == "whole"
    names = {path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    assert names == {
        "record.json",
        "params.json",
        "metrics.json",
        "notebook.ipynb",
        "notebook.html",
        "log.txt",
    }
    executed = nbformat.read(folder / "notebook.ipynb", 4)
    assert [cell.execution_count for cell in executed.cells if cell.cell_type == "code"] == list(range(1, 8))
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            assert b"hunter2" not in text, path
            if path.name != "log.txt":
                assert str(root).encode() not in text, path


def test_called_again_it_is_there(notebook, tmp_path):
    for expected, again in (("1\n", []), ("1\n", []), ("1\n1\n", ["--again"])):
        code, output = call(
            "run", notebook, "-p", "note", tmp_path / "note", "--runs", tmp_path / "runs", *again
        )
        assert code == 0, output
        assert (tmp_path / "note").read_text() == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p", "b", "3"], "no parameter 'b'"),
        (["-p", "a", "three"], "a must be int"),
        (["-p", "out", "/tmp/elsewhere"], "`out` is set by the run"),
        (["-f", "none.yaml"], "there is no file none.yaml"),
        (["--timeout", "-1"], "timeout must be"),
        (["--memory", "much"], "not an amount of memory"),
    ],
)
def test_a_wrong_call_starts_nothing(notebook, tmp_path, words, message):
    code, output = call("run", notebook, *words, "--runs", tmp_path / "runs")
    assert (code, (tmp_path / "runs").exists()) == (2, False)
    assert message in output


def test_parameter_files_are_plain_data(notebook, tmp_path):
    (tmp_path / "params.yaml").write_text("a: 3\nnote: !!python/object/apply:os.system ['touch hostile']")
    code, output = call("run", notebook, "-f", tmp_path / "params.yaml", "--runs", tmp_path / "runs")
    assert code == 2
    assert "cannot be read as YAML of plain data" in output
    assert not (tmp_path / "hostile").exists()


# Faults


def test_faults_are_named_and_the_sweep_goes_on(sweep_file, tmp_path):
    faults = ("", "raise", "memory", "metrics", "kernel", "worker")
    path = sweep_file(f"grid: {{fault: {json.dumps(faults)}}}", "{timeout: 120, memory: 700 MB}")
    code, output = call("sweep", path, "--runs", tmp_path / "runs", "--workers", 2)
    found = {r.parameters["fault"]: r for r in map(records.read, records.folders(tmp_path / "runs"))}
    outcomes = ("completed", "failed", "memory", "failed", "killed", "killed")
    assert {fault: record.outcome for fault, record in found.items()} == dict(
        zip(faults, outcomes, strict=True)
    ), output
    assert code == 1
    assert "1 of 6 completed, 5 not" in output
    assert (found["raise"].reason, found["raise"].attempts) == ("ValueError: asked for", 1)
    assert "more than its 700 MB" in found["memory"].reason
    assert "metrics.json is damaged" in found["metrics"].reason
    assert "the kernel died" in found["kernel"].reason
    assert "signal 9" in found["worker"].reason
    for fault in ("raise", "memory", "kernel", "worker"):
        assert found[fault].cell == {"number": 6, "source": "# faults"}
        assert f"{found[fault].reason} in cell 6 `# faults`" in output
    assert processes_of(tmp_path / "runs") == []


def test_a_run_that_hangs_is_ended(notebook, tmp_path, monkeypatch):
    plan = plans.plan_run(notebook, {"fault": "hang"}, tmp_path / "runs")

    def clock():
        """Tell the time, 1000 seconds later from the cell that hangs on."""
        with suppress(FileNotFoundError):
            return time.monotonic() + 1000 * (files.read_json(plan.folder / artifacts.CELL)["number"] == 6)
        return time.monotonic()

    monkeypatch.setattr(supervise, "time", SimpleNamespace(sleep=time.sleep, monotonic=clock))
    record = perform(plan, plans.Limits(timeout=900))
    assert record.outcome == "timeout"
    assert record.reason == "ran longer than its timeout of 900 s"
    assert record.cell["number"] == 6
    assert record.metrics == {"double": 2.0, "seed": 0.0}
    assert processes_of(tmp_path / "runs") == []


def test_a_run_is_tried_again(notebook, tmp_path):
    given = {"fault": "once", "note": str(tmp_path / "note")}
    plan = plans.plan_run(notebook, given, tmp_path / "runs")
    record = perform(plan, plans.Limits(timeout=120, retries=3))
    assert (record.outcome, record.attempts) == ("completed", 2)


@pytest.mark.parametrize(("failures", "attempts", "outcome"), [(1, 2, "completed"), (2, 2, "failed")])
def test_a_kernel_that_does_not_start_gets_a_second_chance(
    notebook, tmp_path, monkeypatch, failures, attempts, outcome
):
    """As when another process has taken one of its ports: nothing of the notebook has run then."""
    spec, notes = tmp_path / "jupyter" / "kernels" / "python3", tmp_path / "notes"
    spec.mkdir(parents=True)
    starter = tmp_path / "starter.py"
    starter.write_text(f"""
import os, pathlib, sys
notes = pathlib.Path({str(notes)!r})
with notes.open("a") as file:
    file.write(".")
if len(notes.read_text()) <= {failures}:
    sys.exit("no port for me")
os.execv(sys.executable, [sys.executable, "-m", "ipykernel_launcher", *sys.argv[1:]])
""")
    argv = [sys.executable, str(starter), "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "shy", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    record = perform(plans.plan_run(notebook, {}, tmp_path / "runs"), LIMITS)
    assert (record.outcome, record.attempts) == (outcome, attempts), record.reason
    assert len(notes.read_text()) == 2
    assert record.cell is None or outcome == "completed"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_ended_goes_on_where_it_was(sweep_file, tmp_path, how):
    root, note = tmp_path / "runs", tmp_path / "note"
    path = sweep_file(f"parameters: {{seconds: 2.0, note: {note}}}\ngrid: {{a: [1, 2, 3]}}")
    process = start("sweep", path, "--runs", root, "--workers", 2)
    wait_for(lambda: finished(root))
    wait_for(lambda: len(note.read_text().splitlines()) == 3)  # the last is at work
    process.send_signal(how)
    output, _ = process.communicate(timeout=60)
    wait_for(lambda: not processes_of(root), 20)
    before = finished(root)
    assert 1 <= len(before) < 3
    if how == signal.SIGKILL:
        assert process.returncode == -9
    else:
        assert process.returncode == 130, output
        assert "the same command goes on" in output
    code, output = call("sweep", path, "--runs", root, "--workers", 2)
    assert code == 0, output
    assert f"3 runs: {len(before)} completed before, {3 - len(before)} to make" in output
    after = finished(root)
    assert len(after) == 3
    assert {name: after[name] for name in before} == before
    metrics = sorted(records.read(folder).metrics["double"] for folder in records.folders(root))
    assert metrics == [2, 4, 6]


def test_two_sweeps_in_the_same_folder(sweep_file, tmp_path):
    root, note = tmp_path / "runs", tmp_path / "note"
    path = sweep_file(f"parameters: {{seconds: 0.5, note: {note}}}\ngrid: {{a: [1, 2, 3]}}")
    both = [start("sweep", path, "--runs", root, "--workers", 2) for _ in range(2)]
    outputs = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted(note.read_text().split()) == ["1", "2", "3"]  # each made once
    assert all("3 of 3 completed" in output for output in outputs)


def test_a_full_disk(notebook, tiny_disk, tmp_path):
    plan = plans.plan_run(notebook, {}, tiny_disk / "runs")
    with pytest.raises(OSError, match="the disk is full"):
        perform(plan, LIMITS)
    path = tmp_path / "sweep.yaml"
    path.write_text("notebook: walk.ipynb\nseeds: 2")
    code, output = call("sweep", path, "--runs", tiny_disk / "runs", "--workers", 1)
    assert code == 130, output
    assert f"1 worker(s) on this machine, {os.cpu_count()} thread(s)" in output
    assert "the disk is full: stopping" in output
    subprocess.run(["mount", "-o", "remount,size=40m", tiny_disk], check=True)
    code, output = call("sweep", path, "--runs", tiny_disk / "runs")
    assert "2 of 2 completed" in output


def test_a_notebook_that_fills_the_disk(notebook, tiny_disk):
    subprocess.run(["mount", "-o", "remount,size=4m", tiny_disk], check=True)
    record = perform(plans.plan_run(notebook, {"fault": "disk"}, tiny_disk), LIMITS)
    assert record.outcome == "failed"
    assert "No space left on device" in record.reason or "the disk is full" in record.reason


# Pieces


def test_a_damaged_record_counts_as_none(notebook, tmp_path):
    plan = plans.plan_run(notebook, {}, tmp_path / "runs")
    plan.folder.mkdir(parents=True)
    for text in ("{bro", "[]", '{"format": 1}', '{"format": 99}'):
        (plan.folder / "record.json").write_text(text)
        with pytest.raises(ValueError, match=r"damaged|another version"):
            records.read(plan.folder)
    assert perform(plan, LIMITS).completed


def test_a_run_that_is_made_elsewhere_is_not_touched(notebook, tmp_path):
    plan = plans.plan_run(notebook, {}, tmp_path / "runs")
    code = f"""
import pathlib, time
from lfmkit.utils import files
with files.locked(pathlib.Path({str(plan.folder)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(files.InUseError, match="in use by another run"):
            perform(plan, LIMITS)
        assert records.running(plan.folder)
        holder.kill()
    assert not records.running(plan.folder)


def test_a_reply_whose_event_was_lost_is_still_seen(monkeypatch):
    """The stall of nbclient issue 312: a message is there, but whoever waits for it is not woken."""
    asked = []

    async def deaf(timeout=None):
        asked.append(timeout)
        if len(asked) < 4:
            raise Empty
        return "reply"

    async def started(self):
        return SimpleNamespace(shell_channel=SimpleNamespace(get_msg=deaf))

    monkeypatch.setattr(NotebookClient, "async_start_new_kernel_client", started)
    client = child.SlicedClient.__new__(child.SlicedClient)
    channel = asyncio.run(client.async_start_new_kernel_client()).shell_channel
    assert asyncio.run(channel.get_msg(timeout=None)) == "reply"
    assert asked == [child.SLICE] * 4
    asked.clear()
    with pytest.raises(Empty):
        asyncio.run(channel.get_msg(timeout=0))


def test_estimates_come_from_the_runs_that_are_most_alike(sweep_file, tmp_path):
    root = tmp_path / "runs"
    wanted = sweepfile.read_sweep(sweep_file("grid: {a: [1, 2]}\nseeds: [7]"), root)
    assert sweepfile.estimate(wanted.plans) == [None, None]
    for a, seconds in ((1, 10.0), (1, 14.0), (2, 50.0), (3, 99.0)):
        plan = plans.plan_run(wanted.plans[0].source.path, {"a": a, "seed": int(seconds)}, root)
        record = records.RunRecord(
            id=plan.id, notebook="walk", outcome="completed", parameters=plan.parameters,
            started=records.now(), ended=records.now(), seconds=seconds,
        )  # fmt: skip
        record.write(plan.folder)
    assert sweepfile.estimate(wanted.plans) == [12.0, 50.0]


def test_a_sweep_needs_a_worker():
    with pytest.raises(ValueError, match="1 or more"):
        sweep.run_locally([], LIMITS, 0)
