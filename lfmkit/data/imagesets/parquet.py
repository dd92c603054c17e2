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

from lfmkit.data.imagesets.stored import SPLITS, Stored
from lfmkit.data.tabular.reading import listed
from lfmkit.utils.provenance import note_data

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.dataset import Dataset

_ROWS = 256  # read at once


class Part(NamedTuple):
    """One table of a set; all its rows belong to one split, or `split` is None."""

    name: str
    split: str | None
    table: Dataset

    def values(self, column: str) -> Iterator[Any]:
        """Return the values of a column; of images stored as bytes and path, the bytes."""
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
    """Return the images in parquet files of one set, and note the files as read.

    Args:
        name: Name of the set.
        paths: The files. If there are several, their paths may say which split they are, as in
            train-00000-of-00002.parquet; otherwise a column called split does.
        below: The folder of the set.
        splits: See `from_parts`.

    Raises:
        ValueError: A file is damaged, or holds no images.
    """
    from pyarrow import dataset

    names = [path.relative_to(below).as_posix() for path in paths]
    sums = [note_data(f"{name}/{each}", path) for each, path in zip(names, paths, strict=True)]
    parts = []
    for each, path in zip(names, paths, strict=True):
        words = re.split(r"[-_./]", each.lower()) if len(paths) > 1 else []
        split = next((word for word in reversed(words) if word in SPLITS), None)
        try:
            parts.append(Part(each, split, dataset.dataset(path)))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is not a parquet file, or is damaged: {error}") from error
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
    """Return the images in tables of one set.

    Args:
        name: Name of the set.
        parts: The tables.
        checksum: Text that changes with them.
        provenance: Where they come from.
        splits: Which split here a table's split becomes; tables of others are left out.

    Raises:
        ValueError: There is no image column, no row, a missing label, or a split of another name.
    """
    parts = [
        part._replace(split=part.split and splits[part.split])
        for part in parts
        if part.split is None or part.split in splits
    ]
    columns = []
    for part in parts:
        columns.append(_image_column(part.table.schema) or "")
        if not columns[-1]:
            raise ValueError(
                f"{part.name} has no column of images (the bytes of image files): its columns are "
                f"{listed(part.table.schema.names)}"
            )
    ends = np.cumsum([part.table.count_rows() for part in parts])
    if not ends.size or not ends[-1]:
        raise ValueError(f"there are no images in {listed([part.name for part in parts]) or name}")

    def contents() -> Iterator[bytes | None]:
        for part, column in zip(parts, columns, strict=True):
            yield from part.values(column)

    def called(i: int) -> str:
        which = int(np.searchsorted(ends, i, side="right"))
        return f"row {i - ends[which] + parts[which].table.count_rows()} of {parts[which].name}"

    labels, classes, said = _labels(parts)
    about = {**provenance, "labels": said}
    return Stored(name, int(ends[-1]), contents, called, checksum, about, labels, classes, _splits(parts))


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
    there = {name for part in parts for name in part.table.schema.names}
    column = next((name for name in (*marked, "label") if name in there), None)
    if column is None:
        return None, (), "none: there is no column label"
    for part, each in zip(parts, features, strict=True):
        if column not in part.table.schema.names:
            raise ValueError(f"{part.name} has no column {column!r}, others have it")
        if each.get(column) != features[0].get(column):
            raise ValueError(f"{part.name} and {parts[0].name} have different classes")
    values = [value for part in parts for value in part.values(column)]
    if all(isinstance(value, str) for value in values):
        classes = tuple(sorted(set(values)))
        return np.searchsorted(classes, values), classes, f"column {column}"
    if not all(isinstance(value, int) and value >= 0 for value in values):
        raise ValueError(
            f"column {column!r} of {listed([part.name for part in parts])} has labels that are neither class "
            "numbers nor names, or missing: fill them in, or leave the column out"
        )
    classes = tuple(map(str, features[0].get(column, {}).get("names") or range(max(values) + 1)))
    if max(values) >= len(classes):
        raise ValueError(f"label {max(values)} of column {column!r} is none of its {len(classes)} classes")
    return np.array(values, dtype=np.int64), classes, f"column {column}"


def _splits(parts: Sequence[Part]) -> np.ndarray | None:
    found: list[str] = []
    for part in parts:
        if part.split:
            found += [part.split] * part.table.count_rows()
        elif "split" in part.table.schema.names:
            words = list(part.values("split"))
            strange = sorted({str(word) for word in words} - set(SPLITS))
            if strange:
                raise ValueError(
                    f"column split of {part.name} says {listed(strange)}: it may say train, validation, test"
                )
            found += [SPLITS[word] for word in words]
    if not found:
        return None
    if len(found) < sum(part.table.count_rows() for part in parts):
        raise ValueError(
            f"some of {listed([part.name for part in parts])} say which split they are, some not"
        )
    return np.array(found)
