"""`lfmkit.data.demos`: demonstrations for robots, made on the spot, from a file, or one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lfmkit.data.demonstrations.demos import Demos, gathered
from lfmkit.data.demonstrations.experts import expert_demos
from lfmkit.data.demonstrations.robomimic import robomimic
from lfmkit.simulators import MetaWorld, Task


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
            .hdf5 or .h5 file in Robomimic's layout; or a list of episodes, each a pair of observations
            (steps, o) and actions (steps, a).
        n: Number of demonstrations that an expert makes.
        seed: Of an expert's episodes and noise.
        noise: Standard deviation of Gaussian noise on the actions that an expert takes. On record are the
            actions that it wanted: so a policy sees how to come back to the way (DART, arXiv 1703.09327).
        columns: Names of the observations to take from a file; None takes all but images.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: Meta-World, or h5py, is not installed.
        ValueError: A name is unknown, a file damaged, there are no episodes, or their numbers do not fit
            together or are not finite.

    >>> import numpy as np
    >>> demos([(np.zeros((30, 5)), np.zeros((30, 2))), (np.zeros((20, 5)), np.ones((20, 2)))])
    <Demos own: 2 episodes, 50 steps, 5 numbers observed, 2 done>
    """
    if isinstance(source, str | Path):
        if Path(source).suffix in (".hdf5", ".h5"):
            return robomimic(Path(source), columns)
        return expert_demos(str(source), MetaWorld(str(source)), n, seed, noise)
    if callable(source):
        return expert_demos(type(source).__name__.lower(), source, n, seed, noise)
    return gathered("own", list(source), {"source": "given as arrays"}, -float("inf"), float("inf"))
