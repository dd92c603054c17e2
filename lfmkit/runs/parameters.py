"""The parameters of a notebook: their names, and whether given values fit, before anything is started."""

from __future__ import annotations

import ast
import contextlib
import difflib
import hashlib
import json
import math
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Value = Any  # plain data: None, bool, int, float, str, or a list, tuple or mapping of these
FOLDER_PARAMETER = "out"  # set by the run itself: a folder inside the run's own
PLAIN = ("None", "bool", "int", "float", "str", "tuple")  # types of values, by name
WORDS = {"true": True, "false": False, "none": None, "null": None}  # of the command line


@dataclass(frozen=True)
class Source:
    """A notebook as it is to be run.

    Attributes:
        name: File name without ending; also the name of the folder its runs lie in.
        path: Where it was read from.
        text: The notebook as JSON, without outputs.
        digest: SHA-256 of its code.
        commit: Commit of the repository that it lies in, "+changes" if tracked files differ from it; or None.
        defaults: The parameters and their values, as the cell tagged ``parameters`` states them.
        types: For a parameter with an annotation, the names of the types it admits.
    """

    name: str
    path: Path
    text: str
    digest: str
    commit: str | None
    defaults: dict[str, Value]
    types: dict[str, tuple[str, ...]]

    def check(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """Return the given values as the notebook wants them; nothing is executed to find out.

        Raises:
            ValueError: A name that the notebook does not have, or a value of another type than its default.
        """
        checked = {}
        for name, value in given.items():
            if name == FOLDER_PARAMETER:
                raise ValueError("`out` is set by the run: a notebook writes into the run's own folder")
            if name not in self.defaults:
                near = difflib.get_close_matches(name, self.defaults, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(self.defaults)}"
                raise ValueError(f"the notebook {self.name} has no parameter {name!r}: {hint}")
            types = self.types.get(name) or _types_like(self.defaults[name])
            checked[name] = _fitted(name, value, types, self.defaults[name])
        return checked


def read_notebook(path: str | Path) -> Source:
    """Read a notebook and its parameters; as JSON, since importing nbformat takes longer than all of this.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a notebook, has a name that no folder can have, or not one cell tagged
            ``parameters`` with literals only.
    """
    path = Path(path)
    if not re.fullmatch(r"[A-Za-z0-9_][\w.\-]*", path.stem) or path.suffix != ".ipynb":
        raise ValueError(
            f"{path.name!r} cannot name a run: a file name.ipynb of letters, digits, _ . and - is wanted"
        )
    try:
        notebook = json.loads(path.read_bytes())
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        sources = ["".join(cell["source"]) for cell in code]  # one text, or one a line
        tags = [cell["metadata"].get("tags", []) for cell in code]
        if notebook["nbformat"] != 4:
            raise ValueError("its format is not 4")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no notebook {path}") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable notebook: {error}") from None
    tagged = [source for source, each in zip(sources, tags, strict=True) if "parameters" in each]
    if len(tagged) != 1:
        raise ValueError(f"{path} needs one cell tagged `parameters`, it has {len(tagged)}")
    for cell in code:
        cell |= {"outputs": [], "execution_count": None}
    digest = hashlib.sha256("\0".join(sources).encode()).hexdigest()
    return Source(path.stem, path, json.dumps(notebook), digest, _commit(path), *_literals(tagged[0], path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a mapping from a YAML file; only plain data is admitted.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, asks for more than plain data, or is not a mapping.
    """
    try:
        value = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as YAML of plain data: {error}") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{path} must hold a mapping, name: value")
    return value


def parse_value(word: str) -> Value:
    """Return the value that a word of the command line stands for: a Python literal, or the word itself.

    >>> [parse_value(word) for word in ("3", "1e-3", "(0.1, 0.4)", "none", "log_snr")]
    [3, 0.001, (0.1, 0.4), None, 'log_snr']
    """
    if word.lower() in WORDS:
        return WORDS[word.lower()]
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return word


def short(value: Value) -> str:
    """Return a parameter's value in few characters."""
    if isinstance(value, (list, tuple)):
        return f"({','.join(map(short, value))})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _commit(path: Path) -> str | None:
    words = ["git", "-C", str(path.resolve().parent), "describe", "--always", "--abbrev=64", "--exclude=*"]
    try:
        done = subprocess.run([*words, "--dirty=+changes"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _literals(source: str, path: Path) -> tuple[dict[str, Value], dict[str, tuple[str, ...]]]:
    defaults, types = {}, {}
    try:
        for node in ast.parse(source).body:
            if isinstance(node, ast.AnnAssign):
                name = ast.unparse(node.target)
                types[name] = tuple(re.findall(r"\w+", ast.unparse(node.annotation)))
            elif isinstance(node, ast.Assign) and len(node.targets) == 1:
                name = ast.unparse(node.targets[0])
            else:
                raise ValueError(ast.unparse(node))
            defaults[name] = ast.literal_eval(node.value or "")
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"the parameters of {path} must be literals, one a line: {error}") from None
    return defaults, types


def _types_like(default: Value) -> tuple[str, ...]:
    if default is None:
        return PLAIN
    if isinstance(default, (tuple, list)):  # or one value for all of them
        return ("tuple", *_inside(default))
    return (type(default).__name__,)


def _inside(default: Value) -> tuple[str, ...]:
    """Return the types of the elements of a sequence that stands where the default does."""
    if isinstance(default, (tuple, list)) and default:
        return tuple({kind for each in default for kind in _types_like(each)})
    return PLAIN


def _fitted(name: str, value: Value, types: tuple[str, ...], default: Value) -> Value:
    if isinstance(value, str) and "float" in types and "str" not in types:
        with contextlib.suppress(ValueError):
            value = float(value)  # YAML takes 1e-3 for a word
    if value == "None":
        raise ValueError(f"{name} is the word 'None': write null (YAML) or none (command line)")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    if isinstance(value, float) and "float" not in types and value.is_integer():
        value = int(value)
    if type(value) is int and "int" not in types and "float" in types:
        value = float(value)
    kind = {"NoneType": "None", "list": "tuple"}.get(type(value).__name__, type(value).__name__)
    if kind not in types:
        wanted = " or ".join(sorted(types))
        raise ValueError(f"{name} must be {wanted}, as its default {default!r}; got {value!r} ({kind})")
    if kind == "tuple":
        return [_fitted(name, each, _inside(default), default) for each in value]
    return value
