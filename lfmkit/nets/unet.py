"""A velocity network v(x, t) for images: the UNet of diffusion models, as the library diffusers builds it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lfmkit.utils import needed

HEAD = 64  # most channels of an attention head, as arXiv 2105.05233 found best
GROUPS = 32  # most groups of a normalisation
GROUP = 4  # fewest channels of a group: in one of its own, what time adds to a channel would cancel


@dataclass(frozen=True)
class UNet:
    """Recipe for a UNet velocity network; it takes each row of C*H*W numbers for an image.

    Args:
        shape: Channels C, height H and width W of an image.
        widths: Channels of the network at each resolution, multiples of 4 (of 16 for speed on CPUs); each
            further resolution halves both sides.
        layers: Residual blocks at each resolution going down; going up there is one more.
        attention: Heights of the resolutions whose blocks have self-attention. The coarsest
            resolution always has some, between going down and up.

    Raises:
        ValueError: A number is out of range, a side cannot be halved that often, or no resolution has a
            height in `attention`.

    There is no dropout: a training that was stopped goes on bit for bit.

    References: Denoising Diffusion Probabilistic Models, arXiv 2006.11239; Diffusion Models Beat GANs on
    Image Synthesis, arXiv 2105.05233.

    >>> UNet(shape=(3, 32, 32), widths=(16, 32, 64), attention=(8,)).sides
    (32, 16, 8)
    """

    shape: tuple[int, int, int]
    widths: tuple[int, ...]
    layers: int = 2
    attention: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("shape", "widths", "attention"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or not all(type(n) is int and n >= 1 for n in values):
                raise ValueError(f"{name} must be a tuple of whole numbers >= 1, got {values!r}")
        if len(self.shape) != 3:
            raise ValueError(f"shape must be channels, height and width, got {self.shape}")
        if not self.widths or any(width % GROUP for width in self.widths):
            raise ValueError(f"widths must be one or more multiples of {GROUP}, got {self.widths}")
        if type(self.layers) is not int or self.layers < 1:
            raise ValueError(f"layers must be a whole number >= 1, got {self.layers!r}")
        whole = 2 ** (len(self.widths) - 1)
        if any(side % whole for side in self.shape[1:]):
            raise ValueError(
                f"with {len(self.widths)} widths height and width must be multiples of {whole}, "
                f"got {self.shape[1]} and {self.shape[2]}: give fewer widths, or pad the images"
            )
        if not set(self.attention) <= set(self.sides):
            raise ValueError(f"attention must be some of the heights {self.sides}, got {self.attention}")

    @property
    def sides(self) -> tuple[int, ...]:
        """Heights of the resolutions, finest first."""
        return tuple(self.shape[1] >> k for k in range(len(self.widths)))

    def __call__(self, dim: int, cond: int = 0) -> UNetVelocity:
        """Return a fresh network for data of `dim` = C*H*W dimensions and conditions of `cond` dimensions.

        Raises:
            ValueError: An image has another number of values.
            ImportError: diffusers is not installed.
        """
        if dim != math.prod(self.shape):
            raise ValueError(
                f"an image of shape {self.shape} has {math.prod(self.shape)} values, the data {dim}: "
                "give net=UNet(shape=…) the shape of the data's images"
            )
        return UNetVelocity(self, cond)


class UNetVelocity(nn.Module):
    """The network of the `UNet` recipe: rows to images, `diffusers.UNet2DModel`, images to rows.

    The last convolution starts at zero. A condition enters as time does: a linear map of it is added to the
    embedding of the time.
    """

    def __init__(self, recipe: UNet, cond: int = 0) -> None:
        super().__init__()
        self.shape = recipe.shape
        self.unet = _unet(recipe, conditional=cond > 0)
        self.told = nn.Linear(cond, 4 * recipe.widths[0], bias=False) if cond else None
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)

    def forward(
        self, x: Tensor, t: Tensor, noise: Tensor | None = None, cond: Tensor | None = None
    ) -> Tensor:
        """Return the network's output.

        Args:
            x: Images as rows, shape (n, C*H*W).
            t: Time, a scalar or (n,).
            noise: Not used: within a block t says it.
            cond: Conditions, shape (n, cond); None is zeros.

        Returns:
            Shape (n, C*H*W), in the precision of x.
        """
        told = None
        if self.told is not None:
            told = self.told(x.new_zeros(len(x), self.told.in_features) if cond is None else cond)
        (v,) = self.unet(x.unflatten(1, self.shape), t, told, return_dict=False)
        return v.flatten(1).to(x.dtype)


class _Waves(nn.Module):
    """Cosines and sines of time, of 10 down to 0.1 radians between t = 0 and 1, in the precision of t.

    Diffusion models use 1000 to 0.1 (t counts steps there), and adaptive solvers follow such fast waves: on
    8x8 images they took three times the evaluations, at the same loss.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.each = channels // 2

    def forward(self, t: Tensor) -> Tensor:
        """Return the waves (n, channels) of times (n,)."""
        turn = torch.arange(self.each, dtype=t.dtype, device=t.device) / self.each
        angle = t[:, None] * 10 * 100**-turn
        return torch.cat([angle.cos(), angle.sin()], 1)


@needed("images")
def _unet(recipe: UNet, conditional: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions warn of accelerators that are not there
        from diffusers import UNet2DModel  # here, because it takes seconds
    attends = [side in recipe.attention for side in recipe.sides]
    common = math.gcd(*recipe.widths)
    groups = [n for n in range(1, GROUPS + 1) if common % n == 0 and common // n >= GROUP]
    unet: Any = UNet2DModel(
        in_channels=recipe.shape[0],
        out_channels=recipe.shape[0],
        block_out_channels=recipe.widths,
        layers_per_block=recipe.layers,
        down_block_types=tuple("AttnDownBlock2D" if yes else "DownBlock2D" for yes in attends),
        up_block_types=tuple("AttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(attends)),
        attention_head_dim=math.gcd(HEAD, common),
        norm_num_groups=max(groups),
        class_embed_type="identity" if conditional else None,
    )
    unet.time_proj = _Waves(recipe.widths[0])
    return unet
