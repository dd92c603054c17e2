"""The state of the library, versions and hardware that a run was computed on; never environment variables."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = (
    "lfmkit", "torch", "torchdiffeq", "numpy", "POT", "matplotlib", "papermill", "nbclient", "ipykernel",
    "diffusers", "datasets", "metaworld", "mujoco",
)  # fmt: skip


def library_digest() -> str:
    """Return the SHA-256 of the kit's own source files."""
    home, digest = Path(__file__).parent.parent, hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        digest.update(str(path.relative_to(home)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def hardware(threads: int) -> dict[str, Any]:
    """Return processor, cores, threads of the run, memory in bytes, and GPUs."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory": psutil.virtual_memory().total,
        "gpus": _gpus(),
    }


def _processor() -> str:
    with suppress(OSError):
        found = re.search("^model name.*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.strip().splitlines()
