"""The case of one clearing, and the feeder as the report draws it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from data.readers.simbench import NetworkProfiles
from data.records.clearing import ClearingCase
from data.records.forecast import Forecast
from data.records.network import Elements, Network
from data.records.order import Order
from data.units import quantise_mw
from dso.cycles.plan import DayPlan

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What enters a clearing beside the plan: orders, and the position so far [MW, Mvar].

    Position arrays have shape (orders, periods), rows as ``orders``; None day-ahead.
    """

    orders: tuple[Order, ...]
    position_mw: Floats | None = None
    position_mvar: Floats | None = None


def expected_profiles(plan: DayPlan, forecast: Forecast, gate: datetime) -> NetworkProfiles:
    """Return medians of all loads and generators as a clearing takes them, on the award tick.

    Reactive power: loads at the ratio of the week before the gate, generators at their own power
    factor. Elements out of service are 0.
    """
    network = plan.network
    median = dict(zip(forecast.series, forecast.median_mw(), strict=True))
    count = len(forecast.periods)

    def powers(kind: str, elements: Elements) -> Floats:
        rows = [median.get(f"{kind}:{i}", np.zeros(count)) for i in elements.index]
        return quantise_mw(np.maximum(np.array(rows).reshape(-1, count), 0.0)).T

    load_p_mw, sgen_p_mw = powers("load", network.loads), powers("sgen", network.sgens)
    sgens = network.sgens
    own_ratio = np.divide(
        sgens.q_mvar, sgens.p_mw, out=np.zeros_like(sgens.p_mw), where=sgens.p_mw != 0.0
    )
    return NetworkProfiles(
        load_p_mw=load_p_mw,
        load_q_mvar=quantise_mw(load_p_mw * plan.recorded.reactive_ratio_until(gate)),
        sgen_p_mw=sgen_p_mw,
        sgen_q_mvar=quantise_mw(sgen_p_mw * own_ratio),
    )


def make_case(
    plan: DayPlan, *, name: str, periods: Periods, profiles: NetworkProfiles, book: Book
) -> ClearingCase:
    """Put a case together; ``periods`` are the last ones of the day."""
    return ClearingCase(
        name=name,
        network=plan.network,
        periods=periods,
        timezone=plan.delivery.timezone,
        formulation="ac",
        load_p_mw=profiles.load_p_mw,
        load_q_mvar=profiles.load_q_mvar,
        sgen_p_mw=profiles.sgen_p_mw,
        sgen_q_mvar=profiles.sgen_q_mvar,
        import_price_eur_per_mwh=plan.import_price_eur_per_mwh[-len(periods) :],
        import_mw_max=None,
        export_mw_max=None,
        limits=plan.limits,
        orders=book.orders,
        position_mw=book.position_mw,
        position_mvar=book.position_mvar,
    )


def feeder_map(network: Network) -> dict[str, object]:
    """Return buses, branches and links with names, places and limits, for ``feeder_map.json``."""
    buses, lines, trafos = network.buses, network.lines, network.trafos

    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        "substation_bus": network.slack_bus,
        "buses": [
            {
                "bus": int(index),
                "name": buses.name[row],
                "vn_kv": number(buses.vn_kv[row]),
                "longitude": number(buses.longitude[row]),
                "latitude": number(buses.latitude[row]),
                "vm_pu_min": number(buses.vm_pu_min[row]),
                "vm_pu_max": number(buses.vm_pu_max[row]),
            }
            for row, index in enumerate(buses.index)
            if buses.in_service[row]
        ],
        "branches": [
            {
                "element_kind": kind,
                "element": int(index),
                "name": table_name[row],
                "from_bus": int(start[row]),
                "to_bus": int(end[row]),
                "in_service": bool(in_service[row]),
                "loading_percent_max": number(maximum[row]),
            }
            for kind, indices, table_name, start, end, in_service, maximum in (
                (
                    "line", lines.index, lines.name, lines.from_bus, lines.to_bus,
                    lines.in_service & lines.closed_from & lines.closed_to,
                    lines.loading_percent_max,
                ),
                (
                    "trafo", trafos.index, trafos.name, trafos.hv_bus, trafos.lv_bus,
                    trafos.in_service & trafos.closed_hv & trafos.closed_lv,
                    trafos.loading_percent_max,
                ),
            )
            for row, index in enumerate(indices)
        ],
        "links": [[int(a), int(b)] for a, b in network.bus_links],
    }  # fmt: skip
