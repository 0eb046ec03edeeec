"""The report in a real browser: quiet, closed, narrow enough, readable by axe, operable by keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from data.readers.simbench import load_simbench
from dso.report import build_report
from tests.browser.page_checks import axe_faults, sideways
from tests.browser.pictures import Scheme, opened, take_pictures
from tests.support.day_folder import write_day_folder
from tests.support.feeder_sketch import sketch_of

pytestmark = pytest.mark.browser
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up day on the real feeder, with limits broken without and with the market."""
    folder = tmp_path_factory.mktemp("day")
    sketch = sketch_of(load_simbench("1-MV-rural--2-sw").network)
    write_day_folder(folder, sketch, unsolved=True)
    path = folder / "report.html"
    path.write_bytes(build_report(folder))
    return path


@pytest.mark.parametrize(("scheme", "width"), [("light", 375), ("dark", 1440)])
def test_quiet_closed_narrow_and_accessible(
    browser: Browser, report: Path, scheme: Scheme, width: int
) -> None:
    with opened(browser, report, width=width, scheme=scheme) as (page, faults):
        assert sideways(page) <= 0
        for closed in page.locator("details").all():
            closed.locator("summary").click()
        page.locator("#exact").click()
        assert sideways(page) <= 0
        assert axe_faults(page) == []
        assert faults == []


def test_every_plot_is_drawn(browser: Browser, report: Path) -> None:
    with opened(browser, report, width=1440, scheme="light") as (page, _):
        plots = page.locator(".plot")
        assert plots.count() >= 10
        for plot in plots.all():
            expect(plot.locator("svg.main-svg").first).to_be_attached()
            assert plot.locator(".trace, .hm, .heatmaplayer image, .barlayer path").count() > 0


def test_theme_button_changes_page_and_plots_and_stays_accessible(
    browser: Browser, report: Path
) -> None:
    with opened(browser, report, width=1440, scheme="light") as (page, faults):
        body = "getComputedStyle(document.body).backgroundColor"
        tick = "getComputedStyle(document.querySelector('#plot-price-span .xtick text')).fill"
        before = page.evaluate(f"[{body}, {tick}]")
        page.locator("#theme").click()
        expect(page.locator("#theme")).to_have_attribute("aria-pressed", "true")
        page.wait_for_timeout(300)
        after = page.evaluate(f"[{body}, {tick}]")
        assert before[0] != after[0]
        assert before[1] != after[1]
        assert axe_faults(page) == []
        assert faults == []


def test_slider_by_keyboard_moves_map_and_facts(browser: Browser, report: Path) -> None:
    with opened(browser, report, width=1440, scheme="light") as (page, faults):
        slider = page.locator("#period")
        slider.focus()
        page.keyboard.press("Home")
        expect(page.locator("#when")).to_have_text("00:00–00:15 CEST")
        night = page.locator("#feeder .dots").inner_html()
        expect(page.locator("#rings *")).to_have_count(0)
        for _ in range(52):
            page.keyboard.press("ArrowRight")
        expect(page.locator("#when")).to_have_text("13:00–13:15 CEST")
        expect(slider).to_have_attribute("aria-valuetext", re.compile("13:00.*Orange"))
        assert page.locator("#feeder .dots").inner_html() != night
        assert page.locator("#rings .ring").count() > 0
        assert page.locator("#rings .cross").count() > 0
        page.locator("#show-broken").uncheck()
        assert page.locator("#rings .ring").count() == 0
        assert page.locator("#rings .cross").count() > 0, "what really broke is never hidden"
        assert faults == []


def test_colours_of_the_map_follow_the_choice(browser: Browser, report: Path) -> None:
    with opened(browser, report, width=1440, scheme="light") as (page, _):
        fills = "[...document.querySelectorAll('#feeder circle')].map(c => c.getAttribute('fill'))"
        price = page.evaluate(fills)
        page.locator("#paint").select_option("voltage")
        expect(page.locator('[data-scale="voltage"]')).to_be_visible()
        expect(page.locator('[data-scale="price"]')).to_be_hidden()
        assert page.evaluate(fills) != price


def test_choosing_a_bus_shows_its_own_price(browser: Browser, report: Path) -> None:
    with opened(browser, report, width=1440, scheme="light") as (page, _):
        shown = "document.getElementById('plot-bus-price').data.at(-1).y"
        island = "JSON.parse(document.getElementById('feeder-data').textContent).price"
        for bus in (5, 60):
            page.locator("#bus").select_option(str(bus))
            page.wait_for_timeout(100)
            assert page.evaluate(shown) == page.evaluate(f"{island}[{bus}]")
        page.locator('#feeder [data-bus="40"]').click(force=True)
        expect(page.locator("#bus")).to_have_value("40")


def test_without_scripts_headline_map_and_tables_are_there(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    expect(page.locator("h1")).to_have_text("Monday 25 July 2016")
    expect(page.locator(".tile")).to_have_count(8)
    expect(page.locator("#feeder [data-bus]")).to_have_count(99)
    expect(page.locator("#money-table tfoot")).to_contain_text("0.000000")
    context.close()


def test_printing_keeps_the_numbers(browser: Browser, report: Path) -> None:
    with opened(browser, report, width=1440, scheme="dark") as (page, _):
        page.emulate_media(media="print")
        expect(page.locator(".top")).to_be_hidden()
        expect(page.locator("#money-table")).to_be_visible()
        assert len(page.pdf()) > 50_000


@pytest.mark.long
def test_pictures_can_be_taken(browser: Browser, report: Path, tmp_path: Path) -> None:
    pictures = take_pictures(browser, report, tmp_path)
    assert len(pictures) == 11
    assert all(picture.stat().st_size > 10_000 for picture in pictures)
