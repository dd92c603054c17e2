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
from typing import TYPE_CHECKING

from lfmkit.runs import index, selection, tables
from lfmkit.runs.results import read_results, write
from lfmkit.utils import files

if TYPE_CHECKING:
    import pandas as pd


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


def main(arguments: argparse.Namespace) -> int:
    """Show the recorded runs; return 0, or 2 when there is no such folder, column or condition."""
    try:
        lines = _work(arguments)
    except (ValueError, OSError) as error:
        print(f"lfmkit results: {error}", file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(lines)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, as `head`, has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _work(arguments: argparse.Namespace) -> str:
    """Write the files that are wanted, and return what is to be printed."""
    recorded = read_results(arguments.folder)
    results, metrics, means = recorded.select(arguments.where), [], None
    if recorded.runs:  # else there are no columns to ask for
        metrics = [selection.nearest(name, results.columns) for name in arguments.metric]
        if arguments.by:
            means = _sorted(results.means(arguments.by, metrics), arguments.sort)
        elif arguments.sort:
            results = results.sort(arguments.sort)
    if means is None:
        columns, keep = tables.of_runs(results, metrics), metrics or results.reported[:1]
    else:
        columns, keep = tables.of_means(means), arguments.by
    head, notes = tables.above(results), tables.below(results)
    if means is not None and results.runs:
        head.append(tables.averaged(results, arguments.by))
    frame = None
    if arguments.csv or arguments.parquet:
        frame = results.frame() if means is None else means
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    shown = [textwrap.fill(line, width, subsequent_indent="  ") if width else line for line in head]
    if results.runs:
        shown += ["", tables.terminal(columns, width, keep)]
    shown += ["", *notes] if notes else []
    for form in ("csv", "parquet"):
        path = getattr(arguments, form)
        if path is not None and frame is not None:
            write(frame, path, form)
            shown.append(f"wrote {path}")
    if arguments.markdown:
        files.write(arguments.markdown, tables.markdown(columns, head, notes).encode())
        shown.append(f"wrote {arguments.markdown}")
    if arguments.html:
        shown.append(f"wrote {index.write(results)}")
    return "\n".join(shown)


def _sorted(means: pd.DataFrame, by: str | None) -> pd.DataFrame:
    """Return means ordered by a column, or by the mean of a metric."""
    if by is None:
        return means
    column = f"{by} mean" if f"{by} mean" in means else selection.nearest(by, list(means.columns))
    return means.sort_values(column, kind="stable")
