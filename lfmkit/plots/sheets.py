"""Contact sheets of images: checks, zoom factor and layout; lengths are in pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from torch import Tensor
from torch.nn import functional

from lfmkit.pixels import as_bytes

GAP = 2  # pixels between images
SMALLEST = 12  # pixels of the shorter side to which large images may be reduced

Size = tuple[int, int]  # height and width, or rows and columns
Label = TypeVar("Label", bound=str | int)


def check(images: object, what: str = "images") -> None:
    """Make sure that images are bytes (n, C, H, W), n >= 1, grey (C = 1) or in colour (C = 3).

    Raises:
        TypeError: The images are not a tensor of bytes.
        ValueError: The shape is wrong, or there are no images.
    """
    shape = tuple(as_bytes(images, what).shape)
    if shape[1] not in (1, 3):
        raise ValueError(f"{what} need the shape (n, 1 or 3, H, W), got {shape}")


def check_all(sets: Mapping[Label, Tensor], what: str) -> None:
    """Make sure that named sets of images can lie side by side.

    Raises:
        TypeError: The sets are not a mapping, or one of them is not a tensor of bytes.
        ValueError: There are no sets, one has a wrong shape, or two have different shapes.
    """
    if not isinstance(sets, Mapping):
        raise TypeError(f"{what} must be a mapping of names to images, got {type(sets).__name__}")
    if not sets:
        raise ValueError(f"there is nothing to show: give {what}, {{name: images (n, C, height, width)}}")
    for name, images in sets.items():
        check(images, f"images of {name!r}")
    (first, given), *others = sets.items()
    for name, images in others:
        if images.shape != given.shape:
            shapes = f"{tuple(given.shape)} in {first!r}, {tuple(images.shape)} in {name!r}"
            raise ValueError(f"{what} need equally many images of one shape, got {shapes}")


def scale(size: Size, grid: Size, space: Size) -> float:
    """Return the zoom factor: an integer, 1/integer, or 0 if the images do not fit.

    Args:
        size: Height and width of an image.
        grid: Rows and columns.
        space: Height and width that all images share.

    >>> scale((32, 32), (2, 8), (400, 800)), scale((128, 128), (2, 8), (400, 800))
    (3, 0.5)
    """
    room = [(length + GAP) // count - GAP for length, count in zip(space, grid, strict=True)]
    if min(room) < 1:
        return 0
    larger = min(pixels // side for pixels, side in zip(room, size, strict=True))
    if larger:
        return larger
    smaller = max(-(-side // pixels) for pixels, side in zip(room, size, strict=True))
    return 1 / smaller if min(size) >= SMALLEST * smaller else 0


def best_columns(count: int, size: Size, space: Size, below: int = 0) -> int:
    """Return the number of columns with the largest images, and among equals the fewest empty places.

    Args:
        count: Number of images.
        size: Height and width of an image.
        space: Height and width that all images share.
        below: Free height under each image.
    """

    def worth(columns: int) -> tuple[float, int, int]:
        rows = -(-count // columns)
        larger = scale(size, (rows, columns), (space[0] - rows * below, space[1]))
        return larger, count - rows * columns, columns

    return max(range(1, min(count, space[1]) + 1), key=worth)


def fitted(images: Tensor, grid: Size, space: Size, below: int = 0) -> tuple[Tensor, int]:
    """Return images, reduced if they are too large, and the factor by which to enlarge them.

    Raises:
        ValueError: The images would be too small.
    """
    rows, columns = grid
    larger = scale((images.shape[2], images.shape[3]), grid, (space[0] - rows * below, space[1]))
    if not larger:
        many = f"{rows} rows of {columns} images of {images.shape[2]} x {images.shape[3]}"
        raise ValueError(f"{many} do not fit into one picture: show fewer")
    images = images.detach().cpu()
    if larger >= 1:
        return images, int(larger)
    means = functional.avg_pool2d(images.float(), round(1 / larger), ceil_mode=True)
    return means.round().to(images.dtype), 1


def tiled(images: Tensor, columns: int, zoom: int = 1, gap: int = 0, below: int = 0) -> np.ndarray:
    """Return bytes (n, C, H, W) as one sheet of bytes (height, width, C), white between the images.

    Args:
        images: The images, which fill the sheet row by row.
        columns: Images in a row.
        zoom: Height and width of each of their pixels.
        gap: White pixels between images.
        below: More white pixels under each image.

    >>> import torch
    >>> tiled(torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1), 2)[:, :, 0].tolist()
    [[0, 1], [2, 255]]
    """
    pixels = images.permute(0, 2, 3, 1).numpy().repeat(zoom, 1).repeat(zoom, 2)
    count, height, width, channels = pixels.shape
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + gap + below, width + gap, channels), 255, np.uint8)
    cells[:count, :height, :width] = pixels
    grid = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    sheet = grid.reshape(rows * cells.shape[1], columns * cells.shape[2], channels)
    return sheet[: len(sheet) - gap, : sheet.shape[1] - gap]
