"""The trajectory explorer: the same noise as it moves through several flows, side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lfmkit.flows.integrate import Trajectory
from lfmkit.plots import Picture
from lfmkit.plots.figure import look_of
from lfmkit.widgets.base import Standalone, counted, grid, panel_size, script
from lfmkit.widgets.points import HUES, WHEEL, hues, quantised

LINES = 72  # number of paths drawn


def trajectory_explorer(
    trajectories: Mapping[str, Trajectory],
    *,
    frames: int | None = None,
    paths: bool = False,
    autoplay: bool = False,
    label: str = "Trajectories",
) -> TrajectoryExplorer:
    """Show recorded trajectories of the same points side by side, with one scrubber for all.

    Points have the colour of the direction they start in. Methods with different numbers of records are shown
    on common frames: the first frame is the first record of every method, the last frame the last record, and
    the frames between take the records at the same shares. Nothing is interpolated.

    Args:
        trajectories: Method to its trajectory, states of shape (records, n, 2), all with the same start.
        frames: Number of frames; that of the longest trajectory's records, at most 101, when left out.
        paths: Draw paths from the beginning (a box switches them).
        autoplay: Play once when shown, except for readers who asked their system for less motion.
        label: Name of the widget.

    Returns:
        A widget; `.frame` is the frame shown, `.save_html(path)` writes it as one standalone page.

    Raises:
        TypeError: An entry is not a Trajectory.
        ValueError: No trajectories; wrong shapes, NaN or infinite states; different points or starts.
    """
    if not isinstance(trajectories, Mapping):
        raise TypeError(f"trajectories must be a mapping of names, got {type(trajectories).__name__}")
    if not trajectories:
        raise ValueError("there is nothing to show: give one or more trajectories, {name: trajectory}")
    for name, record in trajectories.items():
        _check(name, record)
    first, *others = trajectories.items()
    for name, record in others:
        if record.x.shape[1] != first[1].x.shape[1]:
            counts = f"{first[1].x.shape[1]} points in {first[0]!r}, {record.x.shape[1]} in {name!r}"
            raise ValueError(f"trajectories need the same points, got {counts}")
        if not torch.allclose(record.x[0].cpu(), first[1].x[0].cpu(), atol=1e-3):
            raise ValueError(f"trajectories need the same start, {first[0]!r} and {name!r} differ")
    longest = max(len(record.x) for record in trajectories.values())
    count = min(longest, 101) if frames is None else frames
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise ValueError(f"frames must be a whole number >= 2, got {frames!r}")
    return TrajectoryExplorer(trajectories, count, paths, autoplay, label)


class TrajectoryExplorer(Standalone):
    """The widget that `trajectory_explorer` returns."""

    _esm = script("common.js", "pixels.js", "player.js", "trajectory.js")

    def __init__(
        self, trajectories: Mapping[str, Trajectory], frames: int, paths: bool, autoplay: bool, label: str
    ) -> None:
        start = next(iter(trajectories.values())).x[0].detach().float().cpu()
        hue = hues(start)
        order = hue.argsort(stable=True)  # points of one colour lie together: each colour is set once
        ends = [0, *torch.bincount(hue, minlength=HUES).cumsum(0).tolist()]
        count = len(start)
        chosen = torch.linspace(0, count - 1, min(LINES, count)).round().long()
        rows = {name: common_frames(len(record.x), frames) for name, record in trajectories.items()}
        self._states = {
            name: record.x[rows[name]].detach().float().cpu()[:, order]
            for name, record in trajectories.items()
        }
        self._readouts = {name: readouts(record, rows[name]) for name, record in trajectories.items()}
        self._hue = hue[order]
        panels = [
            {
                "title": name,
                "colour": look_of(name),
                "nfe": _nfe(record),
                "readouts": self._readouts[name],
            }
            for name, record in trajectories.items()
        ]
        about = {
            "label": label,
            "frames": frames,
            "count": count,
            "panels": panels,
            "ends": ends,
            "wheel": list(WHEEL),
            "lines": [{"point": int(i), "hue": int(self._hue[i])} for i in chosen],
            "size": panel_size(len(panels)),
            "dot": 1.8 if count > 1500 else 2.4,
            "paths": paths,
            "autoplay": autoplay,
        }
        super().__init__(about, quantised(torch.stack(list(self._states.values()), 1)))

    def __repr__(self) -> str:
        numbers = (
            (len(self._states), "method"),
            (self.about["frames"], "frame"),
            (self.about["count"], "point"),
        )
        return f"<trajectory explorer: {', '.join(counted(*number) for number in numbers)}>"

    def still(self) -> Picture:
        """Return a few frames: one row for each method, points coloured by the direction they start in."""
        stages = sorted({round(share * (self.about["frames"] - 1)) for share in (0, 0.25, 0.5, 0.75, 1)})
        alt = "Points on their way from left to right, coloured by where they start: "
        figure, axes = grid(len(self._states), len(stages), alt + ", ".join(self._states))
        colours = np.array(WHEEL)[self._hue.numpy()]
        for row, (name, states) in zip(axes, self._states.items(), strict=True):
            for axis, k in zip(row, stages, strict=True):
                axis.scatter(
                    states[k][:, 0], states[k][:, 1], s=1.2, c=colours, linewidths=0, rasterized=True
                )
                axis.set_xlabel(self._readouts[name][k], fontsize=8)
            row[0].set_ylabel(name, fontsize=10, fontweight="bold")
        return figure


def common_frames(records: int, frames: int) -> list[int]:
    """Return the record that each of `frames` frames shows, at the same share of all records.

    >>> common_frames(3, 5)
    [0, 0, 1, 2, 2]
    """
    return [round(k * (records - 1) / (frames - 1)) for k in range(frames)]


def readouts(record: Trajectory, rows: list[int]) -> list[str]:
    """Return the position of each of the given records, such as "block 3 of 4, t = 0.40"."""
    blocks = len(record.nfe)
    return [f"block {int(record.block[k]) + 1} of {blocks}, t = {float(record.t[k]):.2f}" for k in rows]


def _nfe(record: Trajectory) -> str:
    each = " + ".join(f"{n:g}" for n in record.nfe)
    return f"NFE {sum(record.nfe):g}" + (f" ({each})" if len(record.nfe) > 1 else "")


def _check(name: str, record: object) -> None:
    if not isinstance(record, Trajectory):
        raise TypeError(f"{name!r} must be a Trajectory (flow.trajectory(…)), got {type(record).__name__}")
    x = record.x
    if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[2] != 2 or not len(x) or not x.shape[1]:
        raise ValueError(f"the states of {name!r} need the shape (records, n, 2), got {tuple(x.shape)}")
    if len(record.t) != len(x) or len(record.block) != len(x):
        raise ValueError(
            f"{name!r} has {len(x)} states, {len(record.t)} times and {len(record.block)} blocks"
        )
    if not torch.isfinite(x).all():
        raise ValueError(f"the states of {name!r} hold NaN or infinity")
