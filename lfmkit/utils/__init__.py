"""What all of the kit uses and none of it is about: files, tensors in files, progress, names, extras.

``pip install lfmkit`` brings what training and sampling need. Whatever needs more has a door, a function or a
module that is entered first, and the door says which extra brings what is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["needed"]


@contextlib.contextmanager
def needed(extra: str) -> Iterator[None]:
    """Turn the error that a package is missing into one that says which extra brings it.

    Use it in a with-statement around imports. As a decorator it would add a frame, which misleads the stack
    level of warnings.

    Args:
        extra: Name of the extra: notebooks, runs, tables, images, robots or cluster.

    Raises:
        ImportError: Something that is imported inside is not installed.

    >>> with needed("tables"):
    ...     import a_package_that_nobody_has
    Traceback (most recent call last):
    ...
    ImportError: a_package_that_nobody_has is not installed: pip install 'lfmkit[tables]' brings it
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("", "lfmkit"):
            raise
        raise ImportError(f"{package} is not installed: pip install 'lfmkit[{extra}]' brings it") from error
