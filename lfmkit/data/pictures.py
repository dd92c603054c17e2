"""Two-dimensional targets with an exact density: pictures as grids of Gaussians, and small mixtures.

A picture's density is a mixture with one Gaussian a pixel: weights proportional to max(img) - img (dark
ink), centres on linspace(-4, 4) in both directions with y upwards, standard deviations 4/width and
4/height (the sampling rule of FFJORD, arXiv 1810.01367). It separates into rows and columns, so the density
costs two small matrix products, and everything smoothed by Gaussian noise stays of the same form.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from lfmkit import schedules
from lfmkit.data.download import asset
from lfmkit.oracles import GaussianMixture
from lfmkit.utils.provenance import note_data

SHIPPED = ("rose", "tree")
_POINTS = 8192  # scored at once: bounds the memory of the (points, width) kernels
_TINY = 1e-280  # below this the product of kernels has lost digits and the slower, safe road is taken


class GridMixture:
    """A Gaussian mixture on a rectangular grid, all components with the same axis-parallel spread.

    Args:
        weights: Non-negative weights, shape (rows, columns), row 0 lowest. They are normalised.
        x: Centres of the columns, shape (columns,).
        y: Centres of the rows, shape (rows,).
        spread: Standard deviations in x and in y.
    """

    dim = 2

    def __init__(self, weights: Tensor, x: Tensor, y: Tensor, spread: tuple[float, float]) -> None:
        self.weights = (weights / weights.sum()).double()
        self.x, self.y, self.spread = x.double(), y.double(), spread

    def affine(self, a: float, b: float) -> GridMixture:
        """Return the density of a x + b g, g ~ N(0, I)."""
        spread = (math.hypot(a * self.spread[0], b), math.hypot(a * self.spread[1], b))
        return GridMixture(self.weights, a * self.x, a * self.y, spread)

    def ou(self, T: float) -> GridMixture:
        """Return the density after OU time T."""
        return self.affine(*schedules.ou_factors(T))

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Return n float32 samples, shape (n, 2)."""
        if n < 0:
            raise ValueError(f"the number of samples must be >= 0, got {n}")
        generator = torch.Generator().manual_seed(seed)
        edges = self.weights.flatten().cumsum(0)
        u = torch.rand(n, generator=generator, dtype=torch.float64) * edges[-1]
        cell = torch.searchsorted(edges, u, right=True).clamp(max=len(edges) - 1)
        centre = torch.stack([self.x[cell % len(self.x)], self.y[cell // len(self.x)]], 1)
        g = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return (centre + g * torch.tensor(self.spread, dtype=torch.float64)).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the exact log density at x (n, 2), shape (n,), nats, float64."""
        return torch.cat([self._log_prob(part) for part in _checked(x).split(_POINTS)])

    def score(self, x: Tensor) -> Tensor:
        """Return the gradient of the log density at x (n, 2), shape (n, 2)."""
        variance = torch.tensor(self.spread, dtype=torch.float64).square()
        return (self._mean_centre(x) - _checked(x)) / variance

    def velocity(self, x: Tensor, a: float, b: float, d_a: float, d_b: float) -> Tensor:
        """Return E[d_a x_l + d_b g | a x_l + b g = x] for x_l from this density, shape (n, 2)."""
        variance = torch.tensor(self.spread, dtype=torch.float64).square()
        gain = (a * d_a * variance + b * d_b) / (a * a * variance + b * b)
        centre = self._mean_centre(x, a, b)
        return d_a * centre + gain * (_checked(x) - a * centre)

    @property
    def floor(self) -> float:
        """The entropy in nats, by Monte Carlo on 200,000 seeded samples (standard error about 0.002)."""
        return -float(self.log_prob(self.sample(200_000, seed=1)).mean())

    def _mean_centre(self, x: Tensor, a: float = 1.0, b: float = 0.0) -> Tensor:
        """Return the posterior mean, given a x_l + b g = x, of the centre of the component of x_l."""
        smoothed = self.affine(a, b)
        return torch.cat([smoothed._mean_mark(part, self.x, self.y) for part in _checked(x).split(_POINTS)])

    def _kernels(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the kernels (n, columns), (n, rows), each at most 1, and the log of what was divided out."""
        quad_x = ((x[:, :1] - self.x) / self.spread[0]).square()
        quad_y = ((x[:, 1:] - self.y) / self.spread[1]).square()
        low_x, low_y = quad_x.amin(1, keepdim=True), quad_y.amin(1, keepdim=True)
        log_scale = -0.5 * (low_x + low_y).squeeze(1) - math.log(2 * math.pi * math.prod(self.spread))
        return (-0.5 * (quad_x - low_x)).exp(), (-0.5 * (quad_y - low_y)).exp(), log_scale

    def _far(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log(weight x density) of the inked cells that matter (n, k), and their rows and columns.

        Far from all ink the product of the two kernels underflows; this works with logarithms. A cell whose
        squared distance (in spreads) exceeds the nearest one's by 100 adds less than e^-50 of it; that leaves
        a ring of area 100 pi spreads^2, whatever its radius, so a fixed number of nearest cells is enough.
        """
        row, column = torch.nonzero(self.weights, as_tuple=True)
        scale = torch.tensor(self.spread, dtype=torch.float64)
        centres = torch.stack([self.x[column], self.y[row]], 1)
        cell = float(self.x[1] - self.x[0]) * float(self.y[1] - self.y[0])
        enough = 256 + 4 * 100 * math.pi * math.prod(self.spread) / max(cell, 1e-9)
        count = int(min(enough, len(row)))
        distance, near = torch.cdist(x / scale, centres / scale).topk(count, 1, largest=False)
        row, column = row[near], column[near]
        log_weight = self.weights[row, column].log() - math.log(2 * math.pi * math.prod(self.spread))
        return log_weight - 0.5 * distance.square(), row, column

    def _log_prob(self, x: Tensor) -> Tensor:
        kernel_x, kernel_y, log_scale = self._kernels(x)
        total = torch.linalg.vecdot(kernel_y @ self.weights, kernel_x)
        log_p = total.clamp(min=_TINY).log() + log_scale
        for i in torch.nonzero(total < _TINY).flatten().split(512):
            log_p[i] = torch.logsumexp(self._far(x[i])[0], 1)
        return log_p

    def _mean_mark(self, x: Tensor, across: Tensor, along: Tensor) -> Tensor:
        """Return the posterior mean, given x (n, 2), of two marks: one a column, one a row; (n, 2)."""
        kernel_x, kernel_y, _ = self._kernels(x)
        joint_x = (kernel_y @ self.weights) * kernel_x
        joint_y = (kernel_x @ self.weights.T) * kernel_y
        total = joint_x.sum(1).clamp(min=_TINY)
        mean = torch.stack([joint_x @ across, joint_y @ along], 1) / total[:, None]
        for i in torch.nonzero(total <= _TINY).flatten().split(512):
            log_joint, row, column = self._far(x[i])
            posterior = log_joint.softmax(1)
            mean[i] = torch.stack([(posterior * across[column]).sum(1), (posterior * along[row]).sum(1)], 1)
        return mean


def from_grey(grey: np.ndarray) -> GridMixture:
    """Return the density of a grey picture, shape (height, width), top row first, dark means likely.

    Raises:
        ValueError: The picture is not two-dimensional, or all of one grey ("no ink").
    """
    grey = np.asarray(grey, dtype=np.float64)
    if grey.ndim != 2 or min(grey.shape) < 2:
        raise ValueError(f"a picture needs at least 2 x 2 grey values, got the shape {grey.shape}")
    if not np.isfinite(grey).all():
        raise ValueError("the picture holds NaN or infinite grey values")
    ink = torch.from_numpy((grey.max() - grey)[::-1].copy())  # row 0 lowest: y upwards
    if not ink.sum() > 0:
        raise ValueError("the picture has no ink: every pixel has the same grey")
    height, width = ink.shape
    x = torch.linspace(-4, 4, width, dtype=torch.float64)
    y = torch.linspace(-4, 4, height, dtype=torch.float64)
    return GridMixture(ink, x, y, (4 / width, 4 / height))


def picture(name: str | Path) -> GridMixture | GaussianMixture:
    """Return a two-dimensional target with an exact density.

    Args:
        name: "rose" or "tree" (drawings), "checkerboard", "two_gaussians", "near_gaussian"
            (N((-.05, -.05), I)), or the path of any image file.

    Raises:
        ValueError: The name is unknown, the file is not a readable image, or it has no ink.
        FileNotFoundError: There is no such file.

    >>> rose = picture("rose")
    >>> x = rose.sample(1000, seed=0)
    >>> x.shape, rose.log_prob(x).shape
    (torch.Size([1000, 2]), torch.Size([1000]))
    """
    if name == "checkerboard":
        return from_grey(np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((16, 16))))
    if name == "two_gaussians":
        return GaussianMixture([[-1.5, 0.0], [1.5, 0.0]], 0.16)
    if name == "near_gaussian":
        return GaussianMixture([[-0.05, -0.05]], 1.0)
    if name in SHIPPED:
        return _from_file(asset(f"{name}.png"))
    if isinstance(name, str) and not Path(name).suffix and not Path(name).exists():
        known = "rose, tree, checkerboard, two_gaussians, near_gaussian"
        raise ValueError(f"unknown picture {name!r}: choose one of {known}, or name an image file")
    return _from_file(Path(name))


def _from_file(path: Path) -> GridMixture:
    try:
        with Image.open(path) as image:
            image.load()
            note_data(path.name, path)
            if image.has_transparency_data:
                paper = Image.new("RGBA", image.size, "white")  # paper shows through, not ink
                image = Image.alpha_composite(paper, image.convert("RGBA"))
            if image.mode not in ("F", "I", "I;16", "I;16B"):  # deep grey would be clipped at 255
                image = image.convert("L")
            return from_grey(np.asarray(image))
    except FileNotFoundError:
        raise FileNotFoundError(f"no image file at {path}") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is not a readable image: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _checked(x: Tensor) -> Tensor:
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"points need the shape (n, 2), got {tuple(x.shape)}")
    return x.double()
