"""`lfmkit.data.images`: four published sets of images, handwritten digits, and your own."""

from __future__ import annotations

import difflib
import warnings
from pathlib import Path

import numpy as np
import torch

from lfmkit.data.imagesets.hub import KNOWN, home, known
from lfmkit.data.imagesets.parquet import in_parquet
from lfmkit.data.imagesets.reading import described, read_or_kept
from lfmkit.data.imagesets.record import Images, divide, fingerprints
from lfmkit.data.imagesets.stored import Stored, image_paths, in_folder
from lfmkit.utils import needed

NAMES = (*KNOWN, "digits")
_LEAKED = 0.01  # share of test images also in train above which a warning is due


def images(source: str | Path, size: int | None = None, *, val: float = 0.05, seed: int = 0) -> Images:
    """Return images for training, validation and testing as bytes, with labels and their provenance.

    "digits" comes with scikit-learn. "cifar10", "imagenet32", "flowers102" and "lsun_church" are looked for
    under $LFMKIT_DATA, then downloaded from the Hugging Face hub, which takes `pip install 'lfmkit[images]'`.
    Published splits stay as they are; those that a source does not have are cut from its training images, so
    that copies of one image are never in two of them.

    Args:
        source: One of these names; a folder of .jpg, .png and .webp files; or a .parquet file, or a folder of
            them, with a column of image files. Folders called train, val and test are splits, the folders in
            which all images lie are classes; in tables the columns label and split say it.
        size: Height and width in pixels: the middle square of each image is resized to it (bicubic,
            antialiased). None takes the images as they are, which must then be of one size.
        val: Share of the training images that become val, and again test, where the source has none; 0 leaves
            these splits empty.
        seed: Seed for the cut and for the order of the images.

    Raises:
        FileNotFoundError: There is no such file or folder.
        OSError: A download failed.
        ImportError: datasets (for downloads), pyarrow, pooch or scikit-learn is needed and not installed.
        ValueError: The name is unknown, there are no images, some cannot be read, or sizes differ.

    >>> images("digits")
    <Images digits: 1 x 8 x 8, 10 classes, train 1,617, val 90, test 90 images>
    """
    if size is not None and (type(size) is not int or size < 1):
        raise ValueError(f"size must be a whole number of pixels, 1 or more, got {size!r}")
    if not 0 <= val < 0.5:
        raise ValueError(f"val is a share of the training images, at least 0 and below 0.5, got {val}")
    with needed("images"):
        stored = _stored(source)
        pixels, found, place = read_or_kept(stored, size)
    if found["enlarged"]:
        warnings.warn(
            f"{found['enlarged']:,} of {stored.count:,} images are smaller than {size} pixels and were "
            "enlarged: they have no detail of this scale",
            stacklevel=2,
        )
    prints = fingerprints(pixels)
    parts, split = divide(prints, stored.splits, val, seed)
    shared = int(np.isin(prints[parts["test"]], prints[parts["train"]]).sum())
    also = f"{shared:,} of the {len(parts['test']):,} test images also occur in train"
    if shared > _LEAKED * len(parts["test"]):
        warnings.warn(f"{also}, so the test does not test them. Leave them out", stacklevel=2)
    labels = None if stored.labels is None else torch.from_numpy(stored.labels.astype(np.int64))
    kept = {"kept": str(place)} if place else {}
    provenance = {**stored.provenance, **described(found, size), **kept, "split": split, "shared": also}
    rows = [torch.from_numpy(parts[name]) for name in ("train", "val", "test")]
    train, val_, test = (pixels[at] for at in rows)
    train_labels, val_labels, test_labels = (None if labels is None else labels[at] for at in rows)
    return Images(
        stored.name, stored.classes, train, val_, test, train_labels, val_labels, test_labels, provenance
    )


def whereabouts(source: str | Path) -> str:
    """Say where `images` would find a source, and what it would fetch; nothing is read.

    Raises:
        FileNotFoundError: LFMKIT_DATA does not name a folder.

    >>> whereabouts("digits")
    'digits: nothing to be fetched, scikit-learn has them'
    """
    if source == "digits":
        return "digits: nothing to be fetched, scikit-learn has them"
    if isinstance(source, str) and source in KNOWN:
        return f"{source}: {home(source)}"
    return f"{source}: nothing to be fetched"


def _stored(source: str | Path) -> Stored:
    if source == "digits":
        return _digits()
    if isinstance(source, str) and source in KNOWN:
        return known(source)
    path = Path(source).expanduser()
    if path.is_dir():
        paths = [] if image_paths(path)[0] else sorted(path.rglob("*.parquet"))
        return in_parquet(path.resolve().name, paths, path) if paths else in_folder(path)
    if path.is_file():
        if path.suffix.lower() != ".parquet":
            raise ValueError(f"cannot read {path}: images are a folder of files, or a .parquet file")
        return in_parquet(path.stem, [path], path.parent)
    if path.suffix or len(path.parts) > 1:
        raise FileNotFoundError(f"there is no file or folder {path}")
    near = difflib.get_close_matches(str(source), NAMES, 3, 0.4) or NAMES
    raise ValueError(
        f"unknown images {str(source)!r}: did you mean {' or '.join(near)}? Or name a file or a folder"
    )


def _digits() -> Stored:
    """Return the 1,797 digits that scikit-learn ships: 8 x 8 counts from 0 to 16."""
    from sklearn.datasets import load_digits

    counts, labels = load_digits(return_X_y=True)
    pixels = np.round(counts * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    about = {
        "source": "UCI 80, Optical recognition of handwritten digits, Alpaydin and Kaynak, "
        "doi 10.24432/C50P49; its test part, as scikit-learn ships it",
        "licence": "CC BY 4.0 (UCI Machine Learning Repository)",
        "departs": "its 17 grey levels v are spread to round(255 v / 16): most of the 256 values never "
        "occur, so bits per dimension do not compare with those of photographs",
    }
    classes = tuple("0123456789")
    return Stored("digits", len(pixels), lambda: iter(pixels), "digits", about, labels, classes, mode="L")
