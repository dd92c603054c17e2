"""The process that executes one notebook: ``python -m lfmkit.runs.child FOLDER``, started by `supervise`.

It reads ``.task.json`` and ``.source.ipynb`` in the run's folder and leaves ``notebook.ipynb``,
``notebook.html``, ``figures/`` and, last, ``.outcome.json``. While it works, ``.cell.json`` names the cell.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import papermill
import psutil
from filelock import FileLock
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from lfmkit.runs import engine
from lfmkit.runs.artifacts import BUSY, CELL, DEAD_KERNEL, EXECUTING, OUTCOME, RESERVE, SOURCE, TASK, keep
from lfmkit.runs.reporting import METRICS_FILE
from lfmkit.utils import files


def main(folder: Path) -> int:
    """Execute the notebook of a run's folder; return 0 if it came to its end."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    task = files.read_json(folder / TASK)
    with FileLock(folder / BUSY, timeout=30):
        for name in (CELL, OUTCOME, EXECUTING, METRICS_FILE):
            (folder / name).unlink(missing_ok=True)
        reason = _execute(folder, task)
        figures = []
        try:
            figures = keep(folder, task["name"])
        except OSError as error:
            reason = reason or _os_reason(error)
        except ValueError as error:  # cut off on a full disk, which is then the reason
            reason = reason or f"what was executed cannot be read: {error}"
        (folder / RESERVE).unlink(missing_ok=True)
        files.write_json(folder / OUTCOME, {"reason": reason, "figures": figures})
    return 1 if reason else 0


def _execute(folder: Path, task: dict[str, Any]) -> str:
    """Execute the notebook; return why it failed, or nothing."""

    def at_cell(number: int, source: str) -> None:
        lines = source.strip().splitlines() or [""]
        files.write_json(folder / CELL, {"number": number, "source": lines[0][:200]})

    engine.register("lfmkit", at_cell)
    try:
        papermill.execute_notebook(
            folder / SOURCE, folder / EXECUTING, task["given"] | task["folder"],
            engine_name="lfmkit", kernel_name="python3", progress_bar=False, cwd=task["cwd"],
        )  # fmt: skip
    except PapermillExecutionError as error:
        lines = str(error.evalue).splitlines() or [""]
        return f"{error.ename}: {lines[0]}"
    except DeadKernelError:
        return DEAD_KERNEL
    except OSError as error:
        return _os_reason(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _os_reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return f"{type(error).__name__}: {error}"


def _end_with(parent: int) -> None:
    """End this process and all its own once the process that started it has gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
