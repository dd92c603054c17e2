"""The files in a run's folder: their names, and how an executed notebook becomes the files that are kept."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

from lfmkit.utils import files

# Between the process that executes a notebook and the one that supervises it; gone when the run has ended
TASK, SOURCE, CELL, OUTCOME = ".task.json", ".source.ipynb", ".cell.json", ".outcome.json"
EXECUTING = ".executing.ipynb"
RESERVE = ".reserve"  # room for the last words on a disk that the notebook has filled
TRANSIENT = (TASK, SOURCE, CELL, OUTCOME, EXECUTING, RESERVE)
BUSY = ".busy"  # locked by the process that executes: the next one waits until the last has really gone

# To be kept, beside the files of `lfmkit.runs.records`
NOTEBOOK, PAGE, FIGURES, LOG = "notebook.ipynb", "notebook.html", "figures", "log.txt"
FILES = "files"  # what the notebook itself writes: its parameter `out`

DISK_FULL = "the disk is full"  # also said by the messages of lfmkit.utils.files
DEAD_KERNEL = "the kernel died: killed by hand, or by the system for lack of memory"


def keep(folder: Path, name: str) -> list[dict[str, str]]:
    """Write the final notebook, its page and its pictures from papermill's file; list the pictures.

    Raises:
        OSError: A file cannot be written.
        ValueError: The notebook that papermill left was cut off.
    """
    if not (folder / EXECUTING).exists():
        return []
    import nbformat  # late: a process that supervises runs seldom needs them
    from nbconvert import HTMLExporter

    notebook = nbformat.read(folder / EXECUTING, 4)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.papermill |= {"input_path": f"{name}.ipynb", "output_path": NOTEBOOK}
    files.write(folder / NOTEBOOK, nbformat.writes(notebook).encode())
    (folder / EXECUTING).unlink()
    shutil.rmtree(folder / FIGURES, ignore_errors=True)
    figures: list[dict[str, str]] = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).get("image/png")
            if picture:
                file = f"{FIGURES}/{len(figures) + 1:02d}.png"
                files.write(folder / file, base64.b64decode(picture))
                alt = str(output.data.get("text/plain", "")).strip("<>").removeprefix("picture: ")
                figures.append({"file": file, "alt": alt[:500]})
    page, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook)
    files.write(folder / PAGE, page.encode())
    return figures
