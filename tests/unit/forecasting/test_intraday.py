"""Intraday: the last readings move the near future, fade with lead time and never leak."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from data.errors import InputError
from data.periods import DeliveryDay, Periods
from data.records.forecast import Forecast, Reading
from forecasting.evaluation import pinball_mw
from forecasting.intraday import _half_life_h, _half_lives_h, forecast_intraday
from forecasting.readings import SeriesKind
from tests.support.recorded_feeder import Floats, RecordedFeeder


def updated(
    recorded_feeder: RecordedFeeder,
    previous: Forecast,
    first: int,
    value_mw: Floats | None = None,
) -> Forecast:
    rest = previous.periods.from_index(first)
    gate = rest.start - timedelta(minutes=30)
    return forecast_intraday(
        previous=previous,
        reading=recorded_feeder.readings_until(gate, value_mw),
        kinds=recorded_feeder.feeder.kinds,
        capacity_mw=recorded_feeder.feeder.capacity_mw,
        periods=rest,
        known_at=gate,
    )


def cut(forecast: Forecast, first: int, count: int) -> Forecast:
    return Forecast(
        series=forecast.series,
        periods=Periods(start=forecast.periods.starts[first], count=count),
        quantiles=forecast.quantiles,
        value_mw=forecast.value_mw[:, first : first + count],
        known_at=forecast.known_at,
        model_id=forecast.model_id,
    )


def test_next_hour_is_better_than_the_day_ahead_on_a_recorded_feeder(
    recorded_feeder: RecordedFeeder,
) -> None:
    loss = {kind: np.zeros(2) for kind in ("load", "pv", "wind", "other")}
    for day in (date(2016, 2, 2), date(2016, 4, 20), date(2016, 7, 25), date(2016, 10, 30)):
        previous = recorded_feeder.forecast(day)
        for first in (0, 28, 44, 56, 72):
            now = updated(recorded_feeder, previous, first)
            near, before = cut(now, 0, 4), cut(previous, first, 4)
            actual = recorded_feeder.actual_mw(near.periods)
            for kind, total in loss.items():
                rows = recorded_feeder.rows(kind)
                total += [pinball_mw(f, actual)[rows].sum() for f in (near, before)]
    for kind, (now_mw, before_mw) in loss.items():
        assert now_mw < before_mw, kind
    assert loss["wind"][0] < 0.5 * loss["wind"][1]


def test_quantiles_keep_order_and_bounds_and_night_stays_dark(
    recorded_feeder: RecordedFeeder,
) -> None:
    previous = recorded_feeder.forecast(date(2016, 7, 25))
    now = updated(recorded_feeder, previous, 48)
    assert now.series == previous.series
    assert (np.diff(now.value_mw, axis=2) >= 0.0).all()
    assert (now.value_mw >= 0.0).all()
    for row, name in enumerate(now.series):
        cap = recorded_feeder.feeder.capacity_mw.get(name, np.inf)
        assert now.value_mw[row].max() <= cap + 1e-9
    solar = recorded_feeder.rows("pv")
    assert (now.value_mw[solar][:, -6:] == 0.0).all()


def test_nothing_after_the_gate_leaks(recorded_feeder: RecordedFeeder) -> None:
    previous = recorded_feeder.forecast(date(2016, 7, 25))
    honest = updated(recorded_feeder, previous, 48)
    row = int((honest.known_at - recorded_feeder.recorded.start) / recorded_feeder.recorded.mtu)
    changed = recorded_feeder.value_mw.copy()
    changed[row:] = 9.0
    same = updated(recorded_feeder, previous, 48, changed)
    assert same.value_mw.tobytes() == honest.value_mw.tobytes()
    changed[row - 1] = 9.0
    assert updated(recorded_feeder, previous, 48, changed).value_mw.tobytes() != (
        honest.value_mw.tobytes()
    )


def test_before_the_day_begins_the_stand_in_is_named(recorded_feeder: RecordedFeeder) -> None:
    day = DeliveryDay(day=date(2016, 7, 25))
    previous = recorded_feeder.forecast(day.day)
    assert any("no reading of the day yet" in f for f in updated(recorded_feeder, previous, 0)
               .fallbacks)  # fmt: skip
    assert updated(recorded_feeder, previous, 4).fallbacks == ()


def one_series(
    kind: SeriesKind = "wind",
    read_mw: float = 3.0,
    hours: int = 2,
    forecast_mw: float = 2.0,
) -> Forecast:
    start = datetime(2016, 5, 1, tzinfo=UTC)
    quantiles = (0.1, 0.5, 0.9)
    previous = Forecast(
        series=("sgen:0",), periods=Periods(start=start, count=96), quantiles=quantiles,
        value_mw=np.full((1, 96, 3), forecast_mw) + np.array([-1.0, 0.0, 1.0]),
        known_at=start - timedelta(hours=10), model_id="m/1",
    )  # fmt: skip
    periods = Periods(start=start, count=4 * hours)
    reading = Reading(series=("sgen:0",), periods=periods,
                      value_mw=np.full((4 * hours, 1), read_mw), known_at=periods.end)  # fmt: skip
    return forecast_intraday(
        previous=previous, reading=reading, kinds={"sgen:0": kind}, capacity_mw={"sgen:0": 10.0},
        periods=previous.periods.from_index(4 * hours), known_at=periods.end,
    )  # fmt: skip


def test_residual_halves_at_the_half_life_and_the_band_opens_again() -> None:
    now = one_series()
    assert any("half-life 5 h assumed" in note for note in now.fallbacks)
    low, median, high = now.value_mw[0].T
    assert median[19] - 2.0 == pytest.approx(0.5, abs=1e-12)  # five hours ahead: half of 1 MW
    assert (np.diff(median) < 0.0).all()
    assert (np.diff(high - low) >= -1e-12).all()
    assert high[19] - low[19] == pytest.approx(2.0 * np.sqrt(0.75))


def test_pv_is_scaled_not_shifted() -> None:
    now = one_series(kind="pv", read_mw=1.0)
    assert now.median_mw()[0, 7] == pytest.approx(2.0 * (1.0 - 0.5 * 0.5))  # two hours: half


def test_half_life_agrees_with_statsmodels() -> None:
    """A seasonal difference of an AR(1) keeps its autocorrelation at one hour."""
    from statsmodels.tsa.stattools import acf

    rng = np.random.default_rng(11)
    count, phi = 14 * 96, 0.5 ** (1 / (4 * 3.0))  # half-life of three hours
    noise = np.zeros(count)
    for k in range(1, count):
        noise[k] = phi * noise[k - 1] + rng.standard_normal()
    reading = Reading(
        series=("load:0",), periods=Periods(start=datetime(2016, 5, 1, tzinfo=UTC), count=count),
        value_mw=50.0 + noise[:, None], known_at=datetime(2016, 5, 15, tzinfo=UTC),
    )  # fmt: skip
    half_life, notes = _half_life_h(reading, np.array([0]), "load")
    rho = acf(noise[96:] - noise[:-96], nlags=4)[4]
    assert half_life == pytest.approx(np.log(2) / -np.log(rho), rel=0.1)
    assert half_life == pytest.approx(3.0, rel=0.5)
    assert notes == []


def _fading(half_lives_h: list[float], days: int, seed: int = 11) -> Reading:
    """Quarter-hours of autoregressions about 50 MW, one per half-life."""
    rng = np.random.default_rng(seed)
    count = days * 96
    phi = 0.5 ** (1 / (4 * np.array(half_lives_h)))
    noise = np.zeros((count, len(phi)))
    for k in range(1, count):
        noise[k] = phi * noise[k - 1] + rng.standard_normal(len(phi))
    return Reading(
        series=tuple(f"sgen:{k}" for k in range(len(phi))),
        periods=Periods(start=datetime(2016, 5, 1, tzinfo=UTC), count=count),
        value_mw=50.0 + noise, known_at=datetime(2016, 5, 1 + days, tzinfo=UTC),
    )  # fmt: skip


def test_each_wind_park_fades_at_its_own_pace_and_loads_together() -> None:
    rows = np.array([0, 1])
    reading = _fading([1.0, 8.0], 14)
    slow, notes = _half_lives_h(reading, rows, "wind")
    assert notes == []
    assert slow[0] == pytest.approx(1.0, rel=0.5)
    assert slow[1] > 3.0 * slow[0]
    together, _ = _half_lives_h(reading, rows, "load")
    assert together[0] == together[1]


def test_what_does_not_fit_is_refused_together(recorded_feeder: RecordedFeeder) -> None:
    previous = recorded_feeder.forecast(date(2016, 7, 25))
    gate = previous.known_at - timedelta(hours=1)
    reading = recorded_feeder.readings_until(previous.periods.starts[20])
    with pytest.raises(InputError) as caught:
        forecast_intraday(
            previous=previous, reading=reading, kinds={}, capacity_mw={},
            periods=Periods(start=previous.periods.starts[10], count=4), known_at=gate,
        )  # fmt: skip
    text = str(caught.value)
    for part in ("after the gate", "kind is None", "not the rest", "before the readings end"):
        assert part in text
