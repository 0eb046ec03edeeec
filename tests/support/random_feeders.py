"""Random feeders with plants, storage and limits that bind: one case per seed, always the same.

Built as pandapower networks, so that pandapower's own models of lines and transformers can judge
what the engine makes of them. Limits are set from a power flow of the uncontrolled feeder: inside
what it would reach, outside what its plants can avoid.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from data.readers.pandapower_net import network_from_pandapower
from data.records.clearing import ClearingCase
from data.records.network import Network
from data.records.order import DemandOrder, Order, PriceStep, ReactiveRange
from tests.support.cases import generation, make_case, storage

Random = np.random.Generator
KINDS: Final = ("overvoltage", "line", "undervoltage", "export", "transformer")


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomFeeder:
    """The pandapower network and the case that says the same."""

    seed: int
    kind: str
    net: Any
    case: ClearingCase


@dataclass(slots=True, kw_only=True)
class _Draft:
    """What is known of a feeder while it is drawn."""

    rng: Random
    kind: str
    net: Any
    feeder_buses: list[int]
    far_bus: int
    power_mw: float


def _draw_grid(rng: Random, kind: str) -> _Draft:
    """Lines as a random tree, every fifth with a ring; half of them below a transformer."""
    import pandapower as pp

    low_voltage = rng.random() < 0.2
    vn_kv, power_mw = (0.4, 0.25) if low_voltage else (20.0, 6.0)
    net = pp.create_empty_network(sn_mva=1.0)
    head = pp.create_bus(net, vn_kv=vn_kv)
    top = head
    if kind == "transformer" or low_voltage or rng.random() < 0.4:
        vn_hv = 20.0 if low_voltage else 110.0
        top = pp.create_bus(net, vn_kv=vn_hv)
        pp.create_transformer_from_parameters(
            net, top, head, sn_mva=2.0 * power_mw, vn_hv_kv=vn_hv,
            vn_lv_kv=vn_kv * rng.choice([1.0, 1.025]), vkr_percent=0.8, vk_percent=8.0,
            pfe_kw=2.0 * power_mw, i0_percent=0.1, shift_degree=150.0, tap_side="hv",
            tap_neutral=0, tap_min=-4, tap_max=4, tap_step_percent=1.25,
            tap_pos=int(rng.integers(-1, 2)), tap_changer_type="Ratio",
        )  # fmt: skip
    pp.create_ext_grid(net, top, vm_pu=float(rng.uniform(0.99, 1.02)))
    buses, depth = [head], {head: 0}
    span = 0.06 if low_voltage else 1.2
    for _ in range(int(rng.integers(10, 61)) - 1 - (top != head)):
        recent = buses[-4:] if rng.random() < 0.8 else buses
        parent = int(rng.choice(recent))
        bus = pp.create_bus(net, vn_kv=vn_kv)
        _draw_line(rng, net, parent, bus, span, low_voltage)
        buses.append(bus)
        depth[bus] = depth[parent] + 1
    far = max(depth, key=lambda bus: depth[bus])
    if rng.random() < 0.2:
        other = int(rng.choice([bus for bus in buses if bus not in (far, head)]))
        _draw_line(rng, net, other, far, 2 * span, low_voltage)
    if rng.random() < 0.3:
        pp.create_shunt(net, far, q_mvar=-0.05 * power_mw, p_mw=0.0)
    return _Draft(rng=rng, kind=kind, net=net, feeder_buses=buses, far_bus=far, power_mw=power_mw)


def _draw_line(rng: Random, net: Any, start: int, end: int, span: float, low: bool) -> None:
    import pandapower as pp

    pp.create_line_from_parameters(
        net, start, end, length_km=float(span * rng.uniform(0.3, 1.0)),
        r_ohm_per_km=float(rng.uniform(0.15, 0.4)), x_ohm_per_km=float(rng.uniform(0.08, 0.35)),
        c_nf_per_km=0.0 if low else float(rng.choice([10.0, 250.0])), max_i_ka=100.0,
        parallel=int(rng.choice([1, 1, 1, 2])),
    )  # fmt: skip


def _draw_loads(draft: _Draft) -> None:
    import pandapower as pp

    rng, buses = draft.rng, draft.feeder_buses[1:]
    chosen = rng.choice(buses, size=max(4, len(buses) // 2), replace=False)
    share = rng.uniform(0.3, 1.0, len(chosen))
    for bus, p in zip(chosen, 0.35 * draft.power_mw * share / share.sum(), strict=True):
        pp.create_load(draft.net, int(bus), p_mw=float(p), q_mvar=float(p * rng.uniform(0.1, 0.4)))
    pp.create_sgen(draft.net, int(rng.choice(buses)), p_mw=0.04 * draft.power_mw)


def _draw_orders(draft: _Draft, periods: int, negative: bool) -> list[Order]:
    """Plants, a storage, a flexible demand; plants at the far end are what the limit is about."""
    rng, power = draft.rng, draft.power_mw
    paid = -45.0 if negative else 3.0
    dear = draft.kind == "undervoltage"
    places = [draft.far_bus, *(int(b) for b in rng.choice(draft.feeder_buses[1:], 3))]
    orders: list[Order] = []
    for k, bus in enumerate(places):
        price = float(rng.uniform(85.0, 95.0)) if dear else paid + float(rng.uniform(-3.0, 3.0))
        size = float(power * rng.uniform(0.25, 0.5)) * rng.uniform(0.7, 1.0, periods)
        plant = generation(f"plant{k}", bus, size, price, periods)
        if k == 1:
            plant = dataclasses.replace(plant, reactive=ReactiveRange(power_factor_min=0.95))
        orders.append(plant)
    size = float(power * rng.uniform(0.08, 0.15))
    orders.append(
        storage(
            "battery", int(rng.choice(draft.feeder_buses[1:])), p_mw=size,
            energy_mwh=float(size * rng.uniform(0.6, 1.5)), periods=periods,
            efficiency=float(rng.uniform(0.9, 0.97)), throughput=float(rng.uniform(7.0, 9.0)),
        )
    )  # fmt: skip
    step = PriceStep(
        p_mw=0.05 * power * np.ones(periods),
        price_eur_per_mwh=float(rng.uniform(20.0, 70.0)) * np.ones(periods),
    )
    orders.append(
        DemandOrder(
            id="demand", participant="C", buses=((int(rng.choice(draft.feeder_buses[1:])), 1.0),),
            steps=(step,), p_mw_min=np.zeros(periods),
        )
    )  # fmt: skip
    return orders


def _uncontrolled(draft: _Draft, orders: list[Order], share: float) -> Any:
    """Power flow of pandapower with all plants at a share of their least power."""
    import copy

    import pandapower as pp

    net = copy.deepcopy(draft.net)
    for order in orders:
        if order.id.startswith("plant"):
            least = float(np.min(order.steps[0].p_mw))  # type: ignore[attr-defined]
            pp.create_sgen(net, order.buses[0][0], p_mw=share * least)
    pp.runpp(net, tolerance_mva=1e-9)
    return net


def _binding_limits(draft: _Draft, orders: list[Order]) -> dict[str, Any]:
    """Limits between what the feeder reaches by itself and what its plants can reach."""
    rng, net = draft.rng, draft.net
    full, bare = (_uncontrolled(draft, orders, part) for part in (1.0, 0.0))
    share = float(rng.uniform(0.35, 0.65))
    limits: dict[str, Any] = {}
    far = draft.far_bus
    at_far = (float(bare.res_bus.vm_pu.at[far]), float(full.res_bus.vm_pu.at[far]))
    if draft.kind == "overvoltage":
        least = max(float(bare.res_bus.vm_pu.max()), at_far[0]) + 1e-3
        limits["vm_pu_max"] = max(least, at_far[0] + share * (at_far[1] - at_far[0]))
    elif draft.kind == "undervoltage":
        helped = _uncontrolled(draft, orders, 0.3)
        lowest = [float(n.res_bus.vm_pu.min()) for n in (bare, helped)]
        limits["vm_pu_min"] = lowest[0] + 0.5 * share * (lowest[1] - lowest[0])
    elif draft.kind == "line":
        line = int(full.res_line.loading_percent.idxmax())
        loading = [float(n.res_line.loading_percent.at[line]) for n in (bare, full)]
        rating = np.full(len(net.line), 1e6)
        rating[line] = max(0.8 * loading[1], 1.3 * loading[0])
        limits["line_loading_percent_max"] = rating
    elif draft.kind == "export":
        limits["export_mw_max"] = share * max(0.0, -float(full.res_ext_grid.p_mw.sum()))
    else:
        loading = [float(n.res_trafo.loading_percent.iloc[0]) for n in (bare, full)]
        limits["trafo"] = max(0.8 * loading[1], 1.3 * loading[0])
    return limits


def random_network(rng: Random, name: str) -> Network:
    """Draw a grid with its loads, without orders and limits."""
    draft = _draw_grid(rng, str(rng.choice(KINDS)))
    _draw_loads(draft)
    return network_from_pandapower(draft.net, name)


def random_feeder(seed: int) -> RandomFeeder:
    """Draw the feeder of a seed: 10 to 60 buses, 1 to 4 periods."""
    rng = np.random.default_rng(20_260_600 + seed)
    kind = KINDS[seed % len(KINDS)]
    negative = kind != "undervoltage" and seed % 3 == 0
    draft = _draw_grid(rng, kind)
    _draw_loads(draft)
    periods = int(rng.integers(1, 5))
    orders = _draw_orders(draft, periods, negative)
    limits = _binding_limits(draft, orders)
    trafo_limit = limits.pop("trafo", 1e6)
    price = rng.uniform(20.0, 80.0, periods)
    if negative:
        price = -rng.uniform(5.0, 35.0, periods)
    network = network_from_pandapower(draft.net, f"random:{seed}")
    case = make_case(
        network,
        orders,
        price=price,
        periods=periods,
        mtu_minutes=int(rng.choice([15, 60])),
        load_scale=rng.uniform(1.0 if kind == "undervoltage" else 0.7, 1.0, periods),
        **limits,
    )
    ratings = np.full(len(network.trafos.index), trafo_limit)
    bounded = dataclasses.replace(case.limits, trafo_loading_percent_max=ratings)
    return RandomFeeder(
        seed=seed, kind=kind, net=draft.net, case=dataclasses.replace(case, limits=bounded)
    )
