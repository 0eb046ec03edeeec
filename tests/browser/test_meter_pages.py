"""Pages of meters and baselines in a real browser: quiet, closed, narrow, accessible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from dso.baselines import CompareRules, compare_baselines
from dso.baselines.page import render_comparison
from dso.metering import check_sums
from dso.metering.page import render_sum_checks
from tests.browser.page_checks import axe_faults, sideways
from tests.browser.pictures import Scheme, opened
from tests.support.metered_street import START, ZONE, households, street, validated

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("meters")
    at, wh = street(4, days=15), street(4, days=15).metered()
    thief = at.place(at.biggest("A", 1))
    wh[:, thief] = np.rint(0.5 * wh[:, thief])
    checks = check_sums(validated(at, wh), at.feeder, at.feeders(), ZONE)
    (place / "sums.html").write_bytes(render_sum_checks(checks, at.periods, "street"))
    names, all_wh = households()
    starts = np.datetime64(START.replace(tzinfo=None), "s") + np.arange(70 * 24) * np.timedelta64(
        1, "h"
    )
    hourly = all_wh[: 70 * 96, :5].reshape(70 * 24, 4, 5).sum(axis=1)
    lines = [",".join(("period_start", *names[:5]))]
    lines += [f"{s}Z," + ",".join(map(str, row)) for s, row in zip(starts, hourly, strict=True)]
    (place / "load.csv").write_text("\n".join(lines) + "\n")
    (place / "events.csv").write_text("connection,start\n,2013-02-06T17:00:00Z\n")
    rules = CompareRules(timezone=ZONE, repeats=1, methods=("mid-8-of-10", "rolling-5"))
    found = compare_baselines(place / "load.csv", rules, events=place / "events.csv")
    (place / "laboratory.html").write_bytes(render_comparison(found))
    return place


@pytest.mark.parametrize("name", ["sums", "laboratory"])
@pytest.mark.parametrize(("scheme", "width"), [("light", 375), ("dark", 1440)])
def test_quiet_closed_narrow_and_accessible(
    browser: Browser, place: Path, name: str, scheme: Scheme, width: int
) -> None:
    with opened(browser, place / f"{name}.html", width=width, scheme=scheme) as (page, faults):
        assert sideways(page) <= 0
        assert axe_faults(page) == []
        assert faults == []
        assert page.locator(".plot").count() == (2 if name == "sums" else 4)
        for plot in page.locator(".plot").all():
            expect(plot.locator("svg.main-svg").first).to_be_attached()


def test_the_thief_is_on_the_page(browser: Browser, place: Path) -> None:
    thief = street(4, days=15).biggest("A", 1)
    with opened(browser, place / "sums.html", width=1440, scheme="light") as (page, _faults):
        expect(page.locator(".verdict-title")).to_contain_text(f"1 finding: theft ({thief})")
        expect(page.locator("#findings")).to_contain_text("of its energy passes by the meter")
