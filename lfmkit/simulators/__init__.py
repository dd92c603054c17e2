"""Simulated robots: episodes that begin as a seed says, take actions one by one, and tell of success."""

from lfmkit.simulators.detour import Detour
from lfmkit.simulators.episodes import Array, Rule, Simulator, Task, start
from lfmkit.simulators.metaworld import MetaWorld, film

__all__ = ["Array", "Detour", "MetaWorld", "Rule", "Simulator", "Task", "film", "start"]
