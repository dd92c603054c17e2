"""Images of bytes and the rows of numbers that flows work on: one pixel value is a bin of width 1/128.

Flows live on [-1, 1)^d. Dequantised by uniform noise, a discrete image has as its log-probability at least
the mean log-density over its bin (A Note on the Evaluation of Generative Models, arXiv 1511.01844).
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

BINS = 256
HALF = BINS // 2


def as_bytes(images: object, what: str = "images", shape: tuple[int, ...] | None = None) -> Tensor:
    """Return images if they are bytes (n, C, H, W), n >= 1.

    Args:
        images: The images to check.
        what: Their name in error messages.
        shape: The (C, H, W) they must have, if any.

    Raises:
        TypeError: The images are not of bytes.
        ValueError: The shape is wrong, or there are no images.
    """
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(
            f"{what} must be bytes (torch.uint8), got {kind}: lfmkit.pixels.as_images makes images of rows"
        )
    want = "C, H, W" if shape is None else ", ".join(map(str, shape))
    if images.ndim != 4 or 0 in images.shape[1:] or (shape is not None and images.shape[1:] != shape):
        raise ValueError(f"{what} needs the shape (n, {want}), got {tuple(images.shape)}")
    if len(images) == 0:
        raise ValueError(f"{what} is empty: it needs one or more images")
    return images


def as_rows(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Return images of bytes (n, C, H, W) as rows in [-1, 1), shape (n, C*H*W).

    Args:
        images: Bytes.
        generator: Spreads each value uniformly over its bin; without one, values are the middles of the bins.

    Raises:
        TypeError: The images are not of bytes.

    >>> as_rows(torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 1, 1, 3)).tolist()
    [[-0.99609375, 0.00390625, 0.99609375]]
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be bytes (torch.uint8), got {images.dtype}")
    values = images.flatten(1).float()
    within: Tensor | float = 0.5
    if generator is not None:
        within = torch.rand(values.shape, generator=generator, device=values.device)
    return ((values + within) / HALF - 1).clamp(max=1 - 2**-24)


def as_images(rows: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return rows (n, C*H*W) as images of bytes (n, C, H, W): each number goes to its bin, or the nearest.

    Args:
        rows: Numbers, of which those outside [-1, 1) go to the first or last bin.
        shape: C, H and W.

    >>> image = torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2)
    >>> bool((as_images(as_rows(image), (3, 2, 2)) == image).all())
    True
    """
    values = ((rows + 1) * HALF).floor().clamp(0, BINS - 1)
    return values.to(torch.uint8).view(len(rows), *shape)
