"""The process that executes one notebook: ``python -m lfmkit.runs.child FOLDER``, started by `supervise`.

It reads ``.task.json`` and ``.source.ipynb`` in the run's folder and leaves ``notebook.ipynb``,
``notebook.html``, ``figures/`` and, last, ``.outcome.json``. While it works, ``.cell.json`` names the cell.
"""

from __future__ import annotations

import errno
import itertools
import os
import sys
import threading
import time
from pathlib import Path
from queue import Empty
from typing import Any

import papermill
import psutil
from filelock import FileLock
from nbclient.exceptions import DeadKernelError
from nbclient.util import run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from lfmkit.runs import artifacts
from lfmkit.runs.records import METRICS_FILE
from lfmkit.utils import files

SLICE = 0.25  # seconds


def main(folder: Path) -> int:
    """Execute the notebook of a run's folder; return 0 if it came to its end."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    task = files.read_json(folder / artifacts.TASK)
    with FileLock(folder / artifacts.BUSY, timeout=30):
        for name in (artifacts.CELL, artifacts.OUTCOME, artifacts.EXECUTING, METRICS_FILE):
            (folder / name).unlink(missing_ok=True)
        reason = _execute(folder, task)
        figures = []
        try:
            figures = artifacts.keep(folder, task["name"])
        except (OSError, ValueError) as error:  # cut off on a full disk, which is then the reason
            reason = reason or _reason(error)
        (folder / artifacts.RESERVE).unlink(missing_ok=True)
        files.write_json(folder / artifacts.OUTCOME, {"reason": reason, "figures": figures})
    return 1 if reason else 0


def _execute(folder: Path, task: dict[str, Any]) -> str:
    """Execute the notebook; return why it failed, or nothing."""
    number = itertools.count(1)

    def at_cell(cell: Any, **_: Any) -> None:
        first = cell.source.strip().splitlines()[0]
        files.write_json(folder / artifacts.CELL, {"number": next(number), "source": first[:200]})

    papermill_engines.register("lfmkit", Engine)
    try:
        papermill.execute_notebook(
            folder / artifacts.SOURCE, folder / artifacts.EXECUTING, task["given"], engine_name="lfmkit",
            kernel_name="python3", progress_bar=False, cwd=task["cwd"], on_cell_execute=at_cell,
        )  # fmt: skip
    except Exception as error:
        return _reason(error)
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, DeadKernelError):
        return artifacts.DEAD_KERNEL
    if isinstance(error, PapermillExecutionError):
        first, *_ = str(error.evalue).splitlines() or [""]
        return f"{error.ename}: {first}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return artifacts.DISK_FULL
    return f"{type(error).__name__}: {error}"


class Engine(NBClientEngine):  # type: ignore[misc]
    """Execute a notebook with `SlicedClient`, as papermill asks for it."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, on_cell_execute: Any, **_: Any) -> Any:
        """Execute all cells; `on_cell_execute` is called with each of them before."""
        return SlicedClient(nb_man, kernel_name=kernel_name, on_cell_execute=on_cell_execute).execute()


class SlicedClient(PapermillNotebookClient):  # type: ignore[misc]
    """Wait for the kernel's replies in short slices.

    nbclient sends the messages of Output widgets on the socket whose replies another task waits for; the
    sending can swallow the event that the reply has come, and the notebook then never ends (nbclient issue
    312). Looking again every quarter of a second cannot miss it.
    """

    async def async_start_new_kernel_client(self) -> Any:
        """Start the kernel's client, with a shell channel that looks again and again."""
        client = await super().async_start_new_kernel_client()
        channel = client.shell_channel
        whole = channel.get_msg

        async def get_msg(timeout: float | None = None) -> Any:
            end = None if timeout is None else time.monotonic() + timeout
            while True:
                left = SLICE if end is None else min(SLICE, end - time.monotonic())
                try:
                    return await whole(timeout=max(left, 0))
                except Empty:
                    if end is not None and time.monotonic() >= end:
                        raise

        channel.get_msg = get_msg
        return client

    start_new_kernel_client = run_sync(async_start_new_kernel_client)


def _end_with(parent: int) -> None:
    """End this process and all its own once the process that started it has gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
