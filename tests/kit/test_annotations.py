"""Types, checked beside the other tests: it takes most of a minute, and early, as its name has it."""

import subprocess
import sys
from pathlib import Path


def test_types_hold():
    found = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
