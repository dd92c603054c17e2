"""The few-step explorer in JupyterLab."""

import pytest
from playwright.sync_api import expect

MAKE = """
import torch
from lfmkit import data, widgets
rose = data.picture("rose")
samples, distances = {}, {}
for i, method in enumerate(("LFM", "FM", "rectified flow"), 1):
    samples[method], distances[method] = {}, {}
    for solver in ("euler", "midpoint"):
        for nfe in (2, 4, 8, 16, 32, 64):
            if (method, nfe) == ("FM", 16):
                continue
            spread = i / nfe / (1 if solver == "euler" else 3)
            noise = torch.randn(1000, 2, generator=torch.Generator().manual_seed(nfe))
            samples[method][solver, nfe] = rose.sample(1000, seed=i) + spread * noise
            distances[method][solver, nfe] = spread
shown = widgets.few_step_explorer(
    samples, distances, distance_name="sliced Wasserstein", data=rose.sample(1000, seed=9)
)
shown
"""


@pytest.fixture(scope="module")
def page(show):
    return show("few_steps", MAKE)


def test_keys(page, press):
    slider = page.get_by_role("slider", name="NFE")
    slider.focus()
    page.keyboard.press("Home")
    keys = ["ArrowRight"] * 5 + ["ArrowLeft"] * 5
    press(page, "few steps, keys", [lambda key=key: page.keyboard.press(key) for key in 4 * keys], 50)
    page.keyboard.press("End")
    expect(slider).to_have_attribute("aria-valuetext", "64")
    expect(page.get_by_role("img", name="rectified flow, midpoint, NFE 64: 1,000 points")).to_have_count(1)
    expect(page.get_by_text("sliced Wasserstein 0.00521")).to_have_count(1)


def test_drag(page, press):
    slider = page.get_by_role("slider", name="NFE")
    box = slider.bounding_box()
    y, left, width = box["y"] + box["height"] / 2, box["x"] + 8, box["width"] - 16
    page.mouse.move(left + width, y)
    page.mouse.down()
    places = [0.8, 0.6, 0.4, 0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0] * 3
    moves = [lambda x=left + width * place: page.mouse.move(x, y) for place in places]
    press(page, "few steps, drag", moves, 50)
    page.mouse.up()
    expect(slider).to_have_attribute("aria-valuetext", "64")


def test_solver_by_key_and_list(page, press):
    choice = page.get_by_role("combobox", name="solver")
    choice.focus()
    keys = ["ArrowUp", "ArrowDown"] * 15
    press(page, "few steps, solver", [lambda key=key: page.keyboard.press(key) for key in keys], 50)
    choice.select_option("euler")
    page.get_by_text("NFE 64, euler").first.wait_for()


def test_what_is_missing_is_said(page):
    slider = page.get_by_role("slider", name="NFE")
    slider.focus()
    for key in ("End", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    page.get_by_text("not available").wait_for()
    expect(page.get_by_role("img", name="FM, euler, NFE 16: not available")).to_have_count(1)
    expect(
        page.get_by_role("img", name="At NFE 16: LFM 0.0625, FM unknown, rectified flow 0.188")
    ).to_have_count(1)


def test_accessible_and_quiet(page, violations):
    assert violations(page) == []
    assert page.errors == []
