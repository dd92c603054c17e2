"""lfmkit: learn, try and extend Local Flow Matching (arXiv 2410.02548).

encode = data to noise, decode = noise to data; inside a block time runs from 0 (data) to 1 (noise).

Modules are imported when they are first used, so that what needs no torch (the command line, reading the
results of a thousand runs) starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from lfmkit.utils import needed
from lfmkit.version import __version__

if TYPE_CHECKING:
    from lfmkit import (
        budgets,
        cluster,
        couplings,
        data,
        distillation,
        exercises,
        methods,
        metrics,
        nets,
        oracles,
        paths,
        pixels,
        plots,
        robots,
        schedules,
        simulators,
        solvers,
        training,
        widgets,
    )
    from lfmkit.flows import Block, Flow, Trajectory, load
    from lfmkit.robots import policies, rollouts
    from lfmkit.runs.records import report
    from lfmkit.solvers import Solver
    from lfmkit.training import Compute, FitLog, Training, fit
    from lfmkit.utils import tensors as tensorfiles

_HOME = {
    "Block": "flows:Block",
    "Compute": "training.settings:Compute",
    "FitLog": "training.fitting:FitLog",
    "Flow": "flows:Flow",
    "Solver": "solvers:Solver",
    "Training": "training.settings:Training",
    "Trajectory": "flows:Trajectory",
    "fit": "training.fitting:fit",
    "load": "flows:load",
    "policies": "robots.policies",
    "report": "runs.records:report",
    "rollouts": "robots.rollouts",
    "tensorfiles": "utils.tensors",
}

__all__ = [
    "Block",
    "Compute",
    "FitLog",
    "Flow",
    "Solver",
    "Training",
    "Trajectory",
    "__version__",
    "budgets",
    "cluster",
    "couplings",
    "data",
    "distillation",
    "exercises",
    "fit",
    "load",
    "methods",
    "metrics",
    "nets",
    "oracles",
    "paths",
    "pixels",
    "plots",
    "policies",
    "report",
    "robots",
    "rollouts",
    "schedules",
    "simulators",
    "solvers",
    "tensorfiles",
    "training",
    "widgets",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'lfmkit' has no attribute {name!r}")
    module, _, inner = _HOME.get(name, name).partition(":")
    with needed("notebooks"):  # what the widgets are made of; torch and the like are always there
        found = import_module(f"lfmkit.{module}")
    return getattr(found, inner) if inner else found


def __dir__() -> list[str]:
    return sorted(__all__)
