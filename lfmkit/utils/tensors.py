"""Tensors and what is said about them in one safetensors file; reading one runs no code of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from lfmkit.utils.files import write


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """Write named tensors and plain data about them as one safetensors file; return its SHA-256."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = to_bytes(ready, metadata={"about": json.dumps(about, allow_nan=False)})
    write(path, content)
    return hashlib.sha256(content).hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is cut off or damaged.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise ValueError(
            f"{path} is cut off or damaged ({error}): delete it, or restore it from a copy"
        ) from error
