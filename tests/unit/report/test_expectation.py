"""The outlook and the record of the bands on the page, and a page of a day without them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest

from data.errors import InputError
from dso.report import build_report
from dso.report.day_folder import read_day_folder
from dso.report.forecast_figures import band_lines, expectation_figures
from dso.report.views import DayView
from tests.support.page_reader import PageReader

FIRST, LAST = "2016-07-24T22:00:00Z", "2016-07-25T21:45:00Z"
HEADER = (
    "element_kind,element,side,period_start,limit,expected_value,unit,probability,need_mw_mean,"
    "need_mw_q90\n"
)


@pytest.fixture
def told_day(copied_day: Path) -> Path:
    """A day with an outlook of two limits and two days of bands before it."""
    forecast = copied_day / "forecast"
    (forecast / "outlook.csv").write_text(
        HEADER
        + f"bus,5,upper,{FIRST},1.05,1.04,pu,0.25,0.1,0.4\n"
        + f"line,2,from,{LAST},100,80,percent,0.07,0.02,0\n"
    )
    elements = [
        {"element_kind": "bus", "element": 5, "name": "", "side": "upper"},
        {"element_kind": "line", "element": 2, "name": "Line 2", "side": "from"},
    ]
    about = {"scenarios": 100, "fallbacks": [], "elements": elements}
    (forecast / "outlook.json").write_text(json.dumps(about))
    (forecast / "coverage.csv").write_text(
        "day,kind,periods_counted,periods_inside\n"
        "2016-07-22,load,96,72\n2016-07-23,load,96,81\n2016-07-22,wind,96,0\n2016-07-23,wind,0,0\n"
    )
    (forecast / "day_coverage.csv").write_text(
        "kind,series,values_counted,values_inside\nload,3,288,216\nwind,1,0,0\n"
    )
    return copied_day


@pytest.fixture
def told(told_day: Path) -> DayView:
    return read_day_folder(told_day)


def test_probabilities_and_megawatts_stand_in_their_row_and_period(told: DayView) -> None:
    outlook = told.outlook
    assert outlook is not None
    assert outlook.elements == ("bus 5, too high", "Line 2")
    assert (outlook.probability[0, 0], outlook.probability[1, 95]) == (0.25, 0.07)
    assert (outlook.need_mw_mean[0, 0], outlook.need_mw_q90[0, 0]) == (0.1, 0.4)
    assert outlook.probability.sum() == pytest.approx(0.32)


def test_coverage_is_told_by_kind_for_the_day_its_series_and_days_before(told: DayView) -> None:
    lines = {line[0]: line[2:] for line in band_lines(told)}
    assert lines["Load"] == ("75 % of 3 series", "80 % over 2 days")
    assert lines["Wind"] == ("no value of 1 series", "0 % over 2 days")


def test_the_plots_are_plotlys_and_the_page_holds_them(told: DayView, told_day: Path) -> None:
    figures = {figure.name: figure for figure in expectation_figures(told)}
    assert {"outlook", "bands-held", "forecast-load"} <= set(figures)
    for figure in figures.values():
        plain = json.loads(
            re.sub(r'"@[a-z0-9-]+"', '"#123456"', json.dumps(figure.specification()))
        )
        go.Figure(data=plain["data"], layout=plain["layout"])
        for traces in plain["choices"]:
            go.Figure(data=traces)
    heat = figures["outlook"].traces[0]
    assert heat["z"][0][0] == 25.0  # type: ignore[index]
    assert heat["z"][0][1] is None  # type: ignore[index]
    assert heat["zmax"] == 30.0
    text = PageReader(build_report(told_day).decode()).text
    assert "Bands and their coverage" in text
    assert "Congestion outlook at the day-ahead gate" in text


def test_a_day_on_which_nothing_may_break_says_so(told_day: Path) -> None:
    (told_day / "forecast/outlook.csv").write_text(HEADER)
    (told_day / "forecast/outlook.json").write_text('{"scenarios": 100, "elements": []}')
    text = PageReader(build_report(told_day).decode()).text
    assert "none of 100 joint scenarios broke a limit" in " ".join(text.split())


def test_a_day_run_before_there_was_an_outlook_still_has_its_page(copied_day: Path) -> None:
    day = read_day_folder(copied_day)
    assert (day.outlook, day.bands) == (None, ())
    assert {figure.name for figure in expectation_figures(day)} == {
        f"forecast-{each.kind}" for each in day.forecasts
    }


def test_rows_of_another_day_or_element_are_refused(told_day: Path) -> None:
    path = told_day / "forecast/outlook.csv"
    path.write_text(
        path.read_text()
        + f"bus,6,upper,{FIRST},1.05,1.04,pu,0.25,0.1,0.4\n"
        + "bus,5,upper,2016-07-26T22:00:00Z,1.05,1.04,pu,0.25,0.1,0.4\n"
        + f"bus,5,upper,{FIRST},1.05,1.04,pu,likely,0.1,0.4\n"
    )
    with pytest.raises(InputError) as caught:
        read_day_folder(told_day)
    assert [f"outlook.csv row {row}" in str(caught.value) for row in (4, 5, 6)] == [True] * 3
