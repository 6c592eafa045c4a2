"""The page in a real browser: it needs Chromium and Playwright for Python, and is skipped without them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from devi.report import write
from devi.report.charts import CONFIG, EXTENT

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (and CHROMIUM is not set): page not opened"),
]


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: page not opened")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield opened
        opened.close()


def opened(browser, path: Path, *, width: int = 1280, scripts: bool = True):
    """The page, what its console said, and every address it asked for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=scripts)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    if scripts:
        page.wait_for_function("window.devi && window.devi.ready", timeout=30_000)
    return page, said, asked


def test_hovering_moves_the_rule_in_every_chart_and_nothing_is_fetched(analysis, browser, tmp_path):
    path = write(analysis, tmp_path, figures=False)
    page, said, asked = opened(browser, path)
    assert page.evaluate("devi.step") == 4000
    canvas = page.locator("#curves-0 canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.wait_for_function("devi.step !== 4000", timeout=30_000)
    step = page.evaluate("devi.step")
    assert step in (10, 50, 100)
    assert page.evaluate("devi.views.map(view => view.signal('step'))") == [step] * page.evaluate("devi.views.length")
    assert page.locator("#step").text_content() == f"step {step}"
    assert "412 ± 9" in page.locator("#curves-2-reading").text_content()
    assert said == []
    assert asked == [path.as_uri()]


def test_slider_moves_the_step_too(analysis, browser, tmp_path):
    page, said, _ = opened(browser, write(analysis, tmp_path, figures=False))
    page.locator("#slider").fill("0")
    assert page.evaluate("devi.step") == 0
    assert page.locator("#slider").get_attribute("aria-valuetext") == "step 0"
    assert said == []


@pytest.mark.parametrize("width", [1280, 800, 400])
def test_page_is_never_wider_than_its_window(analysis, browser, tmp_path, width):
    page, said, _ = opened(browser, write(analysis, tmp_path, figures=False), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []


@pytest.mark.parametrize("width", [800, 400])
def test_a_name_of_any_length_is_broken_where_the_window_ends(analysis, browser, tmp_path, width):
    name = "a_very_long_metric_name_" * 6
    analysis.trajectories[name] = ("step", analysis.trajectories["llc"].values, {"units": "1"})
    analysis.settings[name], analysis.seconds[name] = {name: 1.0}, 1.0
    analysis.run["metadata"] = {name: name}
    page, said, _ = opened(browser, write(analysis, tmp_path, figures=False), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []


def test_a_setting_stands_on_one_line_where_there_is_room(analysis, browser, tmp_path):
    analysis.settings = {"llc": {"reasons": {"batch_size": "all examples, " * 40, "n_beta": "n / log n"}}}
    page, _, _ = opened(browser, write(analysis, tmp_path, figures=False))
    lines = page.evaluate(
        "['reasons.batch_size', 'reasons.n_beta'].map(key => { const range = document.createRange();"
        " range.selectNodeContents([...document.querySelectorAll('th')].find(th => th.textContent === key));"
        " return range.getClientRects().length; })"
    )
    assert lines == [1, 1]


def test_a_chart_is_called_by_its_title(analysis, browser, tmp_path):
    page, _, _ = opened(browser, write(analysis, tmp_path, figures=False))
    assert page.locator("#curves-0").get_attribute("aria-label") == "loss over training steps"
    assert page.locator("[aria-label='Vega visualization']").count() == 0


@pytest.mark.parametrize("label", ["-0.001062", "-1.062e-5", "-1.234e+6"])
def test_the_labels_of_an_axis_end_before_its_title(analysis, browser, tmp_path, label):
    """A curve of one value has it for its label, with all its digits; 7 pixels are the tick and the gap."""
    page, _, _ = opened(browser, write(analysis, tmp_path, figures=False))
    script = "([font, text]) => {const c = document.createElement('canvas').getContext('2d'); c.font = font;" \
        " return c.measureText(text).width}"  # fmt: skip
    assert page.evaluate(script, [f"11px {CONFIG['font']}", label]) + 7 <= EXTENT


@pytest.mark.parametrize("task", ["superposition", "modular"])
def test_geometry_charts_draw_without_complaint(task, bare, browser, tmp_path, request):
    page, said, _ = opened(browser, write(bare(request.getfixturevalue(task)), tmp_path, figures=False))
    assert page.locator(".beside canvas").count() == {"superposition": 1, "modular": 2}[task]
    assert said == []


def test_hostile_names_run_nothing(analysis, hostile, browser, tmp_path):
    analysis.run["name"] = hostile
    analysis.trajectories[hostile] = ("step", analysis.trajectories["llc"].values, {"units": hostile})
    page, said, _ = opened(browser, write(analysis, tmp_path, figures=False))
    assert page.locator("h1").text_content() == hostile
    assert said == []


def test_text_and_pictures_are_there_without_scripts(analysis, browser, tmp_path):
    page, _, _ = opened(browser, write(analysis, tmp_path, figures=False), scripts=False)
    assert page.get_by_text("Between steps 120 and 900 one level gave way").is_visible()
    assert page.locator("noscript img").evaluate("image => image.naturalWidth") > 300
