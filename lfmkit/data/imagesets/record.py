"""A set of images: three splits of bytes, their labels, where they come from, and how they are cut."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lfmkit.utils.provenance import Splits


@dataclass(frozen=True, eq=False, repr=False)
class Images(Splits):
    """Images for training, validation and testing, all of one shape, each split in random order.

    Attributes:
        name: Name of the set.
        classes: Names of the classes, in the order of their numbers; empty without labels.
        train: Images to learn from, bytes (torch.uint8), shape (n, C, H, W); `val` and `test` are like it.
        val: Images to choose by.
        test: Images to report.
        train_labels: Class numbers of the images to learn from, int64, shape (n,), as `fit(cond=...)` takes
            them; None without labels. `val_labels` and `test_labels` are like it.
        val_labels: Class numbers of `val`.
        test_labels: Class numbers of `test`.
        provenance: Source, licence, files, checksum, how they were stored and resized, split, and departures
            from the published set.
    """

    name: str
    classes: tuple[str, ...]
    train: Tensor
    val: Tensor
    test: Tensor
    train_labels: Tensor | None
    val_labels: Tensor | None
    test_labels: Tensor | None
    provenance: Mapping[str, str]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.train.shape
        return channels, height, width

    @property
    def dim(self) -> int:
        """The numbers in an image, which is the dimension of a flow on them."""
        return math.prod(self.shape)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        classes = f"{len(self.classes):,} classes" if self.classes else "no labels"
        return f"<Images {self.name}: {shape}, {classes}, {self._counts()} images>"


def fingerprints(images: Tensor) -> np.ndarray:
    """Return a number for each image (n, C, H, W) that is the same for equal ones only, shape (n,)."""
    digests = (hashlib.blake2b(image, digest_size=8).digest() for image in images.numpy())
    return np.frombuffer(b"".join(digests), np.uint64)


def divide(
    prints: np.ndarray, splits: np.ndarray | None, val: float, seed: int
) -> tuple[dict[str, np.ndarray], str]:
    """Return the numbers of the images in train, val and test, each in random order, and what was done.

    Splits that the source gives for each image stay as they are. Others are cut from the training images: a
    share `val` of these each, where copies of one image, with one of the `prints`, stay together.
    """
    given = np.full(len(prints), "train") if splits is None else splits
    rng = np.random.default_rng(seed)
    parts = {name: rng.permutation(np.flatnonzero(given == name)) for name in ("train", "val", "test")}
    train = parts["train"]
    missing = [name for name in ("test", "val") if not len(parts[name])] if val else []
    cut = max(1, round(val * len(train)))
    if len(train) <= cut * len(missing):
        raise ValueError(f"there are {len(train):,} training images, which is too few: more are needed")
    _, first, group = np.unique(prints[train], return_index=True, return_inverse=True)
    place = first[group]  # of the first copy of each image: where that goes, all copies go
    end = len(train)
    for name in missing:
        parts[name] = train[(place >= end - cut) & (place < end)]
        end -= cut
        if not len(parts[name]):
            raise ValueError(f"most images are copies of each other, so that none are left for {name}")
    parts["train"] = train[place < end]
    said = []
    if splits is not None:
        stay = [name for name in parts if name not in missing and len(parts[name])]
        said.append(f"{', '.join(stay)} as the source has them")
    if missing:
        cuts = " and ".join(f"{name} is {len(parts[name]):,} images" for name in reversed(missing))
        whole = "of all" if splits is None else "of train"
        said.append(f"{cuts} {whole}, drawn with seed {seed}, copies of one image together")
    return parts, "; ".join([*said, f"each in random order (seed {seed})"])
