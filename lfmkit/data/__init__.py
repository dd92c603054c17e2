"""Data sets and targets; see `picture` for the two-dimensional ones."""

from lfmkit.data.pictures import asset, picture

__all__ = ["asset", "picture"]
