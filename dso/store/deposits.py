"""What parties left with the operator as collateral; corrections are added, nothing is edited."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from data.periods import format_utc
from dso.store.tables import DEPOSIT, SETTLEMENT_LINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """An amount left (positive) or given back (negative) [micro-EUR], and who entered it."""

    id: int
    party: str
    actor: str
    amount_micro_eur: int
    reason: str
    at_utc: str


def add_deposit(
    connection: Connection, *, party: str, actor: str, amount_micro_eur: int, reason: str,
    at: datetime,
) -> Deposit:  # fmt: skip
    """Keep an amount in the caller's transaction."""
    values = {
        "party": party, "actor": actor, "amount_micro_eur": amount_micro_eur, "reason": reason,
        "at_utc": format_utc(at),
    }  # fmt: skip
    query = insert(DEPOSIT).values(values).returning(DEPOSIT.c.id)
    number = int(connection.execute(query).scalar_one())
    return Deposit(
        id=number, party=party, actor=actor, amount_micro_eur=amount_micro_eur, reason=reason,
        at_utc=format_utc(at),
    )  # fmt: skip


def deposits_of(connection: Connection, party: str) -> tuple[Deposit, ...]:
    """Return the deposits of a party by number, held against other writers until the end."""
    query = select(DEPOSIT).where(DEPOSIT.c.party == party).order_by(DEPOSIT.c.id)
    return tuple(Deposit(**row) for row in connection.execute(query.with_for_update()).mappings())


def balance_micro_eur(connection: Connection, party: str) -> int:
    """Return the sum of a party's settlement lines [micro-EUR]; negative: it owes."""
    line = SETTLEMENT_LINE.c
    total = func.coalesce(func.sum(line.amount_micro_eur), 0)
    return int(connection.execute(select(total).where(line.participant == party)).scalar_one())
