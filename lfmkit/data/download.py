"""Finds the files of data sets: in the kit, under $LFMKIT_DATA, in the user's cache, or on the network."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
import tarfile
import zlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from lfmkit.utils import files
from lfmkit.utils.progress import watched

URL = "https://zenodo.org/records/1161203/files/data.tar.gz"
MD5 = "9b9c9b0375315ad270eba4ce80c093ab"
SIZE = "857 MB"
DOI = "10.5281/zenodo.1161203"
VARIABLE = "LFMKIT_DATA"


def asset(relative: str) -> Path:
    """Return the path of a file the kit ships: in data/ of a clone, in lfmkit/assets of a package."""
    package = Path(str(resources.files("lfmkit")))
    for folder in (package / "assets", package.parent / "data"):
        if (folder / relative).exists():
            return folder / relative
    raise FileNotFoundError(f"{relative} is not among the kit's files: the installation is not complete")


def cached(kind: str, key: str) -> Path:
    """Return where tensors that took long to make are kept in the user's cache; the key says of what."""
    import pooch

    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    return Path(pooch.os_cache("lfmkit")) / kind / f"{name}.safetensors"


def places(name: str) -> list[Path]:
    """Return where something may lie under $LFMKIT_DATA: in this folder, or in the folder data in it.

    Raises:
        FileNotFoundError: LFMKIT_DATA does not name a folder.
    """
    if not os.environ.get(VARIABLE):
        return []
    folder = Path(os.environ[VARIABLE]).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{VARIABLE} names {folder}, which is not a folder: correct it, or unset it")
    return [folder / name, folder / "data" / name]


def given(name: str) -> Path | None:
    """Return a file under $LFMKIT_DATA, or None if it is not there."""
    return next((path for path in places(name) if path.is_file()), None)


def member(*names: str) -> list[Path]:
    """Return files of MAF's archive: those under $LFMKIT_DATA or in the cache, else downloaded and unpacked.

    Args:
        names: Paths below data/ in the archive.

    Raises:
        OSError: The archive cannot be had or unpacked; nothing half-written is left.
    """
    mine = [path for path in map(given, names) if path]
    if len(mine) == len(names):
        return mine
    import pooch

    folder = Path(pooch.os_cache("lfmkit")) / "maf"
    found = [folder / name for name in names]
    if not all(path.is_file() for path in found):
        with files.locked(folder):
            _unpack(_archive(folder, names), names, folder)
    return found


def _archive(folder: Path, names: Sequence[str]) -> Path:
    """Return MAF's archive, downloaded if need be: whole and with the right checksum, or not at all."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    for leftover in folder.glob("tmp*"):  # of a download that was killed
        leftover.unlink()
    archive = folder / "data.tar.gz"
    remedy = f"Or download it yourself, unpack it, and set {VARIABLE} to the folder that holds {names[0]}"
    if not archive.exists():
        print(f"downloading {URL} ({SIZE}) to {folder}", file=sys.stderr)
    answers: list[Any] = []
    hooks = {"response": lambda answer, *_, **__: answers.append(answer)}
    downloader = pooch.HTTPDownloader(progressbar=watched(), hooks=hooks)
    try:
        pooch.retrieve(URL, f"md5:{MD5}", fname=archive.name, path=folder, downloader=downloader)
    except (OSError, ValueError) as error:
        raise OSError(f"cannot download {URL} ({SIZE}): {_reason(error)}. Try again. {remedy}") from error
    finally:
        for answer in answers:  # pooch leaves a connection open that broke off in the middle
            answer.close()
    return archive


def _reason(error: OSError | ValueError) -> str:
    """Return in a few words why a download failed."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    if not isinstance(error, OSError):
        return f"what came has not the checksum {MD5} and was deleted"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return error.strerror or "there is no connection, or it was cut off"


def _unpack(archive: Path, names: Sequence[str], folder: Path) -> None:
    """Take members out of the archive, each whole or not at all, to places that their names here say."""
    wanted = {f"data/{name}": folder / name for name in names}
    try:
        with tarfile.open(archive, "r:gz") as content:
            for entry in content:
                target = wanted.pop(entry.name.removeprefix("./"), None)
                if target:
                    _copy(content, entry, target, folder / f".{target.name}.{os.getpid()}.tmp")
                if not wanted:
                    return
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        message = f"cannot unpack {archive} to {folder}: {'the disk is full' if full else error}"
        raise OSError(f"{message}. Make room, or delete the archive and try again") from error
    raise OSError(f"{archive} does not hold {', '.join(wanted)}: delete it and try again")


def _copy(content: tarfile.TarFile, entry: tarfile.TarInfo, target: Path, temporary: Path) -> None:
    source = content.extractfile(entry) if entry.isreg() else None
    if source is None:  # a link could lead anywhere
        raise tarfile.TarError(f"{entry.name} is not a plain file")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with source, open(temporary, "wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
