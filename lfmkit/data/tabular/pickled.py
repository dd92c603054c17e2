"""Reads a table of numbers that pandas once wrote as a pickle, and runs nothing that the file asks for.

A pickle is a program that may import and call whatever it likes. Here it gets stubs, which only note what
they are called with. The names of the columns and the numbers are then taken from these notes, whichever
pandas wrote them, from the days of Python 2 to now.
"""

from __future__ import annotations

import mmap
import pickle
import pickletools
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

# The packages and names that a table of numbers needs; the modules between them have moved many times.
_KNOWN = {
    "pandas": "DataFrame BlockManager _unpickle_block _new_Index Index RangeIndex Int64Index Float64Index "
    "ArrowStringArray StringDtype",
    "numpy": "_reconstruct _frombuffer ndarray dtype",
    "pyarrow": "_restore_array type_for_alias py_buffer chunked_array",
    "_codecs": "encode",
    "__builtin__": "slice bytearray bytes",
    "builtins": "slice bytearray bytes",
}
_MOST_TUPLES = 30_000  # one inside the other, 100,000 of them overflow the stack when Python hashes them
_DAMAGE = (
    *(pickle.UnpicklingError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(EOFError, MemoryError, RecursionError),
)


class _Note:
    """What a function or class of this name was called with, and the state that was set afterwards."""

    __slots__ = ("arguments", "state")
    __match_args__ = ("name", "arguments", "state")
    name = ""
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> _Note:
        note = super().__new__(cls)
        note.arguments, note.state = arguments, None
        return note

    def __setstate__(self, state: Any) -> None:  # without this a file could set attributes, of classes too
        self.state = state


_STUBS = {
    name: type(name, (_Note,), {"__slots__": (), "name": name})
    for names in _KNOWN.values()
    for name in names.split()
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Note]:
        if name not in _KNOWN.get(module.split(".")[0], "").split():
            raise ValueError(f"it asks for {module}.{name}, which no table of numbers needs; nothing was run")
        return _STUBS[name]


def read(path: Path) -> tuple[list[str], np.ndarray]:
    """Return the names of the columns and the numbers, float64, shape (rows, columns).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, holds more than numbers, or asks for anything unknown.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _refuse_bombs(content)
            content.seek(0)
            return _table(_Unpickler(content, encoding="latin1").load(), len(content))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no {path}") from None
    except _DAMAGE as error:
        raise ValueError(f"{path} is not a pickled table of numbers, or is damaged: {error}") from error


def _refuse_bombs(content: Any) -> None:
    """Refuse instructions that get round `find_class`, or take more memory or stack than they have bytes."""
    tuples = before = end = 0
    instructions: Iterator[tuple[Any, Any, Any]] = pickletools.genops(content)
    for opcode, argument, place in instructions:  # whose lengths were compared with what is there
        if opcode.name.startswith("EXT"):
            raise ValueError("it asks for a registered extension, which no table of numbers needs")
        if before < end < place or (opcode.name == "FRAME" and place < end):
            raise ValueError("its frames overlap")  # Python's reader would then run other instructions
        if opcode.name == "FRAME":
            end = place + 9 + argument
        if opcode.name.endswith("PUT") and argument > place:  # room is made for all numbers up to this one
            raise ValueError(f"it numbers an object {argument:,}, and has not as many")
        tuples += "TUPLE" in opcode.name
        before = place
    if tuples > _MOST_TUPLES:
        raise ValueError(f"it has {tuples:,} tuples, more than a table of numbers needs")


def _table(frame: object, size: int) -> tuple[list[str], np.ndarray]:
    """Put the columns of all blocks together; a file may name the same bytes again and again."""
    match frame:
        case _Note("DataFrame", _, {"_mgr": manager} | {"_data": manager}):
            names, blocks = _blocks(manager, 10 * size)
        case _:
            raise _unexpected(frame, "DataFrame")
    columns: dict[int, np.ndarray] = {}
    for block, at in blocks:
        if block.ndim != 2 or len(block) != len(at) or not columns.keys().isdisjoint(at):
            raise ValueError("its blocks do not fit together")
        columns.update(zip(at, block, strict=True))
    if len(set(names)) < len(names) or sorted(columns) != list(range(len(names))) or not names:
        raise ValueError("its columns are repeated, missing or without a name")
    return names, np.stack([columns[i] for i in range(len(names))], axis=1, dtype=np.float64)


def _blocks(manager: object, letters: int) -> tuple[list[str], Iterator[tuple[np.ndarray, list[int]]]]:
    """Return the names of all columns; and the blocks, one by one, with the columns that each holds."""
    match manager:
        case _Note("BlockManager", (blocks, (index, *_)), None):
            names = _names(index, letters)
            return names, (_block(block, len(names)) for block in blocks)
        case _Note("BlockManager", _, ((index, *_), arrays, items, *_)):  # a fourth entry repeats them
            names = _names(index, letters)
            position = {name: i for i, name in enumerate(names)}
            columns = ([position[name] for name in _names(item, letters)] for item in items)
            return names, zip(map(_array, arrays), columns, strict=True)
    raise _unexpected(manager, "BlockManager")


def _block(block: object, n: int) -> tuple[np.ndarray, list[int]]:
    match block:
        case _Note("_unpickle_block", (values, _Note("slice", bounds), *_)):
            return _array(values), np.arange(n)[slice(*bounds)].tolist()
        case _Note("_unpickle_block", (values, where, *_)):
            return _array(values), np.arange(n)[_array(where)].tolist()
    raise _unexpected(block, "_unpickle_block")


def _array(value: object) -> np.ndarray:
    """Return an array of numbers, which its bytes must be enough for."""
    match value:
        case _Note("_frombuffer", (content, kind, shape, order)):
            pass
        case _Note("_reconstruct", _, (_, shape, kind, fortran, content)):
            order = "F" if fortran else "C"
        case _:
            raise _unexpected(value, "array")
    match kind:
        case _Note("dtype", (str(code), *_), state) if re.fullmatch(r"[fiu][1248]|b1", code):
            sign = state[1] if state and state[1] in ("<", ">") else "="
        case _:
            raise ValueError("it holds other entries than numbers")
    return np.ndarray(tuple(shape), sign + code, _bytes(content), order="F" if order == "F" else "C")


def _bytes(value: object) -> bytes:
    match value:
        case bytes() | bytearray():
            return bytes(value)
        case str():  # of Python 2
            return value.encode("latin-1")
        case _Note("encode" | "bytes" | "bytearray" | "py_buffer", (content, *_)):
            return _bytes(content)
        case _Note("bytes" | "bytearray", ()):
            return b""
    raise _unexpected(value, "bytes")


def _names(index: object, letters: int) -> list[str]:
    """Return the names in an index, which may have this many letters in all."""
    entries: Iterable[Any]
    match index:
        case _Note("_new_Index", (_, {"start": start, "stop": stop, "step": step})):
            entries = range(start, stop, step)
        case _Note("_new_Index", (_, {"data": _Note("ArrowStringArray", _, {"_pa_array": array})})):
            chunks = array.arguments[0] if array.name == "chunked_array" else [array]
            entries = (text for chunk in chunks for text in _arrow(chunk))
        case _Note("_new_Index", (_, {"data": _Note("_reconstruct", _, (_, _, _, _, list(objects)))})):
            entries = objects
        case _Note("_new_Index", (_, {"data": data})):
            entries = _array(data).tolist()
        case _:
            raise _unexpected(index, "Index")
    names = []
    for entry in entries:
        if not isinstance(entry, str | int | float):
            raise ValueError("the names of its columns are not plain text")
        names.append(str(entry))
        letters -= 1 + len(names[-1])
        if letters < 0:
            raise ValueError("it claims more columns than it has bytes for")
    return names


def _arrow(chunk: object) -> Iterator[str]:
    """Return the text that Arrow stores end to end, with the place where each entry begins."""
    match chunk:
        case _Note(
            "_restore_array",
            ((_Note("type_for_alias", (kind, *_)), length, _, start, (_, offsets, content), *_), *_),
        ):
            wide = np.int64 if kind == "large_string" else np.int32
            edges = np.frombuffer(_bytes(offsets), wide)[start : start + length + 1].tolist()
            text = _bytes(content)
            return (text[a:b].decode() for a, b in pairwise(edges))
    raise _unexpected(chunk, "array of Arrow")


def _unexpected(value: object, wanted: str) -> ValueError:
    found = value.name if isinstance(value, _Note) else type(value).__name__
    return ValueError(f"{wanted} was expected, not {found}")
