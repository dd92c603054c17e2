"""Where data come from: checksums of the files a process has read, and how a data set shows its origin."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

from lfmkit.utils.files import sha256

_read: dict[str, str] = {}


def note_data(name: str, path: Path) -> str:
    """Note the checksum of a data file that is being read, for the records of runs; return it."""
    _read[name] = sha256(path)
    return _read[name]


def data_read() -> dict[str, str]:
    """Return the SHA-256 of every data file that this process has read, by name."""
    return dict(_read)


class Splits:
    """Base of data sets with three splits: how they count their rows, and what a notebook shows of them.

    Attributes:
        provenance: Source, licence, files, checksums and what was done, one line for each.
    """

    provenance: Mapping[str, str]

    def _counts(self) -> str:
        return ", ".join(f"{split} {len(getattr(self, split)):,}" for split in ("train", "val", "test"))

    def _repr_html_(self) -> str:
        lines = [
            f"<li><b>{html.escape(key)}</b>: {html.escape(text)}</li>"
            for key, text in self.provenance.items()
        ]
        return f"<p><b>{html.escape(repr(self)[1:-1])}</b></p>{self._details()}<ul>{''.join(lines)}</ul>"

    def _details(self) -> str:
        return ""
