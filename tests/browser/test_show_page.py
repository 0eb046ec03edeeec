"""The page of one clearing in a real browser: quiet, closed, narrow enough, accessible, moving."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from dso.show import build_show
from tests.browser.page_checks import axe_faults, sideways
from tests.browser.pictures import Scheme, opened
from tests.support.clearing_folder import write_clearing

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hours, limits that cannot hold in the first."""
    folder = tmp_path_factory.mktemp("clearing")
    write_clearing(folder, vm_pu_min=0.93)
    page = folder / "show.html"
    page.write_bytes(build_show(folder, period="1", bus="17"))
    return page


@pytest.mark.parametrize(("scheme", "width"), [("light", 375), ("dark", 1440)])
def test_quiet_closed_narrow_and_accessible(
    browser: Browser, shown: Path, scheme: Scheme, width: int
) -> None:
    with opened(browser, shown, width=width, scheme=scheme) as (page, faults):
        assert sideways(page) <= 0
        page.locator("details summary").click()
        assert sideways(page) <= 0
        assert axe_faults(page) == []
        assert faults == []


def test_every_picture_follows_the_slider_and_the_bus(browser: Browser, shown: Path) -> None:
    with opened(browser, shown, width=1440, scheme="light") as (page, faults):
        data = "name => document.getElementById('plot-' + name).data"
        heights = f"name => ({data})(name).map(trace => trace.y)"
        names = ("path", "profile", "price")
        before = {name: page.evaluate(heights, name) for name in names}
        assert page.locator("#rings .ring").count() > 0
        assert page.locator("#rings .cross").count() == 0
        page.locator("#period").focus()
        page.keyboard.press("Home")
        page.wait_for_timeout(300)
        expect(page.locator("#when")).to_have_text("02:00–03:00 CEST")
        assert page.evaluate(heights, "path") != before["path"]
        assert page.evaluate(heights, "profile") != before["profile"]
        assert page.locator("#rings .cross").count() > 0
        expect(page.locator("#binds .short").first).to_contain_text("could not hold")
        page.locator("#bus").select_option("32")
        page.wait_for_timeout(300)
        island = "JSON.parse(document.getElementById('feeder-data').textContent)"
        own = page.evaluate(f"{island}.price[32]")
        assert page.evaluate(f"({data})('price').at(-1).y")[:4] == own
        assert page.evaluate(f"({data})('path').at(-1).y.at(-1)") == own[0]
        rows = page.locator("#path-rows tr")
        assert rows.count() == len(page.evaluate(f"({data})('path').at(-1).y"))
        page.locator('#feeder [data-bus="20"]').click(force=True)
        expect(page.locator("#bus")).to_have_value("20")
        assert faults == []


def test_theme_button_changes_page_and_plots(browser: Browser, shown: Path) -> None:
    with opened(browser, shown, width=1440, scheme="light") as (page, faults):
        tick = "getComputedStyle(document.querySelector('#plot-profile .xtick text')).fill"
        before = page.evaluate(tick)
        page.locator("#theme").click()
        page.wait_for_timeout(400)
        assert page.evaluate(tick) != before
        assert axe_faults(page) == []
        assert faults == []


def test_without_scripts_map_and_table_are_there(browser: Browser, shown: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(shown.as_uri())
    expect(page.locator(".tile")).to_have_count(4)
    expect(page.locator("#feeder [data-bus]")).to_have_count(33)
    page.locator("details summary").click()
    assert page.locator("#path-rows tr").count() > 5
    context.close()
