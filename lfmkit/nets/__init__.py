"""Velocity networks. A recipe is a frozen dataclass; called with a dimension it builds a fresh module.

Recipes can be written to JSON and read back, so that a saved flow says how to rebuild itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

from torch import nn

from lfmkit.nets import published
from lfmkit.nets.film import FiLM
from lfmkit.nets.mlp import MLP
from lfmkit.nets.unet import UNet

__all__ = ["MLP", "FiLM", "Recipe", "UNet", "build", "from_json", "published", "to_json"]

RECIPES: dict[str, Callable[..., Recipe]] = {recipe.__name__: recipe for recipe in (MLP, FiLM, UNet)}


class Recipe(Protocol):
    """What ``net=`` accepts: a callable that builds a velocity network v(x, t) for data of a dimension."""

    def __call__(self, dim: int) -> nn.Module:
        """Return a fresh module with random weights.

        A recipe for conditional flows takes a second number, the columns of the condition, and its module an
        argument ``cond`` of that many columns.
        """


def build(recipe: Recipe, dim: int, cond: int = 0) -> nn.Module:
    """Return a fresh module for data of `dim` dimensions; with a condition it also sees whether there is one.

    Raises:
        ValueError: The recipe builds no conditional networks.
    """
    if cond == 0:
        return recipe(dim)
    conditional: Callable[[int, int], nn.Module] = recipe  # type: ignore[assignment]
    try:
        return conditional(dim, cond + 1)
    except TypeError as error:
        raise ValueError(f"{recipe!r} builds no conditional networks: {error}") from error


def to_json(recipe: object) -> dict[str, Any]:
    """Return the recipe as plain data: its name and its fields.

    Raises:
        ValueError: The recipe is no dataclass.
    """
    if not dataclasses.is_dataclass(recipe) or isinstance(recipe, type):
        raise ValueError(f"a network recipe must be a (frozen) dataclass to be saved, got {recipe!r}")
    return {"recipe": type(recipe).__name__, **dataclasses.asdict(recipe)}


def from_json(fields: dict[str, Any]) -> Recipe:
    """Return the recipe that `to_json` wrote.

    Raises:
        ValueError: The name is not one of this library's recipes, or the fields do not fit it.
    """
    kind = fields.get("recipe")
    rest = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items() if k != "recipe"}
    if kind not in RECIPES:
        raise ValueError(f"unknown network recipe {kind!r}: pass net= with a recipe of your own")
    try:
        return RECIPES[kind](**rest)
    except TypeError as error:
        raise ValueError(f"the fields of network recipe {kind} do not fit: {error}") from error
