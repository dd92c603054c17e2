"""What turns images into features, and a small network whose features take a minute to train.

Features are any function from images of bytes (n, C, H, W) to numbers (n, d). Distances between features
are only comparable where the features are the same: records carry their name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lfmkit.flows.inputs import as_samples
from lfmkit.utils.progress import progress_over
from lfmkit.utils.tensors import read_tensors, write_tensors

KIND = "small CNN features"
WIDTHS = (32, 64, 64, 128)  # channels of the layers; the last are the features
BATCH, RATE = 128, 5e-3
TOGETHER = 2**21  # pixels looked at together: bounds memory


class Features(Protocol):
    """What turns images of bytes (n, C, H, W) into features (n, d): any function that does."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return the features of images."""


@dataclass(frozen=True)
class SmallCNN:
    """The features of a small classifier, as `train_features` returns them: images to (n, 128).

    Called with images of bytes of the size it was trained on. What it calls alike, a distance between its
    features calls alike: it says something about images like those it was trained on, and nothing else.

    Attributes:
        network: The classifier; the features are what its last layer sees.
        shape: (C, H, W) of the images.
        classes: Number of classes.
        accuracy: Share of images it was not trained on that it classifies rightly.
        n: Number of images it was trained on.
        steps: Steps of training.
        seed: Seed of its weights and batches.
    """

    network: nn.Sequential = field(repr=False)
    shape: tuple[int, int, int]
    classes: int
    accuracy: float
    n: int
    steps: int
    seed: int

    @property
    def label(self) -> str:
        """Its name in records: with a checksum of the weights, and how well it classifies."""
        digest = hashlib.sha256()
        for tensor in self.network.state_dict().values():
            digest.update(tensor.cpu().numpy().tobytes())
        return f"small CNN {digest.hexdigest()[:8]}, test accuracy {self.accuracy:.3g}"

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features of images (n, C, H, W) of bytes, shape (n, 128).

        Raises:
            TypeError: The images are not of bytes.
            ValueError: They have not the shape of those it was trained on.
        """
        return _through(self.network[:-1], as_bytes(images, "images", self.shape))

    def save(self, path: str | Path) -> None:
        """Write weights and provenance as one safetensors file."""
        known = ("shape", "classes", "accuracy", "n", "steps", "seed")
        about = {"kind": KIND, **{name: getattr(self, name) for name in known}}
        write_tensors(Path(path), self.network.state_dict(), about)

    @classmethod
    def load(cls, path: str | Path) -> SmallCNN:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is damaged, or something else.
        """
        weights, about = read_tensors(Path(path))
        if about.pop("kind", None) != KIND:
            raise ValueError(f"{path} holds no {KIND}: give a file that SmallCNN.save wrote")
        try:
            shape = tuple(about.pop("shape"))
            network = _network(shape[0], about["classes"])
            network.load_state_dict(weights)
            return cls(network.eval(), shape=shape, **about)
        except (KeyError, TypeError, RuntimeError) as error:
            why = str(error).splitlines()[0]
            raise ValueError(f"{path} is damaged ({why}): train the features again") from error


