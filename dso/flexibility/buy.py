"""Buy flexibility for what the market did not solve: judge offers, choose, order, check.

Contracts and spot offers are chosen among together, contracts at their utilisation price alone:
their fee is owed anyway. Factors are ordered in whole hundredths, raised to the next one, and what
is ordered is looked at once more with AC physics: what is then still missing is the orange state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase, ClearingResult
from data.records.order import Order
from data.units import MICRO_PER_UNIT
from dso.store import Light
from flexibility.procurement.acceptance import Desk, judge_offers
from flexibility.procurement.market_orders import (
    callable_mw,
    fixed_order,
    order_of_contract,
    order_of_option,
    orders_from_awards,
)
from flexibility.procurement.records import (
    AvailabilityContract,
    FlexOffer,
    FlexOrder,
    OfferRevocation,
    Rejection,
    ReservationUpdate,
)
from opf.problems.flexibility_purchase import (
    SHORTAGE_EUR_PER_MWH,
    FlexibilityChoice,
    choose_flexibility,
    flexibility_outcome,
    is_sound,
    missing_by_period,
)

Floats = NDArray[np.float64]
# Awards are whole W: a limit that binds in the market is met to the sum of their roundings.
NO_NEED_MW: Final = 1e-5
NOTHING_CHOSEN: Final = FlexibilityChoice(shares={}, injections={}, cost_eur=0.0, result=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tray:
    """Everything that may be bought: contracts in force, offers, and what changed about them.

    ``updates`` by contract id: what of a contract is still reserved.
    """

    contracts: tuple[AvailabilityContract, ...] = ()
    offers: tuple[FlexOffer, ...] = ()
    revocations: tuple[OfferRevocation, ...] = ()
    updates: Mapping[str, ReservationUpdate] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What was bought and what it leaves.

    Parameters
    ----------
    state : {"green", "yellow", "orange"}
        Green: nothing was missing. Yellow: what was bought keeps every limit. Orange: it does not.
    orders : tuple of FlexOrder
        Calls of contracts first, then options of offers.
    rejections : tuple of Rejection
        Messages that do not count.
    cost_micro_eur : int
        Price of all orders, if delivered in full [micro-EUR].
    rounding_eur : float
        What raising factors to whole hundredths costs beside the optimum [EUR].
    before, after : ClearingResult
        The grid without and with the flexibility ordered; ``violations`` are what is missing.
    missing_before_mw, missing_mw : ndarray, shape (periods,)
        The largest MW missing in each period, at the bus that relieves most.
    choice : FlexibilityChoice
        The search, with its proof.
    remarks, fallbacks : tuple of str
        What was simplified, and what had to give way, by name.
    """

    state: Light
    orders: tuple[FlexOrder, ...]
    rejections: tuple[Rejection, ...]
    cost_micro_eur: int
    rounding_eur: float
    before: ClearingResult
    after: ClearingResult
    missing_before_mw: Floats
    missing_mw: Floats
    choice: FlexibilityChoice
    remarks: tuple[str, ...]
    fallbacks: tuple[str, ...]


def buy(
    held: ClearingCase,
    tray: Tray,
    desk: Desk,
    *,
    shortage_eur_per_mwh: float = SHORTAGE_EUR_PER_MWH,
) -> Purchase:
    """Buy at least cost what keeps the limits, or what helps most.

    Parameters
    ----------
    held : ClearingCase
        The grid with the market's positions.
    tray : Tray
        What may be bought.
    desk : Desk
        What offers are judged against.
    shortage_eur_per_mwh : float
        Price of a limit that cannot hold [EUR/MWh].
    """
    count = len(held.periods)
    offers, rejections = judge_offers(tray.offers, tray.revocations, desk)
    before = _outcome(held, (), shortage_eur_per_mwh)
    missing_before = missing_by_period(before.violations, count)
    remarks: list[str] = []
    fallbacks: list[str] = []
    choice, after = NOTHING_CHOSEN, before
    orders: tuple[FlexOrder, ...] = ()
    if not is_sound(before):
        fallbacks.append(f"uncertified: nothing is ordered ({before.message})")
    elif before.violations:
        choice, orders = _choose(held, tray, offers, missing_before, remarks, shortage_eur_per_mwh)
    if orders:
        after = _outcome(held, _fixed(orders), shortage_eur_per_mwh)
        if not is_sound(after):
            fallbacks.append(f"uncertified: nothing is ordered ({after.message})")
            orders, after = (), before
    cost = sum(order.price_micro_eur for order in orders)
    search = None if choice.result is None else choice.result.integers
    if search is not None and search.message:
        remarks.append(search.message)
    return Purchase(
        state=_state(before, after),
        orders=orders,
        rejections=rejections,
        cost_micro_eur=cost,
        rounding_eur=cost / MICRO_PER_UNIT - choice.cost_eur if orders else 0.0,
        before=before,
        after=after,
        missing_before_mw=missing_before,
        missing_mw=missing_by_period(after.violations, count),
        choice=choice,
        remarks=tuple(remarks),
        fallbacks=tuple(fallbacks),
    )


def _choose(
    held: ClearingCase,
    tray: Tray,
    offers: Sequence[FlexOffer],
    missing_mw: Floats,
    remarks: list[str],
    shortage_eur_per_mwh: float,
) -> tuple[FlexibilityChoice, tuple[FlexOrder, ...]]:
    periods = held.periods
    options = [(offer, option) for offer in offers for option in offer.options]
    need = missing_mw > 0.0
    for _, option in options:
        need |= option.injection_mw != 0.0  # a rebound may need relief of its own
    found = [order_of_option(offer, option, periods.mtu_h) for offer, option in options]
    calls = []
    for contract in tray.contracts:
        update = (tray.updates or {}).get(contract.id)
        power = callable_mw(contract, periods, held.timezone, update)
        call, remark = order_of_contract(contract, power, need)
        calls += [call] if call is not None else []
        remarks += [remark] if remark else []
    choice = choose_flexibility(held, [*calls, *found], shortage_eur_per_mwh=shortage_eur_per_mwh)
    orders = orders_from_awards(
        offers, tray.contracts, choice.shares, choice.injections, periods.mtu_h
    )
    return choice, orders


def _outcome(
    held: ClearingCase, fixed: Sequence[Order], shortage_eur_per_mwh: float
) -> ClearingResult:
    """Return the grid with what is ordered; what whole W of awards miss a limit by is no need."""
    found = flexibility_outcome(held, fixed, shortage_eur_per_mwh=shortage_eur_per_mwh)
    missing = tuple(each for each in found.violations if each.mw_short > NO_NEED_MW)
    return replace(found, violations=missing)


def _fixed(orders: Sequence[FlexOrder]) -> list[Order]:
    parts = (fixed_order(order, sign) for order in orders for sign in (1.0, -1.0))
    return [part for part in parts if part is not None]


def _state(before: ClearingResult, after: ClearingResult) -> Light:
    if is_sound(before) and not before.violations:
        return "green"
    return "orange" if after.violations or not is_sound(after) else "yellow"
