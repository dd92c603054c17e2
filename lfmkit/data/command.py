"""The command ``lfmkit data``: fetch a table if need be, and say what is in it."""

from __future__ import annotations

import sys
import textwrap
import warnings

from lfmkit.data.gaussian import gaussian_nll
from lfmkit.data.sources import table
from lfmkit.data.tables import Table

_COLUMNS = 20  # names that are printed


def show(source: str) -> int:
    """Print the rows, the columns, the provenance and the Gaussian baseline of a table; return 0."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        wanted = table(source)
    for warning in caught:
        print(f"lfmkit data: {warning.message}", file=sys.stderr)
    print("\n".join(_lines(wanted)))
    return 0


def _lines(wanted: Table) -> list[str]:
    names = ", ".join(wanted.columns[:_COLUMNS])
    more = f" and {wanted.dim - _COLUMNS:,} more" if wanted.dim > _COLUMNS else ""
    lines = [repr(wanted)[1:-1]]
    for key, text in {"columns": names + more, **wanted.provenance}.items():
        lines += textwrap.wrap(
            f"{key + ':':<17} {text}", 110, subsequent_indent=" " * 18, break_on_hyphens=False
        )
    try:
        nll = gaussian_nll(wanted)
    except ValueError as error:
        return [*lines, f"Gaussian:         {error}"]
    scores = ", ".join(f"{split} {value:.3f}" for split, value in nll.items())
    lines.append(f"Gaussian NLL:     {scores} (nats, full covariance of train)")
    if wanted.log_volume:
        lines.append(f"log volume:       {wanted.log_volume:.3f}: add it for NLLs in the original units")
    return lines
