"""Forecasts that parties handed in serve in the market where the feeder's file says so."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.canonical import canonical_json, sha256_hex
from data.errors import InputError
from data.periods import format_utc
from dso.bootstrap import open_services
from dso.clock import ReplayClock
from dso.config import ForecastSources, load_feeder
from dso.cycles import past_coverage
from dso.cycles.forecast_files import read_forecast
from dso.cycles.plan import plan_day
from dso.cycles.received_forecasts import judge_received, received_sha256
from dso.cycles.stage_forecast import make_day_ahead_forecast, run_forecast
from dso.cycles.stages import Desk
from dso.progress import SilentProgress
from dso.scheduler.metrics import Watch
from dso.scheduler.operation import Operation
from dso.store import Store
from dso.store.received_forecasts import NewForecast, add_received_forecast
from dso.store.register import Register
from dso.store.register_records import ConnectionPoint, Mandate
from tests.support.small_market import FEEDER, hashed_files, write_configs
from tests.unit.scheduler.conftest import DAY, GATE, GRIDS, START, Market, open_market

HOUR = timedelta(hours=1)
SOURCES = f"""
[forecast_sources]
age_h_max = 12.0
[forecast_sources.by_class]
pv = "mandate"
[forecast_sources.by_connection]
"{FEEDER}/sgen:6" = "own"
"{FEEDER}/load:0" = "met-office"
"{FEEDER}/load:1" = "default-supplier"
"{FEEDER}/cp-9" = "mandate"
"""
# What was handed in of which plant, and why ours serves.
WHY = {
    "sgen:0": [],
    "sgen:1": ["none was received before the gate"],
    "sgen:2": ["1 of 96 periods are without a value"],
    "sgen:3": ["issued 12.5 h before the gate, more than 12 h"],
    "sgen:4": [],
    "sgen:5": ["its quantiles cross in 2 periods"],
    "load:1": ["3 periods are outside 0 to {rated:g} MW"],
    "load:0": ["met-office may not trade for it"],
    f"{FEEDER}/cp-9": ["is no connection point of the register"],
}


def content(watts: list[int], *, first: datetime = START, minutes: int = 15) -> dict[str, Any]:
    values = [
        {"period_start": format_utc(first + k * timedelta(minutes=minutes)),
         "q10_w": each // 2, "q50_w": each, "q90_w": None}
        for k, each in enumerate(watts)
    ]  # fmt: skip
    return {"period_minutes": minutes, "values": values}


def hand_in(
    store: Store, asset: str, said: dict[str, Any], *, party: str = "agent",
    issued: datetime = GATE - HOUR, received: datetime = GATE - timedelta(seconds=1),
) -> None:  # fmt: skip
    text = canonical_json(said).decode()
    new = NewForecast(
        party=party, source="model 7", asset=f"{FEEDER}/{asset}", issued_at=format_utc(issued),
        received_at=format_utc(received), sha256=sha256_hex((asset + text).encode()),
        periods=len(said["values"]), left_out=0, content=text,
    )  # fmt: skip
    with store.transaction() as connection:
        add_received_forecast(connection, new)


def rated_w(store: Store, name: str) -> int:
    with store.transaction() as connection:
        points = Register(ConnectionPoint).history(connection, f"{FEEDER}/{name}")
    return max(points[-1].export_w_max, points[-1].import_w_max)


def let_trade(store: Store, names: tuple[str, ...]) -> None:
    """Give ``agent`` the mandate of each plant's owner."""
    with store.transaction() as connection:
        for name in names:
            point = Register(ConnectionPoint).history(connection, f"{FEEDER}/{name}")[-1]
            Register(Mandate).add(
                connection,
                [Mandate(id=f"m-{name}", grantor=point.party, agent="agent",
                         connection_point=point.id, scope="trade", valid_from=GATE - HOUR,
                         known_at=GATE - HOUR)],
            )  # fmt: skip


