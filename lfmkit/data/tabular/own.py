"""Your own tables: checked, split by a seeded shuffle, standardised by the training rows alone."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lfmkit.data.tabular.dequantise import add_noise, has_atoms
from lfmkit.data.tabular.reading import Source, listed, read_numbers, wanted
from lfmkit.data.tabular.record import Table, assemble, moments, tenths
from lfmkit.utils.provenance import note_data

_FEWEST_ROWS = 20  # two of them are the test, one or two val
_MOST_COLUMNS = 1000  # that are searched for combinations of each other
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
    names, kinds, rows = read_numbers(source, columns)
    if not isinstance(dequantise, bool):
        dequantise = wanted("dequantise", dequantise, names)
    n = len(rows)
    if n < _FEWEST_ROWS:
        raise ValueError(f"the table has {n} row(s): {_FEWEST_ROWS} are needed for the three splits")
    for_noise, for_order = np.random.default_rng(seed).spawn(2)  # noise or not, the split is the same
    rows = rows[for_order.permutation(n)]
    train, val, test = np.split(rows, tenths(n))
    _refuse_constants(train, names)
    shared = float(np.isin(_prints(test), _prints(train)).mean())
    steps = add_noise(rows, names, dequantise, [_precision(kind) for kind in kinds], for_noise)
    atoms = [
        name for name, column in zip(names, rows.T, strict=True) if name not in steps and has_atoms(column)
    ]
    if atoms:
        warnings.warn(_about_atoms(atoms, len(names), bool(dequantise)), stacklevel=3)
    elif shared > _LEAKED and not steps:
        text = f"{shared:.1%} of the test rows also occur in train, so the test does not test them"
        warnings.warn(f"{text}. Leave duplicate rows out", stacklevel=3)
    scale = _scale(train)
    _refuse_combinations(train, *scale, names)
    name, origin = type(source).__name__, {"source": f"a {type(source).__name__} in memory"}
    if isinstance(source, str | Path):
        path = Path(source)
        name, origin = path.stem, {"source": str(path), "sha256": note_data(path.name, path)}
    provenance = origin | {
        "rows": f"{n:,}",
        "split": f"shuffled with seed {seed}; last 10 % test, last 10 % of the rest val",
        "shared": f"{shared:.2%} of the test rows also occur in train",
        "noise": ", ".join(f"U(0, {step:.6g}) on {name}" for name, step in steps.items()) or "none",
        "standardised": "with mean and standard deviation of train" if standardise else "no",
    }
    return assemble(name, names, [train, val, test], provenance, scale if standardise else None)


def _precision(kind: object) -> float:
    """Return the relative rounding error of a column type; 0 for integers and booleans."""
    if getattr(kind, "kind", "f") != "f":
        return 0.0
    return {2: 1e-3, 4: 1.2e-7}.get(getattr(kind, "itemsize", 8), 2.3e-16)


def _prints(rows: np.ndarray) -> np.ndarray:
    """Return a number for each row that is the same for rows that are equal, number for number."""
    return np.fromiter((hash(row.tobytes()) for row in rows), np.int64, len(rows))


def _refuse_constants(train: np.ndarray, names: Sequence[str]) -> None:
    constant = np.flatnonzero(train.min(0) == train.max(0))
    if constant.size:
        raise ValueError(
            f"{listed([repr(names[i]) for i in constant.tolist()])}: all training rows have the same number "
            "there, so there is no density. Leave such columns out: columns=[...]"
        )


def _scale(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations of the training rows, also where squares would overflow."""
    size = np.maximum(np.abs(train.min(0)), np.abs(train.max(0)))
    mean, std = moments(train / size)
    return mean * size, std * size


def _refuse_combinations(train: np.ndarray, mean: np.ndarray, std: np.ndarray, names: Sequence[str]) -> None:
    """Raise where columns are equal or linear combinations of others: then all rows lie in a plane."""
    remedy = "on a plane there is no density. Leave one of them out: columns=[...]"
    first: dict[bytes, str] = {}
    for name, column in zip(names, train.T, strict=True):
        twin = first.setdefault(hashlib.sha256(column.tobytes()).digest(), name)
        if twin != name:
            raise ValueError(f"columns {twin!r} and {name!r} are equal; {remedy}")
    if train.shape[1] > _MOST_COLUMNS or len(train) <= train.shape[1]:
        return  # too many to search, or too few rows to tell
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (train - mean) / std
        correlation = scaled.T @ scaled / len(train)
    if np.isfinite(correlation).all():
        values, vectors = np.linalg.eigh(correlation)
        if values[0] < _FLAT:
            involved = [repr(names[i]) for i in np.flatnonzero(np.abs(vectors[:, 0]) > 1e-3).tolist()]
            raise ValueError(f"the columns {listed(involved)} are combinations of each other; {remedy}")


def _about_atoms(names: Sequence[str], n: int, asked: bool) -> str:
    which = listed([repr(name) for name in names])
    remedy = "add noise with dequantise=True"
    if asked:
        remedy = "add noise of your own: no grid was found for them, or they were not named"
    return (
        f"values repeat in {len(names)} of {n} columns: {which}. A density can grow without bound on such "
        f"values, and likelihoods then mean nothing. Leave such columns out with columns=[...], or {remedy}"
    )
