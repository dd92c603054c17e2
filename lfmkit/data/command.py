"""The command ``lfmkit data``: fetch a table or images if need be, and say what is in them."""

from __future__ import annotations

import sys
import textwrap
import warnings
from pathlib import Path

from lfmkit.data.imagesets import NAMES, images
from lfmkit.data.imagesets.parquet import holds_images
from lfmkit.data.imagesets.record import Images
from lfmkit.data.tabular import table
from lfmkit.data.tabular.gaussian import gaussian_nll
from lfmkit.data.tabular.reading import listed
from lfmkit.data.tabular.record import Table

_NAMES = 20  # columns or classes that are printed


def show(source: str, size: int | None = None) -> int:
    """Print what a table or a set of images holds and where it comes from; return 0.

    Args:
        source: Anything that `lfmkit.data.table` or `lfmkit.data.images` take as text.
        size: Height and width of the images in pixels.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = _found(source, size)
        facts = _about_table(found) if isinstance(found, Table) else _about_images(found)
    for warning in caught:
        print(f"lfmkit data: {warning.message}", file=sys.stderr)
    print(repr(found)[1:-1])
    for key, text in facts.items():
        line = f"{key + ':':<17} {text}"
        print(textwrap.fill(line, 110, subsequent_indent=" " * 18, break_on_hyphens=False))
    return 0


def _found(source: str, size: int | None) -> Table | Images:
    path = Path(source)
    if source in NAMES or path.is_dir() or holds_images(path):
        return images(source, size)
    try:
        return table(source)
    except ValueError as error:
        if str(error).startswith("unknown table"):
            raise ValueError(f"{error}. Images are {', '.join(NAMES)}, or a folder") from error
        raise


def _about_table(found: Table) -> dict[str, str]:
    facts = {"columns": listed(found.columns, _NAMES), **found.provenance}
    try:
        nll = gaussian_nll(found)
    except ValueError as error:
        return {**facts, "Gaussian": str(error)}
    scores = ", ".join(f"{split} {value:.3f}" for split, value in nll.items())
    facts["Gaussian NLL"] = f"{scores} (nats, full covariance of train)"
    if found.log_volume:
        facts["log volume"] = f"{found.log_volume:.3f}: add it for NLLs in the original units"
    return facts


def _about_images(found: Images) -> dict[str, str]:
    if found.train_labels is None:
        return dict(found.provenance)
    counts = found.train_labels.bincount(minlength=len(found.classes))
    return {
        "classes": listed(found.classes, _NAMES),
        "in train": f"{int(counts.min()):,} to {int(counts.max()):,} images of each class",
        **found.provenance,
    }
