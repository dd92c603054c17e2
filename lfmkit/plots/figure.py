"""The figure of all pictures: one palette, one width, fixed axes, an alt text."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

PALETTE = {
    "data": "#222222",
    "noise": "#8c8c8c",
    "LFM": "#0072b2",
    "FM": "#d55e00",
    "rectified flow": "#009e73",
    "OT-CFM": "#cc79a7",
    "SB-CFM": "#e69f00",
    "InterFlow": "#56b4e9",
    "VP": "#7a5195",
}
LIMIT = 4.5  # half-width of all two-dimensional axes
EXTENT = (-LIMIT, LIMIT, -LIMIT, LIMIT)
WIDTH = 10.0  # inches
DPI = 80  # dots per inch of the pictures that notebooks store


class Picture(Figure):
    """A figure with an alt text; in a notebook it shows as a PNG."""

    alt = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", dpi=DPI)
        png = base64.b64encode(self.packed(Image.open(drawn).convert("RGB"))).decode()
        return {"image/png": png, "text/plain": f"<picture: {self.alt}>"}, {"image/png": {"alt": self.alt}}

    def packed(self, drawn: Image.Image) -> bytes:
        """Return the drawing as the PNG that a notebook stores: 64 colours take a quarter of the bytes."""
        return as_png(drawn.quantize(64, dither=Image.Dither.NONE))


def as_png(image: Image.Image) -> bytes:
    """Return an image as a PNG."""
    small = io.BytesIO()
    image.save(small, format="png", optimize=True)
    return small.getvalue()


def blank(height: float, alt: str) -> Picture:
    """Return an empty picture of the common width, `height` inches high."""
    figure = Picture(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.alt = alt
    return figure


def row(count: int, alt: str) -> tuple[Picture, list[Axes]]:
    """Return a picture with `count` square panels in a row, all with the same fixed axes."""
    if count < 1:
        raise ValueError("a picture needs one or more panels")
    figure = blank(min(4.0, WIDTH / count + 0.35), alt)
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for axis in axes:
        axis.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), xticks=[], yticks=[], aspect="equal")
    return figure, axes


def look_of(name: str, other: str = "#555555") -> str:
    """Return the colour of a name that starts with a name of the palette, or another colour.

    >>> look_of("LFM, distilled") == PALETTE["LFM"]
    True
    """
    return next((colour for start, colour in PALETTE.items() if name.startswith(start)), other)


def looks(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return colour, marker and line style of each series; two of one colour have different markers."""
    others = cycle(["#555555", "#b8860b", "#117733", "#882255", "#332288"])
    found: list[tuple[str, str, str]] = []
    used: dict[str, int] = {}
    for name in names:
        colour = look_of(name, "") or next(others)
        number = used[colour] = used.get(colour, -1) + 1
        found.append((colour, "os^Dv"[number % 5], ("-", "--", ":", "-.")[number % 4]))
    return found
