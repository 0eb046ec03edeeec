"""A worked example for each baseline method, its source named; frozen at the gate; real households.

Where a source states the rule without numbers, the numbers are computed by hand in the test.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.periods import DeliveryDay, Periods
from flexibility.baselines import (
    Baseline,
    BaselineInputs,
    BaselineMethod,
    DayAverage,
    DropTo,
    FixedProfile,
    LocalTable,
    MeterBeforeAfter,
    NominatedSchedule,
    SameDayAdjustment,
    TemperatureRegression,
    evaluate_baseline,
    freeze_baseline,
    method_named,
)
from flexibility.baselines.averages import adjust
from flexibility.baselines.methods import Nomination
from tests.support.load_tables import MONDAY, hourly_days, hours, table_of
from tests.support.metered_street import START, households

# Fourteen days from a Monday; the event is on the third Monday, so ten working days lie before it.
LEVELS = [10, 12, 14, 16, 18, 99, 99, 20, 22, 24, 26, 28, 99, 99, 30]
EVENT_DAY = MONDAY + timedelta(days=14)
EVENT = hours(EVENT_DAY, 17, 19)
GATE = EVENT_DAY - timedelta(hours=12)  # noon of the day before


def values(
    method: BaselineMethod, table: LocalTable, event: Periods = EVENT, gate: datetime = GATE,
    **inputs: object,
) -> Baseline:  # fmt: skip
    known = BaselineInputs(table=table, **inputs)  # type: ignore[arg-type]
    frozen = freeze_baseline(method, known, event, gate)
    return evaluate_baseline(frozen, table, event.end + timedelta(days=2))


def mw(method: BaselineMethod, table: LocalTable, **others: object) -> list[float]:
    return values(method, table, **others).withdrawal_mw.round(9).tolist()  # type: ignore[arg-type]


# ---------------------------------------------------------------- a worked example per method


def test_high_five_of_ten() -> None:
    """NYISO: mean of the five highest of the last ten eligible days; numbers by hand.

    Noon of Sunday: Friday's last hours are known, so all ten working days 10..28 count.
    """
    assert mw(method_named("high-5-of-10"), hourly_days(LEVELS, MONDAY)) == [24.0, 24.0]


def test_high_four_of_five() -> None:
    """PJM economic load response: the four highest of the last five days; numbers by hand."""
    assert mw(method_named("high-4-of-5"), hourly_days(LEVELS, MONDAY)) == [25.0, 25.0]


def test_three_of_five_on_a_weekend() -> None:
    """PG&E Power Saver Rewards: on weekends days off are compared; by hand, two weekends known."""
    table = hourly_days([1, 1, 1, 1, 1, 5, 7, 1, 1, 1, 1, 1, 9, 11, 1, 1, 1, 1, 1, 0], MONDAY)
    saturday = MONDAY + timedelta(days=19)
    found = values(
        method_named("high-3-of-5"), table, event=hours(saturday, 17, 18),
        gate=saturday - timedelta(hours=12),
    )  # fmt: skip
    assert found.withdrawal_mw.tolist() == [9.0]  # 7, 9 and 11 of 5, 7, 9 and 11
    assert found.fallbacks == ("4 of 5 eligible days in 45 days",)


def test_middle_eight_of_ten() -> None:
    """ERCOT Middle 8-of-10 Preceding Like Days: highest and lowest dropped; numbers by hand."""
    days = [*LEVELS]
    days[0], days[11] = 0, 1_000  # the extremes do not count
    assert mw(method_named("mid-8-of-10"), hourly_days(days, MONDAY)) == [19.0, 19.0]


def test_rolling_mean_of_five_working_days() -> None:
    """NODES in sthlmflex: the same hour over the five preceding working days; by hand."""
    table = hourly_days(LEVELS, MONDAY)
    assert mw(method_named("rolling-5"), table) == [24.0, 24.0]
    sunday = MONDAY + timedelta(days=13)
    found = mw(
        method_named("rolling-5"), table, event=hours(sunday, 17, 19),
        gate=sunday - timedelta(hours=12),
    )  # fmt: skip
    assert found == [24.0, 24.0]  # working days, although the event is on a Sunday


@pytest.mark.parametrize(("load_kw", "shift_kw"), [(600, 100), (400, 0)])
def test_additive_adjustment_upward_only(load_kw: float, shift_kw: float) -> None:
    """Published numbers of a utility's Flexibility Services Standard Agreement.

    Noon to 1 pm, baseline 500 kW: a load of 600 kW adds 100 kW, one of 400 kW adds 0 ("not
    negative"); the window is the hour that starts two hours before the event.
    """
    rule = SameDayAdjustment(
        kind="additive", window_h=1.0, ends_before_h=1.0, cap=None, upward_only=True
    )
    today = np.full(24, 0.5)
    today[12] = load_kw / 1e3
    table = hourly_days([0.5] * 14 + [today], MONDAY)  # type: ignore[list-item]
    method = DayAverage(pick="all", x=10, y=10, adjustment=rule)
    found = mw(method, table, event=hours(EVENT_DAY, 14, 18))
    assert found == pytest.approx([0.5 + shift_kw / 1e3] * 4)


@pytest.mark.parametrize(("today", "factor"), [(11.0, 1.1), (15.0, 1.2), (5.0, 0.8), (9.5, 0.95)])
def test_multiplicative_adjustment_within_twenty_percent(today: float, factor: float) -> None:
    """CAISO 10-in-10: factor of three of the four hours before, within 0.8 and 1.2; by hand."""
    table = hourly_days([10.0] * 14 + [today], MONDAY)
    method = method_named("all-10-of-10+multiplicative")
    found = values(method, table)
    assert found.frozen.window == hours(EVENT_DAY, 13, 16)
    assert found.withdrawal_mw.tolist() == pytest.approx([10.0 * factor] * 2)


@pytest.mark.parametrize(("today", "shift"), [(11.0, 1.0), (17.0, 2.0), (2.0, -2.0)])
def test_additive_adjustment_with_cap(today: float, shift: float) -> None:
    """Cap of 20 % of the baseline, as MISO's ten-day baseline states it; numbers by hand."""
    table = hourly_days([10.0] * 14 + [today], MONDAY)
    assert mw(method_named("mid-8-of-10+additive"), table) == pytest.approx([10.0 + shift] * 2)


def test_meter_before_meter_after() -> None:
    """E.ON SWITCH: linear between the readings before and after; numbers by hand."""
    day = np.zeros(24)
    day[16], day[19] = 4.0, 10.0
    table = hourly_days([0.0] * 14 + [day], MONDAY)  # type: ignore[list-item]
    assert mw(MeterBeforeAfter(), table) == pytest.approx([6.0, 8.0])
    assert mw(MeterBeforeAfter(shape="mean"), table) == pytest.approx([7.0, 7.0])


def test_same_day_three_plus_two() -> None:
    """PJM Manual 11, Same Day (3 + 2), published hours: for an event in hours ending 13 to 17
    hours ending 9 to 11 and 19 to 20 are averaged."""
    day = np.arange(1.0, 25.0)  # every hour shows its own number, hour ending
    table = hourly_days([0.0] * 14 + [day], MONDAY)  # type: ignore[list-item]
    event = hours(EVENT_DAY, 12, 17)
    found = mw(method_named("meter-before-after-mean"), table, event=event)
    assert found == pytest.approx([(9 + 10 + 11 + 19 + 20) / 5] * 5)


def test_nominated_schedule_and_the_usef_table() -> None:
    """UFTP D-Prognosis: the last revision before the gate counts. Against it USEF's published
    example (baseline 10 MW, ordered 2) delivers 2, 2, 1, 0, 0 MW at 7, 8, 9, 10, 11 MW."""
    revisions = tuple(
        Nomination(received_at=GATE + timedelta(hours=hour), withdrawal_mw=np.full(2, level))
        for hour, level in ((-5, 8.0), (-1, 10.0), (1, 14.0))
    )
    table = hourly_days(LEVELS, MONDAY)
    found = values(NominatedSchedule(), table, nominations=revisions).withdrawal_mw
    assert found.tolist() == [10.0, 10.0]
    delivered = [min(max(float(found[0]) - meter, 0.0), 2.0) for meter in (7, 8, 9, 10, 11)]
    assert delivered == [2, 2, 1, 0, 0]
    with pytest.raises(InputError, match="no schedule was received"):
        values(NominatedSchedule(), table, nominations=revisions[2:])


def test_drop_to_and_zero() -> None:
    """E.ON SWITCH zero baseline, and a capacity limit: nothing is estimated."""
    table = hourly_days([5.0], MONDAY)
    assert mw(DropTo(), table) == [0.0, 0.0]
    assert mw(method_named("drop-to-1.5"), table) == [1.5, 1.5]


def test_fixed_profile_times_devices() -> None:
    """ElectronConnect: reference profile per device times their number; numbers by hand."""
    profile = np.zeros((2, 24))
    profile[0, 17:19] = 0.0015, 0.0021
    profile[1, 17:19] = 0.0009, 0.0010
    table = hourly_days(LEVELS, MONDAY)
    fleet = FixedProfile(profile_mw=profile, devices=200)
    assert mw(fleet, table) == pytest.approx([0.30, 0.42])
    sunday = hours(MONDAY + timedelta(days=20), 17, 19)
    assert mw(fleet, table, event=sunday) == pytest.approx([0.18, 0.20])


def test_regression_finds_the_numbers_it_was_made_of() -> None:
    """Mathieu et al. 2011: time of day and piecewise temperature; exact on data made that way."""
    days = 40
    warm = 8.0 + 12.0 * np.sin(np.arange(days * 24) / 37.0) + 3.0 * np.cos(np.arange(days * 24))
    hour, weekday = np.arange(days * 24) % 24, (np.arange(days * 24) // 24) % 7
    load = 1.0 + 0.1 * hour + 0.3 * (weekday >= 5) * (hour == 17) + 0.05 * np.maximum(warm - 15, 0)
    table = table_of(load, MONDAY, mtu_minutes=60)
    temperature = table_of(warm, MONDAY, mtu_minutes=60, delay=timedelta(0))
    forecast = replace(
        temperature, received_s=np.minimum(temperature.received_s, int(MONDAY.timestamp()))
    )
    day = MONDAY + timedelta(days=38)
    found = values(
        TemperatureRegression(), table, event=hours(day, 17, 19),
        gate=day - timedelta(hours=12), temperature=forecast,
    )  # fmt: skip
    assert found.fallbacks == ()
    assert found.withdrawal_mw == pytest.approx(load[38 * 24 + 17 : 38 * 24 + 19], abs=1e-9)
    without = values(
        TemperatureRegression(), table, event=hours(day, 17, 19), gate=day - timedelta(hours=12),
        temperature=temperature,
    )  # fmt: skip
    assert without.fallbacks == ("no temperature known at the gate: calendar only",)


# ---------------------------------------------------------------- independent implementations


@pytest.fixture(scope="module")
def house() -> tuple[pd.Series, LocalTable]:
    names, wh = households()
    power = wh[:, names.index("meter_33")] * 4e-6
    index = pd.date_range(START, periods=len(power), freq="15min")
    return pd.Series(power, index=index), table_of(power, START)


def by_pandas(wide: pd.DataFrame, day: date, pick: str, x: int, y: int) -> np.ndarray:
    past = wide[[d < day and d.weekday() < 5 for d in wide.index]].iloc[-y:]
    order = past.sum(axis=1).sort_values(kind="stable")
    chosen = {
        "high": order.index[-x:],
        "mid": order.index[(y - x) // 2 : (y - x) // 2 + x],
        "low": order.index[:x],
        "all": order.index,
    }[pick]
    return past.loc[chosen].mean().to_numpy()


@pytest.mark.parametrize(
    "name", ["high-5-of-10", "mid-8-of-10", "low-3-of-10", "all-10-of-10", "high-4-of-5"]
)
def test_day_averages_against_pandas(name: str, house: tuple[pd.Series, LocalTable]) -> None:
    load, table = house
    method = method_named(name)
    assert isinstance(method, DayAverage)
    shown = load.between_time("17:00", "18:45")
    wide = shown.groupby([shown.index.date, shown.index.time]).mean().unstack()  # type: ignore[attr-defined]
    compared = 0
    for day in pd.bdate_range("2013-02-11", "2013-05-30"):
        start = day.to_pydatetime().replace(tzinfo=UTC)
        event = Periods(start=start + timedelta(hours=17), count=8)
        found = values(method, table, event=event, gate=start + timedelta(hours=10))
        expected = by_pandas(wide, day.date(), method.pick, method.x, method.y)
        assert found.withdrawal_mw == pytest.approx(expected, abs=1e-12), day
        compared += 1
    assert compared == 79


def test_regression_without_temperature_is_the_mean_of_each_kind_of_day(
    house: tuple[pd.Series, LocalTable],
) -> None:
    """Least squares with one level for each time and kind of day has a closed form: the means."""
    load, table = house
    start = datetime(2013, 4, 23, tzinfo=UTC)
    event = Periods(start=start + timedelta(hours=17), count=8)
    found = values(TemperatureRegression(), table, event=event, gate=start)
    # yesterday evening arrives after midnight: the last day known is the day before it
    past = load[
        (load.index < start - timedelta(days=1)) & (load.index >= start - timedelta(days=60))
    ]
    shown = past[past.index.weekday < 5].between_time("17:00", "18:45")  # type: ignore[attr-defined]
    means = shown.groupby(shown.index.time).mean()  # type: ignore[attr-defined]
    assert found.withdrawal_mw == pytest.approx(means.to_numpy(), abs=1e-12)


# ---------------------------------------------------------------- frozen at the gate


@pytest.mark.parametrize(
    "name",
    ["high-5-of-10", "mid-8-of-10+additive", "rolling-5", "meter-before-after", "drop-to-0",
     "regression"],
)  # fmt: skip
def test_what_comes_after_the_gate_changes_nothing_frozen(
    name: str, house: tuple[pd.Series, LocalTable]
) -> None:
    _, table = house
    start = datetime(2013, 4, 23, tzinfo=UTC)
    event, gate = Periods(start=start + timedelta(hours=17), count=8), start - timedelta(hours=12)
    before = freeze_baseline(method_named(name), BaselineInputs(table=table), event, gate)
    late = table.received_s > int(gate.timestamp())
    changed = replace(table, withdrawal_mw=np.where(late, 77.0, table.withdrawal_mw))
    after = freeze_baseline(method_named(name), BaselineInputs(table=changed), event, gate)
    assert before.sha256 == after.sha256
    if name not in ("meter-before-after", "drop-to-0"):
        early = replace(table, withdrawal_mw=np.where(late, table.withdrawal_mw, 77.0))
        other = freeze_baseline(method_named(name), BaselineInputs(table=early), event, gate)
        assert other.sha256 != before.sha256


def test_a_revised_day_does_not_move_a_frozen_baseline(house: tuple[pd.Series, LocalTable]) -> None:
    _, table = house
    start = datetime(2013, 4, 23, tzinfo=UTC)
    event, gate = Periods(start=start + timedelta(hours=17), count=8), start - timedelta(hours=12)
    frozen = freeze_baseline(method_named("mid-8-of-10+additive"), BaselineInputs(table=table),
                             event, gate)  # fmt: skip
    first = evaluate_baseline(frozen, table, event.end + timedelta(days=1))
    past = np.arange(table.withdrawal_mw.shape[0])[:, None] < 100
    revised = replace(table, withdrawal_mw=np.where(past, 9.0, table.withdrawal_mw))
    again = evaluate_baseline(frozen, revised, event.end + timedelta(days=1))
    assert np.array_equal(first.withdrawal_mw, again.withdrawal_mw)
    assert first.late_sha256 == again.late_sha256


def test_readings_not_yet_received_are_not_seen() -> None:
    """Gate at 20:00 of the day before: that day's 17:00 arrives at 24:00 and is no eligible day."""
    days = [10, 12, 14, 16, 18, 99, 99, 20, 22, 24, 26, 28]
    table = hourly_days(days, MONDAY)
    friday = MONDAY + timedelta(days=11)
    event = hours(friday, 17, 19)
    gate = friday - timedelta(hours=4)
    frozen = freeze_baseline(method_named("rolling-5"), BaselineInputs(table=table), event, gate)
    assert frozen.days[-1] == "2026-06-10"
    assert frozen.base_mw is not None
    assert frozen.base_mw.tolist() == [20.0, 20.0]  # 16, 18, 20, 22, 24


def test_event_days_are_never_averaged() -> None:
    table = hourly_days(LEVELS, MONDAY)
    with_all = mw(method_named("rolling-5"), table)
    without = mw(method_named("rolling-5"), table, excluded_days=frozenset({11}))
    assert (with_all, without) == ([24.0, 24.0], [22.0, 22.0])


def test_a_holiday_is_no_working_day() -> None:
    table = hourly_days(LEVELS, MONDAY)
    holiday = replace(
        table, holidays=frozenset({date(2026, 6, 12)}),
        working=table.working & (np.arange(len(table.working)) != 11),
    )  # fmt: skip
    assert mw(method_named("rolling-5"), holiday) == [22.0, 22.0]


def test_too_little_history_is_refused_and_a_gate_after_the_start_too() -> None:
    table = hourly_days([1, 1], MONDAY)
    with pytest.raises(InputError, match="only 2 eligible"):
        values(method_named("high-5-of-10"), table)
    with pytest.raises(InputError, match="lies after the start"):
        values(DropTo(), table, gate=EVENT.start + timedelta(minutes=1))
    with pytest.raises(InputError, match="is unknown"):
        method_named("high-5-out-of-10")
    with pytest.raises(InputError, match="cannot be chosen"):
        method_named("mid-7-of-10")


def test_missing_readings_around_the_event_are_said() -> None:
    day = np.full(24, 3.0)
    day[16] = np.nan
    table = hourly_days([3.0] * 14 + [day], MONDAY)  # type: ignore[list-item]
    with pytest.raises(InputError, match="1 of 2 readings around the event are missing"):
        values(MeterBeforeAfter(), table)
    adjusted = values(method_named("all-10-of-10+additive"), hourly_days([3.0] * 14, MONDAY))
    assert adjusted.fallbacks == ("no reading in the adjustment window: not adjusted",)


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 10, 25)])
def test_noon_stays_noon_on_both_clock_change_days(day: date) -> None:
    """Five weeks of a load that follows the local clock: every method sees the local hour."""
    zone = "Europe/Berlin"
    change = DeliveryDay(day=day, timezone=zone)
    start = change.instant(datetime.min.time(), days_before=35)
    periods = Periods(start=start, count=36 * 96 + 4)
    from zoneinfo import ZoneInfo

    load = np.array([float(s.astimezone(ZoneInfo(zone)).hour) for s in periods.starts])
    table = table_of(load, start, timezone=zone)
    event = Periods(start=change.periods.starts[-28], count=8)
    gate = change.periods.start - timedelta(hours=12)
    for name in ("high-4-of-6", "all-6-of-6+additive", "regression"):
        found = values(method_named(name), table, event=event, gate=gate)
        assert found.withdrawal_mw.tolist() == pytest.approx([17.0] * 4 + [18.0] * 4), name


