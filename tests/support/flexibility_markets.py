"""Small feeders with a broken limit and offers to mend it, and their enumeration by pandapower.

The enumeration knows nothing of the engine: it runs a power flow of pandapower for one choice of
options after the other, the cheapest first, and takes gradients by finite differences.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from data.readers.pandapower_net import network_from_pandapower
from data.records.clearing import ClearingCase
from flexibility.procurement.records import CongestionPoint, FlexOffer, OfferOption
from tests.support.cases import make_case

KINDS: Final = ("undervoltage", "overvoltage", "line")
POINT: Final = CongestionPoint(
    id="ea1.2026-01.grid.example:feeder", name="feeder", elements=(("bus", 1),), buses=((1, 1.0),)
)
AT: Final = datetime(2026, 5, 31, 12, tzinfo=UTC)
EXPIRES: Final = datetime(2026, 5, 31, 18, tzinfo=UTC)
# What counts as keeping a limit: the engine's own tolerances [pu, percent].
VOLTAGE_TOLERANCE, LOADING_TOLERANCE = 1.5e-6, 1.5e-3
STEP_MW: Final = 1e-3
Choice = tuple[tuple[FlexOffer, OfferOption, float], ...]


@dataclass(slots=True, kw_only=True)
class FlexibilityMarket:
    """A feeder, the case that says the same, and the offers."""

    kind: str
    net: Any
    case: ClearingCase
    scale: tuple[float, ...]
    offers: tuple[FlexOffer, ...]
    bench: Any = None
    own: int = 0
    flows: int = 0
    known: dict[tuple[object, ...], tuple[Any, Any]] = field(default_factory=dict)


def _feeder(rng: np.random.Generator, kind: str) -> Any:
    import pandapower as pp

    net = pp.create_empty_network(sn_mva=1.0)
    buses = [pp.create_bus(net, vn_kv=20.0)]
    pp.create_ext_grid(net, buses[0], vm_pu=1.0)
    for place in range(int(rng.integers(4, 8))):
        parent = buses[max(0, place - int(rng.integers(0, 2)))]
        bus = pp.create_bus(net, vn_kv=20.0)
        pp.create_line_from_parameters(
            net, parent, bus, length_km=float(rng.uniform(1.0, 3.0)), r_ohm_per_km=0.4,
            x_ohm_per_km=0.3, c_nf_per_km=10.0, max_i_ka=0.2,
        )  # fmt: skip
        buses.append(bus)
        size = float(rng.uniform(0.3, 1.0))
        pp.create_load(net, bus, p_mw=size, q_mvar=0.3 * size)
        if kind == "overvoltage":
            pp.create_sgen(net, bus, p_mw=float(rng.uniform(1.5, 3.0)))
    return net


def _offer(
    rng: np.random.Generator, number: int, buses: int, sign: float, periods: int, *, partial: bool
) -> FlexOffer:
    options = []
    for place in range(1 if partial else int(rng.integers(1, 3))):
        size = float(np.round(rng.uniform(0.1, 0.6), 3))
        share = np.round(rng.uniform(0.6, 1.0, periods), 2)
        price = float(rng.uniform(40.0, 200.0))
        power = sign * np.round(size * share, 6)
        options.append(
            OfferOption(
                reference=str(place),
                price_micro_eur=round(1e6 * price * float(np.abs(power).sum())),
                factor_min=0.3 if partial else 1.0,
                injection_mw=power,
            )
        )
    return FlexOffer(
        message_id=f"offer-{number}", participant=f"P{number}", congestion_point=POINT.id,
        request="", expires_at=EXPIRES, received_at=None, currency="EUR",
        connection=f"load:{number}", buses=((int(rng.integers(1, buses)), 1.0),),
        options=tuple(options),
    )  # fmt: skip


def flexibility_market(seed: int) -> FlexibilityMarket:
    """Draw the market of a seed: 1 or 2 hours, 2 to 4 offers, every third with a divisible one."""
    rng = np.random.default_rng(20_261_121 + seed)
    kind = KINDS[seed % len(KINDS)]
    net = _feeder(rng, kind)
    periods = int(rng.integers(1, 3))
    scale = tuple(np.round(rng.uniform(0.9, 1.0, periods), 3).tolist())
    relieving = -1.0 if kind == "overvoltage" else 1.0
    count = int(rng.integers(2, 5))
    offers = tuple(
        _offer(
            rng, number, len(net.bus), relieving if rng.random() < 0.85 else -relieving, periods,
            partial=seed % 3 == 2 and number == 0,
        )
        for number in range(count)
    )  # fmt: skip
    market = FlexibilityMarket(
        kind=kind, net=net, case=make_case(network_from_pandapower(net, "bare"), []), scale=scale,
        offers=offers,
    )  # fmt: skip
    everything = tuple((offer, offer.options[0], 1.0) for offer in offers)
    bare, full = (_states(market, choice) for choice in ((), everything))
    share = float(rng.uniform(0.25, 0.75)) if seed % 7 else 1.3
    limits: dict[str, Any] = {}
    if kind == "line":
        line = int(np.argmax(bare[1].max(axis=0)))
        at = [float(state[1][:, line].max()) for state in (bare, full)]
        rating = np.full(len(net.line), 1e6)
        rating[line] = at[0] + share * (min(at[1], 0.98 * at[0]) - at[0])
        limits["line_loading_percent_max"] = rating
    elif kind == "undervoltage":
        at = [float(state[0].min()) for state in (bare, full)]
        limits["vm_pu_min"] = at[0] + share * max(at[1] - at[0], 1e-3)
    else:
        at = [float(state[0].max()) for state in (bare, full)]
        limits["vm_pu_max"] = at[0] - share * max(at[0] - at[1], 1e-3)
    market.case = make_case(
        network_from_pandapower(net, f"flexibility:{seed}"), [], price=30.0, periods=periods,
        mtu_minutes=60, load_scale=np.array(scale), **limits,
    )  # fmt: skip
    return market


def _states(market: FlexibilityMarket, choice: Choice) -> tuple[Any, Any]:
    """Voltages and loadings by pandapower, shape (periods, buses or lines)."""
    key = tuple((offer.message_id, option.reference, factor) for offer, option, factor in choice)
    if key not in market.known:
        extra = np.zeros((len(market.scale), len(market.net.bus)))
        for offer, option, factor in choice:
            for bus, part in offer.buses:
                extra[:, bus] += factor * part * option.injection_mw
        market.known[key] = _power_flows(market, extra)
    return market.known[key]


def _power_flows(market: FlexibilityMarket, extra: Any) -> tuple[Any, Any]:
    import pandapower as pp

    if market.bench is None:
        market.bench = copy.deepcopy(market.net)
        market.own = len(market.bench.sgen)
        for bus in range(len(market.bench.bus)):
            pp.create_sgen(market.bench, bus, p_mw=0.0)
    net = market.bench
    voltages, loadings = [], []
    for scale, added in zip(market.scale, extra, strict=True):
        net.load["p_mw"] = market.net.load["p_mw"] * scale
        net.load["q_mvar"] = market.net.load["q_mvar"] * scale
        net.sgen.loc[market.own :, "p_mw"] = added
        pp.runpp(net, tolerance_mva=1e-9, numba=False)
        market.flows += 1
        voltages.append(net.res_bus.vm_pu.to_numpy().copy())
        loadings.append(net.res_line.loading_percent.to_numpy().copy())
    return np.array(voltages), np.array(loadings)


def excesses(market: FlexibilityMarket, choice: Choice) -> Any:
    """How far each limit is exceeded, shape (periods, limits): voltages in pu, lines in percent."""
    vm, loading = _states(market, choice)
    return _over(market, vm, loading)


def _over(market: FlexibilityMarket, vm: Any, loading: Any) -> Any:
    limits = market.case.limits
    return np.hstack(
        [
            (vm - limits.vm_pu_max)[:, 1:],
            (limits.vm_pu_min - vm)[:, 1:],
            loading - limits.line_loading_percent_max,
        ]
    )


def keeps_limits(market: FlexibilityMarket, choice: Choice) -> bool:
    """Whether a choice keeps every limit."""
    over = excesses(market, choice)
    buses = 2 * (len(market.net.bus) - 1)
    allowed = np.full(over.shape[1], LOADING_TOLERANCE)
    allowed[:buses] = VOLTAGE_TOLERANCE
    return bool((over <= allowed).all())


def cost_eur(choice: Choice) -> float:
    """What a choice costs as bid."""
    return sum(factor * option.price_micro_eur for _, option, factor in choice) / 1e6


def choices(market: FlexibilityMarket, *, whole: bool = False) -> Iterator[Choice]:
    """Yield every combination of options, divisible ones at their least factor or whole."""
    each = [
        [(), *(((o, option, 1.0 if whole else option.factor_min),) for option in o.options)]
        for o in market.offers
    ]
    for parts in itertools.product(*each):
        yield tuple(itertools.chain(*parts))


def enumerate_cheapest(market: FlexibilityMarket) -> tuple[float, Choice] | None:
    """Return the cheapest choice that keeps every limit, factors in hundredths; None: none does."""
    best: tuple[float, Choice] | None = None
    for choice in sorted(choices(market), key=cost_eur):
        if best is not None and cost_eur(choice) >= best[0]:
            break
        found = _least_factor(market, choice)
        if found is not None and (best is None or cost_eur(found) < best[0]):
            best = cost_eur(found), found
    return best


def _least_factor(market: FlexibilityMarket, choice: Choice) -> Choice | None:
    """Raise the factor of the one divisible option until every limit is kept."""
    if keeps_limits(market, choice):
        return choice
    at = next((k for k, (_, option, _) in enumerate(choice) if option.factor_min < 1.0), None)
    if at is None:
        return None

    def with_steps(steps: int) -> Choice:
        offer, option, _ = choice[at]
        return (*choice[:at], (offer, option, steps / 100), *choice[at + 1 :])

    low, high = round(100 * choice[at][1].factor_min), 100
    if not keeps_limits(market, with_steps(high)):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps_limits(market, with_steps(middle)) else (middle, high)
    return with_steps(high)


def missing_mw(market: FlexibilityMarket, choice: Choice) -> float:
    """Sum over limits and periods of the excess over the largest finite difference [MW]."""
    over = np.maximum(excesses(market, choice), 0.0)
    if not over.any():
        return 0.0
    base = _states(market, choice)
    extra = np.zeros((len(market.scale), len(market.net.bus)))
    for offer, option, factor in choice:
        for bus, part in offer.buses:
            extra[:, bus] += factor * part * option.injection_mw
    at_base = _over(market, *base)
    slope = np.zeros_like(over)
    for bus in range(1, len(market.net.bus)):
        moved = extra.copy()
        moved[:, bus] += STEP_MW
        change = np.abs(_over(market, *_power_flows(market, moved)) - at_base) / STEP_MW
        slope = np.maximum(slope, change)
    return float(np.divide(over, slope, out=np.zeros_like(over), where=over > 0.0).sum())
