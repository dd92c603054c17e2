"""Names for functions and classes in files, and how they are found again: looked up, never unpickled.

Parts of the kit have a short name. A user's own are stored as "module:name", and found again only among
what the caller of `load` trusts, because importing a module runs it.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

Trust = Iterable[Any] | Mapping[str, Any]


def choose(wanted: Any, known: Mapping[str, Any], what: str) -> Any:
    """Return a function as it is, or the known one of that name.

    Raises:
        ValueError: There is none of that name.
        TypeError: It is neither a name nor a function.

    >>> choose("abs", {"abs": abs}, "norm")(-3)
    3
    """
    if not isinstance(wanted, str):
        if not callable(wanted):
            raise TypeError(f"a {what} is a function or a name, got {wanted!r}")
        return wanted
    if wanted not in known:
        raise ValueError(f"unknown {what} {wanted!r}: choose one of {', '.join(known)}, or give a function")
    return known[wanted]


def reference(thing: Any) -> str:
    """Return "module:name" of a function or class, under which it can be found again.

    Raises:
        ValueError: It has no name of its own: a lambda, an object, or something defined inside a function.

    >>> from pathlib import Path
    >>> reference(Path)
    'pathlib:Path'
    """
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    found: Any = sys.modules.get(module or "")
    for part in (name or "<object>").split("."):
        found = getattr(found, part, None)
    if getattr(found, "__qualname__", None) != name or name is None:
        raise ValueError(
            f"{thing!r} cannot be stored, because no name leads back to it: define it by def or class at the "
            "top level of a module or notebook"
        )
    return f"{module}:{name}"


def find(name: str, trust: Trust, what: str) -> Any:
    """Return the function or class that `reference` gave a name to.

    Args:
        name: The name, "module:name".
        trust: Functions and classes themselves, names of modules that may be imported, and mappings from
            references to functions and classes, for those that have moved; or one such mapping.
        what: Its kind, for messages.

    Raises:
        ValueError: It is not among what is trusted, or its module does not have it.
    """
    module, _, inner = str(name).partition(":")
    for one in [trust] if isinstance(trust, Mapping) else trust:
        if isinstance(one, Mapping):
            if name in one:
                return one[name]
        elif isinstance(one, str):
            if module == one or module.startswith(f"{one}."):
                try:
                    found: Any = import_module(module)
                    for part in inner.split("."):
                        found = getattr(found, part)
                except (ImportError, AttributeError) as error:
                    raise ValueError(f"the {what} {name!r} is not there any more: {error}") from error
                if getattr(found, "__module__", None) == module:  # not what the module itself has imported
                    return found
        elif f"{getattr(one, '__module__', '')}:{getattr(one, '__qualname__', '')}" == name:
            return one
    raise ValueError(
        f"the {what} {name!r} is not one of lfmkit's: if you trust it, say load(…, trust=[…]) with the "
        f"{what} itself, or with the name of the module it may be imported from"
    )


def to_json(thing: Any, known: Mapping[str, Any], key: str) -> str | dict[str, Any]:
    """Return a function or class by name, or a dataclass by the name of its class and its fields.

    Args:
        thing: The function, class or dataclass.
        known: Things with a short name.
        key: Under which the name of the class stands.

    Raises:
        ValueError: No name leads back to it, or a field cannot be stored.
    """
    whole = dataclasses.is_dataclass(thing) and not isinstance(thing, type)
    target = type(thing) if whole else thing
    name = next((short for short, other in known.items() if other is target), None) or reference(target)
    if not whole:
        return name
    fields = {field.name: _plain(getattr(thing, field.name)) for field in dataclasses.fields(thing)}
    return {key: name, **fields}


def from_json(value: Any, known: Mapping[str, Any], key: str, trust: Trust, what: str) -> Any:
    """Return what `to_json` stored.

    Raises:
        ValueError: The name is unknown and not trusted, or the fields do not fit the class.
    """
    name = value.get(key) if isinstance(value, dict) else value
    if not isinstance(name, str):
        raise ValueError(f"{value!r} does not name a {what}")
    if name not in known and ":" not in name:
        raise ValueError(f"unknown {what} {name!r}: choose one of {', '.join(known)}")
    found = known[name] if name in known else find(name, trust, what)
    if not isinstance(value, dict):
        return found
    fields = {k: _object(v, trust, what) for k, v in value.items() if k != key}
    try:
        return found(**fields)
    except TypeError as error:
        raise ValueError(f"the fields of the {what} {name} do not fit: {error}") from error


def _plain(value: Any) -> Any:
    """Return a field as JSON takes it: plain data, or a function or dataclass of its own."""
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value, {}, "class")
    return {"function": reference(value)}


def _object(value: Any, trust: Trust, what: str) -> Any:
    if isinstance(value, list):
        return tuple(_object(part, trust, what) for part in value)
    if isinstance(value, dict):
        key = "class" if "class" in value else "function"
        return from_json(value if key == "class" else value.get(key), {}, key, trust, what)
    return value
