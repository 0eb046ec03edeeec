"""Random small markets with integer orders of every kind: one case per seed, always the same.

Two to four buses in a tree at 20 kV, two to six periods, three to eight block and curtail orders
among generation, demand and sometimes storage. The limit a seed is about lies inside what the
market would use without it; dear generation at the far end keeps every limit attainable.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.readers.pandapower_net import network_from_pandapower
from data.records.clearing import ClearingCase
from data.records.order import (
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    PriceStep,
)
from tests.support.cases import make_case, storage
from tests.support.fixed_choice import FixedChoiceMarket
from tests.support.integer_choices import Choice

Floats = NDArray[np.float64]
Random = np.random.Generator
KINDS: Final = ("island", "import", "line", "island", "overvoltage", "export", "island", "free")
VN_KV: Final = 20.0
INTEGER_ORDERS_MAX: Final = 8
# Impedance without losses worth naming, for a market that a copper plate with line limits clears.
LOSSLESS_OHM_PER_KM: Final = 1e-5


@dataclasses.dataclass(slots=True, kw_only=True)
class _Draft:
    """What is known of a market while it is drawn."""

    rng: Random
    kind: str
    net: Any
    periods: int
    mtu_minutes: int
    price: Floats
    load_mw: Floats  # of every bus but the substation
    resistance_ohm: float  # from the substation to the last bus
    orders: list[Order] = dataclasses.field(default_factory=list)
    dlmp: dict[int, Floats] = dataclasses.field(default_factory=dict)

    @property
    def buses(self) -> int:
        return len(self.load_mw) + 1

    @property
    def total_mw(self) -> float:
        return float(self.load_mw.sum())

    def power(self, low: float, high: float, size: int | None = None) -> Any:
        """A power as a share of all load, on whole kW."""
        return np.round(self.total_mw * self.rng.uniform(low, high, size), 3)

    def bus(self) -> int:
        return int(self.rng.integers(1, self.buses))


def kind_of_market(seed: int, *, lossless: bool = False) -> str:
    """Limit that a seed's market is about."""
    kind = KINDS[seed % len(KINDS)]
    return "line" if lossless and kind == "overvoltage" else kind


def _draw_grid(rng: Random, kind: str, *, lossless: bool) -> _Draft:
    import pandapower as pp

    buses = int(rng.integers(2, 5))
    net = pp.create_empty_network(sn_mva=1.0)
    for _ in range(buses):
        pp.create_bus(net, vn_kv=VN_KV)
    pp.create_ext_grid(net, 0, vm_pu=1.0)
    load_mw = np.round(rng.uniform(0.6, 2.0, buses - 1), 3)
    resistance = np.zeros(buses)
    for bus in range(1, buses):
        parent = 0 if bus == 1 else int(rng.integers(max(0, bus - 2), bus))
        length = float(rng.uniform(1.0, 5.0))
        r_per_km, x_per_km = float(rng.uniform(0.15, 0.4)), float(rng.uniform(0.08, 0.35))
        if lossless:
            r_per_km = x_per_km = LOSSLESS_OHM_PER_KM
        pp.create_line_from_parameters(
            net, parent, bus, length_km=length, r_ohm_per_km=r_per_km, x_ohm_per_km=x_per_km,
            c_nf_per_km=0.0 if lossless else 10.0, max_i_ka=1.0,
        )  # fmt: skip
        resistance[bus] = resistance[parent] + length * r_per_km
        tan_phi = 0.0 if lossless or rng.random() < 0.5 else float(rng.uniform(0.1, 0.4))
        pp.create_load(net, bus, p_mw=load_mw[bus - 1], q_mvar=tan_phi * load_mw[bus - 1])
    periods = int(rng.integers(2, 7))
    return _Draft(
        rng=rng, kind=kind, net=net, periods=periods, mtu_minutes=int(rng.choice([15, 60])),
        price=np.round(rng.uniform(25.0, 85.0, periods), 2), load_mw=load_mw,
        resistance_ohm=float(resistance[-1]),
    )  # fmt: skip


