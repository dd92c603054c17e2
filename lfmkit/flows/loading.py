"""Loading a flow that was saved, your own paths, networks and blocks among it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lfmkit import nets
from lfmkit.flows import checkpoints
from lfmkit.flows.flow import Flow
from lfmkit.solvers import Solver
from lfmkit.utils import references

OBJECTIVES = "lfmkit.training.objectives"  # those of the kit itself, which are trusted


def load(folder: str | Path, net: nets.Recipe | None = None, trust: references.Trust = ()) -> Flow:
    """Return the flow that `Flow.save` wrote, on the CPU. Nothing is unpickled.

    Args:
        folder: The folder.
        net: The recipe of the networks, where it is not stored.
        trust: Functions and classes of your own that the flow is made of: themselves, the names of modules
            that they may be imported from, or a mapping from the names in flow.json to those that moved.

    Raises:
        FileNotFoundError: There is no flow in the folder.
        ValueError: A file is cut off or damaged, or was written by a newer version; or the flow is made of
            something that is not lfmkit's own and not trusted.
    """
    folder = Path(folder)
    one = isinstance(trust, (Mapping, str)) or callable(trust)
    trust = [*([trust] if one else trust), OBJECTIVES]
    about = checkpoints.read(folder)
    with checkpoints.damage_named(folder):
        recipe, dim = net or nets.from_json(about["net"], trust), about["dim"]
        blocks = [
            checkpoints.built(b, nets.build(recipe, dim, about.get("cond", 0)), about.get("cond", 0), trust)
            for b in about["blocks"]
        ]
        stored = about["solver"]
        own = isinstance(stored, str) or "solver" in stored
        solver = references.from_json(stored, {}, "solver", trust, "sampler") if own else Solver(**stored)
        flow = Flow(blocks, dim, recipe, solver)
        if "objective" in about:
            flow.objective = references.from_json(about["objective"], {}, "objective", trust, "objective")
        weights = folder / about["weights"], about["sha256"]
    checkpoints.restore(flow, *weights)
    return flow
