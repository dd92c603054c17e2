"""Features of images, and a small network that learns some in a minute.

Features are any function from images of bytes (n, C, H, W) to numbers (n, d). Distances between features
are comparable only if the features are the same, so records carry their name.
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
from lfmkit.pixels import as_bytes
from lfmkit.utils.progress import progress_over
from lfmkit.utils.tensors import read_tensors, write_tensors

KIND = "small CNN features"
WIDTHS = (32, 64, 64, 128)  # channels of the layers; those of the last layer are the features
BATCH, RATE = 128, 5e-3  # images per step, and the highest learning rate
TOGETHER = 2**21  # numbers of the images that go through a network at a time: bounds memory


class Features(Protocol):
    """Any callable that maps images of bytes (n, C, H, W) to features (n, d)."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return the features of images."""


@dataclass(frozen=True)
class SmallCNN:
    """The features of a small classifier, as `train_features` returns them: images to (n, 128).

    Call it with images of bytes of the size it was trained on. It sees only the differences that it learned
    to see: a distance between its features is meaningful only for images like those it was trained on.

    Attributes:
        network: The classifier; the features are the inputs of its last layer.
        shape: (C, H, W) of the images.
        classes: Number of classes.
        accuracy: Share of the test images that it classifies correctly.
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
        """Its name in records, with a checksum of the weights and the accuracy."""
        digest = hashlib.sha256()
        for tensor in self.network.state_dict().values():
            digest.update(tensor.cpu().numpy().tobytes())
        return f"small CNN {digest.hexdigest()[:8]}, test accuracy {self.accuracy:.3g}"

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features of images (n, C, H, W) of bytes, shape (n, 128).

        Raises:
            TypeError: The images are not of bytes.
            ValueError: They do not have the shape of those it was trained on.
        """
        return _through(self.network[:-1], as_bytes(images, shape=self.shape))

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
            ValueError: The file is damaged, or does not hold such a network.
        """
        weights, about = read_tensors(Path(path))
        if about.pop("kind", None) != KIND:
            raise ValueError(f"{path} does not hold {KIND}: give a file that SmallCNN.save wrote")
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

    The network has four convolutions, the mean over the image and one linear layer; it is trained by AdamW in
    batches of 128, on the CPU. This takes half a minute of one core on 32 x 32 colour images, and a few
    seconds on 8 x 8 grey ones. The same seed and number of threads give the same features. Images are not
    mirrored or shifted, which would change the classes of some data.

    Training needs labels: for images without, use `Inception`, or train on labelled images of the same size.

    Args:
        images: Training images.
        labels: Their classes, whole numbers >= 0, shape (n,).
        test_images: Images to measure the accuracy on.
        test_labels: Their classes.
        steps: Steps of training.
        seed: Seed of weights and batches.

    Raises:
        TypeError: Images are not of bytes, or labels are not whole numbers.
        ValueError: Shapes do not fit, there is only one class, or images are smaller than 4 x 4.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number >= 1, got {steps!r}")
    channels, height, width = as_bytes(images).shape[1:]
    shape = (channels, height, width)
    as_bytes(test_images, "test_images", shape)
    if min(height, width) < 4:
        raise ValueError(f"features need images of 4 x 4 pixels or more, got {height} x {width}")
    classes = _classes(labels, len(images), "labels")
    if classes == 1 or _classes(test_labels, len(test_images), "test_labels") > classes:
        raise ValueError(f"test_labels must be of the classes of labels, two or more: labels has {classes}")
    images, labels = images.cpu(), labels.cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(channels, classes)
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


def bytes_or_features(x: Tensor, what: str) -> Tensor:
    """Return x if it holds images of bytes (n, C, H, W), or is a finite floating-point matrix (n, d).

    Raises:
        TypeError: x is neither.
        ValueError: Wrong shape, no rows, or NaN or infinite rows.
    """
    if isinstance(x, Tensor) and x.ndim == 2 and x.is_floating_point():
        return as_samples(x, x.shape[1], what)
    return as_bytes(x, what)


def as_features(features: Features | None, x: Tensor, what: str) -> Tensor:
    """Return the features (n, d) of images of bytes; a floating-point matrix counts as features already.

    Raises:
        TypeError: x is neither.
        ValueError: Images without `features`, wrong shapes, or NaN or infinite features.
    """
    if bytes_or_features(x, what).ndim == 2:
        return x.detach()
    if features is None:
        raise ValueError(
            f"{what} are images: say features=, of train_features, Inception() or your own function"
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
    sizes = ((4, 2), (3, 2), (3, 1), (3, 2))  # sizes of the kernels, and their strides
    for before, after, (kernel, stride) in zip((channels, *WIDTHS), WIDTHS, sizes, strict=False):
        layers += [nn.Conv2d(before, after, kernel, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], classes))


def _numbers(images: Tensor) -> Tensor:
    """Return images as numbers in [-1, 1], with channels last, which is a fifth faster on a CPU."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _through(network: nn.Module, images: Tensor) -> Tensor:
    device = next(network.parameters()).device
    parts = images.split(max(1, TOGETHER // images[0].numel()))
    with torch.no_grad():
        return torch.cat([network(_numbers(part.to(device))) for part in progress_over(parts)])


def _classes(labels: Tensor, n: int, what: str) -> int:
    """Return the number of classes, the largest label plus one."""
    whole = isinstance(labels, Tensor) and not labels.is_floating_point() and not labels.is_complex()
    if not whole:
        raise TypeError(f"{what} must be whole numbers, shape (n,): features are trained on labelled images")
    if labels.shape != (n,) or int(labels.min()) < 0:
        raise ValueError(f"{what} needs {n} numbers >= 0, one per image, got the shape {tuple(labels.shape)}")
    return int(labels.max()) + 1
