"""The slider over sheets of images without a browser: its contents, its stored output, bad input."""

import base64
import io
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from lfmkit import plots, widgets


def noise(count=12, channels=3, side=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, side, side), generator=generator).byte()


def unpacked(shown):
    """The images of each frame, from the PNGs."""
    about = shown.about
    (height, width), columns = about["size"], about["columns"]
    for start, end in pairwise(about["ends"]):
        sheet = np.asarray(Image.open(io.BytesIO(shown.sheets[start:end])))
        places = [divmod(k, columns) for k in range(about["count"])]
        yield np.stack([sheet[r * height : (r + 1) * height, c * width : (c + 1) * width] for r, c in places])


@pytest.mark.parametrize("channels", [1, 3])
def test_it_holds_every_pixel(channels):
    given = {steps: noise(channels=channels, seed=steps) for steps in (1, 8, 100)}
    shown = widgets.frames(given)
    assert shown.about["labels"] == ["1", "8", "100"]
    assert shown.about["ends"][-1] == len(shown.sheets)
    for images, sheet in zip(given.values(), unpacked(shown), strict=True):
        assert np.array_equal(sheet.reshape(12, 16, 16, channels), images.permute(0, 2, 3, 1))


def test_it_fits_a_small_screen():
    for count, side in ((1, 8), (16, 32), (64, 32), (300, 32), (16, 128), (7, 500)):
        about = widgets.frames({"a": noise(count, 1, side)}).about
        rows = -(-count // about["columns"])
        high, wide = (
            n * (s * about["zoom"] + 2) - 2
            for n, s in zip((rows, about["columns"]), about["size"], strict=True)
        )
        assert high <= 420
        assert wide <= 840
        assert max(high / 420, wide / 840) > 0.6  # and fills it


def test_large_images_are_reduced():
    shown = widgets.frames({"a": noise(8, 1, 400)})
    (sheet,) = unpacked(shown)
    assert shown.about["size"] == [200, 200]
    means = noise(8, 1, 400).float().unflatten(2, (200, 2)).unflatten(4, (200, 2)).mean((3, 5)).round()
    assert np.array_equal(sheet, means.squeeze(1))


def test_what_is_stored():
    """A live view, rows of a few images of a few frames as a PNG with an alt text, and one line."""
    shown = widgets.frames({k: noise(seed=k) for k in range(1, 12)}, name="block", title="Decoding")
    stored, metadata = shown._repr_mimebundle_()
    assert stored["text/plain"] == "<frames: 11 frames, 12 images of 16 x 16>"
    assert "application/vnd.jupyter.widget-view+json" in stored
    assert Image.open(io.BytesIO(base64.b64decode(stored["image/png"]))).size[0] == 800
    assert metadata["image/png"]["alt"] == shown.still().alt
    rows = {f"block {k}": noise(seed=k)[:10] for k in (1, 3, 5, 7, 9, 11)}
    assert stored["image/png"] == plots.image_rows(rows, "Decoding")._repr_mimebundle_()[0]["image/png"]
    json.dumps(shown.about, allow_nan=False)


def test_one_frame_is_enough():
    shown = widgets.frames({"data": noise(1)})
    assert repr(shown) == "<frames: 1 frame, 1 image of 16 x 16>"
    assert shown.still().alt == "Images, rows of 1: NFE data"


def test_the_page_is_whole(tmp_path):
    shown = widgets.frames({"</script>": noise(), "b": noise()}, title="</script>")
    shown.save_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 1
    assert base64.b64encode(shown.sheets).decode() in page
    assert "http" not in page


BAD = [
    (lambda: widgets.frames({}), ValueError, "nothing to show: give pictures"),
    (lambda: widgets.frames([noise()]), TypeError, "pictures must be a mapping of names to images, got list"),
    (lambda: widgets.frames({1: noise().float()}), TypeError, "images of 1 must be .* got torch.float32"),
    (lambda: widgets.frames({1: noise()[0]}), ValueError, r"got \(3, 16, 16\)"),
    (
        lambda: widgets.frames({1: noise(), 2: noise(5)}),
        ValueError,
        r"\(12, 3, 16, 16\) in 1, \(5, 3, 16, 16",
    ),
    (lambda: widgets.frames({1: noise(1).repeat(9999, 1, 1, 1)}), ValueError, "show fewer"),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_bad_input_gets_one_clear_line(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