def test_an_event_over_midnight_averages_both_sides_of_it() -> None:
    days = np.concatenate([np.full(24, float(d)) for d in range(12)])
    days[np.arange(12) * 24 + 0] += 100
    table = table_of(days, MONDAY, mtu_minutes=60)
    event = Periods(start=MONDAY + timedelta(days=10, hours=23), count=2, mtu_minutes=60)
    found = mw(method_named("rolling-3"), table, event=event, gate=event.start)
    assert found == [8.0, 109.0]  # days 7, 8, 9 before midnight, 8, 9, 10 after it


# ---------------------------------------------------------------- properties

numbers = st.floats(0.01, 50.0).map(lambda x: round(x, 4))


@settings(max_examples=80, deadline=None)
@given(base=st.lists(numbers, min_size=1, max_size=6), usual=numbers, actual=numbers,
       cap=st.sampled_from([None, 0.0, 0.2, 0.5]),
       kind=st.sampled_from(["additive", "multiplicative"]), upward=st.booleans())  # fmt: skip
def test_adjustments_stay_within_their_cap(
    base: list[float], usual: float, actual: float, cap: float | None, kind: str, upward: bool
) -> None:
    rule = SameDayAdjustment(kind=kind, cap=cap, upward_only=upward)  # type: ignore[arg-type]
    values_mw = np.array(base)
    found, fallbacks = adjust(values_mw, np.array([usual]), np.array([actual]), rule)
    assert fallbacks == ()
    if cap is not None:
        assert abs(found.mean() - values_mw.mean()) <= cap * values_mw.mean() + 1e-9
    if upward:
        assert (found >= values_mw - 1e-12).all()
    assert np.sign(round(float((found - values_mw).mean()), 9)) in (0.0, np.sign(actual - usual))
    same, _ = adjust(values_mw, np.array([usual]), np.array([usual]), rule)
    assert same == pytest.approx(values_mw)


@settings(max_examples=60, deadline=None)
@given(levels=st.lists(numbers, min_size=10, max_size=10), seed=st.integers(0, 99))
def test_high_is_above_mid_above_low_and_order_of_equal_days_is_fixed(
    levels: list[float], seed: int
) -> None:
    week = [*levels[:5], 0.0, 0.0, *levels[5:], 0.0, 0.0, 0.0]
    table = hourly_days(week, MONDAY)
    high, mid, low, every = (
        mw(method_named(name), table)[0]
        for name in ("high-5-of-10", "mid-8-of-10", "low-5-of-10", "all-10-of-10")
    )
    assert low - 1e-8 <= every <= high + 1e-8
    assert low - 1e-8 <= mid <= high + 1e-8
    assert every == pytest.approx((high + low) / 2)
