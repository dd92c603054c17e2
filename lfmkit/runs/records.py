"""The record of a run, and `report`: how a notebook hands its numbers over to the record."""

from __future__ import annotations

import datetime
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, SupportsFloat

from filelock import FileLock, Timeout

from lfmkit.utils import files, provenance

FORMAT = 1
RECORD_FILE, METRICS_FILE, PARAMS_FILE = "record.json", "metrics.json", "params.json"
FOLDER_VARIABLE = "LFMKIT_RUN_FOLDER"  # set for the kernel of `lfmkit run`
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
        started, ended: Times in UTC, ISO 8601.
        seconds: Wall-clock seconds of the attempt that counted.
        attempts: How many there were.
        peak_memory: Largest resident memory in bytes, of all its processes together, as polled.
        figures: Pictures of the notebook: [{"file": "figures/01.png", "alt": "what it shows"}].
        data: SHA-256 of the data files that were read, by name.
        source, library: SHA-256 of the notebook's code, and of the kit's.
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
    def place(self) -> str:
        """The last cell that ran, as the end of a phrase; empty if none did."""
        cell = self.cell or {}
        return f" in cell {cell.get('number')} `{cell.get('source', '')}`" if cell else ""

    @property
    def why(self) -> str:
        """Outcome, last cell and reason of a run that did not complete, in one line."""
        return f"{self.outcome}{self.place}: {self.reason or 'no reason was recorded'}"

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
    try:
        record = RunRecord(**{name: value for name, value in about.items() if name in _FIELDS})
    except TypeError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    for name, sound in _SOUND.items():
        if not sound(getattr(record, name)):
            raise ValueError(f"{path} is damaged: {name} is not what it should be")
    return record


def completed(folder: Path) -> RunRecord | None:
    """Return the record of a run that is completed, or None."""
    try:
        record = read(folder)
    except (FileNotFoundError, ValueError):
        return None
    return record if record.completed else None


def look(folder: Path) -> RunRecord | str | None:
    """Return the record of a run's folder, or why it has none; None if it is not the folder of a run."""
    for _ in range(2):  # it may end between the look at its record and the one at its lock
        try:
            return read(folder)
        except FileNotFoundError:
            if not (folder / PARAMS_FILE).exists():
                return None
            if running(folder):
                return "running: no record yet"
        except (ValueError, OSError) as error:
            return f"unreadable: {str(error).replace(f'{folder}{os.sep}', '') or type(error).__name__}"
    return "interrupted: no record, the same command makes the run again"


def running(folder: Path) -> bool:
    """Return whether some process works on this run now."""
    lock = folder / ".lock"
    try:
        if lock.exists():
            with FileLock(lock, timeout=0):
                return False
    except Timeout:
        return True
    except OSError:  # a disk that nobody can write to
        pass
    return False


def folders(root: Path) -> Iterator[Path]:
    """Go through the folders of all runs below `root`: ``root/<notebook>/<id>``, sorted.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    for notebook in _inside(root):
        for run in _inside(notebook):
            yield Path(run)


def _inside(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    entries = (each for each in os.scandir(folder) if each.is_dir() and not each.name.startswith("."))
    return sorted(entries, key=lambda entry: entry.name)


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def report(**numbers: SupportsFloat | Mapping[str, SupportsFloat]) -> None:
    """Print a notebook's numbers and, in a run of `lfmkit run` or `lfmkit sweep`, record them.

    Args:
        numbers: Numbers by name: ints, floats, tensors of one element, records of `metrics`. A mapping stands
            for several: ``LFM={"nll": 2.5, "nfe": 90}`` is recorded as ``LFM.nll`` and ``LFM.nfe``. A number
            that was reported before under the same name is replaced.

    Raises:
        TypeError: A value is not a number.
        ValueError: A name inside a mapping has other characters than letters, digits, spaces and ``_-+.``.
        OSError: The record cannot be written.

    >>> report(excess=0.0621, LFM={"nfe": 90})
    excess 0.0621, LFM.nfe 90
    """
    new = dict(_flat(numbers))
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        _reported.update({name: value if math.isfinite(value) else None for name, value in new.items()})
        files.write_json(Path(folder) / METRICS_FILE, {"metrics": _reported, "data": provenance.data_read()})
    print(", ".join(f"{name} {value:.4g}" for name, value in new.items()))


def _flat(numbers: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in numbers.items():
        name = f"{prefix}{key}"
        if not re.fullmatch(r"[\w +.\-]{1,80}", name):
            raise ValueError(f"the name {name!r} must be letters, digits, spaces and _-+. only, at most 80")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
            continue
        try:
            if isinstance(value, str):
                raise TypeError
            yield name, float(value)
        except (TypeError, ValueError, RuntimeError):
            kind = type(value).__name__
            raise TypeError(f"{name} is not a number but {kind}: report one number a name") from None


def _is_text(value: Json) -> bool:
    return isinstance(value, str)


def _is_number(value: Json) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**1000)


def _is_shallow(value: Json, levels: int = 20) -> bool:
    inside = value.values() if isinstance(value, dict) else value
    deeper = [each for each in inside if isinstance(each, (dict, list))]
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in deeper)


_reported: dict[str, float | None] = {}
_FIELDS = {each.name for each in fields(RunRecord)}
_SOUND: dict[str, Callable[[Json], bool]] = {
    **dict.fromkeys(("id", "notebook", "reason", "started"), _is_text),
    **dict.fromkeys(("seconds", "peak_memory"), _is_number),
    "outcome": lambda value: value in OUTCOMES,
    "cell": lambda value: value is None or isinstance(value, dict),
    "parameters": lambda value: isinstance(value, dict) and _is_shallow(value),
    "metrics": lambda value: (
        isinstance(value, dict) and all(each is None or _is_number(each) for each in value.values())
    ),
    "figures": lambda value: (
        isinstance(value, list)
        and all(isinstance(each, dict) and _is_text(each.get("file")) and _is_text(each.get("alt"))
                for each in value)
    ),
}  # fmt: skip
