"""What all widgets share: their scripts and style, and an output that can be stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from lfmkit.plots import LIMIT, Picture

HERE = Path(__file__).parent
STYLE = HERE / "style.css"


def script(*names: str) -> str:
    """Return one browser module made of several files of this folder, the one with `render` last."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def counted(count: int, thing: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "panel"), counted(2000, "point")
    ('1 panel', '2,000 points')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def panel_size(count: int) -> int:
    """Return the side of each of `count` square panels in CSS pixels: four fit into one row of a notebook."""
    return min(300, max(180, 840 // count - 12))


class Widget(anywidget.AnyWidget):
    """A widget with a still picture.

    Attributes:
        about: All that does not change while it is shown.
        points: Points in the plane, as `points.quantised` packs them.
    """

    _css = STYLE
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
