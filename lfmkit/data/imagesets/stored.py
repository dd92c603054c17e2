"""Images as they are stored: what a reader has to know of them, and what a folder of files says of itself."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """Images that can be read, one after the other, and what is said about each."""

    name: str
    count: int
    contents: Callable[[], Iterator[Content]]  # starts reading, in order; None where nothing is stored
    checksum: str  # changes with the content
    provenance: Mapping[str, str]
    labels: np.ndarray | None = None  # class numbers, int64 (count,)
    classes: tuple[str, ...] = ()
    splits: np.ndarray | None = None  # "train", "val" or "test" for each image, if the source says it
    called: Callable[[int], str] = "image {}".format  # name in messages of the image with this number
    mode: str = "RGB"  # Pillow's name of the pixels to make of them, or "L" for grey


def image_paths(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the image files below a folder and the number of others, by suffix; hidden ones do not count."""
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    kinds = Counter(path.suffix.lower() or "nameless" for path in found)
    other = Counter({kind: count for kind, count in kinds.items() if kind not in SUFFIXES})
    return [path for path in found if path.suffix.lower() in SUFFIXES], other


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
    digest = hashlib.sha256()
    for name, path in zip(names, paths, strict=True):
        content = path.read_bytes()
        digest.update(os.fsencode(f"{name}\0{len(content)}\0") + content)
    above = [name.split("/")[:-1] for name in names]
    labels = splits = None
    classes: tuple[str, ...] = ()
    said = "none: the images do not lie in several folders of one level"
    if all(parts and parts[0].lower() in SPLITS for parts in above):
        splits = np.array([SPLITS[parts[0].lower()] for parts in above])
        above = [parts[1:] for parts in above]
    if all(len(parts) == 1 for parts in above) and above.count(above[0]) < len(above):
        labels, classes = numbered([parts[0] for parts in above])
        said = "the folders the images lie in"
    checksum = digest.hexdigest()
    about = {"source": str(folder), "sha256": checksum, "labels": said}
    if other:
        left = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(other.items()))
        about["not read"] = f"other files: {left}"

    def called(i: int) -> str:
        return str(paths[i])

    name = folder.resolve().name
    return Stored(name, len(paths), lambda: iter(paths), checksum, about, labels, classes, splits, called)


def numbered(words: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the number of each word's class, and the classes in alphabetical order."""
    classes = sorted(set(words))
    return np.searchsorted(classes, words), tuple(classes)
