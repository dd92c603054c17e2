import functools
import math

import numpy as np
import pytest
import torch
from PIL import Image

from lfmkit import data
from lfmkit.data.pictures import from_grey
from lfmkit.oracles import GaussianMixture


@pytest.fixture(scope="module")
def rose():
    return data.picture("rose")


@functools.cache
def floor(name):
    return data.picture(name).floor  # takes seconds


def as_mixture(picture):
    """The same density as an ordinary mixture, one component a pixel with ink."""
    row, column = torch.nonzero(picture.weights, as_tuple=True)
    means = torch.stack([picture.x[column], picture.y[row]], 1)
    covariance = torch.diag(torch.tensor(picture.spread, dtype=torch.float64).square())
    return GaussianMixture(means, covariance.expand(len(means), 2, 2), picture.weights[row, column])


@pytest.mark.parametrize("name", ["rose", "tree", "checkerboard", "two_gaussians", "near_gaussian"])
def test_floor_is_the_entropy_of_the_samples(name):
    target = data.picture(name)
    x = target.sample(15_000, seed=7)
    log_p = target.log_prob(x)
    assert x.shape == (15_000, 2)
    assert x.dtype == torch.float32
    assert -float(log_p.mean()) == pytest.approx(
        floor(name), abs=5 * float(log_p.std()) / math.sqrt(len(x)) + 0.01
    )


def test_difficulty_of_the_drawings():
    """The floors of the pictures the literature uses are about 2.487 (rose) and 1.947 (tree)."""
    assert floor("rose") == pytest.approx(2.495, abs=0.01)
    assert floor("tree") == pytest.approx(1.946, abs=0.01)
    assert floor("checkerboard") == pytest.approx(math.log(32), abs=0.15)  # half of 8 x 8


def test_the_density_integrates_to_one():
    """A small picture, so that a grid as fine as its pixels is small; ink in one corner, far from most."""
    grey = np.full((40, 50), 255.0)
    grey[:12, :9] = np.random.default_rng(0).uniform(0, 255, (12, 9))
    side = torch.linspace(-5, 5, 300, dtype=torch.float64)
    drawing = from_grey(grey)
    total = drawing.log_prob(torch.cartesian_prod(side, side)).exp().sum() * (side[1] - side[0]) ** 2
    assert float(total) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("T", [0.0, 0.01, 0.7])
def test_grid_arithmetic_against_the_plain_mixture(T):
    small = from_grey(255 - 255 * np.eye(9)[::2])
    ours, plain = small.ou(T), as_mixture(small).ou(T)
    x = torch.randn(64, 2, dtype=torch.float64) * 3
    assert torch.allclose(ours.log_prob(x), plain.log_prob(x), rtol=1e-10)
    assert torch.allclose(ours.score(x), plain.score(x), rtol=1e-8)
    for c in ((0.9, 0.2, -1.0, 1.0), (0.0, 1.0, -1.0, 0.5), (1.0, 0.0, -1.0, 1.0)):
        assert torch.allclose(ours.velocity(x, *c), plain.velocity(x, *c), rtol=1e-8)


def test_far_from_all_ink(rose):
    """Where the product of the kernels underflows the logarithm is still exact."""
    x = torch.tensor([[30.0, -20.0], [-4.0, -4.0], [0.0, 200.0], [3.9, 3.9]], dtype=torch.float64)
    plain = as_mixture(rose)
    assert torch.allclose(rose.log_prob(x), plain.log_prob(x), rtol=1e-9)
    assert torch.allclose(rose.score(x), plain.score(x), rtol=1e-6)


def test_samples_do_not_depend_on_the_global_generator(rose):
    torch.manual_seed(1)
    a = rose.sample(5, seed=3)
    torch.manual_seed(2)
    assert torch.equal(a, rose.sample(5, seed=3))
    assert not torch.equal(a, rose.sample(5, seed=4))


def test_any_image_file(tmp_path):
    """Dark is likely and y points up, for grey, colour, transparent and deep-grey files."""
    grey = np.full((20, 30), 255, np.uint8)
    grey[:4, :5] = 0  # a dark patch, top left
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey).convert("RGB").save(tmp_path / "colour.bmp")
    Image.merge("LA", (Image.new("L", (30, 20)), Image.fromarray(255 - grey))).save(tmp_path / "clear.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    reference = from_grey(grey)
    for name in ("grey.png", "colour.bmp", "clear.png", "deep.png"):
        target = data.picture(tmp_path / name)
        assert torch.allclose(target.weights, reference.weights, atol=1e-12), name
        mean = target.sample(2000).mean(0)
        assert mean[0] < -3
        assert mean[1] > 3


def test_bad_images(tmp_path):
    Image.new("L", (10, 10), 255).save(tmp_path / "white.png")
    (tmp_path / "text.png").write_text("no image")
    whole = (data.asset("rose.png")).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("L", (1, 5)).save(tmp_path / "thin.png")
    for name, message in [
        ("white.png", "no ink"),
        ("text.png", "not a readable image"),
        ("cut.png", "not a readable image"),
        ("thin.png", "at least 2 x 2"),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            data.picture(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"no image file at .*missing.png"):
        data.picture(tmp_path / "missing.png")
    with pytest.raises(ValueError, match="unknown picture 'roze': choose one of rose, tree"):
        data.picture("roze")
    with pytest.raises(ValueError, match="not a readable image"):
        data.picture(tmp_path)


def test_bad_points_and_counts(rose):
    with pytest.raises(ValueError, match=r"shape \(n, 2\)"):
        rose.log_prob(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="number of samples"):
        rose.sample(-1)


def test_the_drawings_come_from_their_script(tmp_path):
    """What is in data/ is what the script beside it draws."""
    import runpy
    import sys
    from pathlib import Path

    script = Path(__file__).parents[2] / "data" / "draw_pictures.py"
    old, sys.argv = sys.argv, [str(script), str(tmp_path)]
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv = old
    for name in ("rose.png", "tree.png"):
        ours, shipped = (np.asarray(Image.open(p), float) for p in (tmp_path / name, data.asset(name)))
        assert np.abs(ours - shipped).mean() < 0.5  # other Pillow versions may round an edge otherwise
