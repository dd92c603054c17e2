"""Images as they are stored: what a reader has to know of them, and what a folder of files says of itself."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lfmkit.data.tabular.reading import listed

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
Content: TypeAlias = "bytes | Path | np.ndarray | None"  # a file's bytes, its path, or grey pixels


@dataclass(frozen=True)
class Stored:
    """Images that can be read, one after the other, and what is said about each.

    Attributes:
        name: Name of the set.
        count: Number of images.
        contents: Starts reading: gives the stored content of each image, in order; None where there is none.
        called: Names the image with a number in messages.
        checksum: Text that changes with the content.
        provenance: Where it comes from.
        labels: Class numbers, int64 (count,), or None.
        classes: Names of the classes.
        splits: "train", "val" or "test" for each image, or None where the source does not say.
        mode: Pillow's name of the pixels to make of them: "RGB", or "L" for grey.
    """

    name: str
    count: int
    contents: Callable[[], Iterator[Content]]
    called: Callable[[int], str]
    checksum: str
    provenance: Mapping[str, str]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    splits: np.ndarray | None = None
    mode: str = "RGB"


def image_paths(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the image files below a folder and the number of others, by suffix; hidden ones do not count."""
    paths: list[Path] = []
    other: Counter[str] = Counter()
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(root, name) for name in names if not name.startswith(".")):
            suffix = path.suffix.lower()
            if suffix in SUFFIXES:
                paths.append(path)
            else:
                other[suffix or "nameless"] += 1
    return sorted(paths), other


def in_folder(folder: Path) -> Stored:
    """Return the image files below a folder, in the order of their paths.

    If the first folders below are called train, val and test, they are the splits. If then every image lies
    exactly one folder down, these folders are the classes.

    Raises:
        ValueError: There are no images.
    """
    paths, other = image_paths(folder)
    if not paths:
        rest = f", only {listed(sorted(other))} files" if other else ""
        raise ValueError(f"there are no images (.jpg, .png, .webp) in {folder}{rest}")
    names = [path.relative_to(folder).as_posix() for path in paths]
    above = [name.split("/")[:-1] for name in names]
    labels = splits = None
    if all(parts and parts[0].lower() in SPLITS for parts in above):
        splits = np.array([SPLITS[parts[0].lower()] for parts in above])
        above = [parts[1:] for parts in above]
    classes = tuple(sorted({parts[0] for parts in above if len(parts) == 1}))
    if len(classes) > 1 and all(len(parts) == 1 for parts in above):
        labels, said = (
            np.searchsorted(classes, [parts[0] for parts in above]),
            "the folders the images lie in",
        )
    else:
        classes, said = (), "none: the images do not lie in several folders of one level"
    digest = hashlib.sha256()
    for name, path in zip(names, paths, strict=True):
        content = path.read_bytes()
        digest.update(os.fsencode(f"{name}\0{len(content)}\0") + content)
    checksum = digest.hexdigest()
    provenance = {"source": str(folder), "sha256": checksum, "labels": said}
    if other:
        left = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(other.items()))
        provenance["not read"] = f"other files: {left}"
    return Stored(
        folder.resolve().name,
        len(paths),
        contents=lambda: iter(paths),
        called=lambda i: str(paths[i]),
        checksum=checksum,
        provenance=provenance,
        labels=labels,
        classes=classes,
        splits=splits,
    )
