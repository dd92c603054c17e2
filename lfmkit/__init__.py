"""lfmkit: learn, try and extend Local Flow Matching (arXiv 2410.02548).

encode = data to noise, decode = noise to data; inside a block time runs from 0 (data) to 1 (noise).

Modules are imported when they are first used, so that what needs no torch (the command line, reading the
results of a thousand runs) starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lfmkit import (
        couplings,
        data,
        distillation,
        exercises,
        methods,
        metrics,
        nets,
        oracles,
        paths,
        plots,
        policies,
        rollouts,
        schedules,
        simulators,
        widgets,
    )
    from lfmkit.checkpoints import load
    from lfmkit.fitting import FitLog, fit
    from lfmkit.flows import Block, Flow, Trajectory
    from lfmkit.runs.reporting import report
    from lfmkit.solvers import Solver

__all__ = [
    "Block",
    "FitLog",
    "Flow",
    "Solver",
    "Trajectory",
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
    "plots",
    "policies",
    "report",
    "rollouts",
    "schedules",
    "simulators",
    "widgets",
]

_HOME = {
    "Block": "flows",
    "FitLog": "fitting",
    "Flow": "flows",
    "Solver": "solvers",
    "Trajectory": "flows",
    "fit": "fitting",
    "load": "checkpoints",
    "report": "runs.reporting",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'lfmkit' has no attribute {name!r}")
    if name in _HOME:
        return getattr(import_module(f"lfmkit.{_HOME[name]}"), name)
    return import_module(f"lfmkit.{name}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
