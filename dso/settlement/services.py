"""Lines beside the energy markets: reactive energy, communities, flexibility and availability."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from data.records.settlement import ACCOUNT_PREFIX, LineKind, SettlementLine
from data.units import MICRO_PER_UNIT, WH_PER_MWH
from dso.settlement.booking import account_line, priced_line, rounding_lines
from dso.settlement.communities import share_energy
from dso.settlement.exact import divide_half_even
from dso.settlement.markets import MarketTables

FLEXIBILITY = "flexibility"
REACTIVE = "reactive"
COMMUNITY = "community"


def book_services(tables: MarketTables, period: int, start: datetime) -> Iterator[SettlementLine]:
    """Book what is settled beside the energy markets of one period; each market sums to zero."""
    yield from _book_reactive(tables, period, start)
    yield from _book_communities(tables, period, start)
    yield from _book_availability(tables, period, start)
    yield from _book_activations(tables, period, start)


def available_energy_wh(available_w: int, delivery_ppm: int, mtu_minutes: int) -> int:
    """Return capacity x duration x earned share [Wh], rounded once, half-even.

    Examples
    --------
    >>> available_energy_wh(2_000_000, 900_000, 30)  # 2 MW for half an hour, 90 % earned
    900000
    """
    return divide_half_even(available_w * mtu_minutes * delivery_ppm, 60 * MICRO_PER_UNIT)


def _book_reactive(tables: MarketTables, period: int, start: datetime) -> Iterator[SettlementLine]:
    """Book reactive energy at its price, where the rules pay it; the rest is the operator's rent.

    The amounts are exact in varh x micro-EUR/Mvarh before they are rounded, as energy is.
    """
    if not tables.rules.settle_reactive:
        return
    found = sorted(tables.reactive.get(period, ()), key=lambda q: (q.participant, q.connection))
    if not found:
        return
    lines = [
        priced_line(
            (q.participant, q.connection), "reactive", q.q_varh, q.price_micro_eur_per_mvarh,
            market=REACTIVE, start=start,
        )
        for q in found
    ]  # fmt: skip
    paid = sum(q.q_varh * q.price_micro_eur_per_mvarh for q in found)
    rent = divide_half_even(-paid, WH_PER_MWH)
    if rent:
        lines.append(
            account_line("rent_reactive", "rent_reactive", rent, market=REACTIVE, start=start)
        )
    yield from lines
    yield from rounding_lines(lines, market=REACTIVE, start=start)


def _book_communities(
    tables: MarketTables, period: int, start: datetime
) -> Iterator[SettlementLine]:
    """Book shared energy: members pay and the generator receives community price - bus price."""
    meters = tables.meters
    lines = []
    for community in sorted(tables.case.communities, key=lambda c: c.name):
        generator = meters[community.generator]
        shares = share_energy(
            community,
            generator.meter_wh[period],
            {
                (m.participant, m.connection): -meters[m.participant, m.connection].meter_wh[period]
                for m in community.members
            },
        )
        price = community.price_micro_eur_per_mwh - tables.da_price[generator.bus][period]
        for owner, energy_wh in sorted(shares.items()):
            lines.append(
                priced_line(owner, "community", -energy_wh, price, market=COMMUNITY, start=start)
            )
        if shares:
            total = sum(shares.values())
            owner = community.generator
            lines.append(
                priced_line(owner, "community", total, price, market=COMMUNITY, start=start)
            )
    yield from lines
    yield from rounding_lines(lines, market=COMMUNITY, start=start)


def _book_availability(
    tables: MarketTables, period: int, start: datetime
) -> Iterator[SettlementLine]:
    """Book the fee for capacity kept ready: capacity x duration x share earned x fee."""
    mtu_minutes = tables.case.periods.mtu_minutes
    found = tables.availabilities.get(period, ())
    for kept in sorted(found, key=lambda a: (a.participant, a.connection)):
        quantity_wh = available_energy_wh(kept.available_w, kept.delivery_ppm, mtu_minutes)
        owner = (kept.participant, kept.connection)
        price = kept.price_micro_eur_per_mw_h
        yield from _paid_by_operator(owner, "availability", quantity_wh, price, start)


def _book_activations(
    tables: MarketTables, period: int, start: datetime
) -> Iterator[SettlementLine]:
    """Book what the operator pays for activations and what deficiency costs the provider."""
    found = tables.activations.get(period, ())
    for activation in sorted(found, key=lambda a: (a.participant, a.connection)):
        owner = (activation.participant, activation.connection)
        outcome = tables.outcomes[(*owner, period)]
        entries: tuple[tuple[LineKind, int, int], ...] = (
            ("flexibility", outcome.paid_wh, activation.price_micro_eur_per_mwh),
            ("penalty", -outcome.deficiency_wh, activation.penalty_micro_eur_per_mwh),
        )
        for kind, quantity_wh, price in entries:
            yield from _paid_by_operator(owner, kind, quantity_wh, price, start)


def _paid_by_operator(
    owner: tuple[str, str], kind: LineKind, quantity_wh: int, price: int, start: datetime
) -> Iterator[SettlementLine]:
    """Yield a line and its mirror on the operator's account; nothing without energy."""
    if not quantity_wh:
        return
    operator = (f"{ACCOUNT_PREFIX}{FLEXIBILITY}", owner[1])
    for party, sign in ((owner, 1), (operator, -1)):
        yield priced_line(party, kind, sign * quantity_wh, price, market=FLEXIBILITY, start=start)
