"""The pages of a comparison and of a sweep in a real browser: quiet, closed, narrow, accessible."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from dso.cli.main import main
from dso.studies import parse_settings
from dso.studies.history import change_study
from tests.browser.page_checks import axe_faults, sideways
from tests.browser.pictures import Scheme, opened
from tests.support.small_study import CLOCK, small_folder

pytestmark = pytest.mark.browser
SPEC = """
name = "prices and sizes"
base = "base"
[grid]
"import_price.factor" = [0.5, 1.0, 2.0]
"order.pv.scale" = [0.5, 1.0]
[[variant]]
name = "with a battery"
[variant.settings]
"battery.big" = {bus = 17, p_mw = 1.0, energy_mwh = 4.0, efficiency = 0.9}
[[variant]]
name = "<b>no such line</b>"
settings = {"line.99.max_i_ka" = 1}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pages")
    small_folder(place / "base")
    settings = ["battery.big={bus=17, p_mw=3, energy_mwh=12, efficiency=0.9}"]
    for name in ("battery", "doubled"):
        assert main(["study", "new", str(place / name), "--from", str(place / "base")]) == 0
        change_study(place / name, parse_settings(settings), clock=CLOCK)
        settings = ["import_price.factor=2"]
    words = [str(place / name) for name in ("base", "battery", "doubled")]
    assert main(["compare", *words, "--out", str(place / "comparison"), "--quiet"]) == 0
    (place / "sweep.toml").write_text(SPEC)
    assert main(["sweep", str(place / "sweep.toml"), "--out", str(place / "sweep")]) == 3
    return place


@pytest.mark.parametrize("name", ["comparison", "sweep"])
@pytest.mark.parametrize(("scheme", "width"), [("light", 375), ("dark", 1440)])
def test_quiet_closed_narrow_and_accessible(
    browser: Browser, place: Path, name: str, scheme: Scheme, width: int
) -> None:
    page_file = place / name / "index.html"
    with opened(browser, page_file, width=width, scheme=scheme) as (page, faults):
        assert sideways(page) <= 0
        assert axe_faults(page) == []
        assert faults == []


@pytest.mark.parametrize("name", ["comparison", "sweep"])
def test_theme_button_changes_page_and_plots(browser: Browser, place: Path, name: str) -> None:
    with opened(browser, place / name / "index.html", width=1440, scheme="light") as (page, faults):
        tick = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
        before = page.evaluate(tick)
        page.locator("#theme").click()
        page.wait_for_timeout(400)
        assert page.evaluate(tick) != before
        assert axe_faults(page) == []
        assert faults == []


def test_the_comparison_shows_the_differences_of_its_tables(browser: Browser, place: Path) -> None:
    table = (place / "comparison" / "buses.csv").read_text(encoding="utf-8").splitlines()
    rows = {(row["study"], int(row["bus"])): row for row in csv.DictReader(table)}
    with opened(browser, place / "comparison" / "index.html", width=1440, scheme="light") as (
        page, faults,
    ):  # fmt: skip
        for study, value in (("battery", "1"), ("doubled", "2")):
            page.locator("#study").select_option(value)
            named, shown = page.locator("#far div").first.inner_text().split("\n")
            bus = int(named.split()[-1])
            stated = float(rows[study, bus]["difference_of_means_eur_per_mwh"])
            assert shown == f"{stated:.2f} EUR/MWh".replace("-", "\u2212").replace(" ", "\u00a0")
            mine = [abs(float(row["difference_of_means_eur_per_mwh"]))
                    for (owner, _), row in rows.items() if owner == study]  # fmt: skip
            assert abs(stated) == pytest.approx(max(mine), abs=1e-4)
        fill = "document.querySelector('#feeder [data-bus=\"17\"]').getAttribute('fill')"
        before = page.evaluate(fill)
        page.locator("#paint").select_option("price")
        assert page.evaluate(fill) != before
        expect(page.locator('[data-scale="price"]')).to_be_visible()
        expect(page.locator('[data-scale="difference"]')).to_be_hidden()
        page.locator('#feeder [data-bus="17"]').hover(force=True)
        expect(page.locator("#tip")).to_contain_text("Difference")
        curves = page.evaluate("document.getElementById('plot-durations').data.map(t => t.y)")
        assert len(curves) == 3
        assert all(a >= b for curve in curves for a, b in itertools.pairwise(curve))
        assert faults == []


def test_the_sweep_plots_what_is_chosen(browser: Browser, place: Path) -> None:
    table = (place / "sweep" / "sweep.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(table))
    with opened(browser, place / "sweep" / "index.html", width=1440, scheme="light") as (
        page, faults,
    ):  # fmt: skip
        data = "document.getElementById('plot-sweep').data"
        expect(page.locator("#across")).to_have_value("import_price.factor")
        expect(page.locator("#lines")).to_have_value("order.pv.scale")
        assert page.evaluate(f"{data}.map(t => t.x)") == [[0.5, 1, 2]] * 2
        page.locator("#up").select_option("losses_mwh")
        page.locator("#across").select_option("order.pv.scale")
        page.locator("#lines").select_option("import_price.factor")
        page.wait_for_timeout(300)
        assert page.evaluate(f"{data}.map(t => t.y)") == [
            [float(row["losses_mwh"]) for row in rows if row["import_price.factor"] == factor]
            for factor in ("0.5", "1.0", "2.0")
        ]
        page.locator("#across").select_option("")
        page.locator("#lines").select_option("")
        page.wait_for_timeout(300)
        assert page.evaluate(f"{data}[0].x") == [1, 2, 3, 4, 5, 6, 7]  # the eighth failed
        cells = page.locator("tbody tr").last
        expect(cells.locator("th")).to_have_text("<b>no such line</b>")
        expect(cells).to_contain_text("the network has no line '99'")
        assert faults == []


@pytest.mark.parametrize("name", ["comparison", "sweep"])
def test_without_scripts_the_tables_are_there(browser: Browser, place: Path, name: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((place / name / "index.html").as_uri())
    expect(page.locator(".tile")).to_have_count(4)
    assert page.locator("tbody tr").count() >= 8
    if name == "comparison":
        expect(page.locator("#feeder [data-bus]")).to_have_count(33)
    context.close()
