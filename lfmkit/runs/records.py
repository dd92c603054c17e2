"""The record of a run: what was asked for, what came out, and on what it was computed."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from lfmkit.utils import files

FORMAT = 1
RECORD_FILE = "record.json"
OUTCOMES = ("completed", "failed", "timeout", "memory", "killed", "stopped")
Json = Any  # plain data: what json.loads returns


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run of one notebook, as ``record.json`` in its folder holds it; paths are relative to that folder.

    Attributes:
        id: Hash of notebook, parameters and library version; also the name of the folder.
        notebook: Name of the notebook, without folder and ending.
        outcome: "completed", "failed" (an exception), "timeout", "memory" (over its limit), "killed" (by
            someone else), or "stopped" (by Ctrl-C).
        reason: Why it did not complete, in one line; empty for a completed run.
        cell: The last cell that ran: {"number": from 1, as the notebook shows it, "source": first line}.
        parameters: Every parameter of the notebook and its value.
        metrics: The reported numbers; None for one that was not finite.
        started: When it started, in UTC, ISO 8601. Likewise `ended`.
        seconds: Wall-clock seconds of the attempt that counted.
        attempts: How many there were.
        peak_memory: Largest resident memory in bytes, of all its processes together, as polled.
        figures: Pictures of the notebook: [{"file": "figures/01.png", "alt": "what it shows"}].
        data: SHA-256 of the data files that were read, by name.
        source: SHA-256 of the notebook's code. Likewise `library`, of the kit's.
        commit: Commit of the repository that the notebook lies in, "+changes" if it has any; or None.
        versions: Versions of Python and of the packages that matter.
        hardware: Processor, cores, threads of this run, memory in bytes, GPUs.
    """

    id: str
    notebook: str
    outcome: str
    reason: str = ""
    cell: dict[str, Json] | None = None
    parameters: dict[str, Json]
    metrics: dict[str, float | None] = field(default_factory=dict)
    started: str
    ended: str
    seconds: float
    attempts: int = 1
    peak_memory: int = 0
    figures: list[dict[str, str]] = field(default_factory=list)
    data: dict[str, str] = field(default_factory=dict)
    source: str = ""
    library: str = ""
    commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Json] = field(default_factory=dict)

    @property
    def completed(self) -> bool:
        """Whether the run came to its end and its numbers count."""
        return self.outcome == "completed"

    @property
    def seed(self) -> Json:
        """The seed among the parameters, or None."""
        return self.parameters.get("seed")

    def write(self, folder: Path) -> None:
        """Write ``record.json``, in one step."""
        files.write_json(folder / RECORD_FILE, {"format": FORMAT, **asdict(self)})


def read(folder: Path) -> RunRecord:
    """Read the record of a run's folder.

    Raises:
        FileNotFoundError: The run has no record: it has not ended.
        ValueError: The record is damaged, or of a newer version of the kit.
    """
    path = folder / RECORD_FILE
    about = files.read_json(path)
    if about.pop("format", None) != FORMAT:
        raise ValueError(f"{path} has another format than {FORMAT}: it comes from another version of lfmkit")
    known = {each.name for each in fields(RunRecord)}
    try:
        record = RunRecord(**{name: value for name, value in about.items() if name in known})
    except TypeError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if record.outcome not in OUTCOMES:
        raise ValueError(f"{path} is damaged: unknown outcome {record.outcome!r}")
    for name, sound in _SOUND.items():
        if not sound(getattr(record, name)):
            raise ValueError(f"{path} is damaged: {name} is not what it should be")
    return record


def look(folder: Path) -> RunRecord | Literal["running", "interrupted", "no run"]:
    """Return the record of a run's folder, or what the folder is without one.

    Raises:
        ValueError: The record is damaged.
        OSError: It cannot be read.
    """
    for _ in range(2):  # it may end between the look at its record and the one at its lock
        try:
            return read(folder)
        except FileNotFoundError:
            if not (folder / "params.json").exists():
                return "no run"
            if running(folder):
                return "running"
    return "interrupted"


def folders(root: Path) -> Iterator[Path]:
    """Go through the folders of all runs below `root`: ``root/<notebook>/<id>``, sorted.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    for notebook in sorted(os.scandir(root), key=lambda entry: entry.name):
        if notebook.is_dir() and not notebook.name.startswith("."):
            for run in sorted(os.scandir(notebook.path), key=lambda entry: entry.name):
                if run.is_dir() and not run.name.startswith("."):
                    yield Path(run.path)


def running(folder: Path) -> bool:
    """Return whether some process works on this run now."""
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        if not (folder / ".lock").exists():
            return False
        lock.acquire()
    except Timeout:
        return True
    except OSError:  # a disk that nobody can write to
        return False
    lock.release()
    return False


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _is_text(value: Json) -> bool:
    return isinstance(value, str)


def _is_number(value: Json) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**1000)


def _is_shallow(value: Json, levels: int = 20) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in inside)


_SOUND: dict[str, Callable[[Json], bool]] = {
    **dict.fromkeys(("id", "notebook", "reason", "started"), _is_text),
    **dict.fromkeys(("seconds", "peak_memory"), _is_number),
    "cell": lambda value: value is None or isinstance(value, dict),
    "parameters": lambda value: isinstance(value, dict) and _is_shallow(value),
    "metrics": lambda value: (
        isinstance(value, dict) and all(each is None or _is_number(each) for each in value.values())
    ),
    "figures": lambda value: (
        isinstance(value, list)
        and all(
            isinstance(each, dict) and _is_text(each.get("file")) and _is_text(each.get("alt"))
            for each in value
        )
    ),
}
