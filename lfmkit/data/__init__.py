"""Data sets and targets; see `picture` for the two-dimensional ones, `table` for numbers in columns."""

from lfmkit.data.assets import asset
from lfmkit.data.gaussian import gaussian_nll
from lfmkit.data.pictures import picture
from lfmkit.data.sources import table
from lfmkit.data.tables import Table
from lfmkit.data.whitening import Whitening, whitened

__all__ = ["Table", "Whitening", "asset", "gaussian_nll", "picture", "table", "whitened"]
