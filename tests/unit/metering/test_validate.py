"""Validation, estimation and editing on real households with planted faults."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.periods import DeliveryDay, Periods
from data.records.metering import (
    ESTIMATED,
    INTERPOLATED,
    LIKE_DAYS,
    MEASURED,
    NO_VALUE_WH,
    REGISTER_FLAT,
    REGISTER_PROFILE,
    MeterExchange,
    MeterFiles,
    MeterPoint,
    RegisterReading,
    TamperFlag,
    ValidatedSeries,
)
from dso.metering import ValidationRules, accept_batch, validate_meters
from tests.support.metered_street import FUSE_W, START, batch_of, households, street, validated

RULES = ValidationRules(timezone="UTC")
DAYS = 40
PERIODS = Periods(start=START, count=DAYS * 96)
HOUSE, METER = "meter_9", "M-meter_9"
POINT = MeterPoint(connection=HOUSE, feeder="A", limit_w=FUSE_W)
GAP = slice(30 * 96 + 40, 30 * 96 + 90)


@pytest.fixture(scope="module")
def true_wh() -> np.ndarray:
    names, wh = households()
    return wh[: PERIODS.count, names.index(HOUSE)]


def register(place: int, wh: int, *, meter: str = METER) -> RegisterReading:
    at = START + place * PERIODS.mtu
    return RegisterReading(
        meter=meter, direction="import", at=at, register_wh=wh, received_at=PERIODS.end
    )


def registers(true_wh: np.ndarray, *places: int) -> tuple[RegisterReading, ...]:
    return tuple(register(p, 1_000_000 + int(true_wh[:p].sum())) for p in places)


def one(files: MeterFiles) -> ValidatedSeries:
    return validate_meters(files, PERIODS, PERIODS.end, RULES)[0].series[0]


def files(wh: np.ndarray, **others: object) -> MeterFiles:
    missing = others.pop("missing", ())
    batch = batch_of(HOUSE, wh, PERIODS, missing=missing)  # type: ignore[arg-type]
    return MeterFiles(points=(POINT,), batches=(batch,), **others)  # type: ignore[arg-type]


def test_clean_households_pass_unchanged() -> None:
    at = street(0)
    flagged = 0
    for meter in validated(at, at.true_wh):
        assert np.array_equal(meter.injection_wh, -at.true_wh[:, at.place(meter.connection)])
        assert not meter.substituted.any()
        flagged += len(meter.series[0].findings)
    assert flagged <= 3  # spikes, kept: of 1,120 meter-days


def test_a_short_gap_is_a_straight_line(true_wh: np.ndarray) -> None:
    series = one(files(true_wh, missing=[1000, 1001, 1002]))
    ends = true_wh[999], true_wh[1003]
    line = ends[0] + (ends[1] - ends[0]) * np.arange(1, 4) / 4
    assert series.value_wh[1000:1003].tolist() == np.rint(line).astype(int).tolist()
    assert series.method[1000:1003].tolist() == [INTERPOLATED] * 3
    assert series.quality[1000:1003].tolist() == [ESTIMATED] * 3
    assert series.substituted.sum() == 3


def test_a_long_gap_takes_the_four_nearest_like_days(true_wh: np.ndarray) -> None:
    """Thursday 31 January 2013: 30 January and 1 February, then 29 and 28 January."""
    series = one(files(true_wh, missing=np.arange(GAP.start, GAP.stop)))
    days = true_wh.reshape(DAYS, 96)
    near = [29, 31, 28, 27]  # Saturday and Sunday follow Friday: 2 and 3 February are not alike
    expected = days[near].mean(axis=0)[40:90]
    assert series.value_wh[GAP].tolist() == np.rint(expected).astype(int).tolist()
    assert set(series.method[GAP].tolist()) == {LIKE_DAYS}


def test_a_gap_between_registers_gets_exactly_their_energy(true_wh: np.ndarray) -> None:
    shown = registers(true_wh, 30 * 96, 31 * 96)
    series = one(files(true_wh, missing=np.arange(GAP.start, GAP.stop), registers=shown))
    assert series.value_wh.sum() == true_wh.sum()
    assert set(series.method[GAP].tolist()) == {REGISTER_PROFILE}
    assert (series.value_wh >= 0).all()


def test_without_any_profile_the_registers_are_shared_evenly() -> None:
    short = Periods(start=START, count=96)
    batch = batch_of(HOUSE, np.full(96, 50), short, missing=np.arange(20, 70))
    shown = (register(0, 500), register(96, 500 + 46 * 50 + 1_003))
    series = validate_meters(
        MeterFiles(points=(POINT,), batches=(batch,), registers=shown), short, PERIODS.end, RULES
    )[0].series[0]
    assert series.value_wh[20:70].sum() == 1_003
    assert set(series.value_wh[20:70].tolist()) == {20, 21}
    assert set(series.method[20:70].tolist()) == {REGISTER_FLAT}


def test_nothing_to_estimate_from_stays_open() -> None:
    short = Periods(start=START, count=96)
    batch = batch_of(HOUSE, np.full(96, 50), short, missing=np.arange(20, 70))
    meter = validate_meters(
        MeterFiles(points=(POINT,), batches=(batch,)), short, PERIODS.end, RULES
    )[0]
    assert meter.unresolved.sum() == 50
    assert set(meter.injection_wh[20:70].tolist()) == {NO_VALUE_WH}


@pytest.mark.parametrize(("bad", "flag"), [(-40, "negative"), (9_000, "over_limit")])
def test_impossible_values_are_replaced(true_wh: np.ndarray, bad: int, flag: str) -> None:
    wh = true_wh.copy()
    wh[2000] = bad
    series = one(files(wh))
    assert series.flagged(flag)[2000]  # type: ignore[arg-type]
    assert series.method[2000] == INTERPOLATED
    assert series.flags.astype(bool).sum() == 1


def test_a_spike_is_kept_until_the_register_contradicts(true_wh: np.ndarray) -> None:
    wh = true_wh.copy()
    wh[35 * 96 + 9] = 3_500
    alone = one(files(wh))
    assert alone.flagged("spike").sum() == 1
    assert alone.value_wh[35 * 96 + 9] == 3_500
    denied = one(files(wh, registers=registers(true_wh, 35 * 96, 36 * 96)))
    assert denied.value_wh.sum() == true_wh.sum()
    assert denied.value_wh[35 * 96 + 9] == true_wh[35 * 96 + 9]
    confirmed = one(files(wh, registers=registers(wh, 35 * 96, 36 * 96)))
    assert confirmed.flagged("register_confirmed")[35 * 96 + 9]
    assert confirmed.value_wh[35 * 96 + 9] == 3_500


def test_a_stuck_meter_is_flagged_and_mended_by_the_register(true_wh: np.ndarray) -> None:
    wh = true_wh.copy()
    wh[1960:2000] = 77
    assert one(files(wh)).flagged("stuck")[1960:2000].all()
    mended = one(files(wh, registers=registers(true_wh, 20 * 96, 21 * 96)))
    assert mended.value_wh.sum() == true_wh.sum()
    assert mended.substituted[1960:2000].all()


def test_a_silent_meter_is_flagged_and_its_zero_kept(true_wh: np.ndarray) -> None:
    wh = true_wh.copy()
    wh[1000:1200] = 0
    series = one(files(wh))
    assert series.flagged("zero_run")[1000:1200].all()
    assert not series.substituted.any()


def test_registers_that_disagree_are_said_and_nothing_is_changed(true_wh: np.ndarray) -> None:
    shown = (register(960, 0), register(1056, int(true_wh[960:1056].sum()) + 500))
    series = one(files(true_wh, registers=shown))
    assert series.flagged("register_mismatch")[960:1056].all()
    assert np.array_equal(series.value_wh, true_wh)


def test_a_register_jumps_by_an_exchange_record_only(true_wh: np.ndarray) -> None:
    at = 20 * 96
    old, new = true_wh.copy(), true_wh.copy()
    swap = MeterExchange(
        connection=HOUSE, direction="import", at=START + at * PERIODS.mtu, removed_meter=METER,
        final_wh=1_000_000 + int(true_wh[:at].sum()), installed_meter="M-new", initial_wh=7,
        received_at=PERIODS.end,
    )  # fmt: skip
    first = batch_of(HOUSE, old[:at], Periods(start=START, count=at))
    rest = Periods(start=START + at * PERIODS.mtu, count=PERIODS.count - at)
    missing = np.arange(5, 60)
    second = batch_of(HOUSE, new[at:], rest, meter="M-new", missing=missing, source="b")
    shown = (
        register(19 * 96, 1_000_000 + int(true_wh[: 19 * 96].sum())),
        register(21 * 96, 7 + int(true_wh[at : 21 * 96].sum()), meter="M-new"),
    )
    known = MeterFiles(points=(POINT,), batches=(first, second), registers=shown, exchanges=(swap,))
    series = one(known)
    assert series.value_wh.sum() == true_wh.sum()
    assert not series.flagged("register_mismatch").any()
    assert not series.flagged("register_backwards").any()
    with pytest.raises(InputError, match="without an exchange record"):
        one(replace(known, exchanges=()))


def test_an_exchange_inside_a_period_adds_both_meters(true_wh: np.ndarray) -> None:
    at = START + 480 * PERIODS.mtu + timedelta(minutes=6)
    swap = MeterExchange(
        connection=HOUSE, direction="import", at=at, removed_meter=METER, final_wh=10_000,
        installed_meter="M-new", initial_wh=0, received_at=PERIODS.end,
    )  # fmt: skip
    part = int(true_wh[480]) // 3
    first_wh, second_wh = true_wh[:481].copy(), true_wh[480:].copy()
    first_wh[-1], second_wh[0] = part, true_wh[480] - part
    late = Periods(start=START + 480 * PERIODS.mtu, count=PERIODS.count - 480)
    known = MeterFiles(
        points=(POINT,),
        batches=(
            batch_of(HOUSE, first_wh, Periods(start=START, count=481)),
            batch_of(HOUSE, second_wh, late, meter="M-new", source="b"),
        ),
        exchanges=(swap,),
        registers=(
            register(470, 10_000 - int(true_wh[470:480].sum()) - part),
            register(490, int(true_wh[480:490].sum()) - part, meter="M-new"),
        ),
    )
    series = one(known)
    assert np.array_equal(series.value_wh, true_wh)
    assert not series.flags.any()


def test_a_register_without_record_never_runs_backwards_silently(true_wh: np.ndarray) -> None:
    shown = (register(960, 99_999_000), register(1056, 4_000))
    assert one(files(true_wh, registers=shown)).flagged("register_backwards")[960:1056].all()
    turned = replace(
        files(
            true_wh,
            registers=(
                register(960, 99_999_000),
                register(1056, int(true_wh[960:1056].sum()) - 1_000),
            ),
        ),
        points=(replace(POINT, register_modulus_wh=100_000_000),),
    )
    assert not one(turned).flags.any()


def test_tampered_values_are_flagged_and_never_confirmed(true_wh: np.ndarray) -> None:
    flag = TamperFlag(
        meter=METER, kind="magnetic_field", start=START + timedelta(hours=10, minutes=5),
        end=START + timedelta(hours=11), received_at=PERIODS.end,
    )  # fmt: skip
    series = one(files(true_wh, tampers=(flag,), registers=registers(true_wh, 0, 96)))
    assert np.flatnonzero(series.flagged("tamper")).tolist() == [40, 41, 42, 43]
    assert not series.flagged("register_confirmed").any()
    assert not series.substituted.any()


def test_revisions_are_kept_and_yesterday_can_be_asked_again(true_wh: np.ndarray) -> None:
    day = Periods(start=START + timedelta(days=3), count=96)
    first = files(true_wh)
    wrong = first.batches[0].value_wh.copy()
    wrong[288:384] += 10
    early = replace(first.batches[0], value_wh=wrong, received_at=PERIODS.end - timedelta(days=1))
    late = batch_of(HOUSE, true_wh[288:384], day, received_at=PERIODS.end, source="fix.csv")
    known = accept_batch(replace(first, batches=(early,)), late)
    assert accept_batch(known, late) is known
    now, before = (
        validate_meters(known, PERIODS, PERIODS.end - ago, RULES)[0]
        for ago in (timedelta(0), timedelta(hours=1))
    )
    assert np.array_equal(now.import_wh, true_wh)
    assert np.array_equal(before.import_wh, wrong)
    assert now.series[0].revision[288:384].tolist() == [2] * 96
    assert now.series[0].revision.sum() == PERIODS.count + 96
    assert now.sha256 != before.sha256
    assert now.series[0].inputs_sha256 != before.series[0].inputs_sha256


def test_a_return_to_the_first_value_is_a_third_revision(true_wh: np.ndarray) -> None:
    known = files(true_wh)
    for number, extra in enumerate((10, 0)):
        batch = batch_of(
            HOUSE, true_wh + extra, PERIODS, source=f"{number}.csv",
            received_at=PERIODS.end + timedelta(hours=1 + number),
        )  # fmt: skip
        known = accept_batch(known, batch)
    later = PERIODS.end + timedelta(days=1)
    series = validate_meters(known, PERIODS, later, RULES)[0].series[0]
    assert np.array_equal(series.value_wh, true_wh)
    assert set(series.revision.tolist()) == {3}


def test_two_truths_received_at_once_are_refused(true_wh: np.ndarray) -> None:
    known = accept_batch(files(true_wh), batch_of(HOUSE, true_wh + 1, PERIODS, source="other"))
    with pytest.raises(InputError, match="two values received at"):
        one(known)


def test_feeding_in_is_positive(true_wh: np.ndarray) -> None:
    sun = np.where(np.arange(PERIODS.count) % 96 > 48, 300, 0)
    known = accept_batch(
        files(true_wh), batch_of(HOUSE, sun, PERIODS, direction="export", source="sun")
    )
    meter = validate_meters(known, PERIODS, PERIODS.end, RULES)[0]
    assert np.array_equal(meter.injection_wh, sun - true_wh)
    assert [series.direction for series in meter.series] == ["import", "export"]


def test_like_days_know_the_local_calendar_on_both_clock_change_days() -> None:
    """In Berlin 31 March 2013 has 92 and 27 October 100 quarter-hours: noon stays noon."""
    for day in ("2013-03-31", "2013-10-27"):
        change = DeliveryDay(day=date.fromisoformat(day))
        start = change.instant(time(0), days_before=21)
        count = 21 * 96 + change.periods.count + 21 * 96
        periods = Periods(start=start, count=count)
        local = [s.astimezone(ZoneInfo("Europe/Berlin")) for s in periods.starts]
        wh = np.array([100 + 10 * s.hour for s in local])
        first = 21 * 96
        missing = np.arange(first, first + change.periods.count)
        known = MeterFiles(
            points=(POINT,), batches=(batch_of(HOUSE, wh, periods, missing=missing),)
        )
        rules = ValidationRules(timezone="Europe/Berlin")
        series = validate_meters(known, periods, periods.end, rules)[0].series[0]
        assert np.array_equal(series.value_wh, wh), day


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_is_missing_registers_keep_the_energy(data: st.DataObject) -> None:
    names, wh = households()
    house = data.draw(st.sampled_from(names))
    true_wh = wh[: PERIODS.count, names.index(house)]
    missing = sorted(
        {
            place
            for first, length in data.draw(
                st.lists(
                    st.tuples(st.integers(0, PERIODS.count - 200), st.integers(1, 150)), max_size=4
                )
            )
            for place in range(first, first + length)
        }
    )
    places = data.draw(st.lists(st.integers(1, PERIODS.count - 1), max_size=6, unique=True))
    known = files(true_wh, missing=missing, registers=registers(true_wh, 0, *places, PERIODS.count))
    series = one(known)
    assert series.value_wh.sum() == true_wh.sum()
    kept = np.setdiff1d(np.arange(PERIODS.count), missing)
    assert np.array_equal(series.value_wh[kept], true_wh[kept])
    assert (series.value_wh >= 0).all()
    assert (series.quality[kept] == MEASURED).all()
