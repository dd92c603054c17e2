"""Draw the two pictures the kit ships: a rose (line drawing) and a fractal tree.

Run ``python data/draw_pictures.py`` to write ``rose.png`` and ``tree.png`` beside this
file, or into the folder given as its one argument. Both are 8-bit grey, dark ink on white,
and the same bytes come out on every run.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

OVERSAMPLE = 4  # pictures are drawn this much larger, then reduced: smooth edges


class Pen:
    """A white canvas with coordinates in final pixels, y downwards, and round strokes."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("L", (width * OVERSAMPLE, height * OVERSAMPLE), 255)
        self.draw = ImageDraw.Draw(self.image)

    def stroke(self, points: np.ndarray, width: float) -> None:
        """Draw a polyline of the given width with round caps and joints."""
        scaled = [tuple(p) for p in np.asarray(points) * OVERSAMPLE]
        radius = width * OVERSAMPLE / 2
        self.draw.line(scaled, fill=0, width=max(1, round(2 * radius)))
        for x, y in scaled:
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)

    def mask(self, outline: np.ndarray) -> None:
        """Paint the inside of a closed outline white, so that what lies behind is hidden."""
        self.draw.polygon([tuple(p) for p in np.asarray(outline) * OVERSAMPLE], fill=255)

    def save(self, path: Path) -> None:
        """Reduce the canvas to its final size and write it as PNG."""
        width, height = self.image.size
        small = self.image.resize((width // OVERSAMPLE, height // OVERSAMPLE), Image.Resampling.BOX)
        small.save(path, optimize=True)
        print(f"{path}: {small.width} x {small.height}")


def bezier(*control: tuple[float, float], n: int = 60) -> np.ndarray:
    """Return n points of the cubic Bezier curve with four control points."""
    t = np.linspace(0, 1, n)[:, None]
    p0, p1, p2, p3 = (np.array(c, float) for c in control)
    return (1 - t) ** 3 * p0 + 3 * (1 - t) ** 2 * t * p1 + 3 * (1 - t) * t**2 * p2 + t**3 * p3


def petal(centre: tuple[float, float], angle: float, length: float, half: float) -> np.ndarray:
    """Return the outline of a petal: its direction and half-opening in degrees (y up), its length."""
    u = np.linspace(-1, 1, 120)
    theta = np.radians(angle + half * u)
    lip = 1 - 0.07 * np.exp(-((u / 0.16) ** 2))  # a dent in the middle of the rim
    r = length * (1 - np.abs(u) ** 2.6) ** 0.42 * lip
    return np.stack([centre[0] + r * np.cos(theta), centre[1] - 0.94 * r * np.sin(theta)], axis=1)


def rose(path: Path) -> None:
    """Draw a rose in lines: a bloom of eight petals, a double-line stem, four veined leaves."""
    pen, line = Pen(222, 227), 2.3
    bloom = (111.0, 66.0)

    left = bezier((107, 104), (104, 140), (118, 175), (109, 222))
    right = bezier((114, 104), (111, 140), (126, 175), (116, 222))
    leaves = [  # base point on the stem, tip, bulge
        ((110, 146), (30, 126), 18),
        ((114, 152), (194, 130), 18),
        ((116, 178), (38, 200), 17),
        ((117, 184), (196, 203), 17),
    ]
    for base, tip, bulge in leaves:
        base_, tip_ = np.array(base, float), np.array(tip, float)
        axis = tip_ - base_
        normal = np.array([-axis[1], axis[0]]) / np.linalg.norm(axis)
        start = base_ + 0.16 * axis
        upper = bezier(start, start + 0.2 * axis + bulge * normal, tip_ - 0.3 * axis + bulge * normal, tip_)
        lower = bezier(start, start + 0.2 * axis - bulge * normal, tip_ - 0.3 * axis - bulge * normal, tip_)
        pen.stroke(np.linspace(base_, start, 10), line)
        pen.stroke(upper, line)
        pen.stroke(lower, line)
        pen.stroke(np.linspace(start, tip_ - 0.08 * axis, 30), 1.5)
        for f in (0.3, 0.42, 0.54, 0.66):  # veins, from the midrib towards the edge and the tip
            for side in (1, -1):
                foot = base_ + f * axis
                reach = side * 0.95 * bulge * (f - 0.16) * (1 - f) / 0.1764 * normal
                pen.stroke(np.linspace(foot, foot + 0.13 * axis + 0.6 * reach, 20), 1.3)
    stem = np.concatenate([left, right[::-1]])
    pen.mask(stem)
    pen.stroke(left, line)
    pen.stroke(right, line)

    for angle, length, half in [  # back petals first: later ones hide earlier ones
        (270, 62, 52),
        (18, 70, 47),
        (162, 70, 47),
        (58, 66, 45),
        (122, 66, 45),
        (222, 52, 50),
        (318, 52, 50),
        (90, 48, 58),
    ]:
        outline = petal(bloom, angle, length, half)
        pen.mask(outline)
        pen.stroke(np.concatenate([outline, outline[:1]]), line)
        fold = petal(bloom, angle, 0.87 * length, 0.74 * half)
        pen.stroke(fold[22:56], 1.5)  # a shadow line on either side of the dent
        pen.stroke(fold[64:98], 1.5)

    heart = np.linspace(0, 2 * np.pi, 80)
    rim = np.stack([bloom[0] + 25 * np.cos(heart), bloom[1] - 22 * np.sin(heart)], axis=1)
    pen.mask(rim)
    pen.stroke(rim, line)
    turns = np.linspace(0.35, 2 * np.pi * 2.75, 260)  # the furled heart: a spiral with slight corners
    radius = 21 * turns / turns[-1] * (1 + 0.07 * np.cos(3 * turns))
    pen.stroke(
        np.stack([bloom[0] + radius * np.cos(turns), bloom[1] - 0.88 * radius * np.sin(turns)], axis=1), 1.6
    )
    pen.save(path)


def tree(path: Path) -> None:
    """Draw a binary fractal tree with round caps, eight levels counting the trunk."""
    pen = Pen(530, 450)

    def branch(x: float, y: float, angle: float, length: float, width: float, level: int) -> None:
        tip = np.array([x + length * math.sin(angle), y - length * math.cos(angle)])
        pen.stroke(np.array([[x, y], tip]), max(1.2, width))
        if level < 7:
            shorter = length * (0.705 if level == 0 else 0.755)
            for turn in (-27, 27):
                branch(*tip, angle + math.radians(turn), shorter, width * 0.77, level + 1)

    branch(264, 425, 0.0, 125, 13, 0)
    pen.save(path)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    rose(folder / "rose.png")
    tree(folder / "tree.png")
