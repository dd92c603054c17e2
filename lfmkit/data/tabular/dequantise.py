"""Numbers on a grid have no density; uniform noise of the size of the grid's step gives them one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def grid_step(values: np.ndarray, precision: float) -> float | None:
    """Return the step of the grid on which all values lie, or None if there is no such grid.

    Args:
        values: Finite numbers, shape (n,).
        precision: Their relative rounding error, as `np.finfo(np.float32).eps`.

    >>> round(grid_step(np.array([0.1, 0.5, 1.3]), 1e-15), 6)
    0.4
    >>> grid_step(np.random.default_rng(0).normal(size=1000), 1e-15)
    """
    distinct = np.unique(values)
    between, rounding = np.diff(distinct), precision * float(np.abs(distinct).max())
    gaps: np.ndarray = between[between > 2 * rounding]
    errors = np.full(len(gaps), rounding)
    while gaps.size:  # Euclid's algorithm on all gaps at once, with bounds on the errors
        least = gaps.argmin()
        step, error = float(gaps[least]), float(errors[least])
        if step < 50 * error:
            return None
        times = np.round(gaps / step)
        rest, bounds = np.abs(gaps - times * step), errors + times * error
        left = rest > 2 * bounds
        if not left.any():
            return float(between.sum() / np.round(between / step).sum())  # the mean of many is closer
        gaps, errors = np.append(rest[left], step), np.append(bounds[left], error)
    return None


def has_atoms(values: np.ndarray) -> bool:
    """Return whether values repeat so much that a density could pile up on them."""
    distinct, counts = np.unique(values, return_counts=True)
    n = len(values)
    return bool(len(distinct) < n / 2 or counts.max() > max(10, 0.01 * n))


def add_noise(
    rows: np.ndarray,
    columns: Sequence[str],
    wanted: bool | Sequence[str],
    precisions: Sequence[float],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Add U(0, step) to columns whose values lie on a grid, in place; return the steps by name.

    Args:
        rows: All rows, float64, shape (n, columns).
        columns: Names of the columns.
        wanted: True for all columns that are on a grid and repeat their values, or the names of some.
        precisions: For each column its relative rounding error; 0 says that it holds integers, with step 1.
        rng: Source of the noise.

    Raises:
        ValueError: A column that was named is not on a grid.
    """
    steps = {}
    for i, (name, precision) in enumerate(zip(columns, precisions, strict=True)):
        if wanted is False or (wanted is not True and name not in wanted):
            continue
        if wanted is True and precision and not has_atoms(rows[:, i]):
            continue
        step = grid_step(rows[:, i], precision) if precision else 1.0
        if step is not None:
            rows[:, i] += step * rng.random(len(rows))
            steps[name] = step
        elif wanted is not True:
            raise ValueError(f"column {name!r} is not on a grid: leave it out of dequantise=[...]")
    return steps
