"""Tables with a column of image files: parquet files, and sets of the Hugging Face hub, which look the same.

The metadata of such tables may say which column holds images (`Image`) and what the classes are called
(`ClassLabel`); without it the types of the columns and their names say as much.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lfmkit.data.imagesets.files import SPLITS, Stored
from lfmkit.data.tabular.reading import listed
from lfmkit.utils import files

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 256  # read at once


@dataclass(frozen=True)
class Part:
    """One table: its rows, and the split all of them belong to if it is known.

    Attributes:
        name: What messages call it.
        split: Its name there ("train", "validation", ...), or None.
        rows: How many rows it has.
        schema: Its columns, with metadata.
        batches: Gives some columns, piece by piece.
    """

    name: str
    split: str | None
    rows: int
    schema: pa.Schema
    batches: Callable[[list[str]], Iterator[pa.RecordBatch | pa.Table]]

    def column(self, name: str) -> list[Any]:
        """Return all values of a column that fits into memory."""
        return [value for batch in self.batches([name]) for value in batch.column(0).to_pylist()]


def holds_images(path: Path) -> bool:
    """Return whether a file is a parquet file with a column of images."""
    from pyarrow import parquet

    try:
        return path.suffix.lower() == ".parquet" and _image_column(parquet.read_schema(path)) is not None
    except (OSError, ValueError):  # whoever reads it says what is wrong
        return False


def in_parquet(name: str, paths: Sequence[Path], below: Path, splits: Mapping[str, str] = SPLITS) -> Stored:
    """Return the images in parquet files of one set, and note the files as read.

    Args:
        name: What the set is called.
        paths: The files. If there are several, their paths may say which split they are, as in
            train-00000-of-00002.parquet; otherwise a column called split does.
        below: The folder of the set.
        splits: See `from_parts`.

    Raises:
        ValueError: A file is damaged, or holds no images.
    """
    names = [path.relative_to(below).as_posix() for path in paths]
    for path, each in zip(paths, names, strict=True):
        files.note_data(f"{name}/{each}", path)
    sums = [files.data_read()[f"{name}/{each}"] for each in names]
    source = below if len(paths) > 1 else paths[0]
    provenance = {"source": str(source), "file": ", ".join(names), "sha256": ", ".join(sums)}
    if "jpeg" in provenance["file"].lower():
        provenance["departs"] = (
            "JPEG-RECOMPRESSED IMAGES, as the name of the file says: scores on them compare among "
            "themselves, not with published ones"
        )
    parts = [_parquet(path, each if len(paths) > 1 else "") for path, each in zip(paths, names, strict=True)]
    return from_parts(name, parts, hashlib.sha256(" ".join(sums).encode()).hexdigest(), provenance, splits)


def from_parts(
    name: str,
    parts: Sequence[Part],
    checksum: str,
    provenance: Mapping[str, str],
    splits: Mapping[str, str] = SPLITS,
) -> Stored:
    """Return the images in tables of one set.

    Args:
        name: What the set is called.
        parts: The tables.
        checksum: Changes with them.
        provenance: Where they come from.
        splits: Which split here a table's split becomes; tables of others are left out.

    Raises:
        ValueError: There is no image column, no row, a missing label, or a split of another name.
    """
    parts = [
        replace(part, split=part.split and splits[part.split])
        for part in parts
        if part.split is None or part.split in splits
    ]
    columns = [_image_column(part.schema) for part in parts]
    for part, column in zip(parts, columns, strict=True):
        if column is None:
            raise ValueError(
                f"{part.name} has no column of images (the bytes of image files): its columns are "
                f"{listed(part.schema.names)}"
            )
    count = sum(part.rows for part in parts)
    if not count:
        raise ValueError(f"there are no images in {listed([part.name for part in parts]) or name}")
    labels, classes, said = _labels(parts)
    starts = np.cumsum([0, *(part.rows for part in parts)])

    def contents() -> Iterator[bytes | None]:
        from pyarrow import compute, types

        for part, column in zip(parts, columns, strict=True):
            for batch in part.batches([str(column)]):
                values = batch.column(0)
                if types.is_struct(values.type):
                    values = compute.struct_field(values, "bytes")
                yield from values.to_pylist()

    def called(i: int) -> str:
        which = int(np.searchsorted(starts, i, side="right")) - 1
        return f"row {i - starts[which]} of {parts[which].name}"

    about = {**provenance, "labels": said}
    return Stored(name, count, contents, called, checksum, about, labels, classes, _splits(parts))


def _parquet(path: Path, place: str) -> Part:
    from pyarrow import parquet

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            with parquet.ParquetFile(path) as file:
                yield from file.iter_batches(_ROWS, columns=columns)
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read {path}, it is damaged: {error}") from error

    try:
        with parquet.ParquetFile(path) as file:
            rows, schema = file.metadata.num_rows, file.schema_arrow
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no parquet file, or is damaged: {error}") from error
    words = re.split(r"[-_./]", place.lower())
    return Part(
        path.name, next((word for word in reversed(words) if word in SPLITS), None), rows, schema, batches
    )


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return what Hugging Face's metadata say about the columns."""
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
    features = [_features(part.schema) for part in parts]
    marked = [name for each in features for name in each if each[name].get("_type") == "ClassLabel"]
    there = {name for part in parts for name in part.schema.names}
    column = next((name for name in (*marked, "label") if name in there), None)
    if column is None:
        return None, (), "none: there is no column label"
    for part, each in zip(parts, features, strict=True):
        if column not in part.schema.names:
            raise ValueError(f"{part.name} has no column {column!r}, others have it")
        if each.get(column) != features[0].get(column):
            raise ValueError(f"{part.name} and {parts[0].name} have different classes")
    values = [value for part in parts for value in part.column(column)]
    names = features[0].get(column, {}).get("names")
    if all(isinstance(value, str) for value in values):
        classes = tuple(sorted(set(values)))
        return np.searchsorted(classes, values), classes, f"column {column}"
    if not all(isinstance(value, int) and value >= 0 for value in values):
        raise ValueError(
            f"column {column!r} of {listed([part.name for part in parts])} has labels that are neither class "
            "numbers nor names, or missing: fill them in, or leave the column out"
        )
    classes = tuple(map(str, names or range(max(values) + 1)))
    if max(values) >= len(classes):
        raise ValueError(f"label {max(values)} of column {column!r} is none of its {len(classes)} classes")
    return np.array(values, dtype=np.int64), classes, f"column {column}"


def _splits(parts: Sequence[Part]) -> np.ndarray | None:
    found: list[str] = []
    for part in parts:
        if part.split:
            found += [part.split] * part.rows
        elif "split" in part.schema.names:
            words = part.column("split")
            strange = sorted({str(word) for word in words} - set(SPLITS))
            if strange:
                raise ValueError(
                    f"column split of {part.name} says {listed(strange)}: it may say train, validation, test"
                )
            found += [SPLITS[word] for word in words]
    if not found:
        return None
    if len(found) < sum(part.rows for part in parts):
        raise ValueError(
            f"some of {listed([part.name for part in parts])} say which split they are, some not"
        )
    return np.array(found)
