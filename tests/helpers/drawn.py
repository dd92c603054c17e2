"""Sources of training batches for given numbers, without a network."""

from torch import nn

from lfmkit.flows.block import Block
from lfmkit.training.pool import Pool
from lfmkit.training.targets import Averaged, Conditional, Pairs


def bare(gamma, path, coupling):
    """Return a block whose network is of no interest."""
    return Block(nn.Identity(), gamma, path, coupling)


def pairs(x, T, gamma, path, coupling, **more):
    return Pairs(Pool(x), T, bare(gamma, path, coupling), **more)


def conditional(x, T, gamma, path, **more):
    return Conditional(Pool(x), T, bare(gamma, path, "ou"), **more)


def averaged(x, T, gamma, path, **more):
    return Averaged(x, T, bare(gamma, path, "ou"), **more)