def fill(store: Store) -> list[int]:
    """Hand in what `WHY` tells of; return the median of the plant that serves [W]."""
    let_trade(store, tuple(f"sgen:{k}" for k in range(6)))
    top = min(rated_w(store, f"sgen:{k}") for k in range(6))
    sun = [round(top * max(0.0, np.sin(np.pi * (k - 24) / 56))) for k in range(96)]
    hand_in(store, "sgen:0", content([0] * 96), issued=GATE - 2 * HOUR)  # an older one
    hand_in(store, "sgen:0", content(sun))
    hand_in(store, "sgen:1", content(sun), received=GATE)  # at the gate is too late
    hand_in(store, "sgen:1", content(sun), party="stranger")
    hand_in(store, "sgen:2", content(sun[:-1]))
    hand_in(store, "sgen:2", content(sun), issued=GATE - 2 * HOUR)  # no older one stands in
    hand_in(store, "sgen:3", content(sun), issued=GATE - 12.5 * HOUR)
    crossing = content(sun)
    for value in crossing["values"][40:42]:
        value["q10_w"] = value["q50_w"] + 1
    hand_in(store, "sgen:5", crossing)
    hand_in(store, "sgen:4", content([1000] * 24, minutes=60))
    hand_in(store, "load:0", content([1] * 96), party="met-office")
    hand_in(store, "load:1", content([10**9] * 3 + [1] * 93), party="default-supplier")
    return sun


@dataclass
class Known:
    market: Market
    median_w: list[int]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """A market with those forecasts that has cleared the day ahead."""
    folder = tmp_path_factory.mktemp("received")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(past_coverage, "PAST_DAYS", 3)  # each a forecast of its own
        with open_market(folder, configs_with(folder)) as market:
            market.operation.insert_due(GATE - HOUR, since=DAY, until=DAY)  # enters the register
            median_w = fill(market.operation.services.store)
            market.work(GATE)
            yield Known(market=market, median_w=median_w)


def configs_with(folder: Path, sources: str = SOURCES) -> Path:
    configs = write_configs(folder / "configs")
    path = configs / f"feeders/{FEEDER}.toml"
    path.write_text(path.read_text() + sources)
    return configs


def desk_of(market: Market) -> Desk:
    feeder, rules = market.operation.rules_on(FEEDER, DAY)
    plan = plan_day(day=DAY, out=market.day, feeder=feeder, rules=rules, grid=GRIDS[feeder.network])
    return Desk(plan=plan, services=market.operation.services, progress=SilentProgress())


def rows(path: Path, series: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["series"] == series]


