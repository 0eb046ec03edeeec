"""Settle a case: every market of every period sums to zero, to the last micro-EUR.

Rents are computed from the exact integer sums of quantity x price, not from the rounded lines, so
the rounding account holds rounding and nothing else: at most one micro-EUR per line, checked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from data.canonical import sha256_hex
from data.errors import refuse_if_any
from data.records.settlement import (
    ACCOUNT_PREFIX,
    LineKind,
    SettlementCase,
    SettlementLine,
    SettlementResult,
)
from data.units import WH_PER_MWH
from dso.settlement.booking import account_line, priced_line, rounding_lines
from dso.settlement.case_files import case_files
from dso.settlement.exact import BooksError, divide_half_even
from dso.settlement.markets import (
    MarketPeriod,
    MarketTables,
    energy_markets,
    tabulate_case,
)
from dso.settlement.services import book_services
from dso.settlement.validation import find_problems

UPSTREAM = "upstream"
REFUND = "refund"
RENT_KINDS: Final = frozenset(
    {
        "rent_congestion", "rent_voltage", "rent_loss", "rent_import", "rent_unsplit",
        "rent_reactive",
    }
)  # fmt: skip


def settle(case: SettlementCase) -> SettlementResult:
    """Settle day-ahead, intraday rounds, imbalance, services and the refund.

    Parameters
    ----------
    case : SettlementCase
        Positions, prices, import and activations; the order inside its tuples means nothing.

    Returns
    -------
    SettlementResult
        Lines sorted by period and market, participants before accounts. Participants have a
        day-ahead line for every period in which they hold a connection; intraday and imbalance
        only where energy changed.

    Raises
    ------
    InputError
        With all problems of the case.
    BooksError
        If a market does not balance: a fault of the program.

    Notes
    -----
    With withdrawals d = -injection, import P0, energy price pi and losses = P0 - sum d::

        rent of element k     = sum_i part_ik d_i
        loss over-collection  = sum_i (DLMP_i - pi - sum_k part_ik) d_i - pi x losses
        import rent           = pi x P0 - import bill

    Without parts their sum stands on ``account:rent_unsplit``. The imbalance's difference
    (changed losses, price spread) stands on ``account:imbalance_residual``. The rents of
    day-ahead and intraday together are refunded by the rule of the case, also when negative; the
    residual is not. Where reactive energy is paid, its difference is refunded with them.
    """
    refuse_if_any(find_problems(case))
    tables = tabulate_case(case)
    lines: list[SettlementLine] = []
    kept: list[datetime] = []
    for period, start in enumerate(case.periods.starts):
        booked: list[SettlementLine] = []
        for market in energy_markets(tables, period):
            booked.extend(_book_market(market, start))
        booked.extend(book_services(tables, period, start))
        rent = sum(line.amount_micro_eur for line in booked if line.kind in RENT_KINDS)
        refund = list(_book_refund(tables, period, start, rent))
        if rent and not refund and case.rules.refund != "retain":
            kept.append(start)
        lines.extend(booked)
        lines.extend(refund)
    digests = "".join(
        f"{sha256_hex(content)}  {name}\n" for name, content in sorted(case_files(case).items())
    )
    return SettlementResult(
        periods=case.periods,
        rules=case.rules,
        lines=tuple(lines),
        remarks=_remarks(case, kept),
        input_sha256=sha256_hex(digests.encode()),
    )


def _book_market(market: MarketPeriod, start: datetime) -> list[SettlementLine]:
    """Book trades, upstream bill and rents of one market and period; they sum to zero."""
    lines = [
        priced_line(
            (trade.participant, trade.connection), market.kind, trade.quantity_wh,
            trade.price_micro_eur_per_mwh, market=market.label, start=start,
        )
        for trade in market.trades
    ]  # fmt: skip
    bill = market.import_wh * market.import_price_micro_eur_per_mwh
    if market.import_wh:
        lines.append(
            priced_line(
                (f"{ACCOUNT_PREFIX}{UPSTREAM}", ""), "upstream", market.import_wh,
                market.import_price_micro_eur_per_mwh, market=market.label, start=start,
            )
        )  # fmt: skip
    rents = _exact_rents(market)
    paid = sum(trade.quantity_wh * trade.price_micro_eur_per_mwh for trade in market.trades)
    if paid + bill + sum(rents.values()) != 0:
        raise BooksError(f"{market.label} {start}: the rents do not add up to the difference")
    for (kind, account), numerator in sorted(rents.items()):
        amount = divide_half_even(numerator, WH_PER_MWH)
        if amount:
            lines.append(account_line(account, kind, amount, market=market.label, start=start))
    return [*lines, *rounding_lines(lines, market=market.label, start=start)]


def _exact_rents(market: MarketPeriod) -> dict[tuple[LineKind, str], int]:
    """Return the operator's rents of a market, exactly, in Wh x micro-EUR/MWh."""
    trades = market.trades
    paid = sum(trade.quantity_wh * trade.price_micro_eur_per_mwh for trade in trades)
    bill = market.import_wh * market.import_price_micro_eur_per_mwh
    if market.kind == "imbalance":
        return {("imbalance_residual", "imbalance_residual"): -paid - bill}
    if market.parts is None:
        return {("rent_unsplit", "rent_unsplit"): -paid - bill}
    withdrawn: dict[int, int] = defaultdict(int)
    for trade in trades:
        withdrawn[trade.bus] -= trade.quantity_wh
        if trade.bus_to is not None:
            withdrawn[trade.bus_to] += trade.quantity_wh
    rents: dict[tuple[LineKind, str], int] = {}
    of_elements = 0
    for (element_kind, element, side), parts in market.parts.items():
        kind: LineKind = "rent_voltage" if element_kind == "bus" else "rent_congestion"
        rent = sum(part * withdrawn.get(bus, 0) for bus, part in parts.items())
        rents[kind, f"{kind}/{element_kind}:{element}:{side}"] = rent
        of_elements += rent
    energy = market.energy_price_micro_eur_per_mwh
    total_withdrawn = sum(withdrawn.values())
    losses_wh = market.import_wh - total_withdrawn
    rents["rent_loss", "rent_loss"] = (
        -paid - energy * total_withdrawn - of_elements - energy * losses_wh
    )
    rents["rent_import", "rent_import"] = energy * market.import_wh - bill
    return rents


