"""Small clearing cases for tests, built in memory."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from data.records.clearing import ClearingCase, Limits
from data.records.network import Network
from data.records.order import GenerationOrder, Order, PriceStep, StorageOrder

Floats = NDArray[np.float64]


def library_network(name: str, *, slack_vm_pu: float | None = None) -> Network:
    """A network of pandapower's library; the substation's voltage can be set."""
    import dataclasses

    import pandapower.networks

    from data.readers.pandapower_net import network_from_pandapower

    net = getattr(pandapower.networks, name)()
    network = network_from_pandapower(net, f"pandapower:{name}")
    if slack_vm_pu is None:
        return network
    return dataclasses.replace(network, slack_vm_pu=slack_vm_pu)


def make_case(
    network: Network,
    orders: list[Order],
    *,
    price: float | Floats = 20.0,
    periods: int = 1,
    mtu_minutes: int = 60,
    vm_pu_min: float = 0.5,
    vm_pu_max: float = 1.5,
    line_loading_percent_max: float | Floats = 1e6,
    import_mw_max: float | None = None,
    export_mw_max: float | None = None,
    load_scale: Floats | None = None,
    scarcity: float = 4000.0,
) -> ClearingCase:
    """A case with the network's own loads and sgens in every period."""
    scale = np.ones(periods) if load_scale is None else load_scale
    loads, sgens, buses = network.loads, network.sgens, network.buses
    lines = len(network.lines.index)
    return ClearingCase(
        name="test",
        network=network,
        periods=Periods(
            start=datetime(2026, 6, 1, tzinfo=UTC), count=periods, mtu_minutes=mtu_minutes
        ),
        timezone="Europe/Berlin",
        formulation="ac",
        load_p_mw=np.outer(scale, loads.p_mw),
        load_q_mvar=np.outer(scale, loads.q_mvar),
        sgen_p_mw=np.outer(np.ones(periods), sgens.p_mw),
        sgen_q_mvar=np.outer(np.ones(periods), sgens.q_mvar),
        import_price_eur_per_mwh=np.broadcast_to(np.asarray(price, dtype=float), (periods,)).copy(),
        import_mw_max=import_mw_max,
        export_mw_max=export_mw_max,
        limits=Limits(
            vm_pu_min=np.full(len(buses.index), vm_pu_min),
            vm_pu_max=np.full(len(buses.index), vm_pu_max),
            line_loading_percent_max=np.broadcast_to(
                np.asarray(line_loading_percent_max, dtype=float), (lines,)
            ).copy(),
            trafo_loading_percent_max=np.full(len(network.trafos.index), 1e6),
            scarcity_price_eur_per_mwh=scarcity,
        ),
        orders=tuple(sorted(orders, key=lambda order: order.id)),
    )


def generation(
    order_id: str, bus: int, p_mw: float | Floats, price: float, periods: int = 1
) -> GenerationOrder:
    """A generation order of one step."""
    ones = np.ones(periods)
    return GenerationOrder(
        id=order_id,
        participant="A",
        buses=((bus, 1.0),),
        steps=(PriceStep(p_mw=p_mw * ones, price_eur_per_mwh=price * ones),),
        p_mw_min=0.0 * ones,
    )


def storage(
    order_id: str,
    bus: int,
    *,
    p_mw: float,
    energy_mwh: float,
    periods: int,
    efficiency: float = 0.95,
    start: float = 0.5,
    throughput: float = 0.0,
) -> StorageOrder:
    """A storage order that must end as full as it began."""
    ones = np.ones(periods)
    return StorageOrder(
        id=order_id,
        participant="B",
        buses=((bus, 1.0),),
        charge_mw_max=p_mw * ones,
        discharge_mw_max=p_mw * ones,
        energy_mwh_min=0.0,
        energy_mwh_max=energy_mwh,
        energy_mwh_start=start * energy_mwh,
        energy_mwh_end_min=start * energy_mwh,
        efficiency_charge=efficiency,
        efficiency_discharge=efficiency,
        price_charge_eur_per_mwh=throughput * ones,
        price_discharge_eur_per_mwh=throughput * ones,
        self_discharge_per_day=0.0,
        availability=ones,
    )
