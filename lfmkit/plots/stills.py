"""Still pictures of what the live widgets show: pure functions, for pages where nothing moves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import NullFormatter
from torch import Tensor

from lfmkit.plots.figure import LIMIT, PALETTE, WIDTH, Picture, blank

_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_TO_LIGHT = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def wheel(count: int) -> tuple[str, ...]:
    """Return `count` hues of equal lightness around the circle, as hex colours (Oklab, clipped to sRGB).

    >>> wheel(3)
    ('#d9668e', '#879f18', '#069ce4')
    """
    angle = 2 * np.pi * np.arange(count) / count
    lab = np.stack([np.full(count, 0.66), 0.15 * np.cos(angle), 0.15 * np.sin(angle)])
    light = np.clip(_TO_LIGHT @ (_TO_CONES @ lab) ** 3, 0, 1)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return tuple(to_hex(colour) for colour in shown.T)


def colour(name: str) -> str:
    """Return the palette's colour for a name that starts with a palette name, else grey.

    >>> colour("LFM, distilled") == PALETTE["LFM"]
    True
    """
    fitting = [known for known in PALETTE if name.startswith(known)]
    return PALETTE[max(fitting, key=len)] if fitting else "#555555"


def trajectories(
    stages: Mapping[str, Sequence[Tensor]], texts: Mapping[str, Sequence[str]], hue: Tensor
) -> Picture:
    """Draw one row a method and one column a stage, points coloured by the direction they start in.

    Args:
        stages: Method to its states (n, 2), the same number of stages each.
        texts: Method to a line under each state.
        hue: Colour number of each point on `wheel(24)`, shape (n,).
    """
    alt = f"Points on their way from left to right, coloured by where they start: {', '.join(stages)}"
    columns = max(len(states) for states in stages.values())
    figure, axes = _grid(len(stages), columns, alt)
    colours = np.array(wheel(24))[hue.cpu().numpy()]
    for row, (name, states) in zip(axes, stages.items(), strict=True):
        for axis, state, text in zip(row, states, texts[name], strict=True):
            axis.scatter(state[:, 0], state[:, 1], s=1.2, c=colours, linewidths=0, rasterized=True)
            axis.set_xlabel(text, fontsize=8)
        row[0].set_ylabel(name, fontsize=10, fontweight="bold")
    return figure


def few_steps(panels: Mapping[str, Tensor | None], texts: Mapping[str, str], title: str) -> Picture:
    """Draw the samples of each method after few steps, or "not available".

    Args:
        panels: Method to samples (n, 2) or None.
        texts: Method to the line below.
        title: Solver and number of evaluations.
    """
    said = "; ".join(f"{name}: {texts[name]}" for name in panels)
    figure, axes = _grid(1, len(panels), f"{title}. {said}")
    for axis, (name, points) in zip(axes[0], panels.items(), strict=True):
        axis.set_title(name, fontsize=10)
        axis.set_xlabel(texts[name], fontsize=9)
        if points is None:
            axis.text(0, 0, "not available", ha="center", va="center", color=PALETTE["noise"])
        else:
            axis.plot(*points.cpu().numpy().T, ".", ms=1.5, color=colour(name), alpha=0.6, rasterized=True)
    figure.suptitle(title, fontsize=10)
    return figure


def schedule(
    gammas: Sequence[float],
    times: Sequence[float],
    left: tuple[Sequence[float], Sequence[float]],
    left_label: str,
    clouds: Mapping[str, Tensor],
) -> Picture:
    """Draw the steps of a schedule, the signal and the chi-square left after each, and a few clouds.

    Args:
        gammas: Step sizes.
        times: Cumulative times T_k.
        left: e^-T_k, and the chi-square left after each step.
        left_label: Name of the latter.
        clouds: Title to points (n, 2).
    """
    total = times[-1] if times else 0.0
    said = f"{len(gammas)} steps, T = {total:.3f}, signal left {math.exp(-total):.3f}"
    alt = f"{said}; clouds: {', '.join(clouds)}"
    figure = blank(4.6, alt)
    above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
    bars, signal, chi2 = above.subplots(1, 3)
    bars.bar(range(1, len(gammas) + 1), gammas, color=PALETTE["LFM"])
    bars.set_title("step sizes", fontsize=10)
    bars.set_xlabel("block k")
    curve = np.linspace(0, max(1.0, total), 100)
    signal.plot(curve, np.exp(-curve), color=PALETTE["noise"])
    signal.plot(times, left[0], "o", color=PALETTE["LFM"], ms=4)
    signal.set_title("signal left, $e^{-T}$", fontsize=10)
    chi2.semilogy(times, left[1], "o-", color=PALETTE["LFM"], ms=4, lw=1)
    chi2.set_title(left_label, fontsize=10)
    chi2.yaxis.set_minor_formatter(NullFormatter())
    for axis in (signal, chi2):
        axis.set_xlabel("time T")
    for axis, (title, points) in zip(
        np.atleast_1d(below.subplots(1, len(clouds))), clouds.items(), strict=True
    ):
        axis.plot(*points.cpu().numpy().T, ".", ms=1, color=PALETTE["data"], alpha=0.5, rasterized=True)
        axis.set_title(title, fontsize=9)
        _square(axis)
    return figure


def drawing(grey: np.ndarray, samples: Tensor | None, text: str) -> Picture:
    """Draw grey values (height, width), and beside them the samples (n, 2) of a flow that learned them."""
    figure, (axes,) = _grid(1, 2, f"A drawing; {text}")
    half = [4 * n / (n - 1) for n in grey.shape]  # centres of the outer pixels lie at -4 and 4
    extent = (-half[1], half[1], -half[0], half[0])
    axes[0].imshow(grey, cmap="gray", extent=extent, vmin=0, vmax=255)
    _square(axes[0])
    axes[0].set_title("the drawing", fontsize=10)
    axes[1].set_title(text, fontsize=10)
    if samples is not None:
        axes[1].plot(*samples.cpu().numpy().T, ".", ms=1.5, color=PALETTE["LFM"], alpha=0.6, rasterized=True)
    return figure


def _grid(rows: int, columns: int, alt: str) -> tuple[Picture, list[list[Axes]]]:
    figure = blank(rows * (min(3.2, WIDTH / columns) + 0.25) + 0.3, alt)
    axes = [list(row) for row in figure.subplots(rows, columns, squeeze=False)]
    for row in axes:
        for axis in row:
            _square(axis)
    return figure, axes


def _square(axis: Axes) -> None:
    axis.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), xticks=[], yticks=[], aspect="equal")
