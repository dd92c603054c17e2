"""Reads image files into one tensor of bytes, all of one size, and keeps it if that took long.

Resizing averages over the pixels that fall together, as it must: On Aliased Resizing and Surprising
Subtleties in GAN Evaluation, arXiv 2104.11222.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from lfmkit.data.download import cached
from lfmkit.data.imagesets.stored import Content, Stored
from lfmkit.data.tabular.reading import listed
from lfmkit.utils import files
from lfmkit.utils.progress import progress_over
from lfmkit.utils.tensors import read_tensors

SLOW = 20.0  # seconds of reading from which on the result is kept
_FORM = 1  # changes when images are read in another way
_CHUNK = 128  # files in memory at once
_WORKERS = min(4, os.cpu_count() or 1)  # Pillow lets go of Python's lock while it works
_DAMAGE = (  # what a damaged file can come to
    *(OSError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, SyntaxError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


class _Read(NamedTuple):
    pixels: np.ndarray  # (H, W) or (H, W, 3)
    size: tuple[int, int]  # width and height before resizing
    kind: str  # of file
    was: str  # what had to be converted, if it did


def read_or_kept(stored: Stored, size: int | None) -> tuple[Tensor, dict[str, Any], Path | None]:
    """Return the images and counts as `read` does, and where they are kept if reading them took long."""
    place = cached("images", f"{_FORM} {stored.checksum} {size}")
    kept = _kept(place, stored.count)
    if kept is None:
        started = time.perf_counter()
        images, found = read(stored, size)
        if time.perf_counter() - started <= SLOW:
            return images, found, None
        _keep(place, images, found)
        kept = _kept(place, stored.count)  # mapped: memory then holds the images once, when put in order
        if kept is None:
            return images, found, None
    return *kept, place


def _kept(path: Path, count: int) -> tuple[Tensor, dict[str, Any]] | None:
    try:
        tensors, found = read_tensors(path)
        return (tensors["images"], found) if len(tensors["images"]) == count else None
    except (FileNotFoundError, ValueError, LookupError):  # not here, or damaged: then they are read again
        return None


def _keep(path: Path, images: Tensor, found: dict[str, Any]) -> None:
    """Write images to be kept, whole or not at all; if that fails say so and go on."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with files.locked(path.parent):
            try:
                save_file({"images": images}, temporary, {"about": json.dumps(found)})
                os.replace(temporary, path)
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink()
    except (OSError, SafetensorError, files.InUseError) as error:
        text = f"cannot keep the images in {path.parent}, so next time they will be read again: {error}"
        warnings.warn(text, stacklevel=4)


def read(stored: Stored, size: int | None) -> tuple[Tensor, dict[str, Any]]:
    """Return all images as bytes (n, C, H, W), in order, and counts of what was found.

    Raises:
        ValueError: Images cannot be read, or differ in size and there is no `size` to resize them to.
    """
    images, bad, first = None, [], 0
    kinds, were, sizes = Counter[str](), Counter[str](), Counter[tuple[int, ...]]()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for i, one in enumerate(_each(pool, stored, size)):
            if isinstance(one, str):
                bad.append(f"{stored.called(i)} ({one})")
                continue
            pixels = one.pixels.reshape(*one.pixels.shape[:2], -1).transpose(2, 0, 1)
            if images is None:
                images, first = np.empty((stored.count, *pixels.shape), np.uint8), i
            if pixels.shape != images.shape[1:]:
                raise ValueError(
                    f"{stored.called(i)} has {_by(one.size)} pixels, {stored.called(first)} has "
                    f"{_by(images.shape[:1:-1])}: give size=, to which all are resized"
                )
            images[i] = pixels
            kinds[one.kind] += 1
            were[one.was] += 1
            sizes[one.size] += 1
    if images is None or bad:
        raise ValueError(
            f"{len(bad):,} of {stored.count:,} images cannot be read: {listed(bad, 3)}. Leave them out, or "
            "restore them"
        )
    del were[""]
    side = size or 0
    found = {
        "kinds": kinds,
        "converted": were,
        "sizes": [_by(each) for each, _ in sizes.most_common(3)],
        "more_sizes": max(0, len(sizes) - 3),
        "resized": sum(n for each, n in sizes.items() if size and each != (side, side)),
        "enlarged": sum(n for each, n in sizes.items() if min(each) < side),
    }
    return torch.from_numpy(images), found


def described(found: dict[str, Any], size: int | None) -> dict[str, str]:
    """Return the counts of `read` as lines of a provenance."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found["kinds"].items())
    more = f" and {found['more_sizes']:,} other sizes" if found["more_sizes"] else ""
    resizing = "none"
    if found["resized"]:
        resizing = f"middle square, resized to {size} x {size} pixels (bicubic, antialiased)"
    if found["enlarged"]:
        resizing += f"; {found['enlarged']:,} WERE SMALLER AND WERE ENLARGED"
    lines = {"images": f"{kinds}; {', '.join(found['sizes'])}{more} pixels", "resized": resizing}
    if found["converted"]:
        were = ", ".join(f"{count:,} {kind}" for kind, count in found["converted"].items())
        lines["made RGB"] = f"{were}; what was transparent lies over white"
    return lines


def resized(image: Image.Image, size: int) -> Image.Image:
    """Return the middle square of an image, resized to size x size pixels: bicubic, antialiased.

    >>> stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32)))
    >>> np.asarray(resized(stripes, 8))[4, 1:6].tolist()
    [128, 128, 128, 128, 128]
    """
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def _each(pool: ThreadPoolExecutor, stored: Stored, size: int | None) -> Iterator[_Read | str]:
    contents = stored.contents()
    one = partial(_read, mode=stored.mode, size=size)
    for _ in progress_over(range(0, stored.count, _CHUNK)):
        chunk = list(islice(contents, _CHUNK))
        some = -(-len(chunk) // _WORKERS)
        pieces = [chunk[i : i + some] for i in range(0, len(chunk), some)]
        yield from chain.from_iterable(pool.map(lambda piece: [one(each) for each in piece], pieces))


def _read(content: Content, mode: str, size: int | None) -> _Read | str:
    """Return an image, or the reason why there is none."""
    if content is None:
        return "there are no bytes"
    try:
        with _opened(content) as image:
            kind = image.format or "arrays"
            ImageOps.exif_transpose(image, in_place=True)
            plain, was = _plain(image, mode)
        done = plain if size is None else resized(plain, size)
        return _Read(np.asarray(done), plain.size, kind, was)
    except UnidentifiedImageError:
        return "no JPEG, PNG or WebP"
    except _DAMAGE as error:
        return str(error) or type(error).__name__


def _opened(content: bytes | Path | np.ndarray) -> Image.Image:
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    return Image.open(file, formats=("JPEG", "PNG", "WEBP"))


def _plain(image: Image.Image, mode: str) -> tuple[Image.Image, str]:
    """Return an image in the wanted mode, transparent ones laid over white, and what it was if not that."""
    if image.mode.startswith(("I", "F")):
        raise ValueError("its pixels have more than 8 bits")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert(mode), "transparent"
    was = {"1": "grey", "L": "grey", "CMYK": "CMYK"}.get(image.mode, "") if mode == "RGB" else ""
    return image.convert(mode), was


def _by(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
