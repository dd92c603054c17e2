"""The trajectory explorer in JupyterLab."""

import pytest
from playwright.sync_api import expect

MAKE = """
import math, torch, lfmkit
from lfmkit import data, widgets
x = data.picture("rose").sample(1000, seed=0)
z = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
def way(blocks, records):
    share = torch.linspace(1, 0, records)
    angles = (share * math.pi / 2).tolist()
    states = torch.stack([math.cos(angle) * x + math.sin(angle) * z for angle in angles])
    block = (share * blocks).ceil().long().clamp(1, blocks) - 1
    return lfmkit.Trajectory(share * blocks - block, states, block, (14,) * blocks)
ways = {"LFM": way(4, 41), "FM": way(1, 21), "rectified flow": way(1, 11), "OT-CFM": way(1, 41)}
shown = widgets.trajectory_explorer(ways)
shown
"""


@pytest.fixture(scope="module")
def page(show):
    return show("trajectory", MAKE, "print(shown.frame)")


@pytest.fixture
def slider(page):
    control = page.get_by_role("slider", name="step")
    control.focus()
    page.keyboard.press("Home")
    return control


def pixels(page):
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate("() => window.probe.pixels()")


def test_keys(page, slider, press):
    expect(page.get_by_text("block 4 of 4, t = 1.00")).to_have_count(1)
    press(page, "trajectory, keys", [lambda: page.keyboard.press("ArrowRight")] * 40, 50)
    expect(slider).to_have_attribute("aria-valuetext", "41 of 41")
    expect(page.get_by_text("block 1 of 4, t = 0.00")).to_have_count(1)
    expect(page.get_by_text("NFE 56 (14 + 14 + 14 + 14)")).to_have_count(1)
    picture = page.get_by_role("img", name="LFM: 1,000 points; block 1 of 4, t = 0.00")
    expect(picture).to_have_count(1)


def test_drag(page, slider, press):
    box = slider.bounding_box()
    y, left = box["y"] + box["height"] / 2, box["x"] + 8
    page.mouse.move(left, y)
    page.mouse.down()
    moves = [lambda x=left + 7.1 * k: page.mouse.move(x, y) for k in range(2, 40)]
    press(page, "trajectory, drag", moves, 50)
    page.mouse.up()
    assert int(slider.input_value()) > 30


def test_paths_and_points(page, slider, press):
    page.keyboard.press("End")
    for name in ("paths", "points"):
        box = page.get_by_role("checkbox", name=name)
        box.focus()
        press(page, f"trajectory, {name}", [lambda: page.keyboard.press("Space")] * 30, 50)
        press(page, f"trajectory, {name}, mouse", [lambda box=box: box.click()] * 2, 50)
    page.get_by_role("checkbox", name="paths").check()
    slider.focus()
    press(page, "trajectory, keys with paths", [lambda: page.keyboard.press("ArrowLeft")] * 30, 50)
    page.get_by_role("checkbox", name="points").uncheck()
    expect(page.get_by_role("img", name=": 72 paths;")).to_have_count(4)
    page.get_by_role("checkbox", name="paths").uncheck()
    page.get_by_role("checkbox", name="points").check()


def test_where_points_start(page, slider, press):
    choice = page.get_by_role("combobox", name="start")
    seen = {pixels(page)}
    for name in ("right", "up", "left", "down"):
        choice.select_option(name)
        expect(page.get_by_role("img", name=f"those that start {name} stand out")).to_have_count(4)
        seen.add(pixels(page))
    assert len(seen) == 5
    choice.select_option("all")


def test_play_and_pause(page, slider):
    page.get_by_role("button", name="play").click()
    page.wait_for_function("() => +document.querySelector('.lfmkit input').value > 3", timeout=10_000)
    page.get_by_role("button", name="pause").click()
    stopped = slider.input_value()
    page.wait_for_timeout(400)
    assert slider.input_value() == stopped
    page.get_by_role("button", name="play").press("Enter")
    page.wait_for_function("() => +document.querySelector('.lfmkit input').value === 40", timeout=15_000)
    page.get_by_role("button", name="again").wait_for(timeout=2_000)


def test_the_kernel_knows_the_frame(page, slider):
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(600)
    page.evaluate("""() => {
      const notebook = window.jupyterapp.shell.currentWidget.content;
      notebook.activeCellIndex = 1;
      notebook.deselectAll();
      window.printed = window.jupyterapp.commands.execute('notebook:run-cell');
    }""")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.jp-OutputArea-output')].pop().innerText.trim() === '1'"
    )


def test_accessible_light_and_dark(page, violations, dark):
    assert violations(page) == []
    light = pixels(page)
    dark(page)
    assert pixels(page) != light
    assert violations(page) == []


def test_no_errors(page):
    assert page.errors == []
