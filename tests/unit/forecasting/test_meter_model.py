"""The meters' model: nothing from after the gate, no crossing, same bytes, better than before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.periods import DeliveryDay, Periods
from data.records.forecast import Reading
from forecasting import meter_features
from forecasting.boosting import BoostingRule
from forecasting.meter_days import MeterDays, arrange_days, forecast_like_days, pooled_quantiles
from forecasting.meter_features import TREE_LEVELS, make_rows
from forecasting.meter_model import MeterForecaster, MeterModel
from forecasting.model import KnownData, Site
from forecasting.quantiles import weighted_quantiles
from tests.support.metered_street import households

START = datetime(2013, 1, 1, tzinfo=UTC)
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SMALL = BoostingRule(trees=15, learning_rate=0.15, leaves=8, rows_per_leaf_min=200, row_share=1.0)
METERS = 12
TEST_DAYS = range(122, 150, 4)


def known_of(
    value_mw: np.ndarray, start: datetime = START, zone: str = "UTC", minutes: int = 15
) -> KnownData:
    periods = Periods(start=start, count=len(value_mw), mtu_minutes=minutes)
    series = tuple(f"meter:{k}" for k in range(value_mw.shape[1]))
    reading = Reading(series=series, periods=periods, value_mw=value_mw, known_at=periods.end)
    return KnownData(kind="load", reading=reading, known_at=periods.end, site=Site(timezone=zone))


def known_on(day: int, meters: int = METERS) -> KnownData:
    """Readings of real households until 10:00 of the day before ``day``."""
    _, wh = households()
    return known_of(wh[: (day - 1) * 96 + 40, :meters] * 4e-6)


def periods_of(day: int) -> Periods:
    return Periods(start=START + timedelta(days=day), count=96)


@cache
def fitted() -> MeterModel:
    return MeterForecaster(country="NL", rule=SMALL).fit(known_on(TEST_DAYS[0]))


def random_days(seed: int, series: int = 3, days: int = 45, known: int = 40) -> MeterDays:
    draw = np.random.default_rng(seed)
    value = draw.gamma(0.6, 1e-3, (series, days + 1, 96))
    weekday = np.arange(days + 4) % 7
    return MeterDays(
        value_mw=value[:, :days], today_mw=value[:, days, :known], first_day=735_000,
        day_class=np.maximum(weekday - 4, 0), weekday=weekday,
    )  # fmt: skip


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_packed_quantiles_equal_those_of_sorted_samples(seed: int, count: int) -> None:
    draw = np.random.default_rng(seed)
    samples = draw.normal(0.0, 5.0, (2, 3, count)).astype(np.float32).astype(float)
    weight = draw.uniform(0.01, 2.0, (2, count)).astype(np.float32).astype(float)
    found = pooled_quantiles(samples, weight, np.asarray(LEVELS))
    expected = weighted_quantiles(samples, weight[:, None, :], LEVELS)
    assert np.abs(found - expected).max() < 1e-9


@given(seed=st.integers(0, 2**32 - 1), known=st.integers(0, 96))
@settings(max_examples=15, deadline=None)
def test_what_comes_after_the_gate_changes_no_feature(seed: int, known: int) -> None:
    days = random_days(seed, known=known)
    other = replace(days, value_mw=days.value_mw.copy())
    other.value_mw[:, 41:] += 1.0
    other.value_mw[:, 40, known:] += 1.0
    made = [make_rows(each.seen_from(40), 41).feature for each in (days, other)]
    assert made[0].tobytes() == made[1].tobytes()
    other.value_mw[:, 39, 60] += 1.0  # known: that one has to be seen
    assert make_rows(other.seen_from(40), 41).feature.tobytes() != made[0].tobytes()


def test_a_planted_leak_of_uncut_readings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def uncut(self: MeterDays, _day: int, rows: np.ndarray) -> MeterDays:
        return self.of_series(rows)

    monkeypatch.setattr(MeterDays, "seen_from", uncut)
    with pytest.raises(InputError, match="has been read: its features would hold it"):
        MeterForecaster(rule=SMALL).fit(known_on(100, meters=2))


def test_a_planted_feature_of_the_day_itself_finds_nothing_to_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def of_the_day_itself(seen: MeterDays, target: int) -> list[np.ndarray]:
        return [seen.value_mw[:, target]] * 5

    monkeypatch.setattr(meter_features, "_same_slot", of_the_day_itself)
    with pytest.raises(IndexError):
        MeterForecaster(rule=SMALL).fit(known_on(100, meters=2))


def test_a_feature_that_is_not_a_number_is_named() -> None:
    days = random_days(1)
    days.today_mw[0, 5] = np.nan
    with pytest.raises(InputError, match="feature newest_same_slot"):
        make_rows(days, 46, np.ones((3, 96, len(TREE_LEVELS))).cumsum(axis=2))


@dataclass(frozen=True)
class Scored:
    """Forecasts of the test days and what happened, in kW."""

    quantile: np.ndarray
    like_day: np.ndarray
    actual: np.ndarray


@cache
def scored() -> Scored:
    _, wh = households()
    actual = wh[: 151 * 96, :METERS].T.reshape(METERS, 151, 96) * 4e-3
    made, like = [], []
    for day in TEST_DAYS:
        forecast = fitted().predict(known_on(day), periods_of(day), LEVELS)
        assert forecast.fallbacks == ()
        made.append(1e3 * forecast.value_mw)
        seen = arrange_days(known_on(day).reading, "UTC", 2, "NL")
        like.append(1e3 * forecast_like_days(seen, day, LEVELS))
    days = list(TEST_DAYS)
    return Scored(np.stack(made, axis=1), np.stack(like, axis=1), actual[:, days])


def loss_kw(quantile: np.ndarray, actual: np.ndarray) -> float:
    level = np.asarray(LEVELS)
    error = actual[..., None] - quantile
    return float(np.maximum(level * error, (level - 1.0) * error).mean())


def test_quantiles_never_cross_and_no_gross_load_is_negative() -> None:
    assert (np.diff(scored().quantile, axis=-1) >= 0.0).all()
    assert scored().quantile.min() >= 0.0


def test_trees_are_better_than_like_days_alone_on_days_they_have_not_seen() -> None:
    assert fitted().share > 0.0
    assert loss_kw(scored().quantile, scored().actual) < loss_kw(scored().like_day, scored().actual)


def test_the_band_of_80_percent_covers_what_it_says() -> None:
    """Seven unseen days of twelve meters: within 5 points; the benchmark has the whole set."""
    inside = (scored().actual >= scored().quantile[..., 0]) & (
        scored().actual <= scored().quantile[..., -1]
    )
    assert 0.75 <= inside.mean() <= 0.85


def test_the_model_comes_back_from_its_files_and_gives_the_same_bytes() -> None:
    known, periods = known_on(130), periods_of(130)
    back = MeterForecaster().from_files(fitted().to_files())
    first = fitted().predict(known, periods, LEVELS).value_mw
    assert replace(back, threads=1).predict(known, periods, LEVELS).value_mw.tobytes() == (
        first.tobytes()
    )
    assert back.to_files() == fitted().to_files()
    alone = fitted().predict(known_on(130, meters=3), periods, LEVELS).value_mw
    assert alone.tobytes() == first[:3].tobytes()


def test_sums_learn_a_blend_of_their_own_and_many_levels_stay_ordered() -> None:
    known = known_on(130)
    total = known_of(known.reading.value_mw.sum(axis=1, keepdims=True))
    adapted = fitted().adapted_to(total)
    assert adapted.trees is fitted().trees
    assert adapted.notes["blend"] <= adapted.notes["like_day"]
    percent = tuple(k / 100 for k in range(1, 100))
    made = adapted.predict(total, periods_of(130), percent).value_mw
    assert made.shape == (1, 96, 99)
    assert (np.diff(made, axis=-1) >= 0.0).all()


def test_too_few_days_are_served_by_like_days_and_it_is_said() -> None:
    short = known_of(known_on(12).reading.value_mw)
    model = MeterForecaster().fit(short)
    made = model.predict(short, periods_of(12), LEVELS)
    assert made.fallbacks == ("meters: too few days to fit trees; like days only",)
    assert np.isfinite(made.value_mw).all()
    late = fitted().predict(short, Periods(start=periods_of(12).start, count=192), LEVELS)
    assert late.fallbacks == ("meters: 11 days of 28; like days only",)
    assert late.warnings == ("meters: fitted for the next day, asked for 2 ahead",)


@pytest.mark.parametrize(("day", "count"), [(date(2016, 3, 27), 92), (date(2016, 10, 30), 100)])
def test_days_with_a_clock_change_have_their_own_number_of_periods(day: date, count: int) -> None:
    delivery = DeliveryDay(day=day)
    start = delivery.periods.start - timedelta(days=30)
    past = round((delivery.periods.start - start) / timedelta(minutes=15)) - 56
    wave = 1.0 + np.sin(np.arange(past) / 96 * 2 * np.pi)
    known = known_of(1e-3 * wave[:, None], start, "Europe/Berlin")
    made = MeterForecaster().fit(known).predict(known, delivery.periods, LEVELS)
    assert made.value_mw.shape == (1, count, 9)
    again = arrange_days(known.reading, "Europe/Berlin")
    assert again.slots == 96


def test_the_hour_that_comes_twice_and_the_one_that_never_comes_are_arranged() -> None:
    for first, slot in ((date(2016, 3, 27), 8), (date(2016, 10, 30), 12)):
        day = DeliveryDay(day=first)
        count = len(day.periods) + 8
        reading = known_of(np.arange(count, dtype=float)[:, None], day.periods.start).reading
        found = arrange_days(reading, "Europe/Berlin")
        row = found.value_mw[0, 0]
        assert found.known == 8
        # Spring: slots 8-11 (02:00) take the last before; autumn: slot 12 (03:00) is row 16.
        assert row[slot] == (7.0 if first.month == 3 else 16.0)
        assert found.today_mw[0].tolist() == [count - 8.0 + k for k in range(8)]


def test_periods_that_are_read_already_or_on_another_raster_are_refused() -> None:
    known = known_on(130)
    periods = Periods(start=START + timedelta(days=128), count=24, mtu_minutes=60)
    with pytest.raises(InputError) as refused:
        fitted().predict(known, periods, LEVELS)
    assert "start before the readings end" in str(refused.value)
    assert "every 60 min" in str(refused.value)


def test_net_load_of_a_meter_with_pv_may_be_negative() -> None:
    _, wh = households()
    sun = np.maximum(0.0, np.sin((np.arange(60 * 96) % 96 - 28) / 40 * np.pi)) * 3e-3
    net = wh[: 60 * 96, :2] * 4e-6 - sun[:, None]
    known = known_of(net[: 58 * 96 + 40])
    made = MeterForecaster(rule=SMALL).fit(known).predict(known, periods_of(59), LEVELS)
    assert made.value_mw[:, 48, 4].max() < -1e-3
    assert (np.diff(made.value_mw, axis=-1) >= 0.0).all()
