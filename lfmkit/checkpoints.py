"""Saving and loading flows: flow.json says what the flow is, a safetensors file beside it holds the weights.

The weights' file is named after its own hash and written first; flow.json, which names it, comes last. So a
save that is interrupted leaves the flow that was there before.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_bytes

from lfmkit import __version__, files, nets, tensorfiles
from lfmkit.blocks import Block
from lfmkit.flows import Flow
from lfmkit.solvers import Solver

FORMAT = 1


def save_flow(flow: Flow, folder: Path, **more: Any) -> None:
    """Write a flow to a folder, and more plain data about it to its flow.json.

    Raises:
        ValueError: The flow was not built from a network recipe.
        OSError: The folder cannot be written or the disk is full.
    """
    if flow.net is None:
        raise ValueError("only a flow built from a network recipe (net=…) can be saved")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in flow.state_dict().items()}
    content = to_bytes(tensors)
    digest = hashlib.sha256(content).hexdigest()
    weights = folder / f"weights-{digest[:12]}.safetensors"
    about = {
        "format": FORMAT,
        "lfmkit": __version__,
        "dim": flow.dim,
        "cond": flow.cond,
        "blocks": [
            {
                "gamma": b.gamma if math.isfinite(b.gamma) else None,
                "path": b.path,
                "coupling": b.coupling,
                "precondition": b.precondition,
            }
            for b in flow.chain
        ],
        "net": nets.to_json(flow.net),
        "solver": asdict(flow.solver),
        "weights": weights.name,
        "sha256": digest,
        **more,
    }
    files.write(weights, content)
    files.write_json(folder / "flow.json", about)
    for old in folder.glob("weights-*.safetensors"):
        if old != weights:
            old.unlink()


def load(folder: str | Path, net: nets.Recipe | None = None) -> Flow:
    """Return the flow that `Flow.save` wrote, on the CPU.

    Args:
        folder: The folder.
        net: The recipe, where it is not one of `lfmkit.nets`.

    Raises:
        FileNotFoundError: There is no flow in the folder.
        ValueError: A file is cut off or damaged, or was written by a newer version.
    """
    folder = Path(folder)
    about = files.read_json(folder / "flow.json")
    version = about.get("format")
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"{folder / 'flow.json'} is no description of a flow: it has no format version")
    if version > FORMAT:
        raise ValueError(
            f"{folder} is of a newer lfmkit ({about.get('lfmkit')}, format {version}; this one reads up to "
            f"format {FORMAT}): update lfmkit"
        )
    try:
        recipe, cond = net or nets.from_json(about["net"]), about.get("cond", 0)
        blocks = []
        for b in about["blocks"]:
            gamma = math.inf if b["gamma"] is None else b["gamma"]
            velocity = nets.build(recipe, about["dim"], cond)
            blocks.append(Block(velocity, gamma, b["path"], b["coupling"], b["precondition"], cond))
        flow = Flow(blocks, about["dim"], recipe, Solver(**about["solver"]))
        weights, digest = folder / about["weights"], about["sha256"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'flow.json'} is damaged: {error!r}") from error
    tensors, _ = tensorfiles.read_tensors(weights)
    if files.sha256(weights) != digest:
        raise ValueError(
            f"{weights} is damaged: its SHA-256 is not the one in flow.json. Restore it from a copy"
        )
    try:
        flow.to(next(iter(tensors.values())).dtype).load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{weights} does not fit the flow in flow.json: {error}") from error
    return flow
