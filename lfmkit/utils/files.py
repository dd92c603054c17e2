"""Files that are either whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout


class InUseError(RuntimeError):
    """Another process holds the folder."""


@contextlib.contextmanager
def _whole(path: Path, remedy: str) -> Iterator[IO[bytes]]:
    """Open a file under a temporary name, which becomes its own when all is written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        raise OSError(error.errno, f"cannot write {path}: {reason}. {remedy}") from error


def write(path: Path, content: bytes) -> None:
    """Write a file in one step: a reader sees the old content or the new one, never a part.

    Raises:
        OSError: The folder cannot be made or written, or the disk is full. The old file is untouched.
    """
    with _whole(path, "Nothing was changed: make room, or choose another folder") as file:
        file.write(content)


def reserve(path: Path, size: int) -> None:
    """Make a file of zero bytes that the disk has room for; one that is there already stays.

    Writing into a mapped file without room behind it would end the process.

    Raises:
        OSError: There is no room, or the folder cannot be written; nothing is left.
    """
    if path.exists() and path.stat().st_size == size:
        return
    zeros = bytes(1 << 20)
    with _whole(path, f"It needs {size / 1e6:,.1f} MB: make room, or choose another out=") as file:
        for first in range(0, size, len(zeros)):
            file.write(zeros[: size - first])


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write plain data as JSON, in one step."""
    write(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no {path}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged: a JSON object was expected")
    return value


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):  # data files may be larger than memory allows at once
            digest.update(part)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder (made if need be) for one run at a time; the lock goes with the process, however it ends.

    Raises:
        InUseError: Another process holds the folder.
        OSError: The folder cannot be made or written.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InUseError(
            f"{folder} is in use by another run: wait for it, or choose another folder"
        ) from None
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror}. Choose another folder"
        raise OSError(error.errno, message) from error
    with lock:
        for leftover in folder.glob(".*.tmp"):  # of a writer that was killed
            leftover.unlink()
        try:
            yield
        finally:
            lock.release()
