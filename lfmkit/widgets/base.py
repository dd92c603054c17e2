"""The base of all widgets: browser code, a still picture that notebooks store, and a page without a kernel.

A widget is one Python file here and one JavaScript file in static/. To add one:

1. Subclass `Standalone`, or `Widget` if it needs the kernel while it is used. Put everything that the browser
   needs into `about` (plain data), `points` (packed by `points.quantised`) or traits of your own with
   `sync=True`. Write `still()` and a `__repr__` that is the same in every run: notebooks compare it.
2. Write static/NAME.js with a function `render({ model, el })` that draws into the element el and returns a
   function that undoes it; end the file with `export default { render };`.
3. Set `_esm = script("common.js", ..., "NAME.js")`.
4. Export its function in `__init__`; test it in tests/widgets, and in a browser in tests/browser.

`script` pastes the files into one module, since a browser cannot import files from a kernel. They share one
scope: declare a name in one file only, write no imports, and export only from the last file. common.js
(theme, canvases, controls) comes first; pixels.js (clouds of points), chart.js (axes) and player.js (slider
and play button) build on it. `save_html` replaces `export default` by `const widget =`, because the script of
a page cannot export.
"""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from matplotlib.axes import Axes

from lfmkit.plots import LIMIT, Picture
from lfmkit.plots.figure import WIDTH, blank
from lfmkit.utils import files

STATIC = Path(__file__).parent / "static"


def script(*names: str) -> str:
    """Return one browser module made of several files of static/, the one with `render` last."""
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names)


def counted(count: int, thing: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "panel"), counted(2000, "point")
    ('1 panel', '2,000 points')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def panel_size(count: int) -> int:
    """Return the side of each of `count` square panels in CSS pixels: four fit into one row of a notebook."""
    return min(300, max(180, 840 // count - 12))


def square(axis: Axes) -> None:
    """Give an axis of a still picture the frame of the live panels."""
    axis.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), xticks=[], yticks=[], aspect="equal")


def grid(rows: int, columns: int, alt: str) -> tuple[Picture, list[list[Axes]]]:
    """Return a still picture with rows of square panels."""
    figure = blank(rows * (min(3.2, WIDTH / columns) + 0.25) + 0.3, alt)
    axes = [list(row) for row in figure.subplots(rows, columns, squeeze=False)]
    for axis in figure.axes:
        square(axis)
    return figure, axes


class Widget(anywidget.AnyWidget):
    """A widget with a still picture.

    Attributes:
        about: Everything that does not change while the widget is shown.
        points: Points in the plane, as `points.quantised` packs them.
    """

    _css = STATIC / "style.css"
    about = traitlets.Dict().tag(sync=True)
    points = traitlets.Bytes(b"").tag(sync=True)

    def __init__(self, about: dict[str, Any], points: bytes = b"", **traits: Any) -> None:
        super().__init__(about={**about, "limit": LIMIT}, points=points, **traits)

    def still(self) -> Picture:
        """Return the picture that is stored beside the live one."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        picture, alt = self.still()._repr_mimebundle_()
        return {**data, "image/png": picture["image/png"], "text/plain": repr(self)}, {**metadata, **alt}


class Standalone(Widget):
    """A widget that brings all its frames, so that it works without a kernel.

    Attributes:
        frame: The frame shown; it can be set.
    """

    frame = traitlets.Int(0).tag(sync=True)
    kept: tuple[str, ...] = ("about", "points", "frame")  # traits that its page contains

    def save_html(self, path: str | Path) -> None:
        """Write the widget as one page that opens from disk, without network, libraries or kernel.

        Raises:
            OSError: The page cannot be written.
        """
        state = {name: getattr(self, name) for name in self.kept}
        binary = {k: base64.b64encode(v).decode() for k, v in state.items() if isinstance(v, bytes)}
        picture, metadata = self.still()._repr_mimebundle_()
        alt = html.escape(metadata["image/png"]["alt"])
        parts = {
            "title": html.escape(self.about["label"]),
            "style": str(self._css),
            "still": f'<img alt="{alt}" src="data:image/png;base64,{picture["image/png"]}">',
            "state": json.dumps({k: v for k, v in state.items() if k not in binary}).replace("</", "<\\/"),
            "binary": json.dumps(binary),
            "script": str(self._esm).replace("export default", "const widget ="),
        }
        frame = (STATIC / "page.html").read_text(encoding="utf-8")
        page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], frame)
        files.write(Path(path), page.encode())
