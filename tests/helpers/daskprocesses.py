"""Processes of a real Dask cluster on the loopback interface, for tests."""

import json
import os
import signal
import subprocess
import sys
import time

# Workers are forks of a process that has imported all they need: each that a test kills is soon replaced.
WORKERS = """
from multiprocessing import forkserver
forkserver.set_forkserver_preload(["distributed", "lfmkit.training.fitting", "lfmkit.methods"])
forkserver.ensure_running()
from distributed.cli.dask_worker import main
main()
"""
SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "forkserver",
}


def start(*command):
    """Start a process in a group of its own that prints nothing here."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(
        [sys.executable, *command], start_new_session=True, env=os.environ | SETTINGS, **quiet
    )


def end(process):
    """Kill the process and all that it started; leave none behind. A second time does nothing."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 10
    while subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start_scheduler(folder):
    """Return the process of a scheduler, and its address."""
    file = folder / "scheduler.json"
    listen = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    process = start("-m", "distributed.cli.dask_scheduler", *listen, "--scheduler-file", file)
    while not file.exists():
        assert process.poll() is None
        time.sleep(0.05)
    return process, json.loads(file.read_text())["address"]


def start_workers(address, folder, *options):
    """Return the process of nannies that start workers, anew when they end."""
    return start("-c", WORKERS, address, "--no-dashboard", "--local-directory", folder, *options)
