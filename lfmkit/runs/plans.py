"""Plans of runs: a notebook with its parameters, the limits it runs under, and a rehearsal of it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lfmkit.runs.parameters import FOLDER_PARAMETER, Source, Value, read_notebook, short
from lfmkit.version import __version__

UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
PLAN = "plan"  # tag of the cell that says what a run takes
REHEARSAL = 600.0  # seconds that a cell may take before that


@dataclass(frozen=True)
class Limits:
    """The limits of one run.

    Attributes:
        timeout: Seconds of one attempt.
        memory: Resident bytes of all its processes together; None for its share of the machine's memory.
        retries: Further attempts after one that failed.
        threads: Threads it computes with; None for its share of the machine's cores.
    """

    timeout: float = 3600.0
    memory: int | None = None
    retries: int = 0
    threads: int | None = None


@dataclass(frozen=True)
class Plan:
    """One run that is to be made.

    Attributes:
        source: The notebook.
        given: The parameters that were given.
        root: Folder that holds ``<notebook>/<id>`` of every run.
        cwd: Folder that the notebook runs in, as it does with plain papermill.
    """

    source: Source
    given: dict[str, Value]
    root: Path
    cwd: Path = field(default_factory=Path.cwd)

    @property
    def parameters(self) -> dict[str, Value]:
        """Every parameter and its value, except the folder."""
        both = self.source.defaults | self.given
        return {name: value for name, value in both.items() if name != FOLDER_PARAMETER}

    @property
    def id(self) -> str:
        """Hash of the notebook's code, all parameters and the library's version."""
        about = [self.source.digest, self.parameters, __version__]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.root / self.source.name / self.id

    def given_with(self, out: str) -> dict[str, Value]:
        """Return the given parameters and the folder for files, if the notebook takes one."""
        return self.given | ({FOLDER_PARAMETER: out} if FOLDER_PARAMETER in self.source.defaults else {})

    def __str__(self) -> str:
        return " ".join(f"{name}={short(value)}" for name, value in self.given.items()) or "defaults"


def plan_run(notebook: str | Path, given: Mapping[str, Value], root: str | Path = "runs") -> Plan:
    """Return the plan of a single run.

    Raises:
        FileNotFoundError: There is no such notebook.
        ValueError: It is not a notebook, or a parameter is unknown or ill-typed.
    """
    source = read_notebook(notebook)
    return Plan(source, source.check(given), Path(root).absolute())


def read_limits(about: Mapping[str, Any]) -> Limits:
    """Return limits from plain data: timeout in seconds, memory in bytes or like "4 GB", retries, threads.

    Raises:
        ValueError: An unknown name, or a value that is not positive.

    >>> read_limits({"timeout": 600, "memory": "4 GB"})
    Limits(timeout=600.0, memory=4000000000, retries=0, threads=None)
    """
    if not isinstance(about, Mapping) or set(about) - {each.name for each in fields(Limits)}:
        raise ValueError(f"limits are timeout, memory, retries and threads, got {about!r}")
    for name, least in (("retries", 0), ("threads", 1)):
        count = about.get(name, least)
        if type(count) is not int or count < least:
            raise ValueError(f"{name} must be a whole number, {least} or more, got {count!r}")
    timeout = about.get("timeout", Limits.timeout)
    if type(timeout) not in (int, float) or not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be a number of seconds above 0, got {timeout!r}")
    memory = {"memory": _bytes(about["memory"])} if "memory" in about else {}
    return Limits(**{**about, "timeout": float(timeout), **memory})


def rehearse(plan: Plan) -> str:
    """Execute a notebook with its parameters up to its cell tagged `plan`; return the output of that cell.

    Nothing is recorded or kept.

    Raises:
        ValueError: The notebook has no such cell.
        RuntimeError: A cell failed.
    """
    notebook = json.loads(plan.source.text)
    tagged = [PLAN in cell["metadata"].get("tags", []) for cell in notebook["cells"]]
    if not any(tagged):
        raise ValueError(
            f"the notebook {plan.source.name} has no cell tagged `{PLAN}` that says what it takes: only "
            "notebooks of long runs have one"
        )
    del notebook["cells"][tagged.index(True) + 1 :]

    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.ERROR)  # parameters are checked already, and better
    with tempfile.TemporaryDirectory() as folder:
        try:
            executed = papermill.execute_notebook(
                nbformat.reads(json.dumps(notebook), 4), None, plan.given_with(folder), kernel_name="python3",
                progress_bar=False, cwd=plan.cwd, execution_timeout=REHEARSAL,
            )  # fmt: skip
        except PapermillExecutionError as error:
            lines = str(error.evalue).splitlines() or [""]
            raise RuntimeError(f"{error.ename}: {lines[0]}") from error
    outputs = [
        output.text if output.output_type == "stream" else f"{output.get('data', {}).get('text/plain', '')}\n"
        for output in executed.cells[-1].outputs
    ]
    return "".join(outputs).rstrip()


def _bytes(size: int | str) -> int:
    found = re.fullmatch(r"([\d.]+) *([kmg]i?b)?", str(size).lower())
    try:
        count = int(float(found[1]) * UNITS[found[2] or ""]) if found else 0
    except ValueError:
        count = 0
    if count <= 0:
        raise ValueError(f"{size!r} is not an amount of memory: write for example 4 GB or 500 MiB")
    return count
