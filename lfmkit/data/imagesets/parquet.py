"""Tables with a column of image files: parquet files, and sets of the Hugging Face hub, which look the same.

The metadata of such tables may say which column holds images (`Image`) and how the classes are called
(`ClassLabel`); without it the types of the columns and their names say as much.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lfmkit.data.imagesets.stored import SPLITS, Stored, numbered
from lfmkit.data.tabular.reading import listed
from lfmkit.utils.provenance import note_data

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.dataset import Dataset

_ROWS = 256  # read at once


class Part(NamedTuple):
    """One table of a set. If `split` is not None, all its rows belong to that split."""

    name: str
    split: str | None
    table: Dataset

    @property
    def columns(self) -> list[str]:
        """The names of its columns."""
        return self.table.schema.names

    def values(self, column: str) -> Iterator[Any]:
        """Return the values of a column; of images that are stored as bytes and path, the bytes."""
        from pyarrow import compute, types

        try:
            for batch in self.table.to_batches(columns=[column], batch_size=_ROWS, batch_readahead=1):
                values = batch.column(0)
                if types.is_struct(values.type) and _is_bytes(values.type):
                    values = compute.struct_field(values, "bytes")
                yield from values.to_pylist()
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read {self.name}, it is damaged: {error}") from error


def holds_images(path: Path) -> bool:
    """Return whether a file is a parquet file with a column of images."""
    from pyarrow import parquet

    try:
        return path.suffix.lower() == ".parquet" and _image_column(parquet.read_schema(path)) is not None
    except (OSError, ValueError):  # whoever reads it says what is wrong
        return False


def in_parquet(name: str, paths: Sequence[Path], below: Path, splits: Mapping[str, str] = SPLITS) -> Stored:
    """Return the images in parquet files below the folder of a set, and note the files as read.

    If there are several files, their paths may say which split they are, as in train-00000-of-00002.parquet;
    otherwise a column called split does. For `splits` see `from_parts`.
    """
    from pyarrow import dataset

    names, parts = [path.relative_to(below).as_posix() for path in paths], []
    for path, place in zip(paths, names, strict=True):
        words = re.split(r"[-_./]", place.lower()) if len(paths) > 1 else []
        split = next((word for word in reversed(words) if word in SPLITS), None)
        try:
            parts.append(Part(place, split, dataset.dataset(path)))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is not a parquet file, or is damaged: {error}") from error
    sums = [note_data(f"{name}/{place}", path) for path, place in zip(paths, names, strict=True)]
    source = below if len(paths) > 1 else paths[0]
    provenance = {"source": str(source), "file": ", ".join(names), "sha256": ", ".join(sums)}
    if "jpeg" in provenance["file"].lower():
        provenance["departs"] = (
            "JPEG-RECOMPRESSED IMAGES, as the name of the file says: scores on them compare among "
            "themselves, not with published ones"
        )
    return from_parts(name, parts, hashlib.sha256(" ".join(sums).encode()).hexdigest(), provenance, splits)


def from_parts(
    name: str,
    parts: Sequence[Part],
    checksum: str,
    provenance: Mapping[str, str],
    splits: Mapping[str, str] = SPLITS,
) -> Stored:
    """Return the images in the tables of one set.

    `splits` says which split here each split there becomes; tables of others are left out.
    """
    parts = [part for part in parts if part.split is None or part.split in splits]
    parts = [part._replace(split=part.split and splits[part.split]) for part in parts]
    images = [_image_column(part.table.schema) for part in parts]
    for part, column in zip(parts, images, strict=True):
        if column is None:
            raise ValueError(
                f"{part.name} has no column of images (the bytes of image files): its columns are "
                f"{listed(part.columns)}"
            )
    counts = [part.table.count_rows() for part in parts]
    if not sum(counts):
        raise ValueError(f"there are no images in {_named(parts) or name}")
    starts = np.cumsum([0, *counts])

    def contents() -> Iterator[bytes | None]:
        for part, column in zip(parts, images, strict=True):
            yield from part.values(str(column))

    def called(i: int) -> str:
        which = int(np.searchsorted(starts, i, side="right")) - 1
        return f"row {i - starts[which]} of {parts[which].name}"

    labels, classes, said = _labels(parts)
    about, given = {**provenance, "labels": said}, _splits(parts, counts)
    return Stored(name, sum(counts), contents, checksum, about, labels, classes, given, called)


def _named(parts: Sequence[Part]) -> str:
    return listed([part.name for part in parts])


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return the types that Hugging Face's metadata give to the columns."""
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = about.get("info", {}).get("features", {})
        return {name: each for name, each in features.items() if isinstance(each, dict)}
    except (ValueError, AttributeError):
        return {}


def _image_column(schema: pa.Schema) -> str | None:
    """Return the column with images: the one that says so, or is called so, or the first of bytes."""
    features = _features(schema)
    likely = [each.name for each in schema if _is_bytes(each.type)]
    marked = [name for name in likely if features.get(name, {}).get("_type") == "Image"]
    called = [name for name in likely if name in ("image", "img")]
    return next(iter(marked + called + likely), None)


def _is_bytes(kind: pa.DataType) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_bytes(kind.field(index).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _labels(parts: Sequence[Part]) -> tuple[np.ndarray | None, tuple[str, ...], str]:
    """Return class numbers, names of the classes, and where they come from."""
    features = [_features(part.table.schema) for part in parts]
    marked = [name for each in features for name in each if each[name].get("_type") == "ClassLabel"]
    there = {name for part in parts for name in part.columns}
    column = next((name for name in (*marked, "label") if name in there), None)
    if column is None:
        return None, (), "none: there is no column label"
    for part, each in zip(parts, features, strict=True):
        if column not in part.columns:
            raise ValueError(f"{part.name} has no column {column!r}, others have it")
        if each.get(column) != features[0].get(column):
            raise ValueError(f"{part.name} and {parts[0].name} have different classes")
    values = [value for part in parts for value in part.values(column)]
    if all(isinstance(value, str) for value in values):
        return *numbered(values), f"column {column}"
    if not all(isinstance(value, int) and value >= 0 for value in values):
        raise ValueError(
            f"column {column!r} of {_named(parts)} has labels that are neither class numbers nor names, or "
            "missing: fill them in, or leave the column out"
        )
    classes = tuple(map(str, features[0].get(column, {}).get("names") or range(max(values) + 1)))
    if max(values) >= len(classes):
        raise ValueError(f"label {max(values)} of column {column!r} is none of its {len(classes)} classes")
    return np.array(values, dtype=np.int64), classes, f"column {column}"


def _splits(parts: Sequence[Part], counts: Sequence[int]) -> np.ndarray | None:
    """Return the split of each row, or None where no table says it."""
    found: list[str] = []
    for part, count in zip(parts, counts, strict=True):
        words = [part.split] * count if part.split else []
        if not part.split and "split" in part.columns:
            words = list(part.values("split"))
        strange = sorted({str(word) for word in words} - set(SPLITS))
        if strange:
            raise ValueError(
                f"column split of {part.name} says {listed(strange)}: it may say train, validation, test"
            )
        found += [SPLITS[word] for word in words]
    if found and len(found) < sum(counts):
        raise ValueError(f"some of {_named(parts)} say which split they are, some not")
    return np.array(found) if found else None
