"""Sheets of images in JupyterLab."""

import pytest
from playwright.sync_api import expect

MAKE = """
import torch
from sklearn.datasets import load_digits
from lfmkit import widgets
digits = torch.from_numpy(load_digits().images[:64] * 15)[:, None]
noise = 60 * torch.randn(digits.shape, generator=torch.Generator().manual_seed(0))
samples = {n: (digits + noise / n).clamp(0, 255).byte() for n in (1, 2, 4, 8, 20, 100)}
shown = widgets.frames(samples, title="Digits from the same noise")
shown
"""
# the tones at two opposite corners of the square that each pixel of each image is
TONES = """({ count, columns, size, zoom, gap }) => {
  const canvas = document.querySelector('.lfmkit canvas'), pen = canvas.getContext('2d'), tones = [];
  const ratio = canvas.width / parseFloat(canvas.style.width), [high, wide] = size;
  const at = (x, y) => pen.getImageData(Math.floor(x * ratio), Math.floor(y * ratio), 1, 1).data[1];
  for (let k = 0; k < count; k++) {
    const left = (k % columns) * (wide * zoom + gap), top = Math.floor(k / columns) * (high * zoom + gap);
    for (let i = 0; i < high; i++) for (let j = 0; j < wide; j++) {
      const x = left + j * zoom, y = top + i * zoom;
      tones.push([at(x + 0.5, y + 0.5), at(x + zoom - 0.5, y + zoom - 0.5)]);
    }
  }
  return tones;
}"""


@pytest.fixture(scope="module")
def page(show):
    return show("frames", MAKE, "print(shown.frame)")


@pytest.fixture
def slider(page):
    control = page.get_by_role("slider", name="NFE")
    control.focus()
    page.keyboard.press("Home")
    return control


def picture(page, label):
    return page.get_by_role("img", name=f"Digits from the same noise, NFE {label}: 64 images", exact=True)


def test_keys(page, slider, press):
    expect(picture(page, 1)).to_have_count(1)
    keys = ["ArrowRight"] * 5 + ["ArrowLeft"] * 5
    press(page, "frames, keys", [lambda key=key: page.keyboard.press(key) for key in 4 * keys], 50)
    page.keyboard.press("End")
    expect(picture(page, 100)).to_have_count(1)
    expect(page.get_by_text("NFE 100")).to_have_count(1)
    expect(slider).to_have_attribute("aria-valuetext", "100")


def test_drag(page, slider, press):
    box = slider.bounding_box()
    y, left, width = box["y"] + box["height"] / 2, box["x"] + 8, box["width"] - 16
    page.mouse.move(left, y)
    page.mouse.down()
    places = [0.2, 0.4, 0.6, 0.8, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0] * 3
    press(page, "frames, drag", [lambda x=left + width * p: page.mouse.move(x, y) for p in places], 50)
    page.mouse.up()
    expect(slider).to_have_attribute("aria-valuetext", "1")


def test_the_pixels_are_those_of_the_images(page, slider):
    """Also where a pixel of the page is not a whole number of pixels of the screen."""
    made = {}
    exec(MAKE, made)
    for ratio in (1.5, 1):
        page.evaluate(
            "ratio => Object.defineProperty(window, 'devicePixelRatio', { value: ratio, writable: true })",
            ratio,
        )
        for key, steps in (("Home", 1), ("End", 100)):
            page.keyboard.press(key)
            expect(picture(page, steps)).to_have_count(1)
            tones = made["samples"][steps].flatten().tolist()
            assert page.evaluate(TONES, made["shown"].about) == [[tone, tone] for tone in tones]


def test_play_and_pause(page, slider):
    page.get_by_role("button", name="play").click()
    page.wait_for_function("() => +document.querySelector('.lfmkit input').value > 1", timeout=10_000)
    page.get_by_role("button", name="pause").press("Space")
    stopped = slider.input_value()
    page.wait_for_timeout(1000)
    assert slider.input_value() == stopped
    page.get_by_role("button", name="play").press("Enter")
    page.get_by_role("button", name="again").wait_for(timeout=10_000)
    expect(picture(page, 100)).to_have_count(1)


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
    dark(page)
    assert violations(page) == []


def test_no_errors(page):
    assert page.errors == []
