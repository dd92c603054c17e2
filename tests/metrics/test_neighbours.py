"""Nearest training images against SciPy, and copies that were planted among samples."""

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import torch

from lfmkit import metrics
from lfmkit.metrics import neighbours


def images(n, seed, shape=(3, 4, 4)):
    return torch.randint(
        0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


TRAIN, HELD_OUT, NEW = images(200, 0), images(90, 1), images(80, 2)


def pixels(x):
    return x.flatten(1).double()


@pytest.mark.parametrize(("rows", "numbers"), [(2048, 2**23), (7, 2**23), (2048, 48 * 13), (1, 1)])
@pytest.mark.parametrize("k", [1, 5, 200])
def test_all_pairs_however_they_are_taken(k, rows, numbers, monkeypatch):
    monkeypatch.setattr(neighbours, "ROWS", rows)
    monkeypatch.setattr(neighbours, "NUMBERS", numbers)
    found = metrics.nearest(NEW, TRAIN, k)
    every = scipy.spatial.distance.cdist(pixels(NEW), pixels(TRAIN)) / 128
    assert found.distances.numpy() == pytest.approx(np.sort(every, 1)[:, :k], rel=1e-12)
    assert np.take_along_axis(every, found.indices.numpy(), 1) == pytest.approx(found.distances.numpy())
    assert all(len(set(row)) == k for row in found.indices.tolist())


def test_distances_of_features():
    def mean_colour(x):
        return x.float().mean((2, 3))

    found = metrics.nearest(NEW, TRAIN, 2, mean_colour)
    every = scipy.spatial.distance.cdist(mean_colour(NEW), mean_colour(TRAIN))
    assert found.distances.numpy() == pytest.approx(np.sort(every, 1)[:, :2], rel=1e-9)
    before = metrics.nearest(mean_colour(NEW), mean_colour(TRAIN), 2)
    assert torch.equal(before.indices, found.indices)


def test_a_copy_has_the_distance_zero():
    big = images(20, 3, (3, 64, 64))
    found = metrics.nearest(big[[4, 17]], big, 2)
    assert found.indices[:, 0].tolist() == [4, 17]
    assert found.distances[:, 0].tolist() == [0, 0]
    assert (found.distances[:, 1] > 0).all()


def test_planted_copies_are_found():
    samples = NEW.clone()
    samples[[3, 40]] = TRAIN[[8, 9]]
    samples[60] = (TRAIN[10].float() * 0.95 + 5).byte()  # fainter
    result = metrics.memorised(samples, TRAIN, HELD_OUT)
    assert result.which == (3, 40, 60)
    assert result.value == pytest.approx(3 / 80)
    assert result.baseline == 0
    assert result.stderr == pytest.approx(math.sqrt(4 / 82 * 78 / 82 / 80))
    assert (result.n, result.reference) == (80, 200)
    assert result.settings.startswith("nearest < 1/3 second nearest, pixels, nearer than held-out images")
    assert metrics.memorised(NEW, TRAIN).which == ()
    assert metrics.memorised(NEW, TRAIN).baseline is None


def test_blurred_memories_are_nearer_than_new_images():
    """Half an image is not a copy, but it is nearer to the training set than any new image."""
    half = ((TRAIN[:80].float() + NEW.float()) / 2).byte()
    result = metrics.memorised(half, TRAIN, HELD_OUT)
    assert result.value == 0
    assert result.nearer > 0.99
    mine, new = (metrics.nearest(x, TRAIN).distances[:, 0] for x in (NEW, HELD_OUT))
    u = scipy.stats.mannwhitneyu(new, mine).statistic
    assert metrics.memorised(NEW, TRAIN, HELD_OUT).nearer == pytest.approx(u / (80 * 90))
    assert metrics.memorised(NEW, TRAIN, NEW).nearer == 0.5  # ties count half


def test_copies_of_an_image_that_occurs_twice_are_missed():
    twice = torch.cat([TRAIN, TRAIN[:1]])
    assert metrics.memorised(TRAIN[:2], twice).which == (1,)


@pytest.mark.parametrize(
    ("samples", "train", "k", "features", "error", "message"),
    [
        (NEW.float(), TRAIN, 1, None, TypeError, "samples must be bytes"),
        (NEW, TRAIN.float(), 1, None, TypeError, "train must be bytes"),
        (
            NEW[:, :1],
            TRAIN,
            1,
            None,
            ValueError,
            r"samples needs the shape \(n, 3, 4, 4\), got \(80, 1, 4, 4\)",
        ),
        (NEW, TRAIN[:0], 1, None, ValueError, "train is empty"),
        (NEW[:0], TRAIN, 1, None, ValueError, "samples is empty"),
        (NEW, TRAIN, 0, None, ValueError, "from 1 to the 200 training images, got 0"),
        (NEW, TRAIN, 201, None, ValueError, "from 1 to the 200 training images, got 201"),
        (NEW, TRAIN, 1, lambda x: pixels(x) * math.nan, ValueError, "features of samples has 80 of 80 rows"),
        (torch.zeros(3, 2), torch.zeros(4, 3), 1, None, ValueError, "samples has 2 features, train has 3"),
        (torch.zeros(3, 2), TRAIN, 1, None, ValueError, "train are images: say features="),
    ],
)
def test_bad_sets(samples, train, k, features, error, message):
    with pytest.raises(error, match=message):
        metrics.nearest(samples, train, k, features)


def test_one_training_image_has_no_second():
    with pytest.raises(ValueError, match="train has one image"):
        metrics.memorised(NEW, TRAIN[:1])
