"""Data sets and targets; see `picture` for two-dimensional ones, `table` for numbers in columns, `images`."""

from lfmkit.data.assets import asset
from lfmkit.data.gaussian import gaussian_nll
from lfmkit.data.image_sources import images, whereabouts
from lfmkit.data.imagesets import Images
from lfmkit.data.pictures import picture
from lfmkit.data.sources import table
from lfmkit.data.tables import Table
from lfmkit.data.whitening import Whitening, whitened

__all__ = [
    "Images",
    "Table",
    "Whitening",
    "asset",
    "gaussian_nll",
    "images",
    "picture",
    "table",
    "whereabouts",
    "whitened",
]
