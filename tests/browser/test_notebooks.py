"""The widget notebooks of the kit, opened and run in JupyterLab at a small budget, up to their widgets.

What they measure is nbval's business; here it is seen that their widgets are there, answer and say nothing
on the console.
"""

import ast

import nbformat
import pytest

FEW = {"width": 16, "samples": 2000, "batch": 64}
SMALL = {
    "02_step_sizes": FEW,
    "03_trajectories": {**FEW, "test_samples": 50, "steps": 20, "points": 60},
    "04_few_steps": {**FEW, "drawn": 200, "steps": 10, "student_steps": 8, "pairs": 200},
}
APART = {"02_step_sizes": ("remaining", "trained", "excess")}  # its widget needs no trained flow
CONTROLS = {"02_step_sizes": "rho", "03_trajectories": "step", "04_few_steps": "NFE"}


class Shrunk(ast.NodeTransformer):
    """Set some names to other values, leave asserts out, and train in the notebook's own process."""

    def __init__(self, values):
        self.values = values

    def visit_Assign(self, node):
        name = getattr(node.targets[0], "id", None)
        if name in self.values:
            return ast.parse(f"{name} = {self.values[name]}").body[0]
        return self.generic_visit(node)

    def visit_Assert(self, node):
        return ast.Pass()

    def visit_keyword(self, node):
        return ast.keyword("workers", ast.Constant(1)) if node.arg == "workers" else self.generic_visit(node)


def shrunk(source, target, values, apart=()):
    """Write a copy of a notebook that ends with its widget and takes seconds."""
    notebook = nbformat.read(source, 4)
    cells, names = [], set()
    for cell in notebook.cells:
        parameters = "parameters" in cell.metadata.get("tags", [])
        if cell.cell_type != "code":
            cells.append(cell)
            continue
        if not parameters and any(word in cell.source for word in apart):
            continue
        tree = ast.parse(cell.source)
        if parameters:
            names = {node.targets[0].id for node in tree.body}
        tree = Shrunk(values if parameters else {}).visit(tree)
        cells.append(nbformat.v4.new_code_cell(ast.unparse(ast.fix_missing_locations(tree))))
        if "_explorer(" in cell.source:
            break
    notebook.cells = cells
    assert set(values) <= names, "the notebook has other parameters now"
    nbformat.write(notebook, target)


@pytest.mark.parametrize("name", SMALL)
def test_the_widget_of_a_notebook(name, open_notebook, root, tmp_path):
    shrunk(root / "notebooks" / f"{name}.ipynb", tmp_path / f"{name}.ipynb", SMALL[name], APART.get(name, ()))
    page = open_notebook(tmp_path / f"{name}.ipynb")
    widget = page.locator(".lfmkit")
    widget.scroll_into_view_if_needed()
    slider = widget.get_by_role("slider", name=CONTROLS[name])
    picture = "() => [...document.querySelectorAll('.lfmkit canvas')].map(c => c.toDataURL()).join()"
    seen = [page.evaluate(picture)]

    def changed(what):
        page.wait_for_function(f"before => ({picture})() !== before", arg=seen[-1], timeout=10_000)
        seen.append(page.evaluate(picture))
        assert seen[-1] != seen[-2], what

    slider.focus()
    page.keyboard.press("Home")
    seen.append(page.evaluate(picture))
    page.keyboard.press("End")
    changed("End")
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    changed("mouse")
    if name == "03_trajectories":
        page.keyboard.press("Home")
        widget.get_by_role("button", name="Play").click()
        changed("play")
    assert page.errors == []
