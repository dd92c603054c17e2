"""Data sets and targets.

See `picture` for two-dimensional ones, `table` for numbers in columns, `images`, and `demos` for robots.
"""

from lfmkit.data.assets import asset
from lfmkit.data.demonstrations.demos import Demos
from lfmkit.data.demonstrations.sources import demos
from lfmkit.data.imagesets.images import Images
from lfmkit.data.imagesets.sources import images, whereabouts
from lfmkit.data.pictures import picture
from lfmkit.data.tabular.gaussian import gaussian_nll
from lfmkit.data.tabular.sources import table
from lfmkit.data.tabular.table import Table
from lfmkit.data.tabular.whitening import Whitening, whitened

__all__ = [
    "Demos",
    "Images",
    "Table",
    "Whitening",
    "asset",
    "demos",
    "gaussian_nll",
    "images",
    "picture",
    "table",
    "whereabouts",
    "whitened",
]
