"""A stand-in wholesale price for the SimBench year: Belgian day-ahead prices, 156 weeks later.

SimBench's profiles of 2016 come without prices. A delivery day of 2016 takes the recorded hourly
Belgian day-ahead price of the day 156 weeks (1092 days) later: same weekday, same season, and a
price that really cleared. It is a stand-in: 2019's weather and demand are not 2016's. The series
is in local wall-clock hours and is looked up by the local wall clock of each period, so a
clock-change day takes 23 or 25 hours of prices: of the hour that occurs twice, both times the same
one. Source and licence: data/SOURCES.md.
"""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods

PRICE_FILE: Final = Path(__file__).parent.parent / "prices" / "be_day_ahead_2019.csv"
SIMBENCH_WEEKS_LATER: Final = 156


@cache
def _recorded_prices() -> dict[str, float]:
    """Return the recorded price [EUR/MWh] by local hour, e.g. ``2019-07-22T13``."""
    with PRICE_FILE.open(encoding="utf-8", newline="") as stream:
        return {row["local_hour"]: float(row["eur_per_mwh"]) for row in csv.DictReader(stream)}


def import_price_for(
    periods: Periods, timezone: str, *, weeks_later: int = SIMBENCH_WEEKS_LATER
) -> NDArray[np.float64]:
    """Return the stand-in wholesale price of each period.

    Parameters
    ----------
    periods : Periods
        Periods that do not cross an hour (MTU of at most 60 min).
    timezone : str
        IANA zone of the market; the wall clock prices are looked up by.
    weeks_later : int
        How far after the period the recorded price lies.

    Returns
    -------
    ndarray, shape (periods,)
        Price [EUR/MWh], two decimals, any sign.

    Raises
    ------
    InputError
        If no price is recorded for a local hour, with all those hours.

    Examples
    --------
    >>> from datetime import date
    >>> from data.periods import DeliveryDay
    >>> day = DeliveryDay(day=date(2016, 7, 25)).periods
    >>> import_price_for(day, "Europe/Berlin")[[0, 4, 48]].tolist()
    [44.25, 43.87, 41.25]
    """
    zone = ZoneInfo(timezone)
    shift = timedelta(weeks=weeks_later)
    recorded = _recorded_prices()
    hours = [_local_hour(start.astimezone(zone), shift) for start in periods.starts]
    missing = sorted({hour for hour in hours if hour not in recorded})
    refuse_if_any(
        Problem(
            where=f"import price of {hour}:00",
            what="no price is recorded for this local hour",
            remedy=f"recorded are {min(recorded)} to {max(recorded)}; state the price yourself",
        )
        for hour in missing
    )
    return np.array([recorded[hour] for hour in hours])


def _local_hour(local: datetime, shift: timedelta) -> str:
    """Return the wall-clock hour ``shift`` later; wall clocks are moved without their offsets."""
    return (local.replace(tzinfo=None) + shift).strftime("%Y-%m-%dT%H")
