"""A dry run: a notebook up to the cell that says what the whole of it would take."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from lfmkit.runs.parameters import FOLDER_PARAMETER
from lfmkit.runs.plans import Plan

PLAN = "plan"  # tag of that cell


def rehearse(plan: Plan, timeout: float = 600.0) -> str:
    """Execute a notebook with its parameters up to its cell tagged `plan`; return what that cell says.

    Nothing is recorded or kept.

    Raises:
        ValueError: The notebook has no such cell.
        RuntimeError: A cell failed.
    """
    notebook = json.loads(plan.source.text)
    tagged = [PLAN in cell["metadata"].get("tags", []) for cell in notebook["cells"]]
    if not any(tagged):
        raise ValueError(
            f"the notebook {plan.source.name} has no cell tagged `{PLAN}` that says what it takes: only "
            "notebooks of long runs have one"
        )
    del notebook["cells"][tagged.index(True) + 1 :]

    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)  # parameters are checked already, and better
    from papermill.exceptions import PapermillExecutionError

    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, Any] = dict(plan.given)
        if FOLDER_PARAMETER in plan.source.defaults:
            given[FOLDER_PARAMETER] = folder
        source, executed = Path(folder) / "source.ipynb", Path(folder) / "executed.ipynb"
        source.write_text(json.dumps(notebook))
        try:
            papermill.execute_notebook(
                source, executed, given, kernel_name="python3", progress_bar=False, cwd=plan.cwd,
                execution_timeout=timeout,
            )  # fmt: skip
        except PapermillExecutionError as error:
            lines = str(error.evalue).splitlines() or [""]
            raise RuntimeError(f"{error.ename}: {lines[0]}") from error
        outputs = json.loads(executed.read_text())["cells"][-1]["outputs"]
    return "".join(_text(output) for output in outputs).rstrip()


def _text(output: dict[str, Any]) -> str:
    """Return an output as plain text."""
    if output["output_type"] == "stream":
        return "".join(output["text"])
    return "".join(output.get("data", {}).get("text/plain", "")) + "\n"
