"""Reads a table of numbers that pandas once wrote as a pickle, without unpickling it.

A pickle is a program, and running a downloaded one is running a stranger's code. Here its instructions are
only read: where the program would make an object, a note of what it asked for is kept. Nothing is imported,
called or made on its behalf. The numbers and the names of the columns are then taken from the notes,
whichever pandas, from the days of Python 2 to now, has written them.
"""

from __future__ import annotations

import mmap
import pickletools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

# What a table of numbers asks for: the package and the name; the modules in between have moved many times.
_KNOWN = {
    "pandas": {
        "DataFrame", "BlockManager", "_unpickle_block", "_new_Index", "Index", "RangeIndex", "Int64Index",
        "Float64Index", "ArrowStringArray", "StringDtype",
    },
    "numpy": {"_reconstruct", "_frombuffer", "ndarray", "dtype"},
    "pyarrow": {"_restore_array", "type_for_alias", "py_buffer", "chunked_array"},
    "_codecs": {"encode"},
    "__builtin__": {"slice", "bytearray", "bytes"},
    "builtins": {"slice", "bytearray", "bytes"},
}  # fmt: skip
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_MOST = 1_000_000  # columns that a range may claim
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError, RecursionError)
_FIXED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


@dataclass(eq=False)
class _Asked:
    """A note of an object that the file asks for: nothing was made."""

    name: str
    arguments: Any = None  # None: the function or class itself
    state: Any = None


