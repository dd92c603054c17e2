"""Data sets and targets.

See `picture` for two-dimensional ones, `table` for numbers in columns, `images`, and `demos` for robots.
"""

from lfmkit.data.demonstrations import demos
from lfmkit.data.demonstrations.record import Demos
from lfmkit.data.download import asset
from lfmkit.data.imagesets import images, whereabouts
from lfmkit.data.imagesets.record import Images
from lfmkit.data.pictures import picture
from lfmkit.data.tabular import table
from lfmkit.data.tabular.gaussian import Whitening, gaussian_nll, whitened
from lfmkit.data.tabular.record import Table

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
