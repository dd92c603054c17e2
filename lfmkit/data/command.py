"""The command ``lfmkit data``: fetch a table or images if need be, and say what is in them."""

from __future__ import annotations

import sys
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path

from lfmkit.data.imagesets import NAMES, images
from lfmkit.data.imagesets.parquet import holds_images
from lfmkit.data.imagesets.record import Images
from lfmkit.data.tabular import table
from lfmkit.data.tabular.gaussian import gaussian_nll
from lfmkit.data.tabular.record import Table

_NAMES = 20  # columns or classes that are printed


def show(source: str, size: int | None = None) -> int:
    """Print what a table or a set of images holds and where it comes from; return 0.

    Args:
        source: What `lfmkit.data.table` or `lfmkit.data.images` take.
        size: Of the images.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        path = Path(source)
        if source in NAMES or path.is_dir() or holds_images(path):
            lines = _about_images(images(source, size))
        else:
            lines = _about_table(_table(source))
    for warning in caught:
        print(f"lfmkit data: {warning.message}", file=sys.stderr)
    print("\n".join(lines))
    return 0


def _table(source: str) -> Table:
    try:
        return table(source)
    except ValueError as error:
        if str(error).startswith("unknown table"):
            raise ValueError(f"{error}. Images are {', '.join(NAMES)}, or a folder") from error
        raise


def _about_table(wanted: Table) -> list[str]:
    lines = [repr(wanted)[1:-1], *_listed({"columns": _some(wanted.columns), **wanted.provenance})]
    try:
        nll = gaussian_nll(wanted)
    except ValueError as error:
        return [*lines, f"Gaussian:         {error}"]
    scores = ", ".join(f"{split} {value:.3f}" for split, value in nll.items())
    lines.append(f"Gaussian NLL:     {scores} (nats, full covariance of train)")
    if wanted.log_volume:
        lines.append(f"log volume:       {wanted.log_volume:.3f}: add it for NLLs in the original units")
    return lines


def _about_images(wanted: Images) -> list[str]:
    about = dict(wanted.provenance)
    if wanted.train_labels is not None:
        counts = wanted.train_labels.bincount(minlength=len(wanted.classes))
        about = {
            "classes": _some(wanted.classes),
            "in train": f"{int(counts.min()):,} to {int(counts.max()):,} images of each class",
            **about,
        }
    return [repr(wanted)[1:-1], *_listed(about)]


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def _listed(about: Mapping[str, str]) -> list[str]:
    return [
        line
        for key, text in about.items()
        for line in textwrap.wrap(
            f"{key + ':':<17} {text}", 110, subsequent_indent=" " * 18, break_on_hyphens=False
        )
    ]
