"""The page of a backtest in a real browser: quiet, closed, narrow, accessible, four plots."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from dso.cli.main import main
from tests.browser.page_checks import axe_faults, sideways
from tests.browser.pictures import Scheme, opened

pytestmark = pytest.mark.browser
SERIES = Path(__file__).resolve().parents[2] / "data" / "series"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("backtest") / "out"
    words = (
        "--kind", "load", "--readings", SERIES / "victoria_readings.csv",
        "--site", SERIES / "victoria_site.toml", "--first-day", "2014-05-01",
        "--last-day", "2014-05-04", "--resolution-minutes", "60", "--model", "like-day",
        "--out", out,
    )  # fmt: skip
    assert main(["forecast", "backtest", *map(str, words)]) == 0
    return out / "index.html"


@pytest.mark.parametrize(("scheme", "width"), [("light", 375), ("dark", 1440)])
def test_the_page_is_quiet_closed_narrow_and_accessible(
    browser: Browser, page_file: Path, scheme: Scheme, width: int
) -> None:
    with opened(browser, page_file, width=width, scheme=scheme) as (page, faults):
        assert page.locator(".js-plotly-plot").count() == 4
        assert axe_faults(page) == []
        assert sideways(page) <= 0
        assert faults == []
