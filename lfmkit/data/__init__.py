"""Data sets and targets.

See `picture` for two-dimensional ones, `table` for numbers in columns, `images`, and `demos` for robots.
"""

from lfmkit.data.assets import asset
from lfmkit.data.demo_sources import demos
from lfmkit.data.demonstrations import Demos
from lfmkit.data.gaussian import gaussian_nll
from lfmkit.data.image_sources import images, whereabouts
from lfmkit.data.imagesets import Images
from lfmkit.data.pictures import picture
from lfmkit.data.sources import table
from lfmkit.data.tables import Table
from lfmkit.data.whitening import Whitening, whitened

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
