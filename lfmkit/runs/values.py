"""Values of parameters: read from a word of the command line, and shown in few characters."""

from __future__ import annotations

import ast
from typing import Any

Value = Any  # plain data: None, bool, int, float, str, or a list, tuple or mapping of these


def parse_value(text: str) -> Value:
    """Return the value that a word of the command line stands for: a Python literal, or the word itself.

    >>> [parse_value(word) for word in ("3", "1e-3", "(0.1, 0.4)", "none", "log_snr")]
    [3, 0.001, (0.1, 0.4), None, 'log_snr']
    """
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def short(value: Value) -> str:
    """Return a parameter's value in few characters."""
    if isinstance(value, (list, tuple)):
        return "(" + ",".join(short(each) for each in value) + ")"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
