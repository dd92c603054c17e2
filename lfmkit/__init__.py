"""lfmkit: learn, try and extend Local Flow Matching (arXiv 2410.02548).

encode = data to noise, decode = noise to data; inside a block time runs from 0 (data) to 1 (noise).
"""

__version__ = "0.1.0"

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
    schedules,
    widgets,
)
from lfmkit.checkpoints import load
from lfmkit.fitting import FitLog, fit
from lfmkit.flows import Block, Flow, Trajectory
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
    "schedules",
    "widgets",
]
