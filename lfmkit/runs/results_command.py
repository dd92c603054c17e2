"""The command ``lfmkit results``: the table of recorded runs, on the terminal and in files."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
import textwrap
from pathlib import Path

from lfmkit.utils import files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.description = "Show all recorded runs, what came out, which failed and why."
    parser.add_argument("folder", metavar="DIR", nargs="?", default="runs", help="folder of the runs (runs)")
    parser.add_argument(
        "--where", metavar="EXPR", action="append", default=[],
        help="only runs with this: seed=0, method!=fm, 'excess<0.1', outcome=failed; several must all hold",
    )  # fmt: skip
    parser.add_argument(
        "--by", metavar="NAME", action="append", default=[],
        help="means and standard errors over the completed runs that agree in this column; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--metric", metavar="NAME", action="append", default=[], help="show this metric; repeatable (all)"
    )
    parser.add_argument("--sort", metavar="NAME", help="order by this column, the smallest first")
    for form, name in (("CSV", "csv"), ("parquet", "parquet"), ("Markdown", "markdown")):
        parser.add_argument(f"--{name}", metavar="FILE", type=Path, help=f"write the table as {form}")
    parser.add_argument("--html", action="store_true", help="write DIR/index.html: all runs, their pictures")


def main(asked: argparse.Namespace) -> int:
    """Show the recorded runs, and write the files that are wanted.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There is no such column, or a condition cannot be read.
        OSError: A file cannot be written.
    """
    from lfmkit.runs import index, tables  # late, with pandas: other commands start at once
    from lfmkit.runs.results import read_results, write
    from lfmkit.runs.selection import nearest

    recorded = read_results(asked.folder)
    by, names, sort = (asked.by, asked.metric, asked.sort) if recorded.runs else ([], [], None)
    metrics = [nearest(name, recorded.table) for name in names]
    results = recorded.select(asked.where)
    if by:
        frame = results.means(by, metrics)
        if sort:
            mean = f"{sort} mean"
            frame = frame.sort_values(mean if mean in frame else nearest(sort, frame), kind="stable")
        columns, keep = tables.of_means(frame), by
    else:
        results = results.sort(sort) if sort else results
        frame = results.table
        columns, keep = tables.of_runs(results, metrics), metrics or results.reported[:1]
    head, notes = tables.above(results, by), tables.below(results)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    shown = [textwrap.fill(line, width, subsequent_indent="  ") if width else line for line in head]
    shown += ["", tables.terminal(columns, width, keep)] if results.runs else []
    shown += ["", *notes] if notes else []
    if asked.csv:
        write(frame, asked.csv, "csv")
    if asked.parquet:
        write(frame, asked.parquet, "parquet")
    if asked.markdown:
        files.write(asked.markdown, tables.markdown(columns, head, notes).encode())
    page = index.write(results) if asked.html else None
    shown += [f"wrote {path}" for path in (asked.csv, asked.parquet, asked.markdown, page) if path]
    _print("\n".join(shown))
    return 0


def _print(text: str) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader, as `head`, has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
