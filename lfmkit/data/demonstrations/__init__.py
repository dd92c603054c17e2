"""`lfmkit.data.demos`: demonstrations for robots, made on the spot, from a file, or your own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lfmkit.data.demonstrations.experts import expert_demos
from lfmkit.data.demonstrations.record import Demos, gathered
from lfmkit.simulators import MetaWorld, Task
from lfmkit.utils import needed
from lfmkit.utils.provenance import note_data


def demos(
    source: str | Path | Task | Sequence[tuple[Any, Any]],
    n: int = 200,
    *,
    seed: int = 0,
    noise: float = 0.1,
    columns: Sequence[str] | None = None,
) -> Demos:
    """Return demonstrations, with their provenance.

    A task lets its scripted expert make them: about half a minute for 200 of Meta-World's, then they are kept
    in the cache. Failures are left out, and counted. Their objects and goals are never those of episodes for
    evaluation.

    Args:
        source: A task of Meta-World ("reach-v3", …), or another task (`simulators.Detour()`); the path of an
            .hdf5 or .h5 file in Robomimic's layout (arXiv 2108.03298): data/demo_k/obs/* and actions; or a
            list of episodes, each a pair of observations (steps, o) and actions (steps, a).
        n: Number of demonstrations that an expert makes.
        seed: Seed for an expert's episodes and noise.
        noise: Standard deviation of Gaussian noise on the actions that an expert takes. On record are the
            actions that it wanted: so a policy sees how to come back to the trajectory (DART, arXiv
            1703.09327).
        columns: Names of the observations to take from a file, put side by side in this order; None takes all
            of one number or one vector a step, so no images, in alphabetical order.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: Meta-World, or h5py, is not installed.
        ValueError: A name is unknown, a file damaged, there are no episodes, or their numbers do not fit
            together or are not finite.

    >>> import numpy as np
    >>> demos([(np.zeros((30, 5)), np.zeros((30, 2))), (np.zeros((20, 5)), np.ones((20, 2)))])
    <Demos own: 2 episodes, 50 steps, 5 numbers observed, 2 done>
    """
    with needed("robots"):
        if isinstance(source, str | Path):
            if Path(source).suffix in (".hdf5", ".h5"):
                return _robomimic(Path(source), columns)
            return expert_demos(str(source), MetaWorld(str(source)), n, seed, noise)
        if callable(source):
            return expert_demos(type(source).__name__.lower(), source, n, seed, noise)
    return gathered("own", list(source), {"source": "given as arrays"}, -float("inf"), float("inf"))


def _robomimic(path: Path, columns: Sequence[str] | None) -> Demos:
    import h5py

    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}")
    try:
        with h5py.File(path) as file:
            names = [name for name in file["data"] if re.fullmatch(r"demo_\d+", name)]
            names.sort(key=lambda name: int(name.removeprefix("demo_")))
            episodes = [_episode(f"{path.name}, {name}", file["data"][name], columns) for name in names]
    except (OSError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged, or not in Robomimic's layout data/demo_0/obs, actions: {error}"
        ) from error
    note_data(path.name, path)
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
