"""The energy markets of one period: who traded how much at which price, and the upstream bill.

For a participant at bus i in period t (injection positive, money positive = receives)::

    q_DA x DLMP_DA + sum over rounds r of (q_r - q_(r-1)) x DLMP_r + (q_meter - q_last) x p_imb

Upstream, the operator pays the import scheduled after the day-ahead market, then the change of
every round, then metered minus scheduled. Where only the schedule after the last round is known,
the rounds before it hold the losses (their import changes by what the connections changed) and
the last one takes the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from data.periods import Periods
from data.records.settlement import (
    Activation,
    Availability,
    ConnectionPosition,
    LineKind,
    PricePartLine,
    ReactivePosition,
    RoundPosition,
    SettlementCase,
    SettlementRules,
)
from dso.settlement.flexibility import FlexibilityOutcome, rate_activation

Owner = tuple[str, str]
DAY_AHEAD = "da"
IMBALANCE = "imbalance"


class _InPeriod(Protocol):
    @property
    def period(self) -> int: ...


Row = TypeVar("Row", bound=_InPeriod)


def round_label(number: int) -> str:
    """Return the market's name of an intraday round, ``id/<round>``."""
    return f"id/{number}"


@dataclass(frozen=True, slots=True)
class Trade:
    """Energy of one connection at one price: quantity [Wh], price [micro-EUR/MWh].

    With ``bus_to`` the energy is withdrawn again there, and the price is the difference.
    """

    participant: str
    connection: str
    bus: int
    quantity_wh: int
    price_micro_eur_per_mwh: int
    bus_to: int | None = None

    @property
    def injected_wh(self) -> int:
        """What the grid as a whole receives [Wh]."""
        return self.quantity_wh if self.bus_to is None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPeriod:
    """One market in one period.

    ``parts`` is None where the difference is not split; else the parts per element and bus
    [micro-EUR/MWh], without those that are zero.
    """

    label: str
    kind: LineKind
    period: int
    trades: tuple[Trade, ...]
    import_wh: int
    import_price_micro_eur_per_mwh: int
    energy_price_micro_eur_per_mwh: int
    parts: Mapping[tuple[str, str, str], Mapping[int, int]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketTables:
    """The case, looked up by period: sorted, so that the order of its rows means nothing."""

    case: SettlementCase
    positions: tuple[ConnectionPosition, ...]
    da_price: Mapping[int, tuple[int, ...]]
    id_price: Mapping[int, tuple[int, ...]]
    imbalance_price: Mapping[int, tuple[int, ...]]
    rounds: Mapping[int, Mapping[int, Mapping[Owner, RoundPosition]]]
    parts: Mapping[tuple[str, int], tuple[PricePartLine, ...]]
    outcomes: Mapping[tuple[str, str, int], FlexibilityOutcome]
    meters: Mapping[Owner, ConnectionPosition]
    activations: Mapping[int, tuple[Activation, ...]]
    availabilities: Mapping[int, tuple[Availability, ...]]
    reactive: Mapping[int, tuple[ReactivePosition, ...]]

    @property
    def periods(self) -> Periods:
        """Periods of the case."""
        return self.case.periods

    @property
    def rules(self) -> SettlementRules:
        """Rules of the case."""
        return self.case.rules


def tabulate_case(case: SettlementCase) -> MarketTables:
    """Sort and index a validated case."""
    rounds: dict[int, dict[int, dict[Owner, RoundPosition]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for line in case.rounds or ():
        rounds[line.period][line.round][line.participant, line.connection] = line
    parts: dict[tuple[str, int], list[PricePartLine]] = defaultdict(list)
    for part in case.parts:
        parts[part.market, part.period].append(part)
    mtu_minutes = case.periods.mtu_minutes
    return MarketTables(
        case=case,
        positions=tuple(sorted(case.positions, key=lambda p: (p.participant, p.connection))),
        da_price={p.bus: p.dlmp_da_micro_eur_per_mwh for p in case.prices},
        id_price={p.bus: p.dlmp_id_micro_eur_per_mwh for p in case.prices},
        imbalance_price={p.bus: p.imbalance_micro_eur_per_mwh for p in case.prices},
        rounds=rounds,
        parts={key: tuple(found) for key, found in parts.items()},
        outcomes={
            (a.participant, a.connection, a.period): rate_activation(a, mtu_minutes)
            for a in case.activations
        },
        meters={(p.participant, p.connection): p for p in case.positions},
        activations=_by_period(case.activations),
        availabilities=_by_period(case.availabilities),
        reactive=_by_period(case.reactive),
    )


def _by_period(rows: Iterable[Row]) -> dict[int, tuple[Row, ...]]:
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.period].append(row)
    return {period: tuple(lines) for period, lines in found.items()}


def energy_markets(tables: MarketTables, period: int) -> tuple[MarketPeriod, ...]:
    """Return day-ahead, every intraday round and the imbalance of one period, in this order."""
    substation = tables.case.substation
    metered_wh = substation.import_wh[period]
    da_wh, id_wh = scheduled_imports(tables.case, period)
    price = substation.import_price_micro_eur_per_mwh[period]
    day_ahead = MarketPeriod(
        label=DAY_AHEAD,
        kind="da",
        period=period,
        trades=tuple(
            _trade(p, p.da_wh[period], _price(tables.da_price, p, period))
            for p in tables.positions
            if p.is_held(period)
        ),
        import_wh=da_wh,
        import_price_micro_eur_per_mwh=price,
        energy_price_micro_eur_per_mwh=_energy(
            substation.da_energy_micro_eur_per_mwh, period, price
        ),
        parts=_parts(tables, DAY_AHEAD, period),
    )
    imbalance = MarketPeriod(
        label=IMBALANCE,
        kind="imbalance",
        period=period,
        trades=_imbalance_trades(tables, period),
        import_wh=metered_wh - id_wh,
        import_price_micro_eur_per_mwh=price,
        energy_price_micro_eur_per_mwh=price,
        parts=None,
    )
    return day_ahead, *_rounds(tables, period, id_wh - da_wh), imbalance


def scheduled_imports(case: SettlementCase, period: int) -> tuple[int, int]:
    """Return the import scheduled after the day-ahead market and after the last round [Wh].

    Where the case does not say, metered losses are held in every market: import = metered import
    + metered injection - scheduled injection.
    """
    substation = case.substation
    if substation.da_import_wh is not None and substation.id_import_wh is not None:
        return substation.da_import_wh[period], substation.id_import_wh[period]
    connections = [p for p in case.positions if not p.is_bilateral]
    losses_wh = substation.import_wh[period] + sum(p.meter_wh[period] for p in connections)
    return (
        losses_wh - sum(p.da_wh[period] for p in connections),
        losses_wh - sum(p.id_wh[period] for p in connections),
    )


def _price(prices: Mapping[int, tuple[int, ...]], position: ConnectionPosition, period: int) -> int:
    """Return the price at a connection's bus; of a bilateral order, what its two ends differ by."""
    price = prices[position.bus][period]
    return price if position.bus_to is None else price - prices[position.bus_to][period]


def _trade(position: ConnectionPosition, quantity_wh: int, price: int) -> Trade:
    owner = (position.participant, position.connection)
    return Trade(*owner, position.bus, quantity_wh, price, position.bus_to)


def _rounds(tables: MarketTables, period: int, import_change_wh: int) -> tuple[MarketPeriod, ...]:
    substation = tables.case.substation
    price = substation.import_price_micro_eur_per_mwh[period]
    energy = _energy(substation.id_energy_micro_eur_per_mwh, period, price)
    traded = _round_trades(tables, period)
    last = max(traded)
    markets = []
    for number, trades in sorted(traded.items()):
        change_wh = -sum(trade.injected_wh for trade in trades)
        if number == last:
            change_wh = import_change_wh
        import_change_wh -= change_wh
        markets.append(
            MarketPeriod(
                label=round_label(number),
                kind="id",
                period=period,
                trades=trades,
                import_wh=change_wh,
                import_price_micro_eur_per_mwh=price,
                energy_price_micro_eur_per_mwh=energy,
                parts=_parts(tables, round_label(number), period),
            )
        )
    return tuple(markets)


def _round_trades(tables: MarketTables, period: int) -> dict[int, tuple[Trade, ...]]:
    """Return the trades of every round of a period; what did not change is not traded."""
    if tables.case.rounds is None:
        return {
            1: tuple(
                _trade(p, change_wh, _price(tables.id_price, p, period))
                for p in tables.positions
                if (change_wh := p.id_wh[period] - p.da_wh[period])
            )
        }
    so_far = {(p.participant, p.connection): p.da_wh[period] for p in tables.positions}
    positions = {(p.participant, p.connection): p for p in tables.positions}
    traded: dict[int, tuple[Trade, ...]] = {}
    for number, lines in sorted(tables.rounds.get(period, {}).items()):
        trades = []
        for owner, line in sorted(lines.items()):
            change_wh = line.position_wh - so_far[owner]
            so_far[owner] = line.position_wh
            if change_wh:
                trades.append(_trade(positions[owner], change_wh, line.dlmp_micro_eur_per_mwh))
        traded[number] = tuple(trades)
    return traded or {1: ()}


def _imbalance_trades(tables: MarketTables, period: int) -> tuple[Trade, ...]:
    """Return metered minus scheduled injection, without what a flexibility service bought."""
    spread = 0
    if tables.rules.imbalance == "dual":
        spread = tables.rules.imbalance_spread_micro_eur_per_mwh
    trades = []
    for p in tables.positions:
        deviation_wh = p.meter_wh[period] - p.id_wh[period]
        outcome = tables.outcomes.get((p.participant, p.connection, period))
        if outcome is not None:
            deviation_wh -= outcome.bought_injection_wh
        if deviation_wh:
            price = tables.imbalance_price[p.bus][period]
            price += -spread if deviation_wh > 0 else spread
            trades.append(_trade(p, deviation_wh, price))
    return tuple(trades)


def _energy(prices: tuple[int, ...] | None, period: int, import_price: int) -> int:
    return import_price if prices is None else prices[period]


def _parts(
    tables: MarketTables, label: str, period: int
) -> Mapping[tuple[str, str, str], Mapping[int, int]] | None:
    """Return the parts of a market's prices per element and bus; None = not to be split."""
    split = tables.case.split
    if split == "none" or (split == "da" and label != DAY_AHEAD):
        return None
    elements: dict[tuple[str, str, str], dict[int, int]] = defaultdict(dict)
    for part in tables.parts.get((label, period), ()):
        if part.p_micro_eur_per_mwh:
            key = (part.element_kind, part.element, part.side)
            elements[key][part.bus] = part.p_micro_eur_per_mwh
    return elements
