"""The page of all recorded runs: one file beside them that opens from disk and links to each."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from lfmkit.runs import records, tables
from lfmkit.runs.records import Json, RunRecord
from lfmkit.runs.results import Results, plain
from lfmkit.runs.selection import text
from lfmkit.utils import files

PAGE_FILE, RUN_PAGE = "index.html", "notebook.html"
STATIC = Path(__file__).parent / "static"


def write(results: Results) -> Path:
    """Write ``index.html`` into the folder of the runs, in one step, and return its path.

    The page is a table to sort and to filter, with the runs' pictures, and the reasons of failures.
    Values reach it as JSON in which no tag can end, and its script sets them as text. Its policy admits no
    other script, no network, and pictures from the same place only.

    Raises:
        OSError: The page cannot be written.
    """
    frame, style, script = ((STATIC / f"index.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    policy = f"default-src 'none'; img-src 'self' file:; style-src {_digest(style)}; "
    parts = {
        "policy": f"{policy}script-src {_digest(script)}",
        "style": style,
        "script": script,
        "title": html.escape(text(results.root.resolve().name)),
        "data": json.dumps(_data(results), allow_nan=False).replace("<", "\\u003c"),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], frame)
    files.write(results.root / PAGE_FILE, page.encode())
    return results.root / PAGE_FILE


def _data(results: Results) -> dict[str, Json]:
    """Return the data of the page's script; addresses are relative to the page."""
    root, same, reasons = results.root, tables.same(results), tables.failures(results)
    names = ["id", "outcome", "notebook", *results.parameters.values(), *results.reported]
    names = [name for name in names if name not in same] + ["seconds", "peak_memory", "started"]
    cells = [[_exact(value) for value in plain(results.table[name])] for name in names]
    rows = zip(results.runs.items(), zip(*cells, strict=True), strict=True)
    return {
        "about": tables.counted(results),
        "written": records.now()[:16].replace("T", " "),
        "same": {name: text(value) for name, value in same.items()},
        "reasons": [
            {
                "why": why,
                "count": len(folders),
                "runs": [[name, _page(root, name) or _quoted(name)] for name in folders[: tables.NAMED]],
            }
            for why, folders in reasons[: tables.MOST]
        ],
        "more": len(reasons[tables.MOST :]),
        "columns": [
            {"name": name, "number": not any(isinstance(cell, str) for cell in column)}
            for name, column in zip(names, cells, strict=True)
        ],
        "runs": [
            {
                "cells": row,
                "page": _page(root, folder),
                "why": "" if run.completed else run.why,
                "figures": _figures(root, folder, run),
            }
            for (folder, run), row in rows
        ],
    }


def _figures(root: Path, folder: str, run: RunRecord) -> list[dict[str, str]]:
    """Return address and description of a run's pictures, as far as they are inside the folder of runs."""
    paths = [(f"{folder}/{each['file']}", each["alt"]) for each in run.figures]
    return [
        {"file": _quoted(path), "alt": alt}
        for path, alt in paths
        if ".." not in PurePosixPath(path).parts and (root / path).is_file()
    ]


def _page(root: Path, folder: str) -> str:
    """Return the address of a run's page, or nothing if it has none."""
    return f"{_quoted(folder)}/{RUN_PAGE}" if (root / folder / RUN_PAGE).exists() else ""


def _quoted(path: str) -> str:
    return quote(os.fsencode(path))


def _exact(value: Json) -> Json:
    """Return a number that a browser holds exactly, or text, or None."""
    if value is None or isinstance(value, str):
        return value
    exact = math.isfinite(value) if isinstance(value, float) else abs(value) < 2**53
    return value if exact and not isinstance(value, bool) else text(value)


def _digest(content: str) -> str:
    """Return the name of an inline script or style in the page's policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
