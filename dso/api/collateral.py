"""Collateral: what a party left, what it owes, what its orders may cost, what is free."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dso.settlement.collateral import Collateral
from dso.store.book import booked_exposure_micro_eur
from dso.store.deposits import balance_micro_eur, deposits_of

if TYPE_CHECKING:
    from dso.store import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeCollateral:
    """What a party may still risk, and why [micro-EUR].

    ``owed_micro_eur`` is the negative sum of its settlement lines, 0 where it has money to come;
    ``booked_micro_eur`` what its orders of today and later may cost.
    """

    deposit_micro_eur: int
    owed_micro_eur: int
    booked_micro_eur: int

    @property
    def free_micro_eur(self) -> int:
        """Return what an order may still cost, never below 0."""
        left = Collateral(
            deposit_micro_eur=self.deposit_micro_eur, owed_micro_eur=self.owed_micro_eur
        )
        return max(0, left.free_micro_eur - self.booked_micro_eur)


def free_collateral(connection: Connection, party: str, at: datetime) -> FreeCollateral:
    """Return the collateral of a party at an instant of the market.

    Its deposits are held until the transaction ends, so that two orders never use them up twice.
    Delivery days of yesterday count, for they may not be settled yet.
    """
    deposits = deposits_of(connection, party)
    since = (at.date() - timedelta(days=1)).isoformat()
    return FreeCollateral(
        deposit_micro_eur=sum(each.amount_micro_eur for each in deposits),
        owed_micro_eur=max(0, -balance_micro_eur(connection, party)),
        booked_micro_eur=booked_exposure_micro_eur(connection, party, since_day=since),
    )
