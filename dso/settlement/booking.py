"""How lines are written down: priced lines, lines of the operator's accounts, rounding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from data.records.settlement import ACCOUNT_PREFIX, LineKind, SettlementLine
from data.units import WH_PER_MWH
from dso.settlement.exact import BooksError, divide_half_even


def priced_line(
    owner: tuple[str, str],
    kind: LineKind,
    quantity_wh: int,
    price_micro_eur_per_mwh: int,
    *,
    market: str,
    start: datetime,
) -> SettlementLine:
    """Return quantity [Wh] x price [micro-EUR/MWh] as a line, half-even to whole micro-EUR."""
    return SettlementLine(
        participant=owner[0],
        connection=owner[1],
        period_start=start,
        kind=kind,
        quantity_wh=quantity_wh,
        price_micro_eur_per_mwh=price_micro_eur_per_mwh,
        amount_micro_eur=divide_half_even(quantity_wh * price_micro_eur_per_mwh, WH_PER_MWH),
        market=market,
    )


def account_line(
    account: str, kind: LineKind, amount_micro_eur: int, *, market: str, start: datetime
) -> SettlementLine:
    """Return an amount on an account of the operator: no product of quantity and price."""
    return SettlementLine(
        participant=f"{ACCOUNT_PREFIX}{account}",
        connection="",
        period_start=start,
        kind=kind,
        quantity_wh=0,
        price_micro_eur_per_mwh=0,
        amount_micro_eur=amount_micro_eur,
        market=market,
    )


def rounding_lines(
    lines: Iterable[SettlementLine], *, market: str, start: datetime
) -> Iterator[SettlementLine]:
    """Yield the line of the rounding account; at most one micro-EUR per line, or the books err.

    Raises
    ------
    BooksError
        If more is left over than rounding can leave.
    """
    amounts = [line.amount_micro_eur for line in lines]
    remainder = sum(amounts)
    if abs(remainder) > len(amounts):
        raise BooksError(f"{market} {start}: {remainder} micro-EUR is more than rounding")
    if remainder:
        yield account_line("rounding", "rounding", -remainder, market=market, start=start)
