"""The page of all recorded runs: one file beside them that opens from disk and links to each."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from lfmkit.runs import records, selection, tables
from lfmkit.runs.records import Json, RunRecord
from lfmkit.runs.results import Results
from lfmkit.utils import files

PAGE_FILE, RUN_PAGE = "index.html", "notebook.html"
HERE = Path(__file__).parent


def write(results: Results) -> Path:
    """Write ``index.html`` into the folder of the runs, in one step, and return its path.

    Raises:
        OSError: The page cannot be written.
    """
    path = results.root / PAGE_FILE
    files.write(path, render(results).encode())
    return path


def render(results: Results) -> str:
    """Return the page: a table to sort and to filter, what did not complete and why, the runs' pictures.

    Values reach the page as JSON in which no tag can end, and its script sets them as text. Its policy admits
    no script but this one, no network, and pictures from the same place only.
    """
    style, script = ((HERE / f"index.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    parts = {
        "policy": f"default-src 'none'; img-src 'self' file:; style-src {_digest(style)}; "
        f"script-src {_digest(script)}",
        "style": style,
        "script": script,
        "title": _text(results.root.resolve().name),
        "about": _text(f"{len(results):,} {'run' if len(results) == 1 else 'runs'}{tables.counts(results)}"),
        "same": _same(results),
        "incomplete": _incomplete(results),
        "updated": _text(records.now()[:16].replace("T", " ")),
        "data": json.dumps(_data(results), allow_nan=False).replace("<", "\\u003c"),
    }
    frame = (HERE / "index.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], frame)


def _data(results: Results) -> dict[str, Any]:
    """Return what the page's script draws the table from."""
    common = tables.same(results)
    names = ["id", "outcome", "notebook", *results.parameters.values(), *results.reported]
    names = [name for name in names if name not in common] + ["seconds", "peak_memory", "started"]
    cells = [[_plain(value) for value in results.columns[name]] for name in names]
    runs = results.runs.items()
    return {
        "columns": [
            {"name": name, "number": not any(isinstance(cell, str) for cell in column)}
            for name, column in zip(names, cells, strict=True)
        ],
        "runs": [
            {"cells": list(row), **_run(results.root, folder, run)}
            for row, (folder, run) in zip(zip(*cells, strict=True), runs, strict=True)
        ],
    }  # fmt: skip


def _run(root: Path, folder: str, run: RunRecord) -> dict[str, Any]:
    """Return what the table shows of a run besides its cells; addresses are relative to the page."""
    shown: dict[str, Any] = {"page": _address(root, folder)}
    if not run.completed:
        shown["why"] = tables.why(run)
    pictures = [(each["alt"], f"{folder}/{each['file']}") for each in run.figures]
    shown["figures"] = [
        {"file": _quoted(path), "alt": selection.text(alt)}
        for alt, path in pictures
        if ".." not in PurePosixPath(path).parts and (root / path).is_file()
    ]
    return shown


def _same(results: Results) -> str:
    terms = [
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>"
        for name, value in tables.same(results).items()
    ]
    if not terms:
        return ""
    return f"<details open><summary>The same in all runs</summary><dl>{''.join(terms)}</dl></details>"


def _incomplete(results: Results) -> str:
    """Return the list of runs without a result, those with the same reason together."""
    groups = tables.failures(results)
    items = [_item(reason, folders, results.root) for reason, folders in groups[: tables.MOST]]
    if len(groups) > tables.MOST:
        items.append(f"<li>and {len(groups) - tables.MOST:,} more kinds of failures</li>")
    for name, folders in (("running", results.running), ("interrupted", results.interrupted)):
        items += [_item(f"{name}: no record yet", folders, results.root)] if folders else []
    return f'<section class="without"><h2>Without a result</h2><ul>{"".join(items)}</ul></section>' * any(
        items
    )


def _item(reason: str, folders: Sequence[str], root: Path) -> str:
    links = [
        f'<a href="{_address(root, folder) or _quoted(folder)}">{_text(folder)}</a>' for folder in folders[:3]
    ]
    links += [f"and {len(folders) - 3:,} more"] if len(folders) > 3 else []
    outcome = reason.partition(":")[0].partition(" ")[0]
    rest = reason.removeprefix(outcome)
    shown = re.sub("`([^`]*)`", r"<code>\1</code>", _text(rest), count=1)  # the cell's first line
    return f"<li><strong>{_text(outcome)}</strong>{shown} <span>{', '.join(links)}</span></li>"


def _address(root: Path, folder: str) -> str:
    """Return the address of a run's page, relative to this one, or nothing if it has none."""
    return f"{_quoted(folder)}/{RUN_PAGE}" if (root / folder / RUN_PAGE).exists() else ""


def _quoted(path: str) -> str:
    return quote(os.fsencode(path))


def _text(value: Json) -> str:
    return html.escape(selection.text(value))


def _plain(value: Json) -> Json:
    """Return a number that a browser holds exactly, or text, or None."""
    if value is None or (type(value) is float and math.isfinite(value)):
        return value
    return value if type(value) is int and abs(value) < 2**53 else selection.text(value)


def _digest(content: str) -> str:
    """Return how the page's policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
