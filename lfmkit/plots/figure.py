"""The figure all pictures are drawn on: one palette, one width, fixed axes, an alt text."""

from __future__ import annotations

import base64
import io
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
DPI = 80  # of what a notebook stores


class Picture(Figure):
    """A figure with an alt text; in a notebook it shows as a PNG."""

    alt = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", dpi=DPI)
        png = base64.b64encode(self.packed(Image.open(drawn).convert("RGB"))).decode()
        return {"image/png": png, "text/plain": f"<picture: {self.alt}>"}, {"image/png": {"alt": self.alt}}

    def packed(self, drawn: Image.Image) -> bytes:
        """Return what is drawn as the PNG that a notebook stores: 64 colours, a quarter the size."""
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
