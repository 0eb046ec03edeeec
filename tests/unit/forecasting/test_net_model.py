"""Net load by its parts: against like days on real substations, and on sums we made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from data.errors import InputError
from data.periods import Periods
from data.records.forecast import Reading
from forecasting.as_of import VersionedTable, instant64, starts64
from forecasting.disaggregation import solar_yield, wind_yield
from forecasting.model import KnownData, LikeDayModel, Site
from forecasting.net_model import NetPartsForecaster, has_parts
from forecasting.scores import pinball_losses
from tests.support.substations import substations

LEVELS = tuple(k / 10 for k in range(1, 10))
START = datetime(2021, 5, 1, tzinfo=UTC)
SITE = Site(latitude=52.0, longitude=5.5, solar_mw=10.0, wind_mw=5.0, timezone="Europe/Amsterdam")
HOURS = 40 * 24


def table(periods: Periods, gate: datetime, columns: dict[str, np.ndarray]) -> VersionedTable:
    """Weather of past and coming periods, all of it issued before the gate."""
    issued = np.minimum(starts64(periods), instant64(gate - timedelta(hours=1)))
    return VersionedTable(
        names=tuple(columns), mtu_minutes=periods.mtu_minutes, valid_at=starts64(periods),
        known_at=issued, value=np.column_stack(list(columns.values())),
    )  # fmt: skip


def made_up(gate_hour: int, ahead: int = 24) -> tuple[KnownData, Periods, np.ndarray]:
    """A village whose net load is exactly a day's shape less two plants' output."""
    draw = np.random.default_rng(5)
    whole = Periods(start=START, count=gate_hour + ahead, mtu_minutes=60)
    hour = np.arange(len(whole)) % 24
    ghi = (
        900.0 * np.maximum(np.sin(np.pi * (hour - 4) / 16), 0.0) * draw.uniform(0.1, 1.0, hour.size)
    )
    wind = np.abs(7.0 + 4.0 * np.sin(np.arange(len(whole)) / 17.0) + draw.normal(0, 1, hour.size))
    plants = 8.0 * solar_yield(ghi, whole, 52.0, 5.5) + 4.0 * wind_yield(wind, 0.8)
    net = 6.0 + 2.0 * np.sin(2 * np.pi * hour / 24) - plants
    read = Periods(start=START, count=gate_hour, mtu_minutes=60)
    known = KnownData(
        kind="net",
        reading=Reading(series=("village",), periods=read, value_mw=net[:gate_hour, None],
                        known_at=read.end),
        known_at=read.end,
        site=SITE,
        weather=table(whole, read.end, {"ghi_w_per_m2": ghi, "wind_m_per_s": wind}),
    )  # fmt: skip
    return known, whole.from_index(gate_hour), net[gate_hour:]


def test_plants_are_found_and_follow_the_coming_weather() -> None:
    known, ahead, actual = made_up(HOURS)
    model = NetPartsForecaster().fit(known)
    assert model.plants[0].solar_mw == pytest.approx(8.0, rel=0.05)
    assert model.plants[0].wind_mw == pytest.approx(4.0, rel=0.05)
    forecast = model.predict(known, ahead, LEVELS)
    like = LikeDayModel().predict(known, ahead, LEVELS)
    assert np.abs(forecast.median_mw()[0] - actual).mean() < 0.3
    assert np.abs(like.median_mw()[0] - actual).mean() > 1.0
    assert (np.diff(forecast.value_mw, axis=2) >= 0.0).all()
    assert forecast.model_id == "net-parts/1"


def test_a_model_taken_back_from_its_files_forecasts_the_same() -> None:
    known, ahead, _ = made_up(HOURS)
    model = NetPartsForecaster().fit(known)
    again = NetPartsForecaster().from_files(model.to_files())
    assert again == model
    ours = model.predict(known, ahead, LEVELS).value_mw
    assert np.array_equal(ours, again.predict(known, ahead, LEVELS).value_mw)


def test_what_is_missing_is_refused_together() -> None:
    known, ahead, _ = made_up(HOURS)
    bare = replace(known, site=replace(SITE, latitude=None), weather=None)
    assert not has_parts(bare)
    with pytest.raises(InputError) as caught:
        NetPartsForecaster().fit(bare)
    text = str(caught.value)
    for part in ("no position for solar_mw", "no column ghi_w_per_m2", "no column wind_100m"):
        assert part in text
    with pytest.raises(InputError, match="no solar_mw or wind_mw"):
        NetPartsForecaster().fit(replace(known, site=Site()))
    short, _, _ = made_up(10 * 24)
    with pytest.raises(InputError, match=r"10\.0 days"):
        NetPartsForecaster().fit(short)
    model = NetPartsForecaster().fit(known)
    assert known.weather is not None
    cut = replace(
        known.weather, valid_at=known.weather.valid_at[:-5], known_at=known.weather.known_at[:-5],
        value=known.weather.value[:-5],
    )  # fmt: skip
    with pytest.raises(InputError, match="missing in 5 of 24 periods"):
        model.predict(replace(known, weather=cut), ahead, LEVELS)


def substation_loss(name: str, days: range) -> tuple[float, float]:
    """Return our pinball loss and that of like days at 10:00 gates, fitted at the first [MW]."""
    station = substations()[name]
    net = station.net_mw
    first = (96 - (station.periods.start.hour * 4 + station.periods.start.minute // 15)) % 96
    read = np.isfinite(net)
    net = np.interp(np.arange(len(net)), np.flatnonzero(read), net[read])
    columns = {
        "ghi_w_per_m2": station.weather.ghi_w_per_m2,
        "wind_100m_m_per_s": station.weather.wind_m_per_s,
    }
    site = Site(
        latitude=station.latitude, longitude=station.longitude, timezone="Europe/Amsterdam",
        solar_mw=station.installed.solar_mw or None, wind_mw=station.installed.wind_mw or None,
    )  # fmt: skip
    model, losses = None, []
    for day in days:
        gate, begin = first + (day - 1) * 96 + 40, first + day * 96
        past = replace(station.periods, count=gate)
        ahead = replace(station.periods.from_index(begin), count=96)
        until = replace(station.periods, count=begin + 96)
        known = KnownData(
            kind="net",
            reading=Reading(series=(name,), periods=past, value_mw=net[:gate, None],
                            known_at=past.end),
            known_at=past.end,
            site=site,
            weather=table(until, past.end, {k: v[: begin + 96] for k, v in columns.items()}),
        )  # fmt: skip
        model = model or NetPartsForecaster().fit(known)
        losses.append([
            pinball_losses(each.predict(known, ahead, LEVELS).value_mw[0],
                           net[begin : begin + 96], LEVELS).mean()
            for each in (model, LikeDayModel())
        ])  # fmt: skip
    ours, like = np.mean(losses, axis=0)
    return float(ours), float(like)


@pytest.mark.parametrize("name", ["HAL", "LLS", "MNZL", "WWF"])
def test_real_net_loads_with_plants_are_forecast_better_than_by_like_days(name: str) -> None:
    """Weather is that of the data set, forecast by others; ten days in the last month."""
    ours, like = substation_loss(name, range(62, 90, 3))
    assert ours < 0.92 * like
