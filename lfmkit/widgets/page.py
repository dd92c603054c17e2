"""One page that shows a widget from disk: no network, no library, no kernel."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path

import traitlets

from lfmkit.utils import files
from lfmkit.widgets.base import HERE, STYLE, Widget


class Standalone(Widget):
    """A widget that brings all its frames, so that it needs no kernel.

    Attributes:
        frame: The frame shown; it can be set.
    """

    frame = traitlets.Int(0).tag(sync=True)
    kept: tuple[str, ...] = ("about", "points", "frame")  # traits its page needs

    def save_html(self, path: str | Path) -> None:
        """Write the widget as one page that opens from disk.

        Raises:
            OSError: The page cannot be written.
        """
        state = {name: getattr(self, name) for name in self.kept}
        binary = {k: base64.b64encode(v).decode() for k, v in state.items() if isinstance(v, bytes)}
        picture, metadata = self.still()._repr_mimebundle_()
        alt = html.escape(metadata["image/png"]["alt"])
        parts = {
            "title": html.escape(self.about["label"]),
            "style": STYLE.read_text(encoding="utf-8"),
            "still": f'<img alt="{alt}" src="data:image/png;base64,{picture["image/png"]}">',
            "state": json.dumps({k: v for k, v in state.items() if k not in binary}).replace("</", "<\\/"),
            "binary": json.dumps(binary),
            "script": str(self._esm).replace("export default", "const widget ="),
        }
        frame = (HERE / "page.html").read_text(encoding="utf-8")
        page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], frame)
        files.write(Path(path), page.encode())
