"""Shared fixtures: a three-component mixture with all its closed forms, and small untrained flows."""

import pytest
import torch

from lfmkit import methods, nets, oracles


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)  # small tensors: one thread is faster, and runs side by side stay quiet


@pytest.fixture
def mixture():
    skew = [[0.3, 0.1], [0.1, 0.2]]
    return oracles.GaussianMixture(
        [[-1.0, -0.5], [1.2, 0.3], [0.1, 1.4]],
        torch.tensor([skew, [[0.1, 0.0], [0.0, 0.4]], [[0.25, -0.05], [-0.05, 0.15]]]),
        [0.5, 0.3, 0.2],
    )


@pytest.fixture
def tiny_net():
    return nets.MLP(width=16, depth=2, fourier=4, scale=1.0)


@pytest.fixture
def tiny_flow(tiny_net):
    return methods.lfm(dim=2, schedule=(0.1, 0.4), net=tiny_net)
