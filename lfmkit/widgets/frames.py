"""Sheets of images and a slider that switches between them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

import traitlets
from PIL import Image
from torch import Tensor

from lfmkit.plots import Picture, image_rows
from lfmkit.plots.figure import as_png
from lfmkit.plots.sheets import GAP, best_columns, check_all, fitted, tiled
from lfmkit.widgets.base import Standalone, counted, script

SPACE = (420, 840)  # height and width of a sheet in CSS pixels: with its slider it fits a small screen
STILL = (6, 10)  # frames, and images of each, in the still picture


def frames(pictures: Mapping[str | int, Tensor], *, name: str = "NFE", title: str = "Images") -> Frames:
    """Show sheets of images one at a time: the same noise at more and more steps, or after each block.

    Args:
        pictures: Label of a frame, such as the number of evaluations, to its images, bytes (n, C, H, W).
        name: Name of the slider, which says what the labels mean.
        title: Name of the widget.

    Returns:
        A widget; `.frame` is the number of the frame shown, `.save_html(path)` writes it as one page.

    Raises:
        TypeError: The pictures are not a mapping, or some images are not bytes.
        ValueError: No pictures, wrong or different shapes, no images, or too many for one sheet.
    """
    check_all(pictures, "pictures")
    return Frames({str(label): images for label, images in pictures.items()}, name, title)


class Frames(Standalone):
    """The widget that `frames` returns.

    Attributes:
        sheets: PNGs, one per frame, one after another.
    """

    _esm = script("common.js", "player.js", "frames.js")
    sheets = traitlets.Bytes().tag(sync=True)
    kept = (*Standalone.kept, "sheets")

    def __init__(self, pictures: dict[str, Tensor], name: str, title: str) -> None:
        self._pictures = pictures
        count, _, height, width = next(iter(pictures.values())).shape
        columns = best_columns(count, (height, width), SPACE)
        grid = (-(-count // columns), columns)
        sheets: list[bytes] = []
        for images in pictures.values():
            small, zoom = fitted(images, grid, SPACE)
            sheet = tiled(small, columns)
            sheets.append(as_png(Image.fromarray(sheet if sheet.shape[2] == 3 else sheet[:, :, 0])))
        about = {
            "label": title,
            "name": name,
            "labels": list(pictures),
            "count": count,
            "columns": columns,
            "size": list(small.shape[2:]),
            "zoom": zoom,
            "gap": GAP,
            "ends": [0, *accumulate(map(len, sheets))],
        }
        super().__init__(about, sheets=b"".join(sheets))

    def __repr__(self) -> str:
        images = next(iter(self._pictures.values()))
        each = f"{counted(len(images), 'image')} of {images.shape[2]} x {images.shape[3]}"
        return f"<frames: {counted(len(self._pictures), 'frame')}, {each}>"

    def still(self) -> Picture:
        """Return the first images of some frames, from the first to the last, as rows of one picture."""
        frames, images = STILL
        last = len(self._pictures) - 1
        shown = sorted({round(k * last / (frames - 1)) for k in range(frames)})
        labels = [list(self._pictures)[k] for k in shown]
        rows = {f"{self.about['name']} {label}": self._pictures[label][:images] for label in labels}
        return image_rows(rows, self.about["label"])
