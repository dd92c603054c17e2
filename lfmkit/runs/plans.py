"""What is to be run: a notebook with its parameters, and the limits it runs under."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfmkit.runs.parameters import FOLDER_PARAMETER, Source, read_notebook
from lfmkit.runs.values import Value, short
from lfmkit.version import __version__

UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True)
class Limits:
    """What one run may use.

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
        commit: Commit of the repository that the notebook lies in, or None.
    """

    source: Source
    given: dict[str, Value]
    root: Path
    cwd: Path = field(default_factory=Path.cwd)
    commit: str | None = None

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

    def __str__(self) -> str:
        return " ".join(f"{name}={short(value)}" for name, value in self.given.items()) or "defaults"


def plan_run(notebook: str | Path, given: Mapping[str, Value], root: str | Path = "runs") -> Plan:
    """Return the plan of a single run.

    Raises:
        FileNotFoundError: There is no such notebook.
        ValueError: It is no notebook, or a parameter is unknown or ill-typed.
    """
    source = read_notebook(notebook)
    return Plan(
        source, source.check(given), Path(root).absolute(), commit=commit_of(source.path.resolve().parent)
    )


def read_limits(about: Mapping[str, Any]) -> Limits:
    """Return limits from plain data: timeout in seconds, memory in bytes or like "4 GB", retries, threads.

    Raises:
        ValueError: An unknown name, or a value that is not positive.

    >>> read_limits({"timeout": 600, "memory": "4 GB"})
    Limits(timeout=600.0, memory=4000000000, retries=0, threads=None)
    """
    if not isinstance(about, Mapping) or set(about) - {"timeout", "memory", "retries", "threads"}:
        raise ValueError(f"limits are timeout, memory, retries and threads, got {about!r}")
    limits = dict(about)
    for name, least in (("retries", 0), ("threads", 1)):
        if name in limits and (type(limits[name]) is not int or limits[name] < least):
            raise ValueError(f"{name} must be a whole number, {least} or more, got {limits[name]!r}")
    timeout = limits.get("timeout", 1)
    if type(timeout) not in (int, float) or not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be a number of seconds above 0, got {timeout!r}")
    if "timeout" in limits:
        limits["timeout"] = float(timeout)
    if "memory" in limits:
        limits["memory"] = read_bytes(limits["memory"])
    return Limits(**limits)


def read_bytes(size: int | str) -> int:
    """Return a number of bytes, given as such or like "4 GB" or "500 MiB".

    Raises:
        ValueError: It is no size, or not positive.
    """
    found = re.fullmatch(r"([\d.]+) *([kmg]i?b)?", str(size).lower())
    try:
        count = int(float(found[1]) * UNITS[found[2] or ""]) if found else 0
    except ValueError:
        count = 0
    if count <= 0:
        raise ValueError(f"{size!r} is no amount of memory: write for example 4 GB or 500 MiB")
    return count


def commit_of(folder: Path) -> str | None:
    """Return the commit checked out in a folder, with "+changes" when tracked files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