def read(path: Path) -> tuple[list[str], np.ndarray]:
    """Return the names of the columns and the numbers, float64, shape (rows, columns).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, holds more than numbers, or asks for anything unknown.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _table(_follow(content), len(content))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no {path}") from None
    except _DAMAGE as error:
        raise ValueError(f"{path} is not a pickled table of numbers, or is damaged: {error}") from error


def _follow(content: Any) -> object:
    """Go through the instructions; return what the last one leaves: plain values, lists, dicts and notes."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def popped() -> list[Any]:
        start = marks.pop()
        top = stack[start:]
        del stack[start:]
        return top

    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in _VALUES:
            stack.append(argument)
        elif name in _FIXED:
            stack.append(_FIXED[name])
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(popped()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack[-int(name[-1]) :] = [tuple(stack[-int(name[-1]) :])]
        elif name in ("APPEND", "APPENDS"):
            items = popped() if name == "APPENDS" else [stack.pop()]
            _is(list, stack[-1]).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = popped() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            _is(dict, stack[-1]).update(zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(_known(*str(argument).split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute = stack.pop()
            stack.append(_known(stack.pop(), attribute))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = _is(tuple, stack.pop())
            stack.append(_Asked(_is(_Asked, stack.pop()).name, arguments))
        elif name == "BUILD":
            state = stack.pop()
            _is(_Asked, stack[-1]).state = state
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"it uses the instruction {name}, which no table of numbers needs")
    raise ValueError("it ends early")  # pragma: no cover - genops says so itself


def _known(module: object, name: object) -> _Asked:
    """Return a note of a function or class, if a table of numbers has a use for it."""
    package = str(module).split(".")[0]
    if name not in _KNOWN.get(package, ()):
        raise ValueError(f"it asks for {module}.{name}, which no table of numbers needs; nothing was run")
    return _Asked(str(name))


def _is(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"a {kind.__name__.strip('_')} was expected, not {type(value).__name__}")
    return value


def _made(value: object, *names: str) -> _Asked:
    """Return a note of a call of one of these functions or classes."""
    if not isinstance(value, _Asked) or value.arguments is None or value.name not in names:
        what = value.name if isinstance(value, _Asked) else type(value).__name__
        raise ValueError(f"{' or '.join(names)} was expected, not {what}")
    return value


def _table(asked: object, size: int) -> tuple[list[str], np.ndarray]:
    """Put the blocks of a frame together; at most one number for each of the file's bytes."""
    state = _made(asked, "DataFrame").state
    manager = _made(state.get("_mgr", state.get("_data")), "BlockManager")
    if manager.state is None:
        blocks, axes = manager.arguments
        names = _names(axes[0])
        parts = [_made(block, "_unpickle_block").arguments[:2] for block in blocks]
        where = [_positions(place, len(names)) for _, place in parts]
        values = [array for array, _ in parts]
    else:
        axes, values, items = manager.state[:3]  # a fourth entry repeats them in another form
        names = _names(axes[0])
        position = {name: i for i, name in enumerate(names)}
        where = [[position[name] for name in _names(item)] for item in items]
    placed = []
    for value, at in zip(values, where, strict=True):
        placed.append((_array(value), at))
        size -= placed[-1][0].size
        if size < 0:  # a file may name the same bytes again and again
            raise ValueError("it claims more numbers than it holds")
    filled = sorted(i for _, at in placed for i in at)
    if len(set(names)) < len(names) or filled != list(range(len(names))) or not names:
        raise ValueError("its columns are repeated, missing or without a name")
    rows = placed[0][0].shape[-1]
    if any(block.shape != (len(at), rows) for block, at in placed):
        raise ValueError("its blocks do not fit together")
    table = np.empty((rows, len(names)))
    for block, at in placed:
        table[:, at] = block.T
    return names, table


def _array(value: Any) -> np.ndarray:
    """Return an array of numbers, whose bytes must be as many as its shape says."""
    made = _made(value, "_reconstruct", "_frombuffer")
    if made.name == "_frombuffer":
        content, kind, shape, order = made.arguments
    else:
        _, shape, kind, fortran, content = made.state
        order = "F" if fortran else "C"
    dtype, raw = _dtype(kind), _raw(content)
    numbers = np.frombuffer(raw, dtype)
    if any(not isinstance(n, int) or n < 0 for n in shape):  # -1 would mean "whatever fits"
        raise ValueError("an array has an impossible shape")
    return numbers.reshape(shape, order="F" if order == "F" else "C")


def _dtype(value: Any) -> np.dtype[Any]:
    made = _made(value, "dtype")
    code, state = str(made.arguments[0]), made.state
    if not re.fullmatch(r"[fiu][1248]|b1", code):
        raise ValueError(f"it holds entries of the type {code!r}, not numbers")
    return np.dtype((state[1] if state and state[1] in ("<", ">") else "=") + code)


def _raw(value: Any) -> bytes:
    """Return bytes, which have been written in many ways."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str):  # of Python 2
        return value.encode("latin-1")
    made = _made(value, "encode", "bytes", "bytearray", "py_buffer")
    return _raw(made.arguments[0]) if made.arguments else b""


def _positions(where: Any, n: int) -> list[int]:
    if isinstance(where, _Asked) and where.name == "slice":
        return list(range(n))[slice(*where.arguments)]
    return [range(n)[i] for i in _array(where).tolist()]


def _names(index: Any) -> list[str]:
    """Return the names in an index, written as a list of objects, as text of Arrow or as numbers."""
    entries = _made(index, "_new_Index").arguments[1]
    if "start" in entries:
        steps = range(entries["start"], entries["stop"], entries["step"])
        if len(steps) > _MOST:
            raise ValueError(f"it claims {len(steps):,} columns")
        return _texts(steps)
    data = _made(entries["data"], "_reconstruct", "_frombuffer", "ArrowStringArray")
    if data.name == "ArrowStringArray":
        array = data.state["_pa_array"]
        chunks = array.arguments[0] if array.name == "chunked_array" else [array]
        return [text for chunk in chunks for text in _arrow(chunk)]
    if data.name == "_reconstruct" and isinstance(data.state[4], list):
        return _texts(data.state[4])
    return _texts(_array(data).tolist())


def _arrow(chunk: Any) -> list[str]:
    kind, length, _, start, (_, offsets, content), *_ = _made(chunk, "_restore_array").arguments[0]
    wide = _made(kind, "type_for_alias").arguments[0] == "large_string"
    edges = np.frombuffer(_raw(offsets), np.int64 if wide else np.int32)[start : start + length + 1]
    text = _raw(content)
    return [text[a:b].decode() for a, b in pairwise(edges.tolist())]


def _texts(entries: Iterable[Any]) -> list[str]:
    some = list(entries)
    if any(not isinstance(entry, str | int | float) for entry in some):
        raise ValueError("the names of its columns are no plain text")
    return [str(entry) for entry in some]
