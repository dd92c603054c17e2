"""Measures of flows, samples and trajectories; every result is a record that says how it was measured.

`float(record)` is the number. A record shows itself as one row of a table, `table` puts several together.
A distance between samples comes with its noise floor (`baseline`), without which it means nothing.
"""

from lfmkit.metrics.along import AlongPath, kinetic_energy, path_length, straightness
from lfmkit.metrics.chi_square import Chi2, chi2
from lfmkit.metrics.features import Features, SmallCNN, train_features
from lfmkit.metrics.frechet import FeatureDistance, frechet_distance, kid
from lfmkit.metrics.inception import Inception
from lfmkit.metrics.likelihood import NLL, BitsPerDim, bits_per_dim, nll
from lfmkit.metrics.neighbours import Memorised, Neighbours, memorised, nearest
from lfmkit.metrics.pairwise import energy_distance, mmd
from lfmkit.metrics.records import Record, Records, table
from lfmkit.metrics.samples import Distance
from lfmkit.metrics.sliced import sliced_wasserstein
from lfmkit.metrics.solves import Cost, FlowRecord, RoundTrip, cost, encode_decode_error
from lfmkit.metrics.steps import Successive, successive

__all__ = [
    "NLL",
    "AlongPath",
    "BitsPerDim",
    "Chi2",
    "Cost",
    "Distance",
    "FeatureDistance",
    "Features",
    "FlowRecord",
    "Inception",
    "Memorised",
    "Neighbours",
    "Record",
    "Records",
    "RoundTrip",
    "SmallCNN",
    "Successive",
    "bits_per_dim",
    "chi2",
    "cost",
    "encode_decode_error",
    "energy_distance",
    "frechet_distance",
    "kid",
    "kinetic_energy",
    "memorised",
    "mmd",
    "nearest",
    "nll",
    "path_length",
    "sliced_wasserstein",
    "straightness",
    "successive",
    "table",
    "train_features",
]
