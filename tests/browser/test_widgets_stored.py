"""Widgets where no kernel is: one page from disk, notebooks that are untrusted, trusted, or compared."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from playwright.sync_api import expect

ROOT = Path(__file__).parents[2]
SETUP = """
import torch, lfmkit
from lfmkit import data, widgets
start = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
share = torch.linspace(1, 0, 11)
states = torch.stack([start * (0.4 + s) for s in share])
way = lfmkit.Trajectory(share, states, torch.zeros(11, dtype=torch.long), (10,))
points = {("euler", k): start / k for k in (1, 2, 4)}
ways = widgets.trajectory_explorer({"LFM": way, "FM": way})
few = widgets.few_step_explorer({"LFM": points}, {"LFM": {k: 1.0 / k[1] for k in points}})
bytes = torch.randint(0, 256, (3, 12, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
sheets = widgets.frames(dict(enumerate(bytes)), name="after block", title="Images")
ways.save_html("ways.html")
few.save_html("few.html")
sheets.save_html("sheets.html")
"""
CELLS = [
    SETUP.strip(),
    "ways",
    "few",
    "widgets.schedule_explorer(data.picture('checkerboard'), points=100)",
    "widgets.draw_target(size=16)",
    "sheets",
]
PIXELS = """() => [...document.querySelectorAll('.lfmkit canvas')].map(c =>
  c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((h, v) => (h * 31 + v) | 0)).join()"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A folder with an executed notebook, with its widgets' state, and the pages it wrote."""
    folder = tmp_path_factory.mktemp("stored")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    client = NotebookClient(book, timeout=120, resources={"metadata": {"path": str(folder)}})
    nbformat.write(client.execute(), folder / "full.ipynb")
    assert "widgets" in book.metadata
    del book.metadata["widgets"]
    nbformat.write(book, folder / "bare.ipynb")
    return folder


@pytest.mark.parametrize(("name", "scheme"), [("ways", "light"), ("few", "dark"), ("sheets", "dark")])
def test_a_page_from_disk(executed, browser, violations, name, scheme):
    page = browser.new_page(color_scheme=scheme)
    errors, requests = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: requests.append(request.url))
    page.context.set_offline(True)
    page.goto((executed / f"{name}.html").as_uri())
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(100)
    before = page.evaluate(PIXELS)
    page.keyboard.press("End")
    page.wait_for_function(f"before => ({PIXELS})() !== before", arg=before)
    if name != "few":
        page.keyboard.press("Home")
        page.get_by_role("button", name="play").click()
        page.wait_for_function("() => +document.querySelector('.lfmkit input').value > 1", timeout=10_000)
    assert violations(page) == []
    assert errors == []
    assert len([url for url in requests if not url.startswith("blob:")]) == 1
    page.close()


def test_no_autoplay_for_readers_who_want_less_motion(executed, browser):
    moved = {}
    for motion in ("no-preference", "reduce"):
        page = browser.new_page(reduced_motion=motion)
        text = (executed / "ways.html").read_text().replace('"autoplay": false', '"autoplay": true')
        (executed / "playing.html").write_text(text)
        page.goto((executed / "playing.html").as_uri())
        page.wait_for_timeout(1500)
        moved[motion] = int(page.get_by_role("slider").input_value())
        page.close()
    assert moved["no-preference"] > 0
    assert moved["reduce"] == 0


def test_untrusted_notebooks_show_the_picture(executed, open_notebook):
    page = open_notebook(executed / "bare.ipynb", run=False)
    page.wait_for_selector(".jp-OutputArea-output img", timeout=20_000)
    pictures = page.locator(".jp-OutputArea-output img")
    expect(pictures).to_have_count(5)
    assert all(pictures.nth(i).evaluate("picture => picture.naturalWidth") == 800 for i in range(5))
    expect(page.locator(".lfmkit")).to_have_count(0)


def test_a_trusted_notebook_with_saved_state_scrubs_without_a_kernel(executed, open_notebook, lab_state):
    """Only its saved state is there: nothing has run."""
    trusted = executed / "trusted.ipynb"
    shutil.copy(executed / "full.ipynb", trusted)
    environment = os.environ | {"JUPYTER_DATA_DIR": str(lab_state / "data")}
    subprocess.run([sys.executable, "-m", "jupyter", "trust", trusted], env=environment, check=True)
    page = open_notebook(trusted, run=False)
    page.wait_for_selector(".lfmkit canvas", timeout=30_000)
    slider = page.get_by_role("slider", name="step")
    slider.focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(200)
    before = page.evaluate(PIXELS)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(f"before => ({PIXELS})() !== before", arg=before)
    expect(slider).to_have_attribute("aria-valuetext", "6 of 11")
    nfe = page.get_by_role("slider", name="NFE")
    nfe.focus()
    page.keyboard.press("End")
    expect(nfe).to_have_attribute("aria-valuetext", "4")
    page.get_by_role("slider", name="after block").focus()
    before = page.evaluate(PIXELS)
    page.keyboard.press("End")
    page.wait_for_function(f"before => ({PIXELS})() !== before", arg=before)
    expect(page.get_by_role("img", name="Images, after block 2: 12 images")).to_have_count(1)


def test_nbval_compares_what_a_widget_says(executed):
    """Strictly, with no cell left out: as stored all cells pass, with another number in a line one fails."""
    options = ["--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "-p", "no:warnings"]
    sanitize = ["--nbval-sanitize-with", str(ROOT / "tests" / "notebooks" / "sanitize.cfg")]
    book = nbformat.read(executed / "bare.ipynb", 4)
    book.cells.append(copy.deepcopy(book.cells[1]))
    book.cells[-1].id = "changed"
    output = book.cells[-1].outputs[0].data
    output["text/plain"] = output["text/plain"].replace("300 points", "301 points")
    nbformat.write(book, executed / "changed.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", *options, *sanitize, "changed.ipynb"]
    done = subprocess.run(command, cwd=executed, capture_output=True, text=True)
    assert "1 failed, 6 passed" in done.stdout, done.stdout
    assert "Cell 6" in done.stdout
