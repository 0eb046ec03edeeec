"""Clearing cases of SimBench grids: recorded profiles as forecast, the grids' own limits."""

from __future__ import annotations

from datetime import date
from datetime import time as clock_time
from typing import Final

import numpy as np

from data.periods import DeliveryDay
from data.readers.prices import import_price_for
from data.readers.simbench import NetworkProfiles, load_simbench, profiles_for
from data.records.clearing import ClearingCase, Limits
from data.records.forecast import Forecast
from data.records.network import Network
from data.study import canonical_case
from data.study.limits import limits_in_force
from data.units import quantise_mw
from flexibility.offers import make_orders
from flexibility.policy import OfferPolicy

LV_GRIDS: Final = (
    "1-LV-rural1", "1-LV-rural2", "1-LV-rural3", "1-LV-semiurb4", "1-LV-semiurb5", "1-LV-urban6",
)  # fmt: skip
MV_GRIDS: Final = ("1-MV-rural", "1-MV-semiurb", "1-MV-urban", "1-MV-comm")
SCENARIOS: Final = (0, 1, 2)
SUNNY: Final = date(2016, 7, 25)
WINTER: Final = date(2016, 1, 16)
DAYS: Final = (SUNNY, WINTER)
TIMEZONE: Final = "Europe/Berlin"


def grid_codes() -> tuple[str, ...]:
    """Return the SimBench codes of all grids in all scenarios, small grids first."""
    return tuple(
        f"{grid}--{scenario}-sw" for grid in (*LV_GRIDS, *MV_GRIDS) for scenario in SCENARIOS
    )


def simbench_case(code: str, day: date) -> ClearingCase:
    """Make the clearing of a day on a SimBench grid.

    Every static generator sells what was recorded, every storage is offered, every fourth load is
    flexible (the default `OfferPolicy`); limits are the grid's own; the import price is the
    stand-in of `data.readers.prices`.

    Parameters
    ----------
    code : str
        SimBench code, e.g. ``1-LV-rural1--2-sw``.
    day : date
        Delivery day of 2016.

    Returns
    -------
    ClearingCase
        In canonical form.

    Raises
    ------
    InputError
        A technology without price, a limit the grid does not state, values that are not finite.
    """
    grid = load_simbench(code)
    network = grid.network
    delivery = DeliveryDay(day=day, timezone=TIMEZONE)
    periods = delivery.periods
    recorded = _on_tick(profiles_for(grid, periods), network)
    gate = delivery.instant(clock_time(13, 30), days_before=1)
    series = [f"load:{i}" for i in network.loads.index]
    series += [f"sgen:{i}" for i in network.sgens.index]
    forecast = Forecast(
        series=tuple(series),
        periods=periods,
        quantiles=(0.5,),
        value_mw=np.hstack([recorded.load_p_mw, recorded.sgen_p_mw]).T[:, :, None],
        known_at=gate,
        model_id="recorded",
    )
    orders = make_orders(
        network=network,
        forecast=forecast,
        periods=periods,
        policy=OfferPolicy(),
        submitted_at=gate,
    )
    return canonical_case(
        ClearingCase(
            name=f"{code} {day}",
            network=network,
            periods=periods,
            timezone=TIMEZONE,
            formulation="ac",
            load_p_mw=recorded.load_p_mw,
            load_q_mvar=recorded.load_q_mvar,
            sgen_p_mw=recorded.sgen_p_mw,
            sgen_q_mvar=recorded.sgen_q_mvar,
            import_price_eur_per_mwh=import_price_for(periods, TIMEZONE),
            import_mw_max=None,
            export_mw_max=None,
            limits=own_limits(network),
            orders=orders,
        )
    )


def own_limits(network: Network) -> Limits:
    """Return the limits that the network states; InputError names the elements without one."""
    from data.errors import Problem, refuse_if_any

    problems: list[Problem] = []
    limits = limits_in_force(network, {}, 4000.0, problems)
    refuse_if_any(problems)
    return limits


def _on_tick(profiles: NetworkProfiles, network: Network) -> NetworkProfiles:
    """Round powers to the award tick; elements out of service are 0."""
    load, sgen = network.loads.in_service, network.sgens.in_service
    return NetworkProfiles(
        load_p_mw=quantise_mw(np.where(load, profiles.load_p_mw, 0.0)),
        load_q_mvar=quantise_mw(np.where(load, profiles.load_q_mvar, 0.0)),
        sgen_p_mw=quantise_mw(np.where(sgen, profiles.sgen_p_mw, 0.0)),
        sgen_q_mvar=quantise_mw(np.where(sgen, profiles.sgen_q_mvar, 0.0)),
    )
