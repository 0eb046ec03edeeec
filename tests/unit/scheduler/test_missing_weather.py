"""A feeder forecast by the weather: with it, and where it is missing, late or implausible."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.records.forecast import Forecast
from dso.bootstrap import load_grid
from dso.clock import ReplayClock
from dso.cycles import past_coverage, weather_forecast
from dso.cycles.forecast_files import read_forecast
from dso.cycles.plan import DayPlan, plan_day
from dso.cycles.stage_forecast import make_day_ahead_forecast, write_weather_state
from dso.scheduler.alarms import Alarms
from dso.scheduler.metrics import Watch
from dso.scheduler.worker import Worker, WorkerRules
from tests.support.small_market import FEEDER, write_configs
from tests.support.weather_file import Fault, write_weather_file
from tests.unit.scheduler.conftest import DAY, GATE, GRIDS, Market, open_market

NAME = "missing_weather"
WEATHER = '\nforecast_model = "weather"\n'
FILES = '\n[weather]\nfiles = ["weather.csv"]\n'


@pytest.fixture(autouse=True)
def few_trees_and_days(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = replace(weather_forecast.RULE, trees=12, learning_rate=0.3)
    monkeypatch.setattr(weather_forecast, "RULE", rule)
    # Every past day is a forecast of its own: three tell as much of the path as fourteen.
    monkeypatch.setattr(past_coverage, "PAST_DAYS", 3)


@pytest.fixture
def feeder(tmp_path: Path) -> Callable[..., Any]:
    """Open a market whose feeder asks for weather, with its file or without."""

    @contextmanager
    def opened(fault: Fault | None, *, there: bool = True) -> Iterator[Market]:
        configs = write_configs(tmp_path / "configs")
        path = configs / "feeders" / f"{FEEDER}.toml"
        own = path.read_text().replace('\nmarket = "four', WEATHER + 'market = "four')
        path.write_text(own + FILES)
        with open_market(tmp_path, configs) as market:
            if there:
                write_weather_file(path.with_name("weather.csv"), plan_of(market), fault)
            yield market

    return opened


@pytest.fixture
def forecast(feeder: Callable[..., Any]) -> Callable[..., Any]:
    """Run the forecast of such a market."""

    @contextmanager
    def run(fault: Fault | None, *, there: bool = True) -> Iterator[Market]:
        with feeder(fault, there=there) as market:
            market.operation.insert_due(GATE, since=DAY, until=DAY)
            clock = ReplayClock(at=GATE)
            rules = WorkerRules(name="w")
            worker = Worker(market.operation, clock=clock, rules=rules, alarms=Alarms())
            assert worker.run_one()
            yield market

    return run


def said(market: Market, name: str = "forecast.json") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((market.day / "forecast" / name).read_text())
    return loaded


def missing(market: Market) -> str:
    """Return the sentence of the fallback, seen in the result, the store and the metrics."""
    (found,) = [text for text in said(market)["fallbacks"] if text.startswith(NAME)]
    assert market.operation.queue.fallbacks()["forecast", NAME] == 1
    text = Watch(market.operation, ReplayClock(at=GATE)).metrics().decode()
    line = f'gridclear_fallbacks_total{{cycle="forecast",name="{NAME}"}} 1.0'
    assert line in text.splitlines()
    row = market.row("forecast")
    assert row["state"] == "done"
    assert row["light"] in ("green", "yellow")  # as its medians say
    return str(found)


def plan_of(market: Market) -> DayPlan:
    found, rules = market.operation.rules_on(FEEDER, DAY)
    grid = GRIDS.setdefault(found.network, load_grid(found))
    return plan_day(day=DAY, out=market.day, feeder=found, rules=rules, grid=grid)


def pv_error(plan: DayPlan, made: Forecast) -> float:
    """Return the mean error of the median of the plants' total [MW]."""
    actual = plan.recorded.values_mw()[-96:, plan.recorded.series.index("total:renewables")]
    median = made.median_mw()[made.series.index("total:renewables")]
    return float(np.abs(median - actual).mean())


def test_with_weather_plants_follow_it(forecast: Callable[..., Any]) -> None:
    with forecast(None) as market:
        assert not [text for text in said(market)["fallbacks"] if text.startswith(NAME)]
        assert ("forecast", NAME) not in market.operation.queue.fallbacks()
        assert "physical-pv/1" in said(market)["model"]
        weather = said(market, "weather.json")
        assert (weather["state"], weather["columns"]) == ("good", ["ghi_w_per_m2"])
        (source,) = weather["sources"]
        assert source["issued_at"] == "2016-07-24T03:00:00Z"
        assert len(source["sha256"]) == 64
        # bands of the past were made by the same model, none by the day itself
        assert "renewables" in (market.day / "forecast/coverage.csv").read_text()
        plan = plan_of(market)
        made = read_forecast(market.day / "forecast", plan.periods)
        like_days = replace(plan, feeder=replace(plan.feeder, forecast_model="like-day"))
        assert pv_error(plan, made) < 0.5 * pv_error(plan, make_day_ahead_forecast(like_days))


def test_no_file(forecast: Callable[..., Any]) -> None:
    with forecast(None, there=False) as market:
        assert missing(market) == (
            f"{NAME}: pv: weather.csv: no such file; like-day/1 serves, with wider bands"
        )
        assert said(market, "weather.json")["state"] == "missing"
        market.work(GATE)
        assert market.row("day_ahead")["state"] == "done"  # the market goes on


def test_a_late_issue_serves_with_wider_bands(forecast: Callable[..., Any]) -> None:
    with forecast(Fault(issued_until=GATE - timedelta(hours=26))) as market:
        assert missing(market) == (
            f"{NAME}: pv: issued 2016-07-23T03:00:00Z, 32.5 h before the gate;"
            " last good model physical-pv/1 on it, bands 1.09 times as wide"
        )
        assert said(market, "weather.json")["state"] == "late"


def test_an_issue_that_does_not_reach(feeder: Callable[..., Any]) -> None:
    with feeder(Fault(issued_until=GATE - timedelta(days=4))) as market:
        made = make_day_ahead_forecast(plan_of(market))
        assert (
            f"{NAME}: pv: 100% of the periods ahead without a value;"
            " like-day/1 serves, with wider bands"
        ) in made.fallbacks


def test_implausible_values_are_no_weather(feeder: Callable[..., Any], tmp_path: Path) -> None:
    with feeder(Fault(implausible_on=date(2016, 7, 24))) as market:
        plan = plan_of(market)
        (found,) = [
            text for text in make_day_ahead_forecast(plan).fallbacks if text.startswith(NAME)
        ]
        assert "values implausible for their unit; like-day/1 serves" in found
        write_weather_state(plan, tmp_path)
        state = json.loads((tmp_path / "weather.json").read_text())
        assert state["state"] == "missing"
        assert state["sources"][0]["left_out"] > 0