def _generation(
    name: str, bus: int, powers: list[Floats], prices: list[float], periods: int
) -> GenerationOrder:
    ones = np.ones(periods)
    return GenerationOrder(
        id=name, participant="A", buses=((bus, 1.0),), p_mw_min=0.0 * ones,
        steps=tuple(
            PriceStep(p_mw=p * ones, price_eur_per_mwh=c * ones)
            for p, c in zip(powers, prices, strict=True)
        ),
    )  # fmt: skip


def _draw_continuous(draft: _Draft) -> None:
    """Generation in steps, dear generation at the far end, demand in steps, sometimes a storage."""
    rng, size, far = draft.rng, draft.periods, draft.buses - 1
    for k in range(int(rng.integers(1, 3))):
        prices = np.sort(np.round(rng.uniform(15.0, 120.0, 3), 2)).tolist()
        powers = [draft.power(0.08, 0.3) for _ in prices]
        draft.orders.append(_generation(f"plant{k}", draft.bus(), powers, prices, size))
    dear = [draft.power(1.2, 1.5)]
    draft.orders.append(_generation("dear", far, dear, [round(rng.uniform(140.0, 160.0), 2)], size))
    if draft.kind in ("overvoltage", "export"):
        sun = [draft.power(1.5, 2.5, size)]
        draft.orders.append(_generation("sun", far, sun, [round(rng.uniform(2.0, 8.0), 2)], size))
    ones = np.ones(size)
    steps = tuple(
        PriceStep(p_mw=draft.power(0.05, 0.2) * ones, price_eur_per_mwh=round(c, 2) * ones)
        for c in sorted(rng.uniform(20.0, 100.0, 2).tolist(), reverse=True)
    )
    draft.orders.append(
        DemandOrder(id="demand", participant="B", buses=((draft.bus(), 1.0),), steps=steps,
                    p_mw_min=0.0 * ones)
    )  # fmt: skip
    if rng.random() < 0.3:
        p_mw = float(draft.power(0.05, 0.15))
        draft.orders.append(
            storage("battery", draft.bus(), p_mw=p_mw, energy_mwh=round(1.5 * p_mw, 3),
                    periods=size, efficiency=0.95, throughput=round(rng.uniform(1.0, 3.0), 2))
        )  # fmt: skip


def _block(draft: _Draft, name: str, **link: Any) -> BlockOrder:
    """A block over some contiguous periods, priced near what others pay there without it."""
    rng, size = draft.rng, draft.periods
    start = int(rng.integers(0, size))
    stop = int(rng.integers(start + 1, size + 1))
    profile = np.zeros(size)
    profile[start:stop] = draft.power(0.15, 0.6) * np.round(rng.uniform(0.6, 1.0, stop - start), 2)
    profile = np.round(profile, 3)
    acceptance = 1.0 if rng.random() < 0.7 else round(float(rng.uniform(0.2, 0.8)), 2)
    sells, bus = rng.random() < 0.65, draft.bus()
    greed = float(rng.uniform(0.75, 1.05))
    level = float(profile @ draft.dlmp[bus] / profile.sum()) * (greed if sells else 2.0 - greed)
    return BlockOrder(
        id=name, participant="C", buses=((bus, 1.0),), acceptance_min=acceptance,
        profile_mw=profile if sells else 0.0 - profile,
        price_eur_per_mwh=np.full(size, round(level, 2)), **link,
    )  # fmt: skip


def _curtail(draft: _Draft, name: str, bus: int) -> CurtailOrder:
    """A curtail order, two in three at the load of the bus."""
    rng, size = draft.rng, draft.periods
    at_load = rng.random() < 0.67
    p_mw = round(float(draft.load_mw[bus - 1] * rng.uniform(0.3, 1.1)), 3)
    least = float(rng.choice([0.3, 0.6, 1.0]))
    if at_load and draft.net.load.q_mvar.iloc[bus - 1] > 0:
        # where reactive power follows, a reduction that sets the price would earn a little less
        # than nothing for its active energy alone, and rounding would decide about it
        p_mw, least = round(min(p_mw, 0.7 * draft.load_mw[bus - 1]), 3), 1.0
    shortest = int(rng.integers(1, min(3, size) + 1)) if size > 2 else 1
    longest = None if rng.random() < 0.4 else shortest + int(rng.integers(0, 3))
    share = 0.0 if rng.random() < 0.35 else round(float(rng.uniform(0.2, 1.0)), 2)
    level = max(1.0, float(draft.dlmp[bus].max()) * (1.0 - share) * float(rng.uniform(0.5, 1.0)))
    return CurtailOrder(
        id=name, participant="D", buses=((bus, 1.0),),
        asset=f"load:{bus - 1}" if at_load else None,
        p_mw_max=np.full(size, p_mw),
        p_mw_min_on=np.full(size, round(p_mw * least, 3)),
        price_eur_per_mwh=np.round(level * rng.uniform(0.9, 1.1, size), 2),
        duration_periods_min=shortest, duration_periods_max=longest,
        cooldown_periods=int(rng.integers(0, 3)),
        activations_max=None if rng.random() < 0.4 else int(rng.integers(1, 3)),
        rebound_share=share,
        rebound_periods=None if share == 0.0 else int(rng.integers(1, 3)),
    )  # fmt: skip


