"""A clearing case cut down to some of its low-voltage zones: how effort grows with the grid."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase, Limits
from data.records.network import Network
from data.records.order import BilateralOrder
from opf.grid import build_grid
from opf.zones import zones_at_transformers

Bools = NDArray[np.bool_]
Table = TypeVar("Table")


def zone_count(case: ClearingCase) -> int:
    """How many zones the grid of a case has."""
    return zones_at_transformers(build_grid(case.network)).count


def keep_zones(case: ClearingCase, count: int) -> ClearingCase:
    """Return the case with ``count`` of its zones, spread evenly over their numbers.

    What carries the zones stays whole; elements and orders of the other zones are gone.

    Parameters
    ----------
    case : ClearingCase
        A case without security margins and position.
    count : int
        Zones to keep, from 0 to all of them.
    """
    network = case.network
    grid = build_grid(network)
    zones = zones_at_transformers(grid)
    kept = np.zeros(zones.count + 1, dtype=bool)
    kept[0] = True
    kept[1 + np.linspace(0, zones.count - 1, count).round().astype(int)] = True
    inside = (grid.bus_node < 0) | kept[zones.of_node[np.maximum(grid.bus_node, 0)]]
    gone = set(network.buses.index[~inside].tolist())

    def stays(*ends: NDArray[np.int64]) -> Bools:
        return np.array([not gone.intersection(bus) for bus in zip(*ends, strict=True)], dtype=bool)

    lines = stays(network.lines.from_bus, network.lines.to_bus)
    trafos = stays(network.trafos.hv_bus, network.trafos.lv_bus)
    loads, sgens = stays(network.loads.bus), stays(network.sgens.bus)
    links = [not gone.intersection(pair) for pair in network.bus_links.tolist()]
    left_trafos = network.trafos.index[trafos]
    cut = dataclasses.replace(
        network,
        buses=_rows(network.buses, inside),
        lines=_rows(network.lines, lines),
        trafos=_rows(network.trafos, trafos),
        loads=_rows(network.loads, loads),
        sgens=_rows(network.sgens, sgens),
        storages=_rows(network.storages, stays(network.storages.bus)),
        shunts=_rows(network.shunts, stays(network.shunts.bus)),
        tap_changers=_rows(network.tap_changers, np.isin(network.tap_changers.trafo, left_trafos)),
        bus_links=network.bus_links[np.array(links, dtype=bool)],
    )
    limits = case.limits
    return dataclasses.replace(
        case,
        name=f"{case.name}, {count} zones",
        network=cut,
        load_p_mw=case.load_p_mw[:, loads],
        load_q_mvar=case.load_q_mvar[:, loads],
        sgen_p_mw=case.sgen_p_mw[:, sgens],
        sgen_q_mvar=case.sgen_q_mvar[:, sgens],
        limits=Limits(
            vm_pu_min=limits.vm_pu_min[inside],
            vm_pu_max=limits.vm_pu_max[inside],
            line_loading_percent_max=limits.line_loading_percent_max[lines],
            trafo_loading_percent_max=limits.trafo_loading_percent_max[trafos],
            scarcity_price_eur_per_mwh=limits.scarcity_price_eur_per_mwh,
        ),
        orders=tuple(
            order
            for order in case.orders
            if gone.isdisjoint(bus for bus, _ in order.buses)
            and not (isinstance(order, BilateralOrder) and order.bus_to in gone)
        ),
    )


def _rows(table: Table, kept: Bools) -> Table:
    """Rows of a table of the network: arrays and tuples, one entry per element."""
    left: dict[str, Any] = {}
    for field in dataclasses.fields(table):  # type: ignore[arg-type]
        values = getattr(table, field.name)
        left[field.name] = (
            tuple(value for value, stays in zip(values, kept, strict=True) if stays)
            if isinstance(values, tuple)
            else values[kept]
        )
    return dataclasses.replace(table, **left)  # type: ignore[type-var]


def size_of(network: Network) -> str:
    """Say how large a grid is."""
    return (
        f"{len(network.buses.index):,} buses, {len(network.sgens.index):,} sgens, "
        f"{len(network.storages.index):,} storages"
    )
