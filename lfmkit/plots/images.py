"""Images of bytes, pixel by pixel: one contact sheet, or named rows."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image
from torch import Tensor

from lfmkit.plots.figure import DPI, WIDTH, Picture, as_png, look_of
from lfmkit.plots.sheets import GAP, best_columns, check, check_all, fitted, tiled

SPACE = (450, round(WIDTH * DPI))  # height and width of all images with their names, in pixels
TITLE, LABEL, MARGIN = 28, 15, 12  # pixels: heights of a title and of a label, room beside a name
EXACT, MOST = 40_000, 110_000  # largest PNG in bytes with all its colours, and with a palette


class Photograph(Picture):
    """A picture that keeps all colours of its images, or as many as a notebook should store."""

    def packed(self, drawn: Image.Image) -> bytes:
        """Return the drawing as a PNG: with all colours where that takes few bytes, else with up to 256."""
        if drawn.getcolors(256) is not None:
            return as_png(drawn.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE))
        if drawn.getcolors(EXACT // 2) is not None:  # each takes about two bytes or more
            small = as_png(drawn)
            if len(small) <= EXACT:
                return small
        part = drawn.resize((drawn.width // 2, drawn.height // 2), Image.Resampling.NEAREST)  # for speed
        changes = part.width * part.height // 50  # k-means may stop when fewer pixels change their colour
        for colours in (256, 128, 64):
            palette = part.quantize(colours, Image.Quantize.MAXCOVERAGE, changes)
            small = as_png(drawn.quantize(palette=palette, dither=Image.Dither.NONE))
            if len(small) <= MOST:
                break
        return small


def image_grid(
    images: Tensor,
    columns: int | None = None,
    title: str = "",
    labels: Sequence[str] | None = None,
    alt: str = "",
) -> Picture:
    """Draw one contact sheet, each pixel of an image as a square of whole pixels.

    Images that are too large for that are reduced: squares of their pixels are averaged.

    Args:
        images: Bytes (n, C, H, W), grey (C = 1) or in colour (C = 3).
        columns: Images in a row; the number that lets them be largest when left out.
        title: Title that says what to notice.
        labels: A few letters below each image, cut where they are wider than the image.
        alt: Description of the picture for readers who do not see it.

    Raises:
        TypeError: The images are not bytes.
        ValueError: Wrong shape, no images, too many for one picture, or another number of labels.
    """
    check(images)
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"each image needs one label, got {len(labels)} labels for {len(images)} images")
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be >= 1, got {columns}")
    below = 0 if labels is None else LABEL
    size = (images.shape[2], images.shape[3])
    columns = min(columns or best_columns(len(images), size, SPACE, below), len(images))
    small, zoom = fitted(images, (-(-len(images) // columns), columns), SPACE, below)
    figure = _blank(alt or f"{title or 'Images'}, {len(images)} in rows of {columns}")
    axis, left, top = _draw(figure, tiled(small, columns, zoom, GAP, below), title)
    high, wide = small.shape[2] * zoom, small.shape[3] * zoom
    for k, label in enumerate(labels or ()):
        row, column = divmod(k, columns)
        x, y = left + column * (wide + GAP) + wide / 2, top + row * (high + below + GAP) + high + LABEL / 2
        axis.text(x, y, _cut(figure, label, wide), fontsize=8, ha="center", va="center")
    return figure


def image_rows(rows: Mapping[str, Tensor], title: str = "", alt: str = "") -> Picture:
    """Draw named rows of images, one under another, with the names on the left.

    Pixels are drawn as by `image_grid`: images of 32 x 32 are enlarged to 64 x 64 in up to six rows of ten,
    and keep their size in up to thirteen rows of sixteen.

    Args:
        rows: Name to images, bytes (n, C, H, W), all of one shape. A row whose name starts with a palette
            name has a bar of its colour.
        title: Title that says what to notice.
        alt: Description of the picture for readers who do not see it.

    Raises:
        TypeError: The rows are not a mapping, or some images are not bytes.
        ValueError: No rows, wrong or different shapes, no images, or too many for one picture.
    """
    check_all(rows, "rows")
    count = len(next(iter(rows.values())))
    figure = _blank(alt or f"{title or 'Images'}, rows of {count}: {'; '.join(rows)}")
    names = [textwrap.wrap(name, 20) or [""] for name in rows]
    side = round(max(_width(figure, line, 9) for lines in names for line in lines)) + 2 * MARGIN
    images = torch.cat([images.cpu() for images in rows.values()])
    small, zoom = fitted(images, (len(rows), count), (SPACE[0], SPACE[1] - side))
    axis, left, top = _draw(figure, tiled(small, count, zoom, GAP), title, side)
    high = small.shape[2] * zoom
    for k, (name, lines) in enumerate(zip(rows, names, strict=True)):
        y = top + k * (high + GAP)
        size = min(9.0, 0.72 * (high + GAP) / len(lines))
        axis.text(left - MARGIN, y + high / 2, "\n".join(lines), fontsize=size, ha="right", va="center")
        if colour := look_of(name, ""):
            axis.add_patch(Rectangle((left - MARGIN / 2 - 2, y), 4, high, color=colour, lw=0))
    return figure


def _blank(alt: str) -> Photograph:
    figure = Photograph(figsize=(WIDTH, 1), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.alt = alt
    return figure


def _draw(figure: Photograph, sheet: np.ndarray, title: str, side: int = 0) -> tuple[Axes, int, int]:
    """Draw a sheet; return axes in pixels from the top left corner, and the left and top of the sheet.

    Args:
        figure: The figure, whose height is set.
        sheet: Bytes (height, width, 1 or 3).
        title: Its title.
        side: Room to the left of the sheet, in pixels.
    """
    high, wide = sheet.shape[:2]
    left, top = (SPACE[1] - wide - side) // 2 + side, TITLE if title else 0
    figure.set_size_inches(WIDTH, (top + high) / DPI)
    if title:
        figure.suptitle(title, fontsize=12, y=1 - TITLE / 2 / (top + high), va="center")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    colours = sheet.repeat(3, 2) if sheet.shape[2] == 1 else sheet
    extent = (left, left + wide, top + high, top)
    axis.imshow(colours, extent=extent, interpolation="nearest", aspect="auto")
    axis.set(xlim=(0, SPACE[1]), ylim=(top + high, 0))
    return axis, left, top


def _width(figure: Photograph, text: str, points: int) -> float:
    """Return the width in pixels of a line of text."""
    line = Text(0, 0, text, fontsize=points)
    line.set_figure(figure)
    return line.get_window_extent().width


def _cut(figure: Photograph, text: str, room: int) -> str:
    """Return a label, shortened until it is no wider than its image."""
    kept = text
    while kept and _width(figure, kept, 8) > room:
        text = text[:-1]
        kept = f"{text}…" if text else ""
    return kept
