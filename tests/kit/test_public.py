"""What users write: names that notebooks and docs import are public, and the docs' code runs."""

import ast
import csv
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def code_of(file):
    """Return the Python in a notebook, a page or a script, piece by piece."""
    if file.suffix == ".ipynb":
        cells = json.loads(file.read_text())["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    if file.suffix == ".md":
        return re.findall(r"```python\n(.*?)```", file.read_text(), re.DOTALL)
    return [file.read_text()]


def used(file):
    """Return (module, name) for all that is imported from lfmkit, and for what is written lfmkit.name."""
    found = set()
    for piece in code_of(file):
        for node in ast.walk(ast.parse(piece)):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "lfmkit":
                found |= {(node.module, alias.name) for alias in node.names}
            elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "lfmkit":
                found.add(("lfmkit", node.attr))
    return found


@pytest.mark.parametrize("file", [*NOTEBOOKS, *PAGES, ROOT / "docs" / "meanflow.py"], ids=lambda f: f.name)
def test_what_notebooks_and_docs_use_is_public(file):
    for module, name in used(file):
        found = importlib.import_module(module)
        if hasattr(found, "__all__"):
            assert name in found.__all__, f"{module}.{name}"
        elif not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")


def test_every_public_name_is_there_before_anything_is_imported():
    code = "import lfmkit\nfor name in lfmkit.__all__:\n    getattr(lfmkit, name)\n"
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in ("budgets", "cluster"):  # neither needs another before it
        subprocess.run([sys.executable, "-c", f"import lfmkit; lfmkit.{name}"], check=True)


def test_importing_the_kit_imports_nothing_heavy():
    heavy = ("torch", "numpy", "matplotlib", "pandas")
    code = f"import lfmkit, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_code_of_the_guide_to_extending_runs(tmp_path, monkeypatch):
    """All of it but the loggers that need packages of their own; those have at most 15 lines."""
    monkeypatch.chdir(tmp_path)
    where = {"__name__": "guide"}
    for piece in code_of(ROOT / "docs" / "extending.md"):
        if "progress=" in piece:
            assert len(piece.splitlines()) < 15
        if re.search("tensorboard|mlflow|mypackage", piece):
            continue
        exec(piece.replace(", steps=1000", "").replace("fit(flow, x", "fit(flow, x, steps=3, batch=8"), where)
    rows = list(csv.DictReader((tmp_path / "losses.csv").read_text().splitlines()))
    assert [row["step"] for row in rows if row["block"] == "0"] == ["1", "2", "3"]


def test_recipes_are_short():
    recipes = code_of(ROOT / "CONTRIBUTING.md")
    assert len(recipes) >= 7
    assert all(len(recipe.splitlines()) < 11 for recipe in recipes)
    for recipe in recipes:
        ast.parse(recipe)
