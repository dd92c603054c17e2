"""Contact sheets and rows of images: every pixel where it belongs, small files, nothing hidden."""

import base64
import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from lfmkit import plots
from lfmkit.plots import images as module
from lfmkit.plots import sheets


@pytest.fixture(scope="module")
def digits():
    return torch.from_numpy(load_digits().images * 15).byte()[:, None]


@pytest.fixture(scope="module")
def photographs():
    """Smooth, many-coloured images of 32 x 32 with some noise: 128 of them."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(128, 1, 5, 5, generator=generator) * 255
    coarse = coarse + 30 * torch.randn(128, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic", align_corners=False)
    return (smooth + 4 * torch.randn(smooth.shape, generator=generator)).clamp(0, 255).byte()


def noise(count, side=32):
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(1)).byte()


def stored(figure):
    """What a notebook stores: pixels (height, width, 3) and the number of bytes."""
    bundle, metadata = figure._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == figure.alt != ""
    png = base64.b64decode(bundle["image/png"])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int), len(png)


def sheet(images, columns, zoom):
    """Images by hand: every pixel a square of zoom x zoom, two white pixels between two images."""
    count, _, height, width = images.shape
    rows = -(-count // columns)
    page = np.full((rows * (height * zoom + 2) - 2, columns * (width * zoom + 2) - 2, 3), 255)
    for k in range(count):
        top, left = k // columns * (height * zoom + 2), k % columns * (width * zoom + 2)
        square = np.kron(images[k].permute(1, 2, 0).int(), np.ones((zoom, zoom, 1), int))
        page[top : top + height * zoom, left : left + width * zoom] = square
    return page


def inked(pixels):
    """The part of a picture that is not white all around."""
    rows, columns = (np.flatnonzero((pixels < 255).any((axis, 2))) for axis in (1, 0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@pytest.mark.parametrize(("columns", "zoom"), [(5, 13), (10, 9), (4, 11)])
def test_every_pixel_is_a_square(digits, columns, zoom):
    figure = plots.image_grid(digits[:20], columns)
    pixels, _ = stored(figure)
    assert pixels.shape[1] == 800
    assert np.array_equal(inked(pixels), sheet(digits[:20], columns, zoom))


def test_few_images_keep_all_their_colours():
    pixels, _ = stored(plots.image_grid(noise(12, 16), 6))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 256
    assert np.array_equal(inked(pixels), sheet(noise(12, 16), 6, 8))


def test_rows_have_their_images_in_order_and_names_at_the_left(digits):
    names = ["noise", "after block 3 of the whole chain, free block", "LFM", "$x$"]
    rows = {name: digits[16 * k : 16 * k + 16] for k, name in enumerate(names)}
    figure = plots.image_rows(rows, "What each block adds")
    pixels, _ = stored(figure)
    (axis,) = figure.axes
    left, right, bottom, top = axis.images[0].get_extent()
    part = pixels[round(top) : round(bottom), round(left) : round(right)]
    assert np.array_equal(part, sheet(digits[:64], 16, round((right - left + 2) / 16 - 2) // 8))
    assert [text.get_text().replace("\n", " ") for text in axis.texts] == names
    boxes = [text.get_window_extent() for text in axis.texts]
    assert all(box.x0 >= 0 and box.x1 < left - 5 for box in boxes)
    assert all(above.y0 > below.y1 for above, below in itertools.pairwise(boxes))
    assert boxes[0].y1 < figure.bbox.height - 25  # below the title
    assert figure.get_suptitle() == "What each block adds"
    assert "after block 3" in figure.alt
    (bar,) = [patch for patch in axis.patches if patch.get_facecolor()[2] > 0.6]
    assert left - 12 < bar.get_x() < bar.get_x() + bar.get_width() < left
    assert len(axis.patches) == 2  # noise is of the palette, too


def test_what_a_notebook_stores_is_small(photographs):
    full = {f"row {k}": photographs[16 * k : 16 * k + 16] for k in range(8)}
    figure = plots.image_rows(full, "title")
    pixels, size = stored(figure)
    assert size < 120_000
    left, right, bottom, top = map(round, figure.axes[0].images[0].get_extent())
    part = pixels[top:bottom, left:right]
    assert np.abs(part - sheet(photographs, 16, 1)).mean() < 7.5  # 64 colours, as charts have, are 9 away
    assert (pixels[:, :10] == 255).all()
    worst = {f"row {k}": noise(128)[16 * k : 16 * k + 16] for k in range(8)}
    assert stored(plots.image_rows(worst))[1] < 120_000


def test_grey_and_colour_are_drawn_alike(digits):
    grey, colour = (
        stored(plots.image_grid(x, title="title"))[0] for x in (digits[:6], digits[:6].repeat(1, 3, 1, 1))
    )
    assert np.array_equal(grey, colour)


def test_large_images_become_means_of_squares():
    images = noise(4, 301)
    pixels, _ = stored(plots.image_grid(images, 4))
    squares = np.pad(images.float(), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    means = np.nanmean(squares.reshape(4, 3, 151, 2, 151, 2), axis=(3, 5)).round()
    drawn, wanted = inked(pixels), sheet(torch.from_numpy(means), 4, 1)
    assert drawn.shape == wanted.shape
    assert np.abs(drawn - wanted).mean() < 16  # 180,000 colours became at most 256


def test_labels_stand_below_their_images_and_are_cut(digits):
    labels = ["3", "a label that is very long, wider than its image", *map(str, range(10))]
    figure = plots.image_grid(digits[:12], 6, "title", labels)
    pixels, _ = stored(figure)
    (axis,) = figure.axes
    assert axis.texts[0].get_text() == "3"
    assert axis.texts[1].get_text().endswith("…")
    assert axis.texts[1].get_text().startswith("a label that")
    left, right, bottom, top = axis.images[0].get_extent()
    wide = (right - left + 2) / 6
    for k, text in enumerate(axis.texts):
        box = text.get_window_extent()
        assert left + k % 6 * wide - 1 <= box.x0 < box.x1 <= left + (k % 6 + 1) * wide
        below = pixels.shape[0] - box.y0, pixels.shape[0] - box.y1
        end = top + (k // 6 + 1) * (bottom - top + 2) / 2 - 2
        assert end - module.LABEL - 1 <= below[1] < below[0] <= end + 1


@pytest.mark.parametrize("count", [1, 7, 16, 25, 64, 100, 400])
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (64, 48), (128, 128)])
def test_images_are_as_large_as_they_can_be(count, size):
    columns = sheets.best_columns(count, size, module.SPACE)

    def larger(columns):
        return sheets.scale(size, (-(-count // columns), columns), module.SPACE)

    assert larger(columns) == max(larger(c) for c in range(1, count + 1))
    if larger(columns):
        images = torch.zeros(count, 1, *size, dtype=torch.uint8)
        figure = plots.image_grid(images, title="title")
        width, height = figure.get_size_inches()
        assert width == 10
        assert height <= 6
        left, right, _, top = figure.axes[0].images[0].get_extent()
        assert 0 <= left < right <= 800
        assert top == module.TITLE


def test_the_same_images_give_the_same_picture(photographs):
    first, second = (plots.image_grid(photographs, 16)._repr_mimebundle_()[0] for _ in range(2))
    assert first == second


BYTES = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
BAD = [
    (lambda: plots.image_grid(BYTES.float()), TypeError, "be bytes .* got torch.float32: lfmkit.pixels.as_"),
    (lambda: plots.image_grid(BYTES.bool()), TypeError, "got torch.bool"),
    (lambda: plots.image_grid(BYTES.numpy()), TypeError, "got ndarray"),
    (
        lambda: plots.image_grid(BYTES[0]),
        ValueError,
        r"the shape \(n, C, H, W\), got \(1, 8, 8",
    ),
    (lambda: plots.image_grid(BYTES.view(3, 8, 8, 1)), ValueError, r"1 or 3, H, W\), got \(3, 8, 8, 1\)"),
    (lambda: plots.image_grid(BYTES[:0]), ValueError, "images is empty"),
    (lambda: plots.image_grid(BYTES, 0), ValueError, "columns must be >= 1, got 0"),
    (lambda: plots.image_grid(BYTES, labels=["a"]), ValueError, "got 1 labels for 3 images"),
    (lambda: plots.image_grid(BYTES.repeat(9999, 1, 1, 1)), ValueError, "do not fit into one picture"),
    (lambda: plots.image_rows({}), ValueError, "nothing to show: give rows"),
    (lambda: plots.image_rows([BYTES]), TypeError, "rows must be a mapping of names to images, got list"),
    (lambda: plots.image_rows({"a": BYTES, "b": BYTES.float()}), TypeError, "images of 'b' must be bytes"),
    (lambda: plots.image_rows({"a": BYTES, "b": BYTES[:2]}), ValueError, r"\(3, 1, 8, 8\) in 'a', \(2, 1, 8"),
    (lambda: plots.image_rows({"a": BYTES, "b": BYTES.repeat(1, 3, 1, 1)}), ValueError, "of one shape"),
    (lambda: plots.image_rows({"a": BYTES[:0]}), ValueError, "images of 'a' is empty"),
    (
        lambda: plots.image_rows({str(k): BYTES for k in range(99)}),
        ValueError,
        "99 rows of 3 images of 8 x 8",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_bad_input_gets_one_clear_line(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
