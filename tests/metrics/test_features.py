"""Features of a small classifier on handwritten digits: accuracy, files, and the order of distances."""

import pytest
import torch
from sklearn.datasets import load_digits

from lfmkit import metrics
from lfmkit.metrics import features as module
from lfmkit.utils.tensors import write_tensors


def digits():
    bunch = load_digits()
    images = torch.from_numpy(bunch.images * (255 / 16)).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(bunch.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order], labels[order]


IMAGES, LABELS = digits()
TRAIN, TEST = IMAGES[:1000], IMAGES[1000:]
SPLIT = (TRAIN, LABELS[:1000], TEST, LABELS[1000:])


@pytest.fixture(scope="module")
def features():
    torch.set_num_threads(1)
    return metrics.train_features(*SPLIT, steps=150, seed=1)


def test_it_learns_the_digits(features):
    assert features.accuracy > 0.95
    guesses = features.network[-1](features(TEST)).argmax(1)  # the features are what the last layer sees
    assert float((guesses == LABELS[1000:]).double().mean()) == features.accuracy
    assert features(TEST).shape == (797, 128)
    assert (features.shape, features.classes, features.n, features.steps) == ((1, 8, 8), 10, 1000, 150)


def test_features_are_the_same_in_any_company(features, monkeypatch):
    whole = features(TEST)
    monkeypatch.setattr(module, "TOGETHER", 64 * 7)
    assert torch.allclose(features(TEST), whole, atol=1e-5)
    assert not whole.requires_grad


def test_the_result_depends_on_the_seed_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b, c = (metrics.train_features(*SPLIT, steps=3, seed=s) for s in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a(TEST), b(TEST))
    assert a.label == b.label != c.label


def test_saved_and_loaded(features, tmp_path):
    path = tmp_path / "new" / "digits.safetensors"
    features.save(path)
    again = metrics.SmallCNN.load(path)
    assert torch.equal(again(TEST), features(TEST))
    assert again.label == features.label
    assert repr(again) == repr(features)
    assert not list(path.parent.glob(".*"))


def test_other_files_are_no_features(tmp_path):
    path = tmp_path / "other.safetensors"
    write_tensors(path, {"x": torch.zeros(2)}, {"kind": "flow"})
    with pytest.raises(ValueError, match="does not hold small CNN features"):
        metrics.SmallCNN.load(path)
    write_tensors(path, {"x": torch.zeros(2)}, {"kind": module.KIND, "shape": [1, 8, 8]})
    with pytest.raises(ValueError, match=r"is damaged \('classes'\): train the features again"):
        metrics.SmallCNN.load(path)
    path.write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match="cut off or damaged"):
        metrics.SmallCNN.load(path)
    with pytest.raises(FileNotFoundError):
        metrics.SmallCNN.load(tmp_path / "none")


# Purpose of the features: they order sets of images as an eye does


def noised(images, spread, seed=0):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)) * spread
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


def blurred(images, part):
    blur = torch.nn.functional.avg_pool2d(images.float(), 3, 1, 1)
    return ((1 - part) * images + part * blur).round().to(torch.uint8)


def test_distances_have_the_order_of_the_damage(features):
    def distance(images):
        return float(metrics.frechet_distance(images, TRAIN, features))

    constant = torch.full_like(TEST, int(TRAIN.float().mean()))
    order = [distance(images) for images in (TEST, blurred(TEST, 0.3), noised(TEST, 120), constant)]
    assert order == sorted(order)
    assert order[1] > 2 * order[0]
    assert distance(blurred(TEST, 1)) > 2 * order[1]
    levels = [distance(noised(TEST, spread)) for spread in (0, 20, 40, 80, 160)]
    assert levels == sorted(levels)
    assert levels[-1] > 10 * levels[0]
    one_digit = float(metrics.frechet_distance(TEST[LABELS[1000:] == 3], TRAIN, features))
    assert one_digit > 10 * levels[0]  # each image is a good one, the set is not


def test_kernel_distances_have_the_order_of_the_damage(features):
    results = [
        metrics.kid(noised(TEST, spread), TRAIN, features, subsets=20, subset_size=200)
        for spread in (0, 40, 80, 160)
    ]
    values = [float(r) for r in results]
    assert values == sorted(values)
    assert abs(values[0]) < 2 * results[0].stderr
    assert values[1] > 2 * results[1].stderr


# Errors


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"images": TRAIN.float()},
            TypeError,
            r"images must be bytes \(torch.uint8\), got torch.fl",
        ),
        ({"images": TRAIN.numpy()}, TypeError, "got ndarray"),
        ({"images": TRAIN[:, 0]}, ValueError, r"needs the shape \(n, C, H, W\), got \(1000, 8, 8\)"),
        ({"images": TRAIN[:0]}, ValueError, "images is empty"),
        ({"images": TRAIN[..., :3]}, ValueError, r"test_images needs the shape \(n, 1, 8, 3\)"),
        (
            {"images": TRAIN[..., :3], "test_images": TEST[..., :3]},
            ValueError,
            "4 x 4 pixels or more, got 8 x 3",
        ),
        ({"labels": None}, TypeError, "labels must be whole numbers"),
        ({"labels": LABELS[:1000].double()}, TypeError, "trained on labelled images"),
        ({"labels": LABELS[:900]}, ValueError, "labels needs 1000 numbers >= 0"),
        ({"labels": LABELS[:1000] - 1}, ValueError, "labels needs 1000 numbers >= 0"),
        ({"labels": LABELS[:1000] * 0}, ValueError, "two or more: labels has 1"),
        ({"test_labels": LABELS[1000:] + 1}, ValueError, "labels has 10"),
        ({"steps": 0}, ValueError, "steps must be"),
    ],
)
def test_bad_training_sets(change, error, message):
    given = dict(zip(("images", "labels", "test_images", "test_labels"), SPLIT, strict=True), steps=1)
    with pytest.raises(error, match=message):
        metrics.train_features(**(given | change))


def test_bad_images(features):
    with pytest.raises(ValueError, match=r"images needs the shape \(n, 1, 8, 8\), got \(797, 3, 8, 8\)"):
        features(TEST.expand(-1, 3, -1, -1))
    with pytest.raises(TypeError, match=r"pixels\.as_images makes images"):
        features(TEST.float())