def test_the_market_rests_on_what_was_handed_in(known: Known) -> None:
    """It fails if the values are ignored: in the forecast, and in what the market clears."""
    day = known.market.day
    told = rows(day / "forecast/forecast.csv", "sgen:0")
    median_mw = [w / 1e6 for w in known.median_w]
    assert [float(row["q50"]) for row in told] == median_mw
    assert [float(row["q10"]) for row in told] == [w // 2 / 1e6 for w in known.median_w]
    assert all(float(row["q10"]) <= float(row["q30"]) <= float(row["q50"]) for row in told)
    orders = json.loads((day / "clearing/orders.json").read_text())
    (order,) = [each for each in orders if each.get("asset") == "sgen:0"]
    np.testing.assert_allclose(order["p_mw_max"], median_mw, atol=1e-12)
    hourly = rows(day / "forecast/forecast.csv", "sgen:4")
    assert {float(row["q50"]) for row in hourly} == {0.001}
    assert known.market.row("day_ahead")["state"] == "done"
    used = rows(day / "forecast/received.csv", "sgen:0")
    assert [float(row["q50_mw"]) for row in used] == median_mw
    assert {row["q90_mw"] for row in used} == {""}


def test_what_fails_falls_back_by_name_in_result_store_and_metrics(known: Known) -> None:
    market = known.market
    said = json.loads((market.day / "forecast/received.json").read_text())
    assert said["known_at"] == "2016-07-24T11:30:00Z"
    found = {each["series"]: each for each in said["series"]}
    rated = rated_w(market.operation.services.store, "load:1") / 1e6
    for series, why in WHY.items():
        assert found[series]["why"] == [each.format(rated=rated) for each in why], series
        assert found[series]["serves"] == (not why)
    assert "sgen:6" not in found  # its connection keeps to ours
    assert "load:2" not in found
    assert found["sgen:0"]["party"] == "agent"
    assert found["sgen:0"]["stated_source"] == "model 7"
    assert 0 <= found["sgen:0"]["outside_our_band"] <= 1
    texts = json.loads((market.day / "forecast/forecast.json").read_text())["fallbacks"]
    mine = [text for text in texts if text.startswith("missing_forecast: ")]
    assert (
        "missing_forecast: sgen:3 of mandate: issued 12.5 h before the gate, more than 12 h;"
        " like-day-and-clear-sky/1 serves"
    ) in mine
    assert market.operation.queue.fallbacks()["forecast", "missing_forecast"] == len(mine)
    metrics = Watch(market.operation, ReplayClock(at=GATE)).metrics().decode()
    name = 'gridclear_fallbacks_total{cycle="forecast",name="missing_forecast"}'
    assert f"{name} {len(mine)}.0" in metrics.splitlines()


def test_totals_move_by_the_medians_and_the_rest_is_ours(known: Known) -> None:
    desk = desk_of(known.market)
    own = make_day_ahead_forecast(desk.plan)
    made = read_forecast(known.market.day / "forecast", desk.plan.periods)
    moved = made.median_mw() - own.median_mw()
    plants = [k for k, name in enumerate(own.series) if name in ("sgen:0", "sgen:4")]
    total = own.series.index("total:renewables")
    wanted = np.maximum(own.median_mw()[total] + moved[plants].sum(axis=0), 0.0)
    np.testing.assert_allclose(made.median_mw()[total], wanted, atol=1e-9)
    others = [k for k in range(len(own.series)) if k not in (*plants, total)]
    np.testing.assert_allclose(made.value_mw[others], own.value_mw[others], atol=1e-9)
    assert made.model_id == f"{own.model_id} and received/1"


def test_later_forecasts_change_nothing_and_an_input_is_an_input(known: Known) -> None:
    desk, store = desk_of(known.market), known.market.operation.services.store
    before = hashed_files(known.market.day)
    done = desk.output_of("forecast")
    hand_in(store, "sgen:1", content([2000] * 96), received=GATE + HOUR)
    assert run_forecast(desk) == done
    assert hashed_files(known.market.day) == before
    # what was received before the gate is part of the run: it cannot be put under it afterwards
    hand_in(store, "sgen:1", content([3000] * 96))
    with pytest.raises(InputError, match="done on input"):
        run_forecast(desk)


@pytest.mark.service
def test_both_databases_find_the_same(known: Known, postgres_url: str, tmp_path: Path) -> None:
    found = []
    for number, url in enumerate((None, postgres_url)):
        out = tmp_path / str(number)
        with closing(open_services(url, out=out, keys=tmp_path / "keys")) as services:
            site = replace(known.market.operation.site, out=out)
            Operation(site, services, GRIDS).insert_due(GATE - HOUR, since=DAY, until=DAY)
            fill(services.store)
            judged = judge_received(replace(desk_of(known.market), services=services))
            found.append(received_sha256(judged))
            assert sum(each.serves for each in judged) == 2
    assert found[0] == found[1]


def test_a_whole_feeder_may_follow_one_party(tmp_path: Path) -> None:
    wanted = '[forecast_sources]\nfeeder = "met-office"\nby_class = { wind = "own" }\n'
    sources = load_feeder(FEEDER, DAY, folder=configs_with(tmp_path, wanted)).forecast_sources
    assert sources.asks
    assert [sources.source_of(None, kind) for kind in ("load", "pv", "wind")] == [
        "met-office", "met-office", "own",
    ]  # fmt: skip
    assert not ForecastSources().asks
    path = tmp_path / f"configs/feeders/{FEEDER}.toml"
    path.write_text(path.read_text() + 'age_h_max = 0.0\n[forecast_sources.by_class]\nsun = "x"\n')
    with pytest.raises(InputError) as refused:
        load_feeder(FEEDER, DAY, folder=tmp_path / "configs")
    assert refused.value.problems
