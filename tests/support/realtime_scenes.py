"""Quarter-hours of the rural feeder as real time meets them: cleared on what was known before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np

from data.periods import Periods
from data.readers.simbench import SimbenchGrid, load_simbench, profiles_for
from data.records.clearing import ClearingCase, Limits
from data.records.order import Order, ReactiveRange
from data.study.limits import limits_in_force
from dso.realtime.fleet import Fleet, fleet_of_network
from dso.realtime.positions import Positions, positions_of_awards
from opf.clearing import clear_case
from opf.problems.monitored_grid import MonitoredGrid, monitor_grid
from tests.support.cases import generation, storage

FEEDER = "1-MV-rural--2-sw"
# The worst hours of a windy day in summer: every limit of the upper voltage is at stake.
NOON = datetime(2016, 7, 25, 8, 0, tzinfo=UTC)
# A calm night before the wind came: what the market expected is far too little.
KNOWN_BEFORE = timedelta(hours=36)
PRICE = {"Biomass": 60.0, "Hydro": 5.0}


@cache
def rural_grid() -> SimbenchGrid:
    return load_simbench(FEEDER)


@cache
def rural_limits() -> Limits:
    problems: list[Any] = []
    limits = limits_in_force(rural_grid().network, {}, 4000.0, problems)
    assert not problems
    return limits


@cache
def rural_monitored() -> MonitoredGrid:
    return monitor_grid(rural_grid().network, rural_limits())


@cache
def rural_fleet() -> Fleet:
    return fleet_of_network(rural_grid().network)


def load_by_node(at_utc: datetime, share: float = 1.0) -> np.ndarray:
    """Injection of the recorded loads of one quarter-hour by node [MW + j Mvar]."""
    grid, monitored = rural_grid(), rural_monitored()
    recorded = profiles_for(grid, Periods(start=at_utc, count=1))
    network = grid.network
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    by_bus = np.zeros(len(row), dtype=complex)
    for k, bus in enumerate(network.loads.bus):
        by_bus[row[int(bus)]] -= recorded.load_p_mw[0, k] + 1j * recorded.load_q_mvar[0, k]
    return share * monitored.by_node(by_bus)[:, 0]


@cache
def rural_positions(start: datetime = NOON, count: int = 4) -> Positions:
    """Clear some quarter-hours on readings of a day and a half before: a poor forecast."""
    grid, fleet = rural_grid(), rural_fleet()
    network, periods = grid.network, Periods(start=start, count=count)
    known = profiles_for(grid, Periods(start=start - KNOWN_BEFORE, count=1))
    lasting = {
        name: np.repeat(getattr(known, name), count, axis=0)
        for name in ("load_p_mw", "load_q_mvar", "sgen_p_mw", "sgen_q_mvar")
    }
    orders: list[Order] = []
    for k, asset in enumerate(fleet.plants.ids):
        column = int(fleet.sgen_columns[k])
        technology = network.sgens.technology[column]
        price = next((value for name, value in PRICE.items() if technology.startswith(name)), 0.0)
        power = np.maximum(lasting["sgen_p_mw"][:, column], 0.0)
        order = generation(asset, fleet.plants.buses[k], power, price, count)
        turns = ReactiveRange(power_factor_min=0.95) if technology.startswith("Wind") else None
        orders.append(replace(order, asset=asset, reactive=turns))
    batteries = fleet.batteries
    for k, asset in enumerate(batteries.ids):
        stored = storage(
            asset,
            batteries.buses[k],
            p_mw=float(batteries.charge_mw_max[k]),
            energy_mwh=float(batteries.energy_mwh_max[k]),
            periods=count,
            throughput=1.0,
        )
        orders.append(replace(stored, asset=asset))
    case = ClearingCase(
        name="quarter-hours",
        network=network,
        periods=periods,
        timezone="Europe/Berlin",
        formulation="ac",
        import_price_eur_per_mwh=np.full(count, 35.0),
        import_mw_max=None,
        export_mw_max=None,
        limits=rural_limits(),
        orders=tuple(sorted(orders, key=lambda order: order.id)),
        **lasting,
    )
    result = clear_case(case)
    assert result.status == "certified", result.message
    return positions_of_awards(case, result.awards, fleet)