def _draw_integer(draft: _Draft) -> None:
    """Curtail orders, then a linked chain, an exclusive group, and single blocks."""
    rng = draft.rng
    count = int(rng.integers(3, INTEGER_ORDERS_MAX + 1))
    found: list[Order] = []
    places = rng.permutation(np.arange(1, draft.buses))[: int(rng.integers(0, 3))]
    found += [_curtail(draft, f"curtail{k}", int(bus)) for k, bus in enumerate(places)]
    if rng.random() < 0.6:
        parent: str | None = None
        for k in range(int(rng.integers(2, 4))):
            found.append(_block(draft, f"chain{k}", parent=parent))
            parent = f"chain{k}"
    if rng.random() < 0.6:
        members = range(int(rng.integers(2, 4)))
        found += [_block(draft, f"choice{k}", exclusive_group="choice") for k in members]
    found += [_block(draft, f"single{k}") for k in range(max(1, count - len(found)))]
    draft.orders += found[:INTEGER_ORDERS_MAX]


def _limits(draft: _Draft) -> dict[str, Any]:
    """The limit this market is about, inside what it would use."""
    rng, total = draft.rng, draft.total_mw
    if draft.kind == "import":
        return {"import_mw_max": round(total * float(rng.uniform(0.2, 0.5)), 3)}
    if draft.kind == "island":
        caps = np.round(total * rng.uniform(0.02, 0.1, 2), 3).tolist()
        return {"import_mw_max": caps[0], "export_mw_max": caps[1]}
    if draft.kind == "line":
        far_mw = float(draft.load_mw[-1])
        rated_mw = np.sqrt(3.0) * VN_KV * 1.0
        rating = np.full(len(draft.net.line), 1e6)
        rating[-1] = round(100.0 * far_mw * float(rng.uniform(0.45, 0.9)) / rated_mw, 4)
        return {"line_loading_percent_max": rating}
    if draft.kind == "export":
        return {"export_mw_max": round(total * float(rng.uniform(0.1, 0.4)), 3)}
    if draft.kind == "overvoltage":
        rise = draft.resistance_ohm * total * float(rng.uniform(0.2, 0.6)) / VN_KV**2
        return {"vm_pu_max": round(1.0 + rise, 6)}
    return {}


def _case(draft: _Draft, name: str, load_scale: Floats, limits: dict[str, Any]) -> ClearingCase:
    return make_case(
        network_from_pandapower(draft.net, name), draft.orders, price=draft.price,
        periods=draft.periods, mtu_minutes=draft.mtu_minutes, load_scale=load_scale, **limits,
    )  # fmt: skip


def random_market(seed: int, *, lossless: bool = False) -> ClearingCase:
    """Draw the market of a seed; ``lossless`` gives one that a linear network clears exactly."""
    rng = np.random.default_rng(20_261_100 + seed)
    draft = _draw_grid(rng, kind_of_market(seed, lossless=lossless), lossless=lossless)
    _draw_continuous(draft)
    limits = _limits(draft)
    load_scale = np.round(rng.uniform(0.7, 1.0, draft.periods), 2)
    name = f"market:{seed}"
    without = FixedChoiceMarket(_case(draft, name, load_scale, limits))
    draft.dlmp = without.clear(Choice(accepted=frozenset(), patterns=())).price
    _draw_integer(draft)
    return _case(draft, name, load_scale, limits)
