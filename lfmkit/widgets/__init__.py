"""Live pictures for notebooks, drawn in the browser, with a still picture for places without one.

Every function returns a widget that shows itself. Its stored output also holds a PNG with an alt text and one
plain line, for GitHub, untrusted notebooks and comparisons of stored notebooks. `lfmkit.widgets.base` says
how to add a widget.
"""

from lfmkit.widgets.drawing import draw_target
from lfmkit.widgets.few_steps import few_step_explorer
from lfmkit.widgets.frames import frames
from lfmkit.widgets.schedule import schedule_explorer
from lfmkit.widgets.trajectory import trajectory_explorer

__all__ = ["draw_target", "few_step_explorer", "frames", "schedule_explorer", "trajectory_explorer"]
