"""The collateral check at the gate: can a participant pay for the worst his orders may cost?

Exposure of an order over its horizon, with E the energy it may trade and p its price:

===========  ====================================================================================
order        exposure
===========  ====================================================================================
demand       sum E max(0, p), it never pays more than it bids; what it must take, at the price cap
generation   sum E max(0, -p), it may pay to inject, + sum E x shortfall price, if it fails; what
             must run, at the shortfall price once more
block        as demand where its profile withdraws, as generation where it injects
curtailment  sum E x shortfall price
bilateral    sum E max(0, p): at most its bid for the use of the grid
shift        sum of its baseline energy x price cap: it takes its energy at any price
storage      energy it must gain, (end - start) / efficiency, x price cap + dischargeable energy x
             shortfall price; charging beyond that pays for itself within the order
===========  ====================================================================================

The check is pure: deposits, dues and orders in, a decision per order out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    ShiftOrder,
    StorageOrder,
)
from data.units import MICRO_PER_UNIT, WH_PER_MWH
from dso.settlement.exact import BooksError, divide_half_even

Floats = NDArray[np.float64]
LAST: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollateralRules:
    """Prices the worst case is counted at [micro-EUR/MWh], both >= 0.

    Parameters
    ----------
    price_cap_micro_eur_per_mwh : int
        The market's price cap: what energy taken at any price may cost.
    shortfall_micro_eur_per_mwh : int
        What energy sold and not delivered may cost.
    """

    price_cap_micro_eur_per_mwh: int
    shortfall_micro_eur_per_mwh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """What a participant left with the operator, less what he already owes [micro-EUR]."""

    deposit_micro_eur: int
    owed_micro_eur: int = 0

    @property
    def free_micro_eur(self) -> int:
        """What may still be risked."""
        return self.deposit_micro_eur - self.owed_micro_eur


@dataclass(frozen=True, slots=True, kw_only=True)
class CollateralDecision:
    """Whether an order is covered; ``free_micro_eur`` is what was free before it."""

    order: str
    participant: str
    exposure_micro_eur: int
    free_micro_eur: int
    is_covered: bool

    def reason(self) -> str:
        """Say in one sentence why an order was not admitted; empty where it was."""
        if self.is_covered:
            return ""
        short = (self.exposure_micro_eur - self.free_micro_eur) / MICRO_PER_UNIT
        return (
            f"may cost up to {self.exposure_micro_eur / MICRO_PER_UNIT:.2f} EUR, "
            f"{self.free_micro_eur / MICRO_PER_UNIT:.2f} EUR are free: {short:.2f} EUR short"
        )


def check_collateral(
    orders: Iterable[Order],
    collateral: Mapping[str, Collateral],
    rules: CollateralRules,
    *,
    mtu_minutes: int,
) -> tuple[CollateralDecision, ...]:
    """Decide order by order, the earliest first, which are covered by what their party left.

    Parameters
    ----------
    orders : iterable of Order
        Orders of one gate, any sequence. An order that is not covered uses nothing up, so a
        smaller later one may still be.
    collateral : mapping
        By participant; who is not in it has left nothing.
    rules : CollateralRules
        Prices of the worst case.
    mtu_minutes : int
        Length of a period [min].

    Returns
    -------
    tuple of CollateralDecision
        By time of submission (orders without one last), then by id.
    """
    nothing = Collateral(deposit_micro_eur=0)
    used: dict[str, int] = {}
    decisions = []
    for order in sorted(orders, key=lambda o: (o.submitted_at or LAST, o.id)):
        party = order.participant
        exposure = exposure_micro_eur(order, rules, mtu_minutes=mtu_minutes)
        free = collateral.get(party, nothing).free_micro_eur - used.get(party, 0)
        covered = exposure <= max(0, free)
        if covered:
            used[party] = used.get(party, 0) + exposure
        decisions.append(
            CollateralDecision(
                order=order.id,
                participant=party,
                exposure_micro_eur=exposure,
                free_micro_eur=free,
                is_covered=covered,
            )
        )
    return tuple(decisions)


def exposure_micro_eur(order: Order, rules: CollateralRules, *, mtu_minutes: int) -> int:
    """Return the most that an order may cost its participant [micro-EUR], rounded up.

    Raises
    ------
    BooksError
        For a kind of order that this module does not know: nothing is covered by guessing.
    """
    cap, shortfall = rules.price_cap_micro_eur_per_mwh, rules.shortfall_micro_eur_per_mwh
    ones = np.ones(1)
    if isinstance(order, DemandOrder):
        parts = [(step.p_mw, np.maximum(step.price_eur_per_mwh, 0)) for step in order.steps]
        return _sum([*parts, (order.p_mw_min, ones * cap / MICRO_PER_UNIT)], mtu_minutes)
    if isinstance(order, GenerationOrder):
        parts = [(step.p_mw, np.maximum(-step.price_eur_per_mwh, 0)) for step in order.steps]
        energy = [(step.p_mw, ones * shortfall / MICRO_PER_UNIT) for step in order.steps]
        must_run = (order.p_mw_min, ones * shortfall / MICRO_PER_UNIT)
        return _sum([*parts, *energy, must_run], mtu_minutes)
    if isinstance(order, BlockOrder):
        injected, withdrawn = np.maximum(order.profile_mw, 0), np.maximum(-order.profile_mw, 0)
        price = order.price_eur_per_mwh
        return _sum(
            [
                (withdrawn, np.maximum(price, 0)),
                (injected, np.maximum(-price, 0)),
                (injected, ones * shortfall / MICRO_PER_UNIT),
            ],
            mtu_minutes,
        )
    if isinstance(order, CurtailOrder):
        return _sum([(order.p_mw_max, ones * shortfall / MICRO_PER_UNIT)], mtu_minutes)
    if isinstance(order, BilateralOrder):
        return _sum([(order.p_mw, np.maximum(order.price_eur_per_mwh, 0))], mtu_minutes)
    if isinstance(order, ShiftOrder):
        return _sum([(order.baseline_mw, ones * cap / MICRO_PER_UNIT)], mtu_minutes)
    if isinstance(order, StorageOrder):
        gained = max(0.0, order.energy_mwh_end_min - order.energy_mwh_start)
        given = max(0.0, order.energy_mwh_max - order.energy_mwh_min) * order.efficiency_discharge
        return _money(gained / order.efficiency_charge, cap) + _money(given, shortfall)
    raise BooksError(f"order {order.id}: no exposure is known for {type(order).__name__}")


def _sum(parts: Iterable[tuple[Floats, Floats]], mtu_minutes: int) -> int:
    """Return the sum of power [MW] x price [EUR/MWh] over the horizon [micro-EUR].

    Powers and prices are on the ticks of the market; the products are summed as integers.
    """
    total = 0
    for power_mw, price in parts:
        watts = np.rint(np.abs(power_mw) * WH_PER_MWH).astype(np.int64)
        prices = np.rint(np.broadcast_to(price, watts.shape) * MICRO_PER_UNIT).astype(np.int64)
        total += sum(
            int(watt) * int(micro) for watt, micro in zip(watts.flat, prices.flat, strict=True)
        )
    return -(-total * mtu_minutes // (60 * WH_PER_MWH))


def _money(energy_mwh: float, price_micro_eur_per_mwh: int) -> int:
    return divide_half_even(round(energy_mwh * WH_PER_MWH) * price_micro_eur_per_mwh, WH_PER_MWH)
