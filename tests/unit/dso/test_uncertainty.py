"""What a forecast does not know, carried to the limits of a real feeder."""

from __future__ import annotations

import csv
import dataclasses
import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from data.readers.simbench import load_simbench
from data.records.clearing import ClearingCase
from data.records.forecast import Forecast
from dso.config import load_feeder, load_market
from dso.cycles.case import Book, expected_profiles, make_case
from dso.cycles.past_coverage import (
    COVERAGE_CSV,
    DAY_COVERAGE_CSV,
    PAST_DAYS,
    write_day_coverage,
    write_past_coverage,
)
from dso.cycles.plan import DayPlan, plan_day
from dso.cycles.stage_forecast import make_day_ahead_forecast
from dso.cycles.uncertainty import (
    SCENARIOS,
    held_assets,
    injection_deviation,
    joint_scenarios,
    outlook_of,
    secured_case,
)
from flexibility.offers import make_orders
from forecasting.scenarios import Scenarios

CODE, DAY = "1-MV-rural--2-sw", date(2016, 7, 25)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> DayPlan:
    return plan_day(
        day=DAY,
        out=tmp_path_factory.mktemp("plan") / "out",
        feeder=load_feeder(CODE, DAY),
        rules=load_market("local-energy", DAY),
        grid=load_simbench(CODE),
    )


@pytest.fixture(scope="module")
def forecast(plan: DayPlan) -> Forecast:
    return make_day_ahead_forecast(plan)


@pytest.fixture(scope="module")
def scenarios(plan: DayPlan, forecast: Forecast) -> Scenarios:
    return joint_scenarios(plan, forecast, plan.day_ahead_gate)


def test_scenarios_are_of_elements_alone_and_the_same_every_time(
    plan: DayPlan, forecast: Forecast, scenarios: Scenarios
) -> None:
    again = joint_scenarios(plan, forecast, plan.day_ahead_gate)
    assert scenarios.value_mw.tobytes() == again.value_mw.tobytes()
    assert all(name.startswith(("load:", "sgen:")) for name in scenarios.series)
    assert scenarios.value_mw.min() >= 0.0


def test_the_forecast_is_not_made_of_what_came_later(plan: DayPlan, forecast: Forecast) -> None:
    """Readings after the gate may be anything: neither outlook nor coverage of past days moves."""
    recorded = plan.recorded
    count = (plan.day_ahead_gate - recorded.periods.start) // recorded.periods.mtu
    power = dataclasses.replace(
        recorded.power,
        load_p_mw=np.vstack(
            [recorded.power.load_p_mw[:count], recorded.power.load_p_mw[count:] * 9]
        ),
    )
    other = dataclasses.replace(plan, recorded=dataclasses.replace(recorded, power=power))
    _, files = outlook_of(plan, forecast)
    _, leaked = outlook_of(other, make_day_ahead_forecast(other))
    assert files == leaked


def test_deviations_are_what_elements_do_beyond_the_expected(
    plan: DayPlan, forecast: Forecast, scenarios: Scenarios
) -> None:
    gate = plan.day_ahead_gate
    profiles = expected_profiles(plan, forecast, gate)
    every = injection_deviation(plan, scenarios, profiles, gate)
    generators = frozenset(name for name in scenarios.series if name.startswith("sgen:"))
    loads = frozenset(scenarios.series) - generators
    held = injection_deviation(plan, scenarios, profiles, gate, fixed=loads, held=generators)
    assert held.real.max() <= 0.0
    assert held.real.min() < -1.0
    rows = [k for k, name in enumerate(scenarios.series) if name in generators]
    total = scenarios.value_mw[:, rows].sum(axis=1) - profiles.sgen_p_mw.sum(axis=1)
    free = injection_deviation(plan, scenarios, profiles, gate, fixed=loads)
    np.testing.assert_allclose(free.real.sum(axis=1), total, atol=1e-9)
    only_loads = injection_deviation(plan, scenarios, profiles, gate, fixed=generators)
    np.testing.assert_allclose(every, free + only_loads, atol=1e-12)


def test_the_outlook_lists_what_may_break_and_sums_it_up(plan: DayPlan, forecast: Forecast) -> None:
    outlook, files = outlook_of(plan, forecast)
    assert outlook is not None
    rows = list(csv.DictReader(files["outlook.csv"].decode().splitlines()))
    about = json.loads(files["outlook.json"])
    assert about["scenarios"] == SCENARIOS
    assert about["fallbacks"] == []
    assert len(rows) == int((outlook.probability > 0.0).sum()) > 0
    assert sum(float(row["probability"]) for row in rows) == pytest.approx(
        outlook.probability.sum()
    )
    first = about["elements"][0]
    own = [row for row in rows if row["element"] == str(first["element"])]
    assert max(float(row["probability"]) for row in own) == first["probability_max"]
    assert first["name"] == "MV1.101 Bus 15"


def test_rules_without_margins_leave_the_case_alone(plan: DayPlan, forecast: Forecast) -> None:
    case = day_ahead_case(plan, forecast)
    assert secured_case(plan, case, forecast, plan.day_ahead_gate) == (case, {})
    asked = dataclasses.replace(plan, rules=dataclasses.replace(plan.rules, margin_quantile=0.9))
    drawn, notes = secured_case(asked, case, forecast, plan.day_ahead_gate)
    assert notes == {"margin_quantile": 0.9, "fallbacks": []}
    assert drawn.margins is not None
    assert drawn.margins.vm_pu_upper.max() > 0.001


def test_every_generator_of_the_book_is_held(plan: DayPlan, forecast: Forecast) -> None:
    case = day_ahead_case(plan, forecast)
    sgens = plan.network.sgens
    on = {f"sgen:{i}" for i, here in zip(sgens.index, sgens.in_service, strict=True) if here}
    assert held_assets(case.orders) == on


def day_ahead_case(plan: DayPlan, forecast: Forecast) -> ClearingCase:
    orders = make_orders(
        network=plan.network, forecast=forecast, periods=plan.periods, policy=plan.feeder.offers
    )
    profiles = expected_profiles(plan, forecast, plan.day_ahead_gate)
    book = Book(orders=orders)
    return make_case(plan, name="t", periods=plan.periods, profiles=profiles, book=book)


def test_past_bands_are_those_of_whole_days_before_the_gate(plan: DayPlan, tmp_path: Path) -> None:
    write_past_coverage(plan, tmp_path)
    rows = list(csv.DictReader((tmp_path / COVERAGE_CSV).read_text().splitlines()))
    days = sorted({row["day"] for row in rows})
    assert (len(days), days[0], days[-1]) == (PAST_DAYS, "2016-07-10", "2016-07-23")
    loads = [row for row in rows if row["kind"] == "load"]
    assert {row["periods_counted"] for row in loads} == {"96"}
    held = sum(int(row["periods_inside"]) for row in loads) / (96 * PAST_DAYS)
    assert 0.6 < held < 0.95


def test_the_days_own_bands_count_single_series(
    plan: DayPlan, forecast: Forecast, tmp_path: Path
) -> None:
    write_day_coverage(forecast, plan.recorded, tmp_path)
    lines = (tmp_path / DAY_COVERAGE_CSV).read_text().splitlines()
    rows = {row["kind"]: row for row in csv.DictReader(lines)}
    assert int(rows["load"]["series"]) == int(plan.network.loads.in_service.sum())
    night_left_out = int(rows["renewables"]["values_counted"])
    assert night_left_out < int(rows["renewables"]["series"]) * 96
    assert all(int(row["values_inside"]) <= int(row["values_counted"]) for row in rows.values())
