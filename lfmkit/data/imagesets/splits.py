"""Divides images into train, val and test, so that no image is in two of them."""

from __future__ import annotations

import hashlib

import numpy as np
from torch import Tensor


def fingerprints(images: Tensor) -> np.ndarray:
    """Return a number for each image (n, C, H, W) that is the same for equal ones only, shape (n,)."""
    digests = (hashlib.blake2b(image, digest_size=8).digest() for image in images.numpy())
    return np.frombuffer(b"".join(digests), np.uint64)


def divide(
    prints: np.ndarray, splits: np.ndarray | None, val: float, seed: int
) -> tuple[dict[str, np.ndarray], str]:
    """Return the numbers of the images in train, val and test, each in random order, and what was done.

    Splits that the source gives stay as they are. Those that it does not give are cut from the training
    images: `val` of these each, where copies of one image stay together.

    Args:
        prints: What `fingerprints` says, shape (n,).
        splits: "train", "val" or "test" for each image, or None.
        val: Share of the training images.
        seed: Of the order.

    Raises:
        ValueError: There are no training images, or too few to divide.
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
    return parts, _said(parts, missing, splits is not None, seed)


def _said(parts: dict[str, np.ndarray], missing: list[str], official: bool, seed: int) -> str:
    cut = " and ".join(f"{name} is {len(parts[name]):,} images" for name in reversed(missing))
    whole = "of train" if official else "of all"
    said = [f"{cut} {whole}, drawn with seed {seed}, copies of one image together"] if cut else []
    if official:
        stay = [name for name in ("train", "val", "test") if name not in missing and len(parts[name])]
        said.insert(0, f"{', '.join(stay)} as the source has them")
    return "; ".join([*said, f"each in random order (seed {seed})"])
