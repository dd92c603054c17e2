"""Keeps images that took long to read: a file for each set and size, in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from lfmkit.utils import files
from lfmkit.utils.tensors import read_tensors

_FORM = 1  # changes when images are read in another way


def place(checksum: str, size: int | None) -> Path:
    """Return where the images with this checksum, resized to this size, are kept."""
    import pooch

    key = hashlib.sha256(f"{_FORM} {checksum} {size}".encode()).hexdigest()[:32]
    return Path(pooch.os_cache("lfmkit")) / "images" / f"{key}.safetensors"


def kept(path: Path) -> tuple[Tensor, dict[str, Any]] | None:
    """Return images that are kept, mapped from the disk, and what was found when they were read, or None."""
    try:
        tensors, found = read_tensors(path)
        return tensors["images"], found
    except (FileNotFoundError, ValueError, LookupError):  # not here, or damaged: then they are read again
        return None


def keep(path: Path, images: Tensor, found: dict[str, Any]) -> None:
    """Write images to be kept, whole or not at all; if that fails say so and go on."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with files.locked(path.parent):
            try:
                save_file({"images": images}, temporary, {"about": json.dumps(found)})
                os.replace(temporary, path)
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink()
    except (OSError, SafetensorError, files.InUseError) as error:
        text = f"cannot keep the images in {path.parent}, so next time they will be read anew: {error}"
        warnings.warn(text, stacklevel=4)