def train_features(
    images: Tensor, labels: Tensor, test_images: Tensor, test_labels: Tensor, steps: int = 800, seed: int = 0
) -> SmallCNN:
    """Train a small classifier of images (n, C, H, W) of bytes and return its features.

    Four convolutions, the mean over the image, one linear layer; AdamW in batches of 128, on the CPU. On
    32 x 32 colour images half a minute of one core, on 8 x 8 grey ones a few seconds. The same seed and
    number of threads give the same features. Nothing is mirrored or shifted: that would change the classes
    of some data.

    A set without labels has none: use `Inception`, or features trained on labelled images of that size.

    Args:
        images: Training images.
        labels: Their classes, whole numbers from 0 on, shape (n,).
        test_images: Images to measure the accuracy on.
        test_labels: Their classes.
        steps: Steps of training.
        seed: Seed of weights and batches.

    Raises:
        TypeError: Images are not of bytes, labels not whole numbers.
        ValueError: Shapes do not fit, there is but one class, images are smaller than 4 x 4.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number >= 1, got {steps!r}")
    shape = _shape(as_bytes(images, "images"))
    as_bytes(test_images, "test_images", shape)
    if min(shape[1:]) < 4:
        raise ValueError(f"features need images of 4 x 4 pixels or more, got {shape[1]} x {shape[2]}")
    classes = _classes(labels, len(images), "labels")
    if classes == 1 or _classes(test_labels, len(test_images), "test_labels") > classes:
        raise ValueError(f"test_labels must be of the classes of labels, two or more: labels has {classes}")
    images, labels = images.cpu(), labels.cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(shape[0], classes)
        optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.01)
        warm = max(1, steps // 5)
        for step in progress_over(range(steps)):
            rate = min((step + 1) / warm, (steps - step) / (steps - warm + 1))  # up, then down, linearly
            optimizer.param_groups[0]["lr"] = RATE * rate
            batch = torch.randint(len(images), (BATCH,))
            loss = F.cross_entropy(network(_numbers(images[batch])), labels[batch].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    guesses = _through(network.eval(), test_images).argmax(1)
    accuracy = float((guesses == test_labels.cpu()).double().mean())
    return SmallCNN(network, shape, classes, accuracy, len(images), steps, seed)


def as_bytes(images: Tensor, what: str, shape: tuple[int, int, int] | None = None) -> Tensor:
    """Return images if they are bytes (n, C, H, W), n >= 1, of a shape if one is given.

    Raises:
        TypeError: They are not of bytes.
        ValueError: Wrong shape, or none.
    """
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(
            f"{what} must be images of bytes (torch.uint8), got {kind}: "
            "pixels.as_images makes them of a flow's rows"
        )
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(f"{what} needs the shape (n, C, H, W), got {tuple(images.shape)}")
    if len(images) == 0:
        raise ValueError(f"{what} is empty: it needs one or more images")
    if shape is not None and _shape(images) != shape:
        raise ValueError(
            f"{what} needs the shape (n, {', '.join(map(str, shape))}), got {tuple(images.shape)}"
        )
    return images


def bytes_or_features(x: Tensor, what: str) -> Tensor:
    """Return x if it is images of bytes (n, C, H, W), or a finite floating-point matrix (n, d).

    Raises:
        TypeError: x is neither.
        ValueError: Wrong shape, no rows, or NaN or infinite rows.
    """
    if isinstance(x, Tensor) and x.ndim == 2 and x.is_floating_point():
        return as_samples(x, x.shape[1], what)
    return as_bytes(x, what)


def as_features(features: Features | None, x: Tensor, what: str) -> Tensor:
    """Return the features (n, d) of images of bytes; a floating-point matrix is taken for features already.

    Raises:
        TypeError: x is neither.
        ValueError: Images without features, wrong shapes, NaN or infinite features.
    """
    if bytes_or_features(x, what).ndim == 2:
        return x.detach()
    if features is None:
        raise ValueError(
            f"{what} are images: say features=, of train_features, Inception() or a function of your own"
        )
    found = features(x)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(x):
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"features must return a tensor (n, d), n = {len(x)} for {what}, got {got}")
    return as_samples(found, found.shape[1], f"features of {what}").detach()


def label(features: Features | None) -> str:
    """Return the name of features in records."""
    if features is None:
        return "features as given"
    own = getattr(features, "label", None) or getattr(features, "__name__", None)
    return str(own or type(features).__name__)


def _network(channels: int, classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    sizes = ((4, 2), (3, 2), (3, 1), (3, 2))  # of the kernels, and their strides
    for before, after, (kernel, stride) in zip((channels, *WIDTHS), WIDTHS, sizes, strict=False):
        layers += [nn.Conv2d(before, after, kernel, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], classes))


def _numbers(images: Tensor) -> Tensor:
    """Return images as numbers in [-1, 1], channels last: a fifth faster on a CPU."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _through(network: nn.Module, images: Tensor) -> Tensor:
    device = next(network.parameters()).device
    parts = images.split(max(1, TOGETHER // images[0].numel()))
    with torch.no_grad():
        return torch.cat([network(_numbers(part.to(device))) for part in progress_over(parts)])


def _shape(images: Tensor) -> tuple[int, int, int]:
    channels, height, width = images.shape[1:]
    return channels, height, width


def _classes(labels: Tensor, n: int, what: str) -> int:
    """Return the number of classes, the largest label plus one."""
    whole = isinstance(labels, Tensor) and not labels.is_floating_point() and not labels.is_complex()
    if not whole:
        raise TypeError(f"{what} must be whole numbers, shape (n,): features are trained on labelled images")
    if labels.shape != (n,) or int(labels.min()) < 0:
        raise ValueError(f"{what} needs {n} numbers >= 0, one an image, got the shape {tuple(labels.shape)}")
    return int(labels.max()) + 1
