"""Pictures: pure functions from values to a matplotlib figure, with one palette and fixed axes.

They know tensors and records only. A figure shows itself in Jupyter with its alt text, on any backend.
"""

from lfmkit.plots.charts import bars, curves, losses, timeline
from lfmkit.plots.clouds import density, log_density, paths
from lfmkit.plots.figure import EXTENT, LIMIT, PALETTE, Picture
from lfmkit.plots.images import image_grid, image_rows
from lfmkit.plots.rates import rates
from lfmkit.plots.sweeps import sweep
from lfmkit.plots.tables import marginals, pairs
from lfmkit.plots.ways import ways

__all__ = [
    "EXTENT",
    "LIMIT",
    "PALETTE",
    "Picture",
    "bars",
    "curves",
    "density",
    "image_grid",
    "image_rows",
    "log_density",
    "losses",
    "marginals",
    "pairs",
    "paths",
    "rates",
    "sweep",
    "timeline",
    "ways",
]
