"""Checkpoints: flow.json says what a flow is, a safetensors file beside it holds the weights.

The weights' file is named after its own hash and written first; flow.json, which names it, comes last. So a
save that is interrupted leaves the flow that was there before.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from lfmkit.couplings import COUPLINGS
from lfmkit.flows.block import Block
from lfmkit.paths import PATHS
from lfmkit.utils import files, references
from lfmkit.utils.tensors import read_tensors
from lfmkit.version import __version__

FORMAT = 1


def describe(block: Block) -> dict[str, Any]:
    """Return what flow.json says of a block.

    Raises:
        ValueError: No name leads back to its path, coupling or class, or the class is built otherwise.
    """
    about: dict[str, Any] = {
        "gamma": block.gamma if math.isfinite(block.gamma) else None,
        "path": references.to_json(block.path, PATHS, "path"),
        "coupling": references.to_json(block.coupling, COUPLINGS, "coupling"),
        "precondition": block.precondition,
    }
    if type(block) is not Block:
        about["class"] = references.reference(type(block))
        ours, theirs = (list(inspect.signature(kind).parameters) for kind in (Block, type(block)))
        if theirs[: len(ours)] != ours:
            raise ValueError(
                f"{about['class']} cannot be stored: give its __init__ Block's arguments, {', '.join(ours)}"
            )
    return about


def built(about: Mapping[str, Any], net: nn.Module, cond: int, trust: references.Trust) -> Block:
    """Return the block that `describe` described, around a fresh network."""
    gamma = math.inf if about["gamma"] is None else about["gamma"]
    path = references.from_json(about["path"], PATHS, "path", trust, "path")
    coupling = references.from_json(about["coupling"], COUPLINGS, "coupling", trust, "coupling")
    kind = references.find(about["class"], trust, "block") if "class" in about else Block
    made: Block = kind(net, gamma, path, coupling, about["precondition"], cond)
    return made


def write(folder: Path, about: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write plain data and weights to a folder, and only then remove weights that were there before.

    Raises:
        OSError: The folder cannot be written or the disk is full.
    """
    content = to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    digest = hashlib.sha256(content).hexdigest()
    weights = folder / f"weights-{digest[:12]}.safetensors"
    files.write(weights, content)
    head = {"format": FORMAT, "lfmkit": __version__}
    files.write_json(folder / "flow.json", {**head, **about, "weights": weights.name, "sha256": digest})
    for old in folder.glob("weights-*.safetensors"):
        if old != weights:
            old.unlink()


def read(folder: Path) -> dict[str, Any]:
    """Return what flow.json says.

    Raises:
        FileNotFoundError: There is no flow in the folder.
        ValueError: flow.json is damaged, or was written by a newer version.
    """
    about = files.read_json(folder / "flow.json")
    version = about.get("format")
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"{folder / 'flow.json'} does not describe a flow: it has no format version")
    if version > FORMAT:
        raise ValueError(
            f"{folder} is of a newer lfmkit ({about.get('lfmkit')}, format {version}; this one reads up to "
            f"format {FORMAT}): update lfmkit"
        )
    return about


def restore(module: nn.Module, weights: Path, digest: str) -> None:
    """Put weights that `write` wrote into a module, in their own precision.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is cut off or damaged, or does not fit the module.
    """
    tensors, _ = read_tensors(weights)
    if files.sha256(weights) != digest:
        raise ValueError(
            f"{weights} is damaged: its SHA-256 is not the one in flow.json. Restore it from a copy"
        )
    try:
        module.to(next(iter(tensors.values())).dtype).load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{weights} does not fit the flow in flow.json: {error}") from error


@contextlib.contextmanager
def damage_named(folder: Path) -> Iterator[None]:
    """Say that flow.json is damaged where what it should hold is missing or of another type."""
    try:
        yield
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'flow.json'} is damaged: {error!r}") from error
