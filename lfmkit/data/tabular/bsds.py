"""BSDS300: 8 x 8 patches of natural images, MAF's own rows or patches cut again from the images."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from lfmkit.data import download
from lfmkit.data.tabular.maf import published
from lfmkit.data.tabular.record import Table

SIZES = (1_000_000, 50_000, 250_000)  # patches in train, val and test
_SIDE = 8
_CHUNK = 25_000  # patches in float64 at once
_LICENCE = "non-commercial research and education (Berkeley Segmentation Dataset; Martin et al. 2001)"


def bsds300() -> Table:
    """Return BSDS300, 63 columns: MAF's rows, or if only the images are there, patches cut from them."""
    given = download.given("BSDS300/BSDS300.hdf5")
    images = None if given else download.given("bsds300_images_jpeg.parquet")
    if images:
        return rebuilt(images)
    import h5py

    (path,) = [given] if given else download.member("BSDS300/BSDS300.hdf5")
    try:
        with h5py.File(path) as file:
            parts = [file[group].astype(np.float32)[:] for group in ("train", "validation", "test")]
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not MAF's file, or is damaged: {error}") from error
    return _table(parts, path, split="as in MAF's file", departs="nothing")


def rebuilt(path: Path, sizes: tuple[int, int, int] = SIZES) -> Table:
    """Return patches cut from the images in a parquet file (columns image and split), always the same ones.

    Train comes from all train images but the last twenty, val from those twenty, test from the test images.
    """
    try:
        greys = list(_greys(path))
        train, test = ([grey for part, grey in greys if part == name] for name in ("train", "test"))
        if len(train) <= 20 or not test or min(min(grey.shape) for _, grey in greys) < _SIDE:
            raise ValueError("it holds too few images, or too small ones")
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold the BSDS300 images, or is damaged: {error}") from error
    rng = np.random.default_rng(0)
    pools = zip((train[:-20], train[-20:], test), sizes, strict=True)
    split = "train images but the last 20; the last 20 train images; test images"
    departs = "REBUILT PATCHES, NOT MAF'S OWN ROWS: cut at random from JPEG copies of the same images"
    return _table([_patches(pool, n, rng) for pool, n in pools], path, split=split, departs=departs)


def _table(parts: list[np.ndarray], path: Path, split: str, departs: str) -> Table:
    if any(part.ndim != 2 or part.shape[1] != _SIDE * _SIDE - 1 for part in parts):
        raise ValueError(f"{path} is not MAF's file: 63 columns were expected")
    about = {
        "source": f"BSDS300, patches of 8 x 8; doi {download.DOI}",
        "licence": _LICENCE,
        "split": split,
        "noise": "U(0, 1) on the 8-bit grey values; then / 256, less the mean of the patch, without the last "
        "pixel",
        "standardised": "no, as in MAF",
        "departs from MAF": departs,
    }
    columns = [f"r{i // _SIDE}c{i % _SIDE}" for i in range(_SIDE * _SIDE - 1)]
    return published("bsds300", [path], about, columns, parts)


def _greys(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    from pyarrow import parquet

    table = parquet.read_table(path, columns=["image", "split"])
    for image, part in zip(table["image"].to_pylist(), table["split"].to_pylist(), strict=True):
        with Image.open(io.BytesIO(image["bytes"])) as opened:
            yield part, np.asarray(opened.convert("L"))


def _patches(images: list[np.ndarray], n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n patches at random places of random images, float32, shape (n, 63)."""
    pixels = np.concatenate([image.ravel() for image in images])
    shapes = np.array([image.shape for image in images])
    starts = np.cumsum(shapes.prod(1)) - shapes.prod(1)
    step = np.arange(_SIDE)
    patches = np.empty((n, _SIDE * _SIDE - 1), np.float32)
    for begin in range(0, n, _CHUNK):
        out = patches[begin : begin + _CHUNK]
        which = rng.integers(len(images), size=len(out))
        height, width = shapes[which].T
        top, left = rng.integers(height - _SIDE + 1), rng.integers(width - _SIDE + 1)
        corner = starts[which] + top * width + left
        inside = step[:, None] * width[:, None, None] + step
        grey = pixels[(corner[:, None, None] + inside).reshape(len(out), -1)]
        values = (grey + rng.random(grey.shape)) / 256
        values -= values.mean(1, keepdims=True)
        out[:] = values[:, :-1]
    return patches
