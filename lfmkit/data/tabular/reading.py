"""Reads numbers from a file, a DataFrame, an array or a tensor, and says what is wrong with them."""

from __future__ import annotations

import difflib
import tokenize
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import torch

if TYPE_CHECKING:
    import pandas as pd

_HUGE = 1e300  # from here on sums overflow: as good as infinite
_DAMAGE = (  # what a header of a .npy file, which is Python's notation, can come to
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError, RecursionError),
    *(SyntaxError, EOFError, OSError, tokenize.TokenError),
)
Source: TypeAlias = Union[str, Path, np.ndarray, torch.Tensor, "pd.DataFrame"]


def read_numbers(source: Source, columns: Sequence[str] | None) -> tuple[list[str], list[Any], np.ndarray]:
    """Return the names and types of the wanted columns and their numbers, float64, shape (rows, columns).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or of another kind, or a column or a number is missing.
    """
    import pandas as pd
    from pandas.api import types

    if isinstance(source, str | Path):
        frame = _from_file(Path(source))
    elif isinstance(source, pd.DataFrame):
        frame = source
    else:
        frame = _from_array(source)
    names = [str(name) for name in frame.columns]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"several columns have the same name: {listed(twice)}. Rename them")
    frame = frame.set_axis(names, axis=1)
    if columns is not None:
        names = wanted("columns", columns, names)
        frame = frame[names]
    if not names:
        raise ValueError("the table has no columns")
    other = [
        f"{name!r} ({kind})"
        for name, kind in frame.dtypes.items()
        if not types.is_numeric_dtype(kind) or types.is_complex_dtype(kind)
    ]
    if other:
        raise ValueError(f"these columns are not numbers: {listed(other)}. Name those to use: columns=[...]")
    rows = np.array(frame.to_numpy(dtype=np.float64, na_value=np.nan), order="C")
    bad = ~(np.abs(rows) < _HUGE)
    if bad.any():
        count, first = int(bad.any(1).sum()), int(bad.any(1).argmax())
        where = [repr(names[i]) for i in np.flatnonzero(bad.any(0))]
        raise ValueError(
            f"{count:,} row(s) have missing or infinite numbers, the first is row {first} (counted from 0), "
            f"in {listed(where)}. Leave these rows or columns out"
        )
    return names, list(frame.dtypes), rows


def wanted(option: str, chosen: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names that an option lists, all of which must be there, each once."""
    if isinstance(chosen, str):
        raise ValueError(f"{option} takes a list of names: {option}=[{chosen!r}]")
    for name in chosen:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 3, 0.4) or names[:5]
            raise ValueError(f"there is no column {name!r}: did you mean {' or '.join(map(repr, near))}?")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{option} names a column twice")
    return list(chosen)


def listed(words: Sequence[str], most: int = 5) -> str:
    """Return the first few words and how many more there are."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def load_npy(path: Path) -> np.ndarray:
    """Return the array in a .npy file, mapped from the disk; objects are refused.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or holds objects.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no {path}") from None
    except _DAMAGE as error:
        raise ValueError(f"{path} is not a .npy file of numbers, or is damaged: {error}") from error


def _from_file(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet", ".npy"):
        raise ValueError(f"cannot read {path}: a table is a .csv, .parquet or .npy file")
    if kind == ".npy":
        return _from_array(load_npy(path), str(path))
    import pandas as pd

    try:
        frame = pd.read_parquet(path) if kind == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError, LookupError) as error:
        raise ValueError(f"cannot read {path}, it is empty or damaged: {error}") from error
    if kind == ".csv" and all(_is_number(str(name)) for name in frame.columns):
        raise ValueError(
            f"the first line of {path} holds numbers: a line with the names of the columns is needed"
        )
    return frame


def _from_array(source: object, name: str = "the table") -> pd.DataFrame:
    import pandas as pd

    if isinstance(source, torch.Tensor):
        tensor = source.detach().cpu()
        source = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if not isinstance(source, np.ndarray):
        raise TypeError(f"a table is a file, a DataFrame, an array or a tensor, not {type(source).__name__}")
    if source.ndim != 2:
        raise ValueError(f"{name} needs the shape (rows, columns), got {source.shape}")
    return pd.DataFrame(source, columns=[f"x{i}" for i in range(source.shape[1])], copy=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
