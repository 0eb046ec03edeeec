"""A study whose orders are those of a feeder's devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.periods import DeliveryDay, Periods
from data.readers.series_file import read_series_file
from data.readers.simbench import load_simbench, profiles_for
from data.records.clearing import ClearingCase
from data.study.canonical_case import canonical_case
from dso.config import load_feeder
from dso.fleet.fleet_file import FleetFile
from dso.fleet.simbench_fleet import FleetAssumptions, fleet_of_feeder, plant_rows
from flexibility.portfolios.fleet import FleetOffer, FleetOutlook, FleetTerms, offer_fleet

Floats = NDArray[np.float64]
TEMPERATURE: Final = "temperature_c"
SIMBENCH: Final = "simbench:"
HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStudy:
    """A case made of devices, the network it refers to, the fleet behind it and its offer."""

    case: ClearingCase
    network_ref: str
    file: FleetFile
    offer: FleetOffer


def outdoor_temperature(path: Path, periods: Periods, begins: datetime) -> Floats:
    """Return the temperature of each period [degC], straight lines between the file's rows.

    Parameters
    ----------
    path : Path
        CSV with ``period_start`` and ``temperature_c``, hourly or finer.
    periods : Periods
        The periods wanted.
    begins : datetime
        Instant of the file that the first period takes; another day or place is a stand-in.

    Raises
    ------
    InputError
        If the file cannot be read or does not cover the periods without a gap of over an hour.
    """
    problems: list[Problem] = []
    table = read_series_file(path, problems)
    if table is None or TEMPERATURE not in table.columns:
        problems.append(Problem(where=str(path), what=f"no column {TEMPERATURE} could be read"))
        raise InputError(problems)
    values = table.value[:, table.columns.index(TEMPERATURE)]
    order = np.argsort(table.start, kind="stable")
    known = order[np.isfinite(values[order])]
    first = np.datetime64(begins.replace(tzinfo=None), "s")
    at = (table.start[known] - first) / np.timedelta64(3600, "s")
    wanted = np.arange(len(periods)) * periods.mtu_h
    near = known[(at >= -1.0) & (at <= wanted[-1] + 1.0)]
    hours = (table.start[near] - first) / np.timedelta64(3600, "s")
    covered = len(hours) > 1 and hours[0] <= 0.0 and hours[-1] >= wanted[-1] - 1.0
    if not covered or np.diff(hours).max() > 1.0:
        what = f"does not cover {len(periods) * periods.mtu_h:g} h from {begins:%Y-%m-%dT%H:%MZ} on"
        raise InputError([Problem(where=str(path), what=what, remedy="state --weather-from")])
    return np.asarray(np.interp(wanted, hours, values[near]))


def fleet_study(
    *,
    feeder: str,
    day: date,
    weather: Path,
    weather_from: datetime | None,
    terms: FleetTerms,
    assumptions: FleetAssumptions,
    car_weeks: int = 1,
) -> FleetStudy:
    """Make the study of a feeder's devices on one day.

    What was recorded stands in for the forecast of everything but the devices.

    Parameters
    ----------
    feeder : str
        Id of a feeder in ``configs/feeders`` on a SimBench network.
    day : date
        Local delivery day of 2016.
    weather : Path
        Outdoor temperature.
    weather_from : datetime or None
        Instant of the file to begin with; None: the day's own start.
    terms : FleetTerms
        How the fleet offers.
    assumptions : FleetAssumptions
        What no record says.
    car_weeks : int
        Charging sessions of the same weekday of so many weeks join the fleet.

    Raises
    ------
    InputError
        With what is wrong with feeder, weather or numbers.
    """
    from dso.studies.new import new_case

    config = load_feeder(feeder, day)
    if not config.network.startswith(SIMBENCH) or car_weeks < 1:
        what = f"network {config.network}, {car_weeks} weeks: needs SimBench and at least one week"
        raise InputError([Problem(where=f"fleet of {feeder}", what=what)])
    base = new_case(config.network, day=day, feeder=feeder)
    periods = base.periods
    outdoor = outdoor_temperature(weather, periods, weather_from or periods.start)
    grid = load_simbench(config.network.removeprefix(SIMBENCH))
    recorded = profiles_for(grid, periods)
    others = [
        profiles_for(grid, DeliveryDay(day=other, timezone=base.timezone).periods).load_p_mw
        for other in _same_weekdays(day, car_weeks)
    ]
    made = fleet_of_feeder(
        base.network, recorded, periods, outdoor, assumptions, base.timezone, others
    )
    plants = recorded.sgen_p_mw[:, plant_rows(base.network, made.fleet.plant_assets)].T
    outlook = FleetOutlook(outdoor_c=outdoor, plants_mw=np.maximum(plants, 0.0))
    offer = offer_fleet(made.fleet, outlook, periods, terms)
    rows = np.isin(base.network.loads.index, made.replaced_loads)
    case = canonical_case(
        dataclasses.replace(
            base,
            name=f"fleet of {feeder} {day}",
            load_p_mw=np.where(rows, 0.0, base.load_p_mw),
            load_q_mvar=np.where(rows, 0.0, base.load_q_mvar),
            orders=offer.orders,
        )
    )
    begins = weather_from or periods.start
    weather_note = f"Outdoor temperature: {weather.name} from {begins:%Y-%m-%d %H:%M} UTC on."
    assumed_note = (
        f"Departures ({assumptions.leave_home:%H:%M} from home, {assumptions.leave_work:%H:%M} "
        f"from work), cars of {assumptions.car_mwh * 1e3:g} kWh, buildings and heat stores are "
        "assumed; sessions, electricity of heat pumps, PV and storages are SimBench's."
    )
    weeks = (f"Charging sessions of {car_weeks} weeks on one day.",) if car_weeks > 1 else ()
    notes = (weather_note, assumed_note, *weeks)
    file = FleetFile(fleet=made.fleet, outlook=outlook, terms=terms, notes=notes)
    return FleetStudy(case=case, network_ref=config.network, file=file, offer=offer)


def _same_weekdays(day: date, weeks: int) -> Sequence[date]:
    """The same weekday of the weeks after, going on before where the year ends."""
    nearest = [day + timedelta(weeks=k) for k in range(1, weeks)]
    return [other if other.year == day.year else other - timedelta(weeks=52) for other in nearest]
