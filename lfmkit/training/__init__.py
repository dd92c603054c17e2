"""Training: `fit` and what it is made of. Modules are imported when they are first used.

`Training` and `Compute` are what `fit` is given beyond its own arguments, `objectives` and `times` what a
block learns and when, `Step` what a callback is given. Where each part is:

- `fitting`: `fit` itself; `settings`: what it may be asked for; `pool`: the data, checked.
- `chain`: the blocks, one after another or at the same time; `parallel`: in worker processes; `on_dask`: on
  a cluster; `team`: several GPUs on one block; `pushing`: the pool, encoded by a block.
- `trainer`: the loop of one block; `targets`: its batches; `objectives`: its loss; `gradients`: in parts, or
  in half precision; `optimiser`; `early_stopping`; `run_folder`: what is kept between two calls.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lfmkit.training import objectives, times
    from lfmkit.training.fitting import FitLog, fit
    from lfmkit.training.objectives import Objective
    from lfmkit.training.settings import Compute, Training
    from lfmkit.training.trainer import History
    from lfmkit.utils.progress import Step

_HOME = {
    "Compute": "settings",
    "FitLog": "fitting",
    "History": "trainer",
    "Objective": "objectives",
    "Step": "trainer",
    "Training": "settings",
    "fit": "fitting",
}

__all__ = ["Compute", "FitLog", "History", "Objective", "Step", "Training", "fit", "objectives", "times"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'lfmkit.training' has no attribute {name!r}")
    if name in _HOME:
        return getattr(import_module(f"lfmkit.training.{_HOME[name]}"), name)
    return import_module(f"lfmkit.training.{name}")
