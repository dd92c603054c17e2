"""A set of images: three splits of bytes, their labels, and where they come from."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images for training, validation and testing, all of one shape, each split in random order.

    Attributes:
        name: What the set is called.
        classes: The names of the classes, in the order of their numbers; empty without labels.
        train: The images to learn from, bytes (torch.uint8), shape (n, C, H, W); `val` and `test` alike.
        val: The images to choose by.
        test: The images to report.
        train_labels: Class numbers of the images to learn from, int64, shape (n,), as `fit(cond=...)` takes
            them; None without labels. `val_labels` and `test_labels` are like it.
        val_labels: Class numbers of `val`.
        test_labels: Class numbers of `test`.
        provenance: Source, licence, files, checksum, how they were stored and resized, split, and what
            departs from the published set.
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
        channels, height, width = self.shape
        return channels * height * width

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        classes = f"{len(self.classes):,} classes" if self.classes else "no labels"
        counts = ", ".join(f"{split} {len(getattr(self, split)):,}" for split in ("train", "val", "test"))
        return f"<Images {self.name}: {shape}, {classes}, {counts} images>"

    def _repr_html_(self) -> str:
        about = "".join(
            f"<li><b>{html.escape(key)}</b>: {html.escape(text)}</li>"
            for key, text in self.provenance.items()
        )
        return f"<p><b>{html.escape(repr(self)[1:-1])}</b></p><ul>{about}</ul>"
