"""Reads demonstrations in Robomimic's layout: HDF5, data/demo_k/{obs/*, actions}."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lfmkit.data.demonstrations.demos import Demos, gathered
from lfmkit.utils import files


def robomimic(path: Path, columns: Sequence[str] | None) -> Demos:
    """Return the demonstrations of a file.

    Args:
        path: The file.
        columns: Names of the observations, put side by side in this order; None takes all of one number or
            one vector a step, in the alphabet's order.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: h5py is not installed.
        ValueError: The file is damaged or has another layout, or an observation is missing or an image.

    Reference: What Matters in Learning from Offline Human Demonstrations for Robot Manipulation,
    arXiv 2108.03298.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path.name} needs h5py: pip install 'lfmkit[robots]'") from error
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}")
    try:
        with h5py.File(path) as file:
            names = sorted(
                (name for name in file["data"] if re.fullmatch(r"demo_\d+", name)),
                key=lambda name: int(name.removeprefix("demo_")),
            )
            episodes = [_episode(f"{path.name}, {name}", file["data"][name], columns) for name in names]
    except (OSError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged, or not in Robomimic's layout data/demo_0/obs, actions: {error}"
        ) from error
    files.note_data(path.name, path)
    about = {"source": f"{path.name}, Robomimic's layout", "kept": f"all {len(episodes)}"}
    return gathered(path.stem, episodes, about, -1.0, 1.0)


def _episode(what: str, demo: Any, columns: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    rows = {name: part for name, part in demo["obs"].items() if part.ndim in (1, 2)}  # others are images
    wanted = sorted(rows) if columns is None else list(columns)
    if not wanted or not set(wanted) <= set(rows):
        known = ", ".join(sorted(rows)) or "none"
        asked = ", ".join(wanted) or "no observations"
        raise ValueError(f"{what}: {asked} wanted; with one number or vector a step there are {known}")
    flat = [np.asarray(rows[name]).reshape(len(rows[name]), -1) for name in wanted]
    if len(set(map(len, flat))) > 1:
        raise ValueError(f"{what}: {', '.join(wanted)} have different numbers of steps")
    return np.concatenate(flat, 1), np.asarray(demo["actions"])
