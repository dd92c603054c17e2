"""Pictures: pure functions from values to a matplotlib figure, with one palette and fixed axes.

They know tensors and plain numbers only. A figure shows itself in Jupyter with its alt text, on any backend.
Every `title` says what to notice, every `alt` what the picture shows to readers who do not see it.

- points in the plane: `density`, `log_density`, `paths`, `ways`
- numbers: `losses`, `bars`, `curves`, `rates`, `sweep`, `timeline` (of schedules)
- samples of tables: `marginals`, `pairs`
- images: `image_grid`, `image_rows`

A series whose name starts with a name of `PALETTE` has its colour; axes in the plane run from -LIMIT to
LIMIT.
"""

from lfmkit.plots.charts import bars, curves, losses, rates, timeline
from lfmkit.plots.clouds import density, log_density, paths, ways
from lfmkit.plots.figure import EXTENT, LIMIT, PALETTE, Picture
from lfmkit.plots.images import image_grid, image_rows
from lfmkit.plots.sweeps import sweep
from lfmkit.plots.tables import marginals, pairs

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
