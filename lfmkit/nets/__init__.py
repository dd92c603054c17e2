"""Velocity networks. A recipe is a frozen dataclass; called with a dimension it builds a fresh module.

Recipes can be written to JSON and read back, so that a saved flow says how to rebuild itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

from torch import nn

from lfmkit.nets import published
from lfmkit.nets.film import FiLM
from lfmkit.nets.mlp import MLP
from lfmkit.nets.unet import UNet
from lfmkit.utils import references

__all__ = ["MLP", "FiLM", "Recipe", "UNet", "build", "from_json", "published", "to_json"]

RECIPES: dict[str, Callable[..., Any]] = {recipe.__name__: recipe for recipe in (MLP, FiLM, UNet)}


class Recipe(Protocol):
    """What ``net=`` accepts: a callable that builds a velocity network v(x, t) for data of a dimension.

    The class of a network is one, if its ``__init__`` takes the dimension; so is a finished module, of which
    each block gets a copy. What a network's ``forward`` takes besides x and t is said at `Block`.
    """

    def __call__(self, dim: int) -> nn.Module:
        """Return a fresh module with random weights.

        A recipe for conditional flows takes a second number, the columns of the condition, and its module an
        argument ``cond`` of that many columns.
        """


def build(recipe: Recipe | nn.Module, dim: int, cond: int = 0) -> nn.Module:
    """Return a fresh module for data of `dim` dimensions; with a condition it also sees whether there is one.

    Raises:
        ValueError: The recipe builds no conditional networks.
        TypeError: It builds something that is not a module.
    """
    if isinstance(recipe, nn.Module):
        return copy.deepcopy(recipe)
    conditional: Callable[..., Any] = recipe
    try:
        net = conditional(dim, cond + 1) if cond else recipe(dim)
    except TypeError as error:
        if not cond:
            raise
        raise ValueError(f"{recipe!r} builds no conditional networks: {error}") from error
    if not isinstance(net, nn.Module):
        raise TypeError(f"net= must build a torch.nn.Module, but {recipe!r} built {type(net).__name__}")
    return net


def to_json(recipe: object) -> str | dict[str, Any]:
    """Return the recipe as plain data: its name, and the fields of a dataclass.

    Raises:
        ValueError: It is a finished module, or no name leads back to it.
    """
    if isinstance(recipe, nn.Module):
        raise ValueError(
            f"a finished module cannot be stored as a recipe: give net= the class {type(recipe).__name__}, "
            "or a frozen dataclass that builds it"
        )
    return references.to_json(recipe, RECIPES, "recipe")


def from_json(stored: Any, trust: references.Trust = ()) -> Recipe:
    """Return the recipe that `to_json` wrote.

    Args:
        stored: Its result.
        trust: Recipes of your own, as for `lfmkit.load`.

    Raises:
        ValueError: It is not one of this library's recipes and not trusted, or the fields do not fit it.
    """
    name = stored.get("recipe") if isinstance(stored, dict) else stored
    if name not in RECIPES and ":" not in str(name):
        raise ValueError(f"unknown network recipe {name!r}: pass net= with a recipe of your own")
    recipe: Recipe = references.from_json(stored, RECIPES, "recipe", trust, "network recipe")
    return recipe