def _book_refund(
    tables: MarketTables, period: int, start: datetime, rent_micro_eur: int
) -> Iterator[SettlementLine]:
    """Book the refund of a period's rents; nothing where there is no weight to share by."""
    rule = tables.rules.refund
    if rule == "retain" or not rent_micro_eur:
        return
    if rule == "pro_rata_capacity":
        weights = {
            (c.participant, c.connection): c.capacity_w
            for c in tables.case.capacities
            if tables.meters[c.participant, c.connection].is_held(period)
        }
    else:
        weights = {
            (p.participant, p.connection): max(0, -p.meter_wh[period])
            for p in tables.positions
            if not p.is_bilateral
        }
    total = sum(weights.values())
    if not total:
        return
    by_energy = rule == "pro_rata_withdrawal"
    rate = divide_half_even(rent_micro_eur * WH_PER_MWH, total) if by_energy else 0
    lines = [
        SettlementLine(
            participant=participant,
            connection=connection,
            period_start=start,
            kind="refund",
            quantity_wh=weight if by_energy else 0,
            price_micro_eur_per_mwh=rate,
            amount_micro_eur=divide_half_even(rent_micro_eur * weight, total),
            market=REFUND,
        )
        for (participant, connection), weight in sorted(weights.items())
        if weight
    ]
    lines.append(account_line(REFUND, "refund", -rent_micro_eur, market=REFUND, start=start))
    yield from lines
    yield from rounding_lines(lines, market=REFUND, start=start)


def _remarks(case: SettlementCase, kept: list[datetime]) -> tuple[str, ...]:
    """Name what the case left to the settlement."""
    remarks = []
    if case.substation.da_import_wh is None:
        remarks.append(
            "scheduled imports are not given: metered losses are held in every market, "
            "so changed losses do not show in the imbalance residual"
        )
    elif case.rounds is not None:
        remarks.append(
            "imports between intraday rounds are not given: changed losses stand in the last "
            "round of a period"
        )
    if case.split != "none" and case.substation.da_energy_micro_eur_per_mwh is None:
        remarks.append("the energy price is not given: it is taken to be the import price")
    if case.reactive and not case.rules.settle_reactive:
        remarks.append("reactive energy is shown with its price and not paid")
    if kept:
        remarks.append(
            f"rents of {len(kept)} periods stay with the operator: nobody withdrew in them"
        )
    return tuple(remarks)
