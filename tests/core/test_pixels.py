import pytest
import torch
from torch import Generator

from lfmkit.pixels import as_images, as_rows


def every_value():
    return torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_there_and_back(seed):
    generator = None if seed is None else Generator().manual_seed(seed)
    rows = as_rows(every_value(), generator)
    assert rows.shape == (4, 64)
    assert rows.min() >= -1
    assert rows.max() < 1
    assert torch.equal(as_images(rows, (1, 8, 8)), every_value())


def test_the_spread_is_uniform_over_the_bin():
    images = torch.full((1, 1, 300, 300), 7, dtype=torch.uint8)
    within = (as_rows(images, Generator().manual_seed(0)) + 1) * 128 - 7
    assert 0 <= within.min() < 0.001
    assert 0.999 < within.max() <= 1
    assert within.mean() == pytest.approx(0.5, abs=4 / 12**0.5 / 300)
    assert within.var() == pytest.approx(1 / 12, abs=0.002)


def test_the_brightest_value_stays_below_one():
    """Rounding of (255 + u) / 128 - 1 in single precision would reach 1, and its bin would be the 257th."""
    images = torch.full((64, 1, 256, 256), 255, dtype=torch.uint8)
    rows = as_rows(images, Generator().manual_seed(0))
    assert rows.max() < 1


def test_rows_outside_go_to_the_nearest_bin():
    assert as_images(torch.tensor([[-3.0, 9.0]]), (1, 1, 2)).flatten().tolist() == [0, 255]


def test_only_bytes_are_images():
    with pytest.raises(TypeError, match=r"must be bytes \(torch.uint8\), got torch.float32"):
        as_rows(torch.zeros(1, 1, 2, 2))
