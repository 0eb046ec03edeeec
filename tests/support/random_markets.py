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

from data.records.clearing import ClearingCase
from data.records.network import Buses, Elements, Lines, Network, Shunts, Storages, Trafos
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
    network: Network
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
    """A tree of lines with a load at every bus but the substation."""
    buses = int(rng.integers(2, 5))
    load_mw = np.round(rng.uniform(0.6, 2.0, buses - 1), 3)
    parents = [
        0 if bus == 1 else int(rng.integers(max(0, bus - 2), bus)) for bus in range(1, buses)
    ]
    length_km = rng.uniform(1.0, 5.0, buses - 1)
    r_per_km, x_per_km = rng.uniform(0.15, 0.4, buses - 1), rng.uniform(0.08, 0.35, buses - 1)
    tan_phi = np.where(rng.random(buses - 1) < 0.5, 0.0, rng.uniform(0.1, 0.4, buses - 1))
    if lossless:
        r_per_km = x_per_km = np.full(buses - 1, LOSSLESS_OHM_PER_KM)
        tan_phi = np.zeros(buses - 1)
    network = tree_network(
        parents, length_km=length_km, r_ohm_per_km=r_per_km, x_ohm_per_km=x_per_km,
        c_nf_per_km=0.0 if lossless else 10.0, load_mw=load_mw, load_mvar=tan_phi * load_mw,
    )  # fmt: skip
    resistance = np.zeros(buses)
    for bus, parent in enumerate(parents, start=1):
        resistance[bus] = resistance[parent] + length_km[bus - 1] * r_per_km[bus - 1]
    periods = int(rng.integers(2, 7))
    return _Draft(
        rng=rng, kind=kind, network=network, periods=periods,
        mtu_minutes=int(rng.choice([15, 60])), price=np.round(rng.uniform(25.0, 85.0, periods), 2),
        load_mw=load_mw, resistance_ohm=float(resistance[-1]),
    )  # fmt: skip


def tree_network(
    parents: list[int],
    *,
    length_km: Floats,
    r_ohm_per_km: Floats,
    x_ohm_per_km: Floats,
    c_nf_per_km: float,
    load_mw: Floats,
    load_mvar: Floats,
) -> Network:
    """Bus 0 is the substation at 1 pu; line k-1 leads from ``parents[k-1]`` to bus k."""
    count, lines = len(parents) + 1, len(parents)
    at_bus, at_line = np.arange(count), np.arange(lines)
    nothing, true = np.full(count, np.nan), np.ones(lines, dtype=bool)

    def elements(size: int, bus: Any, p_mw: Any, q_mvar: Any) -> Elements:
        return Elements(
            index=np.arange(size), name=("",) * size, bus=np.asarray(bus, dtype=np.int64),
            p_mw=np.asarray(p_mw, dtype=float), q_mvar=np.asarray(q_mvar, dtype=float),
            sn_mva=np.full(size, np.nan), scaling=np.ones(size),
            in_service=np.ones(size, dtype=bool), technology=("",) * size, profile=("",) * size,
        )  # fmt: skip

    empty: dict[str, Any] = {}
    for table in (Trafos, Storages, Shunts):
        values: dict[str, Any] = {}
        for each in dataclasses.fields(table):
            kind = {"Ints": np.int64, "Bools": np.bool_}.get(str(each.type), np.float64)
            values[each.name] = () if "tuple" in str(each.type) else np.zeros(0, dtype=kind)
        empty[table.__name__.lower()] = table(**values)
    return Network(
        name="tree", frequency_hz=50.0, slack_bus=0, slack_vm_pu=1.0, slack_va_degree=0.0,
        buses=Buses(
            index=at_bus, name=("",) * count, vn_kv=np.full(count, VN_KV), vm_pu_min=nothing,
            vm_pu_max=nothing, in_service=np.ones(count, dtype=bool), longitude=nothing,
            latitude=nothing,
        ),
        lines=Lines(
            index=at_line, name=("",) * lines, from_bus=np.array(parents, dtype=np.int64),
            to_bus=at_line + 1, length_km=length_km, r_ohm_per_km=r_ohm_per_km,
            x_ohm_per_km=x_ohm_per_km, c_nf_per_km=np.full(lines, c_nf_per_km),
            g_us_per_km=np.zeros(lines), max_i_ka=np.ones(lines), derating=np.ones(lines),
            parallel=np.ones(lines, dtype=np.int64), loading_percent_max=np.full(lines, np.nan),
            in_service=true, closed_from=true, closed_to=true,
        ),
        loads=elements(lines, at_line + 1, load_mw, load_mvar),
        sgens=elements(0, [], [], []),
        bus_links=np.zeros((0, 2), dtype=np.int64),
        **empty,
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
        rating = np.full(len(draft.network.lines.index), 1e6)
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
        dataclasses.replace(draft.network, name=name), draft.orders, price=draft.price,
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
