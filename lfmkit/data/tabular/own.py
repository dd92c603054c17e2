"""Tables of one's own: checked, split by a seeded shuffle, standardised by the training rows alone."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lfmkit.data.tabular import reading
from lfmkit.data.tabular.dequantise import add_noise, has_atoms
from lfmkit.data.tabular.reading import Source
from lfmkit.data.tabular.table import Table, assemble, moments, tenths
from lfmkit.utils import files

_FEWEST = 20  # rows: two of them are the test, one or two val
_MOST = 1000  # columns that are searched for combinations of each other
_FLAT = 1e-12  # least eigenvalue of their correlations below which they are
_LEAKED = 0.01  # share of test rows also in train above which a warning is due


def own_table(
    source: Source,
    columns: Sequence[str] | None,
    dequantise: bool | Sequence[str],
    standardise: bool,
    seed: int,
) -> Table:
    """Return the table of a file, a DataFrame, an array or a tensor; see `lfmkit.data.table`."""
    frame = reading.read_frame(source, columns)
    names = tuple(frame.columns)
    if not isinstance(dequantise, bool):
        dequantise = reading.wanted("dequantise", dequantise, names)
    n = len(frame)
    if n < _FEWEST:
        raise ValueError(f"the table has {n} row(s): {_FEWEST} are needed for the three splits")
    for_noise, for_order = np.random.default_rng(seed).spawn(2)  # noise or not, the split is the same
    rows = reading.numbers(frame)[for_order.permutation(n)]
    begins = tenths(n)
    _refuse_constants(rows[: begins[0]], names)
    shared = _shared(rows, begins)
    steps = add_noise(rows, names, dequantise, [_precision(kind) for kind in frame.dtypes], for_noise)
    atoms = [name for i, name in enumerate(names) if name not in steps and has_atoms(rows[:, i])]
    if atoms:
        warnings.warn(_about_atoms(atoms, len(names), bool(dequantise)), stacklevel=3)
    elif shared > _LEAKED and not steps:
        text = f"{shared:.1%} of the test rows also occur in train, so the test is no test of them"
        warnings.warn(f"{text}. Leave duplicate rows out", stacklevel=3)
    scale = _scale(rows[: begins[0]])
    _refuse_combinations(rows[: begins[0]], *scale, names)
    provenance = _origin(source) | {
        "rows": f"{n:,}",
        "split": f"shuffled with seed {seed}; last 10 % test, last 10 % of the rest val",
        "shared": f"{shared:.2%} of the test rows also occur in train",
        "noise": ", ".join(f"U(0, {step:.6g}) on {name}" for name, step in steps.items()) or "none",
        "standardised": "with mean and standard deviation of train" if standardise else "no",
    }
    name = Path(source).stem if isinstance(source, str | Path) else type(source).__name__
    return assemble(name, names, rows, begins, provenance, scale=scale if standardise else None)


def _origin(source: Source) -> dict[str, str]:
    if not isinstance(source, str | Path):
        return {"source": f"a {type(source).__name__} in memory"}
    path = Path(source)
    files.note_data(path.name, path)
    return {"source": str(path), "sha256": files.data_read()[path.name]}


def _precision(kind: object) -> float:
    """Return the relative rounding error of a column type; 0 for integers and booleans."""
    size = getattr(kind, "itemsize", 8)
    if getattr(kind, "kind", "f") != "f":
        return 0.0
    return {2: 1e-3, 4: 1.2e-7}.get(size, 2.3e-16)


def _shared(rows: np.ndarray, begins: tuple[int, int]) -> float:
    """Return the share of test rows that are, number for number, also among the training rows."""
    train, _, test = (
        np.fromiter((hash(row.tobytes()) for row in part), np.int64, len(part))
        for part in np.split(rows, begins)
    )
    return float(np.isin(test, train).mean())


def _refuse_constants(train: np.ndarray, names: tuple[str, ...]) -> None:
    constant = np.flatnonzero(train.min(0) == train.max(0))
    if constant.size:
        which = reading.listed([repr(names[i]) for i in constant.tolist()])
        raise ValueError(
            f"{which}: all training rows have the same number there, so there is no density. Leave such "
            "columns out: columns=[...]"
        )


def _scale(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations of the training rows, also where squares would overflow."""
    size = np.maximum(np.abs(train.min(0)), np.abs(train.max(0)))
    mean, std = moments(train / size)
    return mean * size, std * size


def _refuse_combinations(
    train: np.ndarray, mean: np.ndarray, std: np.ndarray, names: tuple[str, ...]
) -> None:
    """Raise where columns are equal or linear combinations of others: then all rows lie in a plane."""
    remedy = "on a plane there is no density. Leave one of them out: columns=[...]"
    first: dict[bytes, str] = {}
    for name, column in zip(names, train.T, strict=True):
        twin = first.setdefault(hashlib.sha256(column.tobytes()).digest(), name)
        if twin != name:
            raise ValueError(f"columns {twin!r} and {name!r} are equal; {remedy}")
    if train.shape[1] > _MOST or len(train) <= train.shape[1]:
        return  # too many to search, or too few rows to tell
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (train - mean) / std
        correlation = scaled.T @ scaled / len(train)
    if np.isfinite(correlation).all():
        values, vectors = np.linalg.eigh(correlation)
        if values[0] < _FLAT:
            involved = [repr(names[i]) for i in np.flatnonzero(np.abs(vectors[:, 0]) > 1e-3).tolist()]
            raise ValueError(
                f"the columns {reading.listed(involved)} are combinations of each other; {remedy}"
            )


def _about_atoms(names: Sequence[str], n: int, asked: bool) -> str:
    which = reading.listed([repr(name) for name in names])
    remedy = "Leave such columns out with columns=[...]"
    if asked:
        remedy += ", or add noise of your own: no grid was found for them, or they were not named"
    else:
        remedy += ", or add noise with dequantise=True"
    return (
        f"values repeat in {len(names)} of {n} columns: {which}. A density can grow without bound on such "
        f"values, and likelihoods then mean nothing. {remedy}"
    )
