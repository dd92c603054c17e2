import pytest
import torch
from torch import Generator

import lfmkit
from lfmkit import methods
from lfmkit.pixels import as_images
from lfmkit.training.pool import as_data, take


def images(n=6, seed=0):
    return torch.randint(256, (n, 1, 2, 3), generator=Generator().manual_seed(seed), dtype=torch.uint8)


def test_rows_are_taken_as_they_are():
    x = torch.randn(5, 2)
    assert torch.equal(take(x, torch.tensor([4, 0, 4]), Generator()), x[[4, 0, 4]])


def test_images_become_rows_anew_each_time():
    generator, rows = Generator().manual_seed(0), torch.tensor([1, 1])
    x = take(images(), rows, generator)
    assert not torch.equal(x[0], x[1])  # dequantised apart
    assert torch.equal(as_images(x, (1, 2, 3)), images()[rows])


def test_half_of_them_are_mirrored():
    pool, rows = images(1), torch.zeros(1000, dtype=torch.long)
    seen = as_images(take(pool, rows, Generator().manual_seed(0), flip=True), (1, 2, 3))
    turned = (seen == pool.flip(3)).flatten(1).all(1)
    assert ((seen == pool).flatten(1).all(1) | turned).all()
    assert 430 < turned.sum() < 570
    assert not torch.equal(pool, pool.flip(3))


def test_encoded_images_are_half_floats_and_mirrored_too():
    pool = torch.randn(1, 2, 2, 3).half()
    x = take(pool, torch.zeros(50, dtype=torch.long), Generator().manual_seed(0), flip=True)
    assert x.dtype == torch.float32
    ways = {tuple(row.tolist()) for row in x}
    assert ways == {tuple(p.flatten().float().tolist()) for p in (pool, pool.flip(3))}


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (images().float(), ValueError, r"the data needs the shape \(n, 6\), got \(6, 1, 2, 3\)"),
        (images()[:, :, :, :2], ValueError, r"C\*H\*W = 6, as the flow was built for, got \(6, 1, 2, 2\)"),
        (images()[0], ValueError, r"shape \(n, C, H, W\)"),
        (images()[:0], ValueError, "the data is empty"),
        (images().short(), TypeError, "floating-point"),
        (torch.full((2, 6), torch.nan), ValueError, "2 of 2 rows with NaN"),
    ],
)
def test_what_is_no_pool(x, error, message):
    with pytest.raises(error, match=message):
        as_data(x, 6)


def test_flows_are_trained_on_bytes(tiny_net):
    """All pictures are black: a flow that has seen them samples dark ones."""
    flow = methods.lfm(6, (0.3,), net=tiny_net)
    black = torch.zeros(50, 1, 2, 3, dtype=torch.uint8)
    lfmkit.fit(
        flow, black, val=black[:5], steps=300, batch=64, training=lfmkit.Training(flip=True), progress=False
    )
    assert as_images(flow.sample(200), (1, 2, 3)).float().mean() < 12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"targets": "averaged", "pool": "ou"}, "near neighbours"),
        ({"val": images()[:, :, :1]}, r"val needs the shape \(n, C, H, W\)"),
    ],
)
def test_what_goes_together_with_images(call, message, tiny_net):
    with pytest.raises(ValueError, match=message):
        lfmkit.fit(methods.fm(6, net=tiny_net), images(), steps=1, progress=False, **call)


def test_only_images_have_left_and_right(tiny_net):
    with pytest.raises(ValueError, match="flip=True mirrors images"):
        lfmkit.fit(
            methods.fm(6, net=tiny_net),
            torch.randn(4, 6),
            steps=1,
            training=lfmkit.Training(flip=True),
            progress=False,
        )


def test_images_are_for_single_precision(tiny_net):
    with pytest.raises(ValueError, match="single-precision"):
        lfmkit.fit(methods.fm(6, net=tiny_net).double(), images(), steps=1, progress=False)
