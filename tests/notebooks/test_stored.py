"""What is stored in notebooks/: whole, executed, comparable; and proof that the comparison can fail."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NBVAL = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout", "300", "-p", "no:cacheprovider"]
IGNORED = {"nbval-ignore-output", "nbval-skip"}


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def compared(cell):
    """Whether nbval has text of this cell to compare (pictures are not compared)."""
    if tags(cell) & IGNORED:
        return False
    return any(out.output_type == "stream" or "text/plain" in out.get("data", {}) for out in cell.outputs)


def complaints(notebook):
    """Return what would let nbval pass without having compared much."""
    cells, found = code_cells(notebook), []
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        found.append(f"not executed from top to bottom: {counts}")
    if any(out.output_type == "error" for cell in cells for out in cell.outputs):
        found.append("a stored error")
    if sum(compared(cell) for cell in cells) < 3:
        found.append("fewer than three compared outputs")
    if sum(bool(tags(cell) & IGNORED) for cell in cells) > 2:
        found.append("more than two cells whose output is ignored")
    if not any("assert " in cell.source for cell in cells):
        found.append("no assertion")
    for cell in cells:
        texts = [out.get("data", {}).get("text/plain", "") for out in cell.outputs]
        if compared(cell) and any(re.search(r"\d\.\d{6}", text) for text in texts):
            found.append(f"digits that another machine will not repeat: {cell.source.splitlines()[-1]}")
    return found


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, 4)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 2


def test_nbval_has_something_to_compare(notebook):
    assert complaints(notebook) == []


def test_the_guard_sees_a_stripped_notebook(notebook):
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    assert len(complaints(notebook)) >= 2


def test_the_guard_sees_digits_nobody_rounded(notebook):
    data = {"text/plain": "History(seconds=0.33251061600094545)"}
    next(cell for cell in code_cells(notebook) if compared(cell)).outputs.append(
        nbformat.v4.new_output("execute_result", data)
    )
    assert complaints(notebook) != []


def test_form(notebook):
    """One cell of literal parameters, short cells, no widget state, no output that hangs batch runs."""
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    cells = code_cells(notebook)
    (parameters,) = [cell for cell in cells if "parameters" in tags(cell)]
    assert cells.index(parameters) == 1
    for node in ast.parse(parameters.source).body:
        assert isinstance(node, ast.Assign | ast.AnnAssign), ast.unparse(node)
        assert node.value is not None, ast.unparse(node)  # an annotation without a value is no parameter
        ast.literal_eval(node.value)
    for line in parameters.source.splitlines():
        assert line.startswith("#") or " = " in line
    for cell in cells:
        lines = [
            line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")
        ]
        assert len(lines) <= 25
        called = {node.id for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)}
        assert not called & {"Output", "interact", "interactive", "clear_output"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_size(path):
    assert path.stat().st_size < 300_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#]+)\)", cell.source):
                assert target.startswith("http") or (path.parent / target).exists(), target


def test_readme_links_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "data" / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


SMALL = ["import torch", "print(f'{float(torch.ones(3).sum()):.1f}')", "x = 2\nassert x == 2\nx"]


@pytest.mark.parametrize(("change", "passes"), [(None, True), (("3.0", "3.1"), False), (("2", "5"), False)])
def test_a_changed_digit_fails(change, passes, tmp_path):
    """nbval, called as `make test` calls it, passes a true output and fails one with another digit."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in SMALL])
    book.cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text="3.0\n")]
    book.cells[2].outputs = [
        nbformat.v4.new_output("execute_result", data={"text/plain": "2"}, execution_count=3)
    ]
    for count, cell in enumerate(book.cells, 1):
        cell.execution_count = count
    if change is not None:
        for cell in book.cells:
            for out in cell.outputs:
                if out.output_type == "stream":
                    out.text = out.text.replace(*change)
                else:
                    out.data["text/plain"] = out.data["text/plain"].replace(*change)
    nbformat.write(book, tmp_path / "small.ipynb")
    sanitize = ["--nbval-sanitize-with", str(ROOT / "tests" / "notebooks" / "sanitize.cfg")]
    command = [sys.executable, "-m", "pytest", "-q", *NBVAL, *sanitize, "-p", "no:warnings", "small.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode == 0) == passes, done.stdout
    assert ("3 passed" in done.stdout) == passes, done.stdout
