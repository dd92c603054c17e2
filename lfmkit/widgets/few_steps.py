"""The few-step explorer: samples of several methods by solver and number of evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lfmkit.plots import PALETTE, Picture
from lfmkit.plots.figure import look_of
from lfmkit.widgets.base import Standalone, counted, grid, panel_size, script
from lfmkit.widgets.points import planar, quantised

Key = tuple[str, int]  # solver and NFE


def few_step_explorer(
    samples: Mapping[str, Mapping[Key, Tensor]],
    distances: Mapping[str, Mapping[Key, float]],
    *,
    distance_name: str = "distance",
    data: Tensor | None = None,
    label: str = "Few steps",
) -> FewStepExplorer:
    """Show the samples of each method for a given solver and number of velocity evaluations (NFE).

    Args:
        samples: Method to {(solver, NFE): points (n, 2)}. Combinations may be missing.
        distances: The same keys, to the distance between these points and the data.
        distance_name: Name of the distance, for example "sliced Wasserstein".
        data: Points (n, 2) of the data, shown in a separate panel.
        label: Name of the widget.

    Returns:
        A widget; `.frame` is the combination shown (as in `.combinations`), `.save_html(path)` writes a page.

    Raises:
        TypeError: An entry is not a mapping, a (solver, NFE) pair or a floating-point tensor.
        ValueError: Nothing to show; wrong shapes, NaN or infinite points; distances for other combinations.
    """
    both: tuple[tuple[str, object], ...] = (("samples", samples), ("distances", distances))
    for what, table in both:
        if not isinstance(table, Mapping) or not all(isinstance(inner, Mapping) for inner in table.values()):
            raise TypeError(f"{what} must map methods to {{(solver, NFE): …}}")
    if not any(samples.values()):
        raise ValueError("there is nothing to show: give {method: {(solver, NFE): points}}")
    if set(distances) != set(samples):
        raise ValueError(f"samples are of {sorted(samples)}, distances of {sorted(distances)}")
    clouds: dict[str, dict[Key, Tensor]] = {}
    for name, given in samples.items():
        clouds[name] = {_key(key): planar(x, f"{name}, {key}") for key, x in given.items()}
        if set(distances[name]) != set(given):
            other = sorted(map(str, set(distances[name]) ^ set(given)))[0]
            raise ValueError(f"samples and distances of {name!r} need the same keys, {other} is in one only")
    values = {name: {k: float(v) for k, v in given.items()} for name, given in distances.items()}
    reference = None if data is None else planar(data, "data")
    return FewStepExplorer(clouds, values, distance_name, reference, label)


class FewStepExplorer(Standalone):
    """The widget that `few_step_explorer` returns.

    Attributes:
        combinations: All combinations (solver, NFE) of any method, in the order of the controls.
    """

    _esm = script("common.js", "pixels.js", "chart.js", "few_steps.js")

    def __init__(
        self,
        samples: dict[str, dict[Key, Tensor]],
        distances: dict[str, dict[Key, float]],
        distance_name: str,
        data: Tensor | None,
        label: str,
    ) -> None:
        self._samples, self._distances, self._data, self._name = samples, distances, data, distance_name
        solvers = list(dict.fromkeys(solver for given in samples.values() for solver, _ in given))
        found = {key for given in samples.values() for key in given}
        self.combinations = sorted(found, key=lambda key: (solvers.index(key[0]), key[1]))
        parts: list[Tensor] = [] if data is None else [data]
        panels = (
            []
            if data is None
            else [self._panel("data", [{"from": 0, "to": len(data)}] * len(self.combinations))]
        )
        at = 0 if data is None else len(data)
        for name, given in samples.items():
            cells: list[dict[str, Any] | None] = []
            for key in self.combinations:
                if key not in given:
                    cells.append(None)
                    continue
                distance = distances[name][key]
                known = distance if math.isfinite(distance) else None
                cells.append({"from": at, "to": at + len(given[key]), "distance": known})
                parts.append(given[key])
                at += len(given[key])
            panels.append(self._panel(name, cells))
        about = {
            "label": label,
            "distance": distance_name,
            "keys": [list(key) for key in self.combinations],
            "panels": panels,
            "size": panel_size(len(panels)),
        }
        super().__init__(about, quantised(torch.cat(parts)), frame=len(self.combinations) // 2)

    def __repr__(self) -> str:
        return (
            f"<few-step explorer: {counted(len(self._samples), 'method')}, "
            f"{counted(len(self.combinations), 'combination')} of solver and NFE>"
        )

    def still(self) -> Picture:
        """Return the samples at the combination shown, or "not available"."""
        solver, nfe = self.combinations[min(max(self.frame, 0), len(self.combinations) - 1)]
        panels: dict[str, Tensor | None] = {} if self._data is None else {"data": self._data}
        texts = dict.fromkeys(panels, "")
        for name, given in self._samples.items():
            panels[name] = given.get((solver, nfe))
            known = self._distances[name].get((solver, nfe))
            texts[name] = "" if known is None else f"{self._name} {known:.3g}"
        title = f"{solver}, NFE {nfe}"
        listed = "; ".join(f"{name}: {text}" for name, text in texts.items())
        figure, axes = grid(1, len(panels), f"{title}. {listed}")
        for axis, (name, x) in zip(axes[0], panels.items(), strict=True):
            axis.set_title(name, fontsize=10)
            axis.set_xlabel(texts[name], fontsize=9)
            if x is None:
                axis.text(0, 0, "not available", ha="center", va="center", color=PALETTE["noise"])
            else:
                axis.plot(*x.numpy().T, ".", ms=1.5, color=look_of(name), alpha=0.6, rasterized=True)
        figure.suptitle(title, fontsize=10)
        return figure

    @staticmethod
    def _panel(name: str, cells: list[Any]) -> dict[str, Any]:
        return {"title": name, "colour": look_of(name), "cells": cells}


def _key(key: object) -> Key:
    match key:
        case (str(solver), int(nfe)) if not isinstance(nfe, bool):
            if nfe < 1:
                raise ValueError(f"NFE must be >= 1, got {nfe}")
            return solver, nfe
    raise TypeError(f"a combination is a pair (solver, NFE) such as ('euler', 4), got {key!r}")
