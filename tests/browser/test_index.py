"""The page of recorded runs, opened from disk: it sorts, filters, turns pages, and shows text as text."""

from dataclasses import replace

import pytest
from PIL import Image
from playwright.sync_api import expect

from lfmkit.runs import index
from lfmkit.runs.records import RunRecord
from lfmkit.runs.results import read_results

HOSTILE = "</script><script>document.title = 'broken'</script><img src=x onerror=alert(1)>"
FIELDS = {"notebook": "experiment & <b>more", "ended": "2026-01-02T04:00:00+00:00", "seconds": 41.5}


def store(root, number, **more):
    """Write a run whose excess falls while its seed rises."""
    own = {"method": ("lfm", "fm")[number % 2], "seed": number, "steps": 1000, "note": "same <i>"}
    run = RunRecord(
        id=f"{number:012x}", outcome="completed", parameters=own, metrics={"excess": 1 / (1 + number)},
        started=f"2026-01-02T03:{number % 60:02}:00+00:00", peak_memory=300_000_000,
        figures=[{"file": f"figures/0{k}.png", "alt": f"Picture {k} of run {number}"} for k in (1, 2, 3)],
        **FIELDS,
    )  # fmt: skip
    run = replace(run, **more)
    folder = root / run.notebook / run.id
    run.write(folder)
    (folder / "figures").mkdir()
    for figure in run.figures:
        Image.new("RGB", (80, 32), "#0072b2").save(folder / figure["file"])
    (folder / "notebook.html").write_text(f"<title>run {number}</title>")
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs") / "50% #1"
    for number in range(20):
        store(root, number)
    bad = {"metrics": {}, "figures": [], "cell": {"number": 5, "source": HOSTILE}}
    store(root, 20, outcome="failed", reason=HOSTILE, **bad)
    store(root, 21, outcome="timeout", reason="no end after 60 s", **bad)
    (store(root, 22) / "record.json").write_text("{")
    index.write(read_results(root))
    return root


@pytest.fixture
def opened(browser):
    """Open a page without a network; nothing it did may be reported in the console."""
    pages = []

    def go(root, scheme="light"):
        page = browser.new_page(color_scheme=scheme, viewport={"width": 1300, "height": 900})
        page.asked, page.errors = [], []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda message: page.errors.append(message.text))
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("dialog", lambda dialog: page.errors.append("a dialog"))
        page.context.set_offline(True)
        page.goto((root / "index.html").as_uri())
        page.set_default_timeout(10_000)
        pages.append(page)
        return page

    yield go
    for page in pages:
        assert page.errors == []
        assert all(url.startswith("file:") for url in page.asked)
        page.close()


def column(page, name):
    """The texts of a column."""
    heads = [head.replace("_", " ") for head in page.locator("thead th").all_inner_texts()]
    return page.locator(f"tbody tr > *:nth-child({heads.index(name) + 1})").all_inner_texts()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_whole_and_accessible(written, opened, violations, scheme):
    page = opened(written, scheme)
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs in 50% #1")
    expect(page.get_by_text("22 runs: 20 completed, 1 failed, 1 timeout, 1 unreadable")).to_be_visible()
    expect(page.get_by_role("row")).to_have_count(23)
    expect(page.locator("dl")).to_contain_text("steps1000")
    picture = page.get_by_role("img", name="Picture 1 of run 0")
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 80
    assert picture.evaluate("image => image.loading") == "lazy"
    assert violations(page) == []
    sides = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert sides[0] <= sides[1]  # only the table itself scrolls sideways


def test_what_failed_is_in_view_and_why(written, opened):
    page = opened(written)
    listed = page.locator(".without li")
    expect(listed).to_have_count(3)
    expect(listed.first).to_contain_text(f"failed in cell 5 {HOSTILE}: {HOSTILE}")
    expect(listed.last).to_contain_text("unreadable: record.json is damaged")
    row = page.locator("tbody tr", has_text="timeout")
    expect(row).to_contain_text(f"in cell 5 {HOSTILE}: no end after 60 s")
    assert page.title() == "Runs in 50% #1"
    assert page.locator("main img[src=x]").count() == 0


def test_it_sorts_by_mouse_and_keyboard(written, opened, violations):
    page = opened(written)
    head = page.get_by_role("columnheader", name="excess")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    numbers = column(page, "excess")
    assert numbers[:2] == ["0.05", "0.05263"]
    assert numbers[-2:] == ["", ""]
    page.keyboard.press("Enter")  # the button still has the focus
    expect(head).to_have_attribute("aria-sort", "descending")
    numbers = column(page, "excess")
    assert numbers[:2] == ["1", "0.5"]
    assert numbers[-2:] == ["", ""]  # missing at the end in both directions
    page.get_by_role("button", name="seed").click()
    assert column(page, "seed") == [str(seed) for seed in range(22)]
    expect(head).not_to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="method").click()
    assert column(page, "method") == ["fm"] * 11 + ["lfm"] * 11
    assert violations(page) == []


def test_it_filters(written, opened, violations):
    page = opened(written)
    box, status = page.get_by_role("searchbox", name="Filter"), page.get_by_role("status")
    for words, count in (
        ("method=lfm", 11),
        ("seed=1", 1),
        ("METHOD=fm timeout", 1),
        ("onerror", 2),
        ("zzz", 0),
    ):
        box.fill(words)
        expect(status).to_have_text(f"{count} run{'s' * (count != 1)}")
        expect(page.locator("tbody tr")).to_have_count(count)
    assert violations(page) == []
    box.fill("")
    page.get_by_role("button", name="failed 1").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("button", name="failed 1")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="all 22").click()
    expect(page.locator("tbody tr")).to_have_count(22)


def test_its_links_lead_to_the_runs(written, opened):
    page = opened(written)
    page.get_by_role("link", name=f"{3:012x}", exact=True).click()
    page.wait_for_load_state()
    assert page.title() == "run 3"
    page.go_back()
    page.get_by_role("link", name="Picture 2 of run 3").click()
    page.wait_for_load_state()
    assert page.url.endswith(f"{3:012x}/figures/02.png")


def test_many_runs_come_in_pages(tmp_path, opened, violations):
    store(tmp_path, 0)
    results = read_results(tmp_path)
    ((folder, run),) = results.runs.items()
    many = {f"{folder}{i}": replace(run, parameters={"seed": i}, figures=[]) for i in range(2050)}
    names = {"seed": "seed"}
    index.write(replace(results, runs=many, parameters=names))
    page = opened(tmp_path)
    status, rows = page.get_by_role("status"), page.locator("tbody tr")
    expect(status).to_have_text("1 to 100 of 2,050 runs")
    expect(page.get_by_role("button", name="Previous")).to_be_disabled()
    page.get_by_role("button", name="Next").click()
    expect(status).to_have_text("101 to 200 of 2,050 runs")
    assert column(page, "seed")[0] == "100"
    page.get_by_role("button", name="seed").click()  # by another order: back to the first page
    page.get_by_role("button", name="seed").click()
    assert column(page, "seed")[0] == "2049"
    expect(rows).to_have_count(100)
    assert violations(page) == []
