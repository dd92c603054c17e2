"""`report`: how a notebook hands its numbers over, to the reader and to the record of a batch run."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import SupportsFloat

from lfmkit.utils import files, provenance

FOLDER_VARIABLE = "LFMKIT_RUN_FOLDER"  # set for the kernel of `lfmkit run`
METRICS_FILE = "metrics.json"

Number = SupportsFloat
_so_far: dict[str, float | None] = {}


def report(**numbers: Number | Mapping[str, Number]) -> None:
    """Print a notebook's numbers and, in a run of `lfmkit run` or `lfmkit sweep`, record them.

    Args:
        numbers: Numbers by name: ints, floats, tensors of one element, records of `metrics`. A mapping stands
            for several: ``LFM={"nll": 2.5, "nfe": 90}`` is recorded as ``LFM.nll`` and ``LFM.nfe``. What was
            reported before under the same name is replaced.

    Raises:
        TypeError: A value is no number.
        ValueError: A name inside a mapping has other characters than letters, digits, spaces and ``_-+.``.
        OSError: The record cannot be written.

    >>> report(excess=0.0621, LFM={"nfe": 90})
    excess 0.0621, LFM.nfe 90
    """
    new = dict(_flat(numbers))
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        _so_far.update({name: value if math.isfinite(value) else None for name, value in new.items()})
        files.write_json(Path(folder) / METRICS_FILE, {"metrics": _so_far, "data": provenance.data_read()})
    print(", ".join(f"{name} {value:.4g}" for name, value in new.items()))


def _flat(
    numbers: Mapping[str, Number | Mapping[str, Number]], prefix: str = ""
) -> Iterator[tuple[str, float]]:
    for key, value in numbers.items():
        name = f"{prefix}{key}"
        if not re.fullmatch(r"[\w +.\-]{1,80}", name):
            raise ValueError(f"the name {name!r} must be letters, digits, spaces and _-+. only, at most 80")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
            continue
        try:
            if isinstance(value, str):
                raise TypeError
            yield name, float(value)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"{name} is no number but {type(value).__name__}: report one number a name"
            ) from None
