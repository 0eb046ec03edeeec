"""Ten Dutch substations whose solar or wind part is known (OpenSTEF example data, MPL-2.0)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from data.periods import Periods
from forecasting.disaggregation import Installed, Weather

FILE = Path("forecast/openstef_example/substation_components_15min.parquet")
NAMES = ("HAL", "HFDP", "LLS", "MNZL", "NRYN", "OWD", "WEW", "WHF", "WLS", "WWF")


@dataclass(frozen=True, kw_only=True)
class Substation:
    """One substation, 92 days of 15 min.

    ``installed`` stands for the register, which the data lack: the most that was ever measured of
    the known part, to 0.1 MW, under the technology that the data state.
    """

    name: str
    kind: str
    periods: Periods
    net_mw: np.ndarray
    part_mw: np.ndarray
    weather: Weather
    installed: Installed
    latitude: float
    longitude: float

    @property
    def installed_mw(self) -> float:
        return self.installed.solar_mw + self.installed.wind_mw


@cache
def substations() -> dict[str, Substation]:
    folder = os.environ.get("DSO_REFERENCE_DATA")
    if not folder:
        pytest.skip("reference series not there: set DSO_REFERENCE_DATA")
    import pandas as pd

    table = pd.read_parquet(Path(folder) / FILE)
    found = {}
    for name in NAMES:
        part = table.loc[name].interpolate(limit_direction="both")
        solar = bool(part["solar_on"].iloc[0] == 1.0)
        known = -(part["total_solar_part"] + part["total_wind_part"]).to_numpy(dtype=float)
        known = np.maximum(known, 0.0)
        capacity = round(float(known.max()), 1)
        first = part.index[0].to_pydatetime() - timedelta(minutes=15)  # stamps end the period
        found[name] = Substation(
            name=name,
            kind="solar" if solar else "wind",
            periods=Periods(start=first, count=len(part), mtu_minutes=15),
            net_mw=table.loc[name]["total_substation"].to_numpy(dtype=float),
            part_mw=known,
            weather=Weather(
                ghi_w_per_m2=part["radiation"].to_numpy(dtype=float) / 3600.0,  # from J/m2 and hour
                wind_m_per_s=part["windspeed_100m"].to_numpy(dtype=float),
            ),
            installed=Installed(solar_mw=capacity * solar, wind_mw=capacity * (not solar)),
            latitude=float(part["Lat"].iloc[0]),
            longitude=float(part["Lon"].iloc[0]),
        )
    return found


def standard_profile_mw(name: str) -> np.ndarray:
    """Return the baseline: what is installed times the mean day of the other substations' plants.

    Per installed MW and hour of the same technology: what an operator books where nothing is
    metered, and here even made from the same three months.
    """
    own = substations()[name]
    first = own.periods.start.hour * 4 + own.periods.start.minute // 15
    hour = (first + np.arange(len(own.periods))) // 4 % 24
    shapes = []
    for other in substations().values():
        if other.kind == own.kind and other.name != name:
            share = other.part_mw / other.installed_mw
            shapes.append([share[hour == h].mean() for h in range(24)])
    return own.installed_mw * np.mean(shapes, axis=0)[hour]
