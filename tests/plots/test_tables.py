"""Histograms of columns and of pairs of columns."""

import matplotlib.colors
import numpy as np
import pytest
import torch

from lfmkit import plots
from lfmkit.plots.tables import marginals, pairs

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def x():
    return torch.randn(4000, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [1.0, 10.0, 0.1, 1.0]
    )


def test_marginals_are_densities_on_the_axes_of_the_first_set(x):
    figure = marginals({"data": x, "LFM": 2 * x}, NAMES)
    assert [axis.get_title() for axis in figure.axes] == list(NAMES)
    for j, axis in enumerate(figure.axes):
        steps = [patch.get_data() for patch in axis.patches]
        for k, ((heights, edges, _), scale) in enumerate(zip(steps, (1, 2), strict=True)):
            inside = (scale * x[:, j]).double()
            share = float(((inside >= edges[0]) & (inside <= edges[-1])).double().mean())
            assert (heights * np.diff(edges)).sum() == pytest.approx(share, abs=1e-4), k
        low, high = np.quantile(x[:, j].double(), [0.002, 0.998])
        assert steps[0][1][0] < low
        assert steps[0][1][-1] > high
        assert np.array_equal(steps[0][1], steps[1][1])
    colours = {matplotlib.colors.to_hex(patch.get_edgecolor()) for patch in figure.axes[0].patches}
    assert colours == {plots.PALETTE["data"], plots.PALETTE["LFM"]}
    assert figure.get_size_inches()[0] <= 10
    assert "a, b, c, d for data, LFM" in figure.alt


def test_pairs_have_a_row_for_each_set_and_one_scale_a_pair(x):
    figure = pairs({"data": x, "LFM": x[:1000]}, NAMES, [(0, 1), (3, 2)])
    axes = np.array(list(figure.axes), dtype=object).reshape(2, 2)
    assert [axis.get_title() for axis in axes[:, 0]] == ["data", "LFM"]
    for column, (i, j) in enumerate([(0, 1), (3, 2)]):
        assert axes[1, column].get_xlabel() == NAMES[i]
        assert axes[1, column].get_ylabel() == NAMES[j]
        limits = [axis.collections[0].get_clim() for axis in axes[:, column]]
        assert limits[0] == limits[1]
        counts = axes[0, column].collections[0].get_array()
        assert 0.97 < float(counts.sum()) <= 1
        rows, columns = np.unravel_index(np.argmax(counts), (110, 110))
        assert 30 < rows < 80  # the middle of a round cloud
        assert 30 < columns < 80


@pytest.mark.parametrize("draw", [marginals, lambda sets, names: pairs(sets, names, [(0, 1)])])
def test_names_must_fit(draw, x):
    with pytest.raises(ValueError, match="4 column names"):
        draw({"data": x[:, :3]}, NAMES)
    with pytest.raises(ValueError, match="one or more sets"):
        draw({}, NAMES)


def test_constant_columns_and_no_pairs(x):
    assert marginals({"data": torch.ones(5, 2)}, ("a", "b")).axes[0].get_xlim()[0] < 1
    with pytest.raises(ValueError, match="one or more pairs"):
        pairs({"data": x}, NAMES, [])
