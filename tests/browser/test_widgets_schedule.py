"""The schedule explorer in JupyterLab: the kernel computes, the browser draws."""

import pytest
from playwright.sync_api import expect

MAKE = """
from lfmkit import data, schedules, widgets
shown = widgets.schedule_explorer(data.picture("rose"))
shown
"""


@pytest.fixture(scope="module")
def page(show):
    return show("schedule", MAKE)


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("geometric", ["c", "rho", "n"]),
        ("constant", ["gamma", "n"]),
        ("cosine", ["n", "s"]),
        ("linear_beta", ["n", "low", "high"]),
        ("log_snr", ["n", "first", "last"]),
    ],
)
def test_every_control_by_key(page, press, family, names):
    page.get_by_role("combobox", name="family").select_option(family)
    page.get_by_text(f"{family}(").wait_for()
    sliders = page.locator(".lfmkit input[type=range]")
    assert [node.get_attribute("aria-label") for node in sliders.all() if node.is_visible()] == names
    for name in names:
        page.get_by_role("slider", name=name, exact=True).focus()
        keys = (["ArrowRight"] * 4 + ["ArrowLeft"] * 4) * (4 if family == "geometric" else 1)
        if name == "high":  # has no effect above the number of blocks
            page.keyboard.press("Home")
        press(
            page,
            f"schedule, {family}, {name}",
            [lambda key=key: page.keyboard.press(key) for key in keys],
            100,
        )


def test_family_by_key(page, press):
    page.get_by_role("combobox", name="family").focus()
    keys = (["ArrowUp"] * 4 + ["ArrowDown"] * 4) * 4
    press(page, "schedule, family", [lambda key=key: page.keyboard.press(key) for key in keys], 100)


def test_drag_and_no_backlog(page, press):
    page.get_by_role("combobox", name="family").select_option("constant")
    page.get_by_text("constant(").wait_for()
    slider = page.get_by_role("slider", name="gamma")
    box = slider.bounding_box()
    y, left, width = box["y"] + box["height"] / 2, box["x"] + 8, box["width"] - 16
    page.mouse.move(left, y)
    page.mouse.down()
    moves = [lambda x=left + width * k / 34: page.mouse.move(x, y) for k in range(1, 33)]
    press(page, "schedule, drag", moves, 100)
    for k in range(120):  # faster than the kernel answers
        page.mouse.move(left + width * (k % 30) / 30, y)
    page.mouse.move(left + width, y)
    page.wait_for_function(
        "() => document.querySelector('.lfmkit [role=status]').textContent.includes('gamma = 0.5,')",
        timeout=300,
    )
    page.mouse.up()
    page.wait_for_timeout(200)
    expect(page.get_by_role("status").first).to_contain_text("gamma = 0.5,")


def test_accessible_light_and_dark(page, violations, dark):
    page.get_by_text("numbers").click()
    page.wait_for_function("() => document.querySelectorAll('.lfmkit tbody tr').length === 8")
    assert violations(page) == []
    dark(page)
    assert violations(page) == []


def test_no_errors(page):
    assert page.errors == []


def test_without_a_kernel_it_says_so(page):
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.get_by_role("slider", name="n", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    page.get_by_text("No answer: the kernel is busy or not running").wait_for(timeout=8_000)
