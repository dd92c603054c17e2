"""The files that the kit ships, in a clone and in an installed package alike."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def asset(relative: str) -> Path:
    """Return the path of a file the kit ships: in data/ of a clone, in lfmkit/assets of a package."""
    package = Path(str(resources.files("lfmkit")))
    for folder in (package / "assets", package.parent / "data"):
        if (folder / relative).exists():
            return folder / relative
    raise FileNotFoundError(f"{relative} is not among the kit's files: the installation is not complete")
