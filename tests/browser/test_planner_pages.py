"""Planners' pages in a real browser: quiet, closed, narrow, accessible, and showing their files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from dso.cli.main import main
from tests.browser.page_checks import axe_faults, sideways
from tests.browser.pictures import Scheme, opened
from tests.support.small_study import small_folder

pytestmark = pytest.mark.browser
PAGES = ("reinforce", "hosting", "contingency", "taps", "banks")


def run(*words: object) -> None:
    assert main([*map(str, words)]) == 0, words


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One page of each command."""
    import pandapower
    import pandapower.networks

    place = tmp_path_factory.mktemp("planner")
    base = small_folder(place / "base", periods=1)
    run("study", "set", base, "line.16.max_i_ka=0.015")
    (place / "costs.csv").write_text(
        "element_kind,element,added_mva,cost_eur\nline,16,0.2,9000\nline,3,1,5000\n"
    )
    run("reinforce", f"{base}=365", "--costs", place / "costs.csv", "--out", place / "reinforce",
        "--quiet")  # fmt: skip
    (place / "sun.csv").write_text("period_start,share\n2016-07-24T22:00:00Z,0.9\n")
    run("hosting", base, "--technology", "pv", "--profile", place / "sun.csv", "--tick-mw", "0.1",
        "--out", place / "hosting", "--quiet")  # fmt: skip
    run("contingency", base, "--out", place / "contingency", "--quiet")
    limits = ("--limit", "line_loading_percent_max=100", "--limit",
              "trafo_loading_percent_max=100", "--limit", "vm_pu_min=0.92", "--limit",
              "vm_pu_max=1.05")  # fmt: skip
    hour = ("--day", "2026-06-01", "--periods", "1", "--mtu-minutes", "60", "--import-price", "40")
    ring = ("--network", "pandapower:simple_mv_open_ring_net")
    run("study", "new", place / "ring", *ring, *hour, *limits)
    run("taps", place / "ring", "--out", place / "taps", "--quiet")
    net = pandapower.networks.case33bw()
    for bus in (29, 12):
        pandapower.create_shunt(net, bus, q_mvar=0.0)
    pandapower.to_json(net, str(place / "banks.json"))
    run("study", "new", place / "study", "--network", place / "banks.json", *hour, *limits)
    run("taps", place / "study", "--bank", "0:-0.3:4", "--bank", "1:-0.3:2", "--out",
        place / "banks", "--quiet")  # fmt: skip
    return place


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("scheme", "width"), [("light", 375), ("dark", 1440)])
def test_quiet_closed_narrow_and_accessible(
    browser: Browser, place: Path, name: str, scheme: Scheme, width: int
) -> None:
    page_file = place / name / "index.html"
    with opened(browser, page_file, width=width, scheme=scheme) as (page, faults):
        assert sideways(page) <= 0
        assert axe_faults(page) == []
        assert faults == []
        for plot in page.locator(".plot").all():
            expect(plot.locator("svg.main-svg").first).to_be_attached()


def test_theme_button_changes_page_and_plots(browser: Browser, place: Path) -> None:
    with opened(browser, place / "taps/index.html", width=1440, scheme="light") as (page, faults):
        tick = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
        before = page.evaluate(tick)
        page.locator("#theme").click()
        page.wait_for_timeout(400)
        assert page.evaluate(tick) != before
        assert axe_faults(page) == []
        assert faults == []


def test_capacities_are_those_of_the_table(browser: Browser, place: Path) -> None:
    with (place / "hosting/hosting.csv").open(newline="") as stream:
        size = {row["bus"]: float(row["capacity_mw"]) for row in csv.DictReader(stream)}
    page_file = place / "hosting/index.html"
    with opened(browser, page_file, width=1440, scheme="light") as (page, _):
        bars = page.evaluate(
            "document.getElementById('plot-capacity').data"
            ".flatMap(trace => trace.y.map((name, k) => [name, trace.x[k]]))"
        )
        assert {name.removeprefix("Bus "): value for name, value in bars} == pytest.approx(size)
        page.locator('#feeder [data-bus="17"]').hover(force=True)
        expect(page.locator("#tip")).to_contain_text(f"Hosts {size['17']:.3f} MW")


def test_outages_on_the_map_say_what_to_close(browser: Browser, place: Path) -> None:
    page_file = place / "contingency/index.html"
    with opened(browser, page_file, width=1440, scheme="light") as (page, _):
        assert page.locator("#feeder .strokes .lost").count() == 1
        assert page.locator("#feeder .strokes .open").count() == 5
        page.locator('#feeder .hits [data-branch="10"]').hover(force=True)
        expect(page.locator("#tip")).to_contain_text("Close line")
        assert page.locator("#outages tbody tr").count() == 32


def test_without_scripts_map_and_tables_are_there(browser: Browser, place: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((place / "reinforce/index.html").as_uri())
    expect(page.locator(".tile")).to_have_count(4)
    expect(page.locator("#feeder .worth3")).to_have_count(1)
    assert page.locator("#options-table tbody tr").count() == 2
    context.close()
