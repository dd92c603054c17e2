"""Flows: `Block` is one step, `Flow` the chain of them; guidance, solving and files stand beside them."""

from lfmkit.flows.block import Block
from lfmkit.flows.flow import Flow
from lfmkit.flows.integrate import Trajectory
from lfmkit.flows.loading import load

__all__ = ["Block", "Flow", "Trajectory", "load"]
