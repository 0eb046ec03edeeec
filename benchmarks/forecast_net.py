"""Net load of ten substations by its parts, against like days and the week before.

    python -m benchmarks.forecast_net

prints the table alone; `make bench-forecast` prints it with the others.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_sets import reference_folder
from data.periods import Periods
from data.records.forecast import Reading
from forecasting.as_of import VersionedTable, instant64, starts64
from forecasting.model import KnownData, LikeDayModel, Site
from forecasting.net_model import NetPartsForecaster, NetPartsModel
from forecasting.scores import pinball_losses

Floats = NDArray[np.float64]

LEVELS: Final = tuple(k / 10 for k in range(1, 10))
PER_DAY: Final = 96
GATE_SLOT: Final = 40
FIRST_DAY, LAST_DAY, REFIT_DAYS = 42, 90, 14
FILE: Final = "substation_components_15min.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetLoad:
    """A substation's net load [MW], its weather, and the plants stated below it."""

    name: str
    periods: Periods
    net_mw: Floats
    weather: Floats
    site: Site


def net_loads() -> list[NetLoad]:
    """Return the ten substations; installed is the most that was ever measured of a part."""
    import pandas as pd

    table = pd.read_parquet(reference_folder("openstef_example") / FILE)
    found = []
    for name, raw in table.groupby("substation"):
        part = raw.droplevel("substation").interpolate(limit_direction="both")
        solar = bool(part["solar_on"].iloc[0] == 1.0)
        known = -(part["total_solar_part"] + part["total_wind_part"]).to_numpy(dtype=float)
        capacity = round(float(np.maximum(known, 0.0).max()), 1)
        start = part.index[0].to_pydatetime() - timedelta(minutes=15)  # stamps end the period
        found.append(
            NetLoad(
                name=str(name),
                periods=Periods(start=start, count=len(part), mtu_minutes=15),
                net_mw=part["total_substation"].to_numpy(dtype=float),
                weather=np.column_stack(
                    [part["radiation"].to_numpy(dtype=float) / 3600.0,  # from J/m2 and hour
                     part["windspeed_100m"].to_numpy(dtype=float)]
                ),
                site=Site(
                    latitude=float(part["Lat"].iloc[0]), longitude=float(part["Lon"].iloc[0]),
                    solar_mw=capacity if solar else None, wind_mw=None if solar else capacity,
                    timezone="Europe/Amsterdam",
                ),
            )
        )  # fmt: skip
    return found


def score(station: NetLoad) -> tuple[float, float, float, float, str]:
    """Return losses of ours, like days and the week before [MW], our coverage, and what it found.

    Gates are 10:00 on the day before; the parts are found anew every two weeks.
    """
    begun = station.periods.start
    first = (PER_DAY - (begun.hour * 4 + begun.minute // 15)) % PER_DAY
    model: NetPartsModel | None = None
    losses, inside = [], []
    for day in range(FIRST_DAY, LAST_DAY):
        begin = first + day * PER_DAY
        gate = begin - PER_DAY + GATE_SLOT
        if begin + PER_DAY > len(station.net_mw):
            break
        known = known_at_gate(station, gate, begin + PER_DAY)
        ahead = replace(station.periods.from_index(begin), count=PER_DAY)
        if model is None or (day - FIRST_DAY) % REFIT_DAYS == 0:
            model = NetPartsForecaster().fit(known)
        actual = station.net_mw[begin : begin + PER_DAY]
        ours = model.predict(known, ahead, LEVELS).value_mw[0]
        like = LikeDayModel().predict(known, ahead, LEVELS).value_mw[0]
        week = station.net_mw[begin - 7 * PER_DAY : begin - 6 * PER_DAY, None]
        made = (ours, like, np.repeat(week, len(LEVELS), axis=1))
        losses.append([pinball_losses(each, actual, LEVELS).mean() for each in made])
        inside.append(((actual >= ours[:, 0]) & (actual <= ours[:, -1])).mean())
    assert model is not None
    mean = np.mean(losses, axis=0)
    notes = "; ".join(model.plants[0].notes)
    return float(mean[0]), float(mean[1]), float(mean[2]), float(np.mean(inside)), notes


def known_at_gate(station: NetLoad, gate: int, until: int) -> KnownData:
    """Return the readings until a gate, and weather of past and coming periods."""
    past = replace(station.periods, count=gate)
    whole = replace(station.periods, count=until)
    issued = np.minimum(starts64(whole), instant64(past.end - timedelta(hours=1)))
    return KnownData(
        kind="net",
        reading=Reading(series=(station.name,), periods=past,
                        value_mw=station.net_mw[:gate, None], known_at=past.end),
        known_at=past.end,
        site=station.site,
        weather=VersionedTable(
            names=("ghi_w_per_m2", "wind_100m_m_per_s"), mtu_minutes=15,
            valid_at=starts64(whole), known_at=issued, value=station.weather[:until],
        ),
    )  # fmt: skip


def net_table() -> str:
    """Return the Markdown table [MW]."""
    lines = [
        (
            "| substation | stated | parts | like days | week before | parts against like days | "
            "in 10-90 % | found in the data |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    gains = []
    for station in net_loads():
        ours, like, week, inside, notes = score(station)
        site = station.site
        stated = f"solar {site.solar_mw:g} MW" if site.solar_mw else f"wind {site.wind_mw:g} MW"
        gains.append(ours / like - 1.0)
        lines.append(
            f"| {station.name} | {stated} | {ours:.4f} | {like:.4f} | {week:.4f} | "
            f"{100 * gains[-1]:+.1f} % | {inside:.3f} | {notes or '-'} |"
        )
    better = sum(gain < 0.0 for gain in gains)
    return (
        "\n".join(lines)
        + f"\n\nPinball [MW], nine deciles, day-ahead, days {FIRST_DAY} to {LAST_DAY} of 92: parts "
        f"are better on {better} of {len(gains)}. `dso forecast run` takes them only where they "
        "won on the days before the gate, so a dead meter is served by like days. The weather of "
        "the set is that of its authors' forecasts; their issue times are not published."
    )


if __name__ == "__main__":
    sys.stdout.write(net_table() + "\n")
