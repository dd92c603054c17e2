"""The drawing pad in JupyterLab: drawn by mouse, finger and keys; trained, stopped, and errors seen."""

import re

import pytest
from playwright.sync_api import expect

MAKE = """
from lfmkit import methods, nets, widgets
small = {"steps": (60, 30, 30, 30), "batch": 128, "targets": "pairs"}
net = nets.MLP(width=32, depth=2, fourier=8)
pad = widgets.draw_target(train=small, flow=lambda: methods.lfm(dim=2, net=net), samples=500)
pad
"""
INK = "() => document.querySelector('.lfmkit .pad canvas').getAttribute('aria-label')"


@pytest.fixture(scope="module")
def page(show):
    page = show("drawing", MAKE, "print(f'{pad.grey.mean():.1f}', pad.flow is not None)")
    page.evaluate("() => { window.probe.rows = 1000 }")
    return page


@pytest.fixture
def pad(page):
    return page.get_by_role("application", name="drawing pad")


def known(page):
    """Return what the second cell prints: the state in the kernel."""
    page.wait_for_timeout(300)
    page.evaluate("""() => {
      const notebook = window.jupyterapp.shell.currentWidget.content;
      notebook.activeCellIndex = 1;
      notebook.deselectAll();
      window.done = false;
      window.jupyterapp.commands.execute('notebook:run-cell').then(() => { window.done = true });
    }""")
    page.wait_for_function("() => window.done")
    grey, trained = page.locator(".jp-OutputArea-output").last.inner_text().split()
    return float(grey), trained == "True"


def test_there_is_a_drawing_and_clear_takes_it_away(page):
    assert "% of 64 x 64 pixels are ink" in page.evaluate(INK)
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function(f"() => ({INK})() === 'The drawing: empty paper'")
    assert known(page) == (255.0, False)


def test_an_empty_drawing_is_not_trained(page):
    page.get_by_role("button", name="Train a flow").click()
    page.get_by_role("alert").filter(has_text="nothing is drawn yet: draw a line first").wait_for()


def test_mouse(page, pad, press):
    box = pad.bounding_box()
    place = [lambda k=k: page.mouse.move(box["x"] + 60 + 6 * k, box["y"] + 60 + 4 * k) for k in range(1, 36)]
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    press(page, "drawing, mouse", place, 100)
    page.mouse.up()
    assert known(page)[0] < 254


def test_keys(page, pad, press):
    before, _ = known(page)
    page.get_by_role("checkbox", name="eraser").focus()
    page.keyboard.press("Shift+Tab")
    pad.focus()
    page.keyboard.press("Space")
    keys = ["ArrowRight"] * 10 + ["ArrowUp"] * 10 + ["ArrowLeft"] * 10 + ["Shift+ArrowDown"] * 2
    press(page, "drawing, keys", [lambda key=key: page.keyboard.press(key) for key in keys], 100)
    page.keyboard.press("Space")
    page.get_by_text("pen up, column").wait_for(state="attached")
    assert known(page)[0] < before


def test_eraser_and_brush(page, pad, press):
    before, _ = known(page)
    brush = page.get_by_role("slider", name="brush")
    brush.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.get_by_role("checkbox", name="eraser").check()
    box = pad.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 126, steps=4)
    page.mouse.up()
    assert known(page)[0] > before
    page.get_by_role("checkbox", name="eraser").uncheck()


def test_touch(page, pad):
    before, _ = known(page)
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    fingers = page.context.new_cdp_session(page)
    for kind, shift in [("touchStart", 0), ("touchMove", 30), ("touchMove", 60), ("touchEnd", None)]:
        at = [] if shift is None else [{"x": box["x"] + 100 + shift, "y": box["y"] + 280}]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
    assert known(page)[0] < before


def test_train(page):
    before = page.evaluate("() => window.probe.pixels()")
    page.get_by_role("button", name="Train a flow").click()
    page.get_by_text("500 samples of the trained flow, NFE").first.wait_for(timeout=60_000)
    expect(page.get_by_role("img", name="500 samples of the trained flow")).to_have_count(1)
    assert page.evaluate("() => window.probe.pixels()") != before
    assert known(page)[1]


def test_stop(page):
    page.evaluate("""() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute(
      { code: "pad._settings['steps'] = 20_000" }).done.then(() => { window.longer = true })""")
    page.wait_for_function("() => window.longer")
    page.get_by_role("button", name="Train a flow").click()
    bar = page.get_by_role("progressbar", name="training")
    moving = (
        "() => { const {value} = document.querySelector('.lfmkit progress'); return value > 0 && value < 1 }"
    )
    page.wait_for_function(moving, timeout=20_000)
    expect(page.locator(".lfmkit .row .below")).to_contain_text("loss")
    expect(bar).to_have_attribute("aria-valuetext", re.compile("%$"))
    assert known(page)[1]  # the kernel answers while it trains
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("stopped; the flow is what it was before").first.wait_for(timeout=10_000)
    expect(page.get_by_role("button", name="Train a flow")).to_be_enabled()


def test_accessible_light_and_dark(page, violations, dark):
    assert violations(page) == []
    dark(page)
    assert violations(page) == []
    assert page.errors == []
