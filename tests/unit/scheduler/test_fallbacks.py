"""What goes wrong ends in its named fallback and light, in the result and in the metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from data.records.clearing import ClearingResult
from dso.clock import ReplayClock
from dso.cycles import stage_clearing
from dso.scheduler.metrics import Watch
from tests.unit.scheduler.conftest import DAY, GATE, MINUTE, START, Market

HOLDS = "the positions of before hold"


def summary(market: Market, folder: str = "clearing") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((market.day / folder / "summary.json").read_text())
    return loaded


def fallbacks(market: Market) -> dict[tuple[str, str], int]:
    return {
        key: count
        for key, count in market.operation.queue.fallbacks().items()
        if key[1] != "thin_history"
    }


def metric(market: Market, line: str) -> bool:
    text = Watch(market.operation, ReplayClock(at=GATE)).metrics().decode()
    return line in text.splitlines()


def test_a_day_ahead_clearing_in_time_is_yellow_and_needs_no_fallback(market: Market) -> None:
    assert market.work(GATE) == 1
    row = market.row("day_ahead")
    assert (row["state"], row["light"], row["remark"]) == ("done", "yellow", "")
    assert fallbacks(market) == {}
    assert metric(market, 'gridclear_cycles{cycle="day_ahead",light="yellow",state="done"} 1.0')
    assert metric(market, 'gridclear_clearings{certified="yes",cycle="day_ahead"} 1.0')
    assert metric(market, 'gridclear_clearing_seconds_bucket{cycle="day_ahead",le="+Inf"} 1.0')


def test_missing_readings(fresh: Callable[..., Any]) -> None:
    stopped = GATE - timedelta(hours=30)
    with fresh(received_until=stopped) as market:
        market.operation.insert_due(GATE, since=DAY, until=DAY)
        market.work(GATE)
        assert market.row("forecast")["remark"] == ""
        said = json.loads((market.day / "forecast/forecast.json").read_text())["fallbacks"]
        assert said[0] == (
            "missing_readings: none received since 2016-07-23T05:30:00Z, 30 h before the gate;"
            " older ones taken"
        )
        assert fallbacks(market) == {("forecast", "missing_readings"): 1}
        assert metric(
            market, 'gridclear_fallbacks_total{cycle="forecast",name="missing_readings"} 1.0'
        )
        assert market.row("day_ahead")["state"] == "done"


def test_a_solver_out_of_time(market: Market) -> None:
    market.work(GATE, limit_s=0.0)
    row = market.row("day_ahead")
    assert (row["state"], row["light"]) == ("done", "orange")
    said = summary(market)
    assert said["status"] == "uncertified"
    assert said["message"] == "solver_timeout: the time of the clearing was over"
    assert (market.day / "clearing/trades.csv").read_text().count("\n") == 1
    assert fallbacks(market) == {("day_ahead", "solver_timeout"): 1}
    assert metric(market, 'gridclear_fallbacks_total{cycle="day_ahead",name="solver_timeout"} 1.0')
    assert metric(market, 'gridclear_clearings{certified="no",cycle="day_ahead"} 1.0')
    assert json.loads(market.alarms.read_text())["rules"] == ["orange"]
    # the round sells everything that the day-ahead market did not
    market.work(START - 30 * MINUTE)
    assert market.row("intraday")["state"] == "done"


def test_an_uncertified_clearing(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    whole = stage_clearing.clear_case

    def uncertified(*arguments: Any, **options: Any) -> ClearingResult:
        return dataclasses.replace(whole(*arguments, **options), status="uncertified")

    market.work(GATE)
    monkeypatch.setattr(stage_clearing, "clear_case", uncertified)
    market.work(START - 30 * MINUTE)
    row = market.row("intraday")
    assert (row["state"], row["light"]) == ("done", "orange")
    notes = json.loads((market.day / "forecast/intraday/20160724T2200Z.json").read_text())
    assert f"uncertified: {HOLDS}" in notes["fallbacks"]
    assert fallbacks(market)["intraday", "uncertified_clearing"] >= 1
    assert metric(market, 'gridclear_cycles{cycle="intraday",light="orange",state="done"} 1.0')


def test_a_clearing_that_fails_again_and_again(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> ClearingResult:
        raise ZeroDivisionError("the solver is broken")

    monkeypatch.setattr(stage_clearing, "clear_case", fail)
    assert market.work(GATE) == 4  # three attempts, then the fallback
    row = market.row("day_ahead")
    assert (row["state"], row["light"], row["attempt"]) == ("done", "orange", 4)
    assert summary(market)["message"] == "failed: 3 attempts failed"
    assert fallbacks(market) == {("day_ahead", "failed"): 1}
    attempts = [row for row in market.operation.queue.attempts() if row["outcome"] == "failed"]
    assert {row["reason"] for row in attempts} == {"ZeroDivisionError: the solver is broken"}
    assert metric(market, 'gridclear_attempts_total{cycle="day_ahead",outcome="failed"} 3.0')


def test_what_has_no_fallback_is_red_and_does_not_stop_the_lane(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dso.scheduler import worker

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(worker, "perform_cycle", fail)
    market.work(START + timedelta(days=1))
    rows = [
        row
        for row in market.operation.queue.states()
        if row["lane"] == "market"
        and row["cycle"] != "forecast_update"  # the last forecast is its fallback
        and row["due_at"] <= "2016-07-25T22:00:00Z"
    ]
    assert {(row["state"], row["light"]) for row in rows[1:]} == {("failed", "red")}
    health = Watch(market.operation, ReplayClock(at=START)).health()
    assert health.red > 0
    assert any("without a fallback" in problem for problem in health.problems)
    alarms = [json.loads(line) for line in market.alarms.read_text().splitlines()]
    assert any("red" in alarm["rules"] for alarm in alarms)


def test_a_cycle_that_missed_its_time_runs_late_and_says_so(market: Market) -> None:
    market.work(GATE + 20 * MINUTE)
    row = market.row("day_ahead")
    assert (row["state"], row["light"]) == ("done", "yellow")
    assert row["remark"] == "late: began 1200 s after it was due"
    assert metric(market, "gridclear_late_cycles_total 1.0")


def test_a_clearing_whose_delivery_began_is_skipped_by_rule(market: Market) -> None:
    market.work(START + MINUTE)
    for cycle in ("day_ahead", "intraday"):
        row = market.row(cycle)
        assert (row["state"], row["light"]) == ("skipped", "orange"), cycle
        assert "skipped: its delivery began before it did" in str(row["remark"])
    assert summary(market)["message"] == "skipped: its delivery began before it did"
    told = market.row("real_time")
    assert told["state"] in ("done", "skipped")
    before = market.operation.queue.states()
    market.work(START + MINUTE)  # never twice
    assert market.operation.queue.states() == before


def test_setpoints_of_a_period_that_is_over_are_not_told(market: Market) -> None:
    market.work(GATE)
    market.work(START + 40 * MINUTE)
    states = [market.row("real_time", number)["state"] for number in range(3)]
    assert states == ["skipped", "skipped", "done"]


def test_forecasts_by_the_clock_take_the_newest_readings_in(market: Market) -> None:
    market.work(GATE)
    gate = START - 30 * MINUTE
    market.work(gate)
    row = market.row("forecast_update")
    assert (row["state"], row["light"]) == ("done", "green")
    made = json.loads((market.day / "forecast/updates/20160724T2130Z/forecast.json").read_text())
    assert made["known_at"] == row["due_at"] == "2016-07-24T21:30:00Z"
    # at the same gate the round rests on the same readings
    notes = json.loads((market.day / "forecast/intraday/20160724T2200Z.json").read_text())
    assert (notes["model"], notes["known_at"]) == (made["model"], made["known_at"])


def test_the_last_forecast_holds_where_a_new_one_fails(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data.errors import InputError, Problem
    from dso.cycles import stage_forecast

    def refuse(**_: Any) -> None:
        raise InputError([Problem(where="readings", what="all of one hour")])

    monkeypatch.setattr(stage_forecast, "forecast_intraday", refuse)
    market.work(GATE)
    market.work(START - 30 * MINUTE)
    row = market.row("forecast_update")
    assert (row["state"], row["light"]) == ("failed", "orange")
    # the round goes on with the forecast of the day before, and says so
    assert market.row("intraday")["state"] == "done"
    notes = json.loads((market.day / "forecast/intraday/20160724T2200Z.json").read_text())
    assert (
        "last_forecast: readings: all of one hour; that of 2016-07-24T11:30:00Z taken"
        in notes["fallbacks"]
    )
    found = fallbacks(market)
    assert found["forecast_update", "last_forecast"] == found["intraday", "last_forecast"] == 1
    assert metric(market, 'gridclear_fallbacks_total{cycle="intraday",name="last_forecast"} 1.0')


def test_of_forecasts_that_were_missed_only_the_last_is_made(market: Market) -> None:
    market.work(GATE)
    market.work(START - 30 * MINUTE + timedelta(hours=3))
    states = [market.row("forecast_update", number)["state"] for number in range(2)]
    assert states == ["skipped", "done"]
    assert fallbacks(market)["forecast_update", "last_forecast"] == 1
