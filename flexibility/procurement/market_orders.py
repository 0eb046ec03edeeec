"""Offers and contract calls as orders that the clearing engine chooses among, and back.

An option is a block whose ratio is the activation factor; the options of one offer are an exclusive
group. A contract that is not limited in its calls is a plain offer of power in every period of its
window; one that is limited is a curtailment with so many activations (more injection), or is
offered in the runs of its largest need (more withdrawal).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

import numpy as np

from data.periods import Periods
from data.records.order import (
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    PriceStep,
)
from data.units import AWARD_TICK_MW, MICRO_PER_UNIT, quantise_mw, round_half_even
from flexibility.procurement.records import (
    FACTOR_STEPS,
    AvailabilityContract,
    Bools,
    FlexOffer,
    FlexOrder,
    Floats,
    OfferOption,
    ReservationUpdate,
)

PAY: Final = "flexibility/"
# A factor is raised to the next hundredth unless it exceeds a hundredth by less than this.
FACTOR_TOLERANCE: Final = 1e-6
SOLD_MW: Final = 1e-9


def option_id(offer: FlexOffer, option: OfferOption) -> str:
    """Return the id of the order that stands for an option."""
    return f"offer/{offer.message_id}/{option.reference}"


def call_id(contract: AvailabilityContract) -> str:
    """Return the id of the order that stands for calls of a contract."""
    return f"contract/{contract.id}"


def order_of_option(offer: FlexOffer, option: OfferOption, mtu_h: float) -> BlockOrder:
    """Return an option as a block: its price spread over its energy, whatever the direction."""
    energy_mwh = mtu_h * float(np.abs(option.injection_mw).sum())
    price = option.price_micro_eur / MICRO_PER_UNIT / energy_mwh
    return BlockOrder(
        id=option_id(offer, option),
        participant=offer.participant,
        buses=offer.buses,
        pay=PAY + offer.rule,
        submitted_at=offer.received_at,
        profile_mw=option.injection_mw,
        price_eur_per_mwh=price * np.sign(option.injection_mw),
        acceptance_min=option.factor_min,
        exclusive_group=f"offer/{offer.message_id}" if len(offer.options) > 1 else None,
    )


def callable_mw(
    contract: AvailabilityContract,
    periods: Periods,
    timezone: str,
    update: ReservationUpdate | None = None,
) -> Floats:
    """Return how much of a contract may be called in each period [MW], not negative."""
    power = np.where(contract.window(periods, timezone), contract.power_mw, 0.0)
    return power if update is None else np.minimum(power, update.reserved_mw)


def runs_of(mask: Bools) -> list[tuple[int, int]]:
    """Return (first, after last) of every run of true periods.

    Examples
    --------
    >>> runs_of(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    edges = np.diff(np.concatenate([[0], mask.astype(np.int64), [0]]))
    first, after = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(first.tolist(), after.tolist(), strict=True))


def order_of_contract(
    contract: AvailabilityContract, power_mw: Floats, need: Bools
) -> tuple[Order | None, str]:
    """Return the calls of a contract as one order, and what had to be simplified.

    Parameters
    ----------
    contract : AvailabilityContract
        The contract.
    power_mw : ndarray, shape (periods,)
        What may be called [MW].
    need : ndarray of bool, shape (periods,)
        Where it may be needed: nothing is called elsewhere.

    Returns
    -------
    (Order or None, str)
        None where nothing can be called; the text is "" where nothing was simplified.
    """
    power = np.where(need, power_mw, 0.0)
    left = _calls_left(contract)
    if not power.any() or left == 0:
        return None, ""
    price = contract.utilisation_micro_eur_per_mwh / MICRO_PER_UNIT
    periods = len(power)
    terms = {
        "id": call_id(contract),
        "participant": contract.participant,
        "buses": contract.buses,
        "pay": PAY + contract.rule,
    }
    limited = left is not None and left < math.ceil(int((power > 0).sum()) / 2)
    if contract.direction == "inject" and limited:
        return CurtailOrder(
            **terms,  # type: ignore[arg-type]  # the fields all orders share
            p_mw_max=power,
            # above 0, so that a call ends where nothing can be called
            p_mw_min_on=np.full(periods, AWARD_TICK_MW),
            price_eur_per_mwh=np.full(periods, price),
            activations_max=left,
        ), ""
    remark = ""
    if limited:
        runs = sorted(runs_of(power > 0), key=lambda run: (run[0] - run[1], run[0]))
        if left is not None and left < len(runs):
            for first, after in runs[left:]:
                power[first:after] = 0.0
            remark = f"contract {contract.id}: {left} calls are left; the longest runs have them"
    sign = contract.sign
    kind = GenerationOrder if sign > 0 else DemandOrder
    step = PriceStep(p_mw=power, price_eur_per_mwh=np.full(periods, sign * price))
    return kind(
        **terms,  # type: ignore[arg-type]  # the fields all orders share
        steps=(step,),
        p_mw_min=np.zeros(periods),
    ), remark


def _calls_left(contract: AvailabilityContract) -> int | None:
    if contract.activations_max is None:
        return None
    return max(0, contract.activations_max - contract.activations_used)


def activation_factor(share: float, option: OfferOption) -> float:
    """Return the whole hundredth that is ordered: the next one above what is needed.

    Examples
    --------
    >>> option = OfferOption(
    ...     reference="a", price_micro_eur=1, factor_min=0.2, injection_mw=np.ones(1)
    ... )
    >>> [activation_factor(share, option) for share in (0.0, 0.2, 0.3333, 0.35, 1.0)]
    [0.0, 0.2, 0.34, 0.35, 1.0]
    """
    if share <= 0.0:
        return 0.0
    steps = math.ceil(share * FACTOR_STEPS - FACTOR_TOLERANCE)
    least = math.ceil(option.factor_min * FACTOR_STEPS - FACTOR_TOLERANCE)
    return min(max(steps, least), FACTOR_STEPS) / FACTOR_STEPS


def orders_from_awards(
    offers: Sequence[FlexOffer],
    contracts: Sequence[AvailabilityContract],
    shares: Mapping[str, float],
    injections: Mapping[str, Floats],
    mtu_h: float,
) -> tuple[FlexOrder, ...]:
    """Return what is ordered: of options the awarded ratio as a factor, of contracts the power.

    Parameters
    ----------
    offers, contracts : sequences
        What was offered.
    shares : mapping of order id to accepted ratio
        Of options (`option_id`).
    injections : mapping of order id to ndarray, shape (periods,)
        Awarded injection of contract calls (`call_id`) [MW].
    mtu_h : float
        Length of a period [h].
    """
    found: list[FlexOrder] = []
    for contract in contracts:
        called = quantise_mw(injections.get(call_id(contract), np.zeros(0)))
        if not np.any(np.abs(called) > SOLD_MW):
            continue
        energy_mwh = mtu_h * float(np.abs(called).sum())
        found.append(
            FlexOrder(
                reference=f"order/{call_id(contract)}",
                participant=contract.participant,
                congestion_point=contract.congestion_point,
                connection=contract.connection,
                buses=contract.buses,
                offer="",
                contract=contract.id,
                option="",
                factor=1.0,
                price_micro_eur=round(energy_mwh * contract.utilisation_micro_eur_per_mwh),
                offered_mw=called,
                rule=contract.rule,
                penalty_micro_eur_per_mwh=contract.penalty_micro_eur_per_mwh,
            )
        )
    for offer in offers:
        for option in offer.options:
            factor = activation_factor(shares.get(option_id(offer, option), 0.0), option)
            if factor > 0.0:
                found.append(_ordered(offer, option, factor))
    return tuple(found)


def _ordered(offer: FlexOffer, option: OfferOption, factor: float) -> FlexOrder:
    steps = round(factor * FACTOR_STEPS)
    return FlexOrder(
        reference=f"order/{option_id(offer, option)}",
        participant=offer.participant,
        congestion_point=offer.congestion_point,
        connection=offer.connection,
        buses=offer.buses,
        offer=offer.message_id,
        contract=offer.contract,
        option=option.reference,
        factor=factor,
        price_micro_eur=_scaled(option.price_micro_eur, steps),
        offered_mw=option.injection_mw,
        rule=offer.rule,
        penalty_micro_eur_per_mwh=offer.penalty_micro_eur_per_mwh,
    )


def _scaled(price_micro_eur: int, steps: int) -> int:
    """Return price x hundredths, half-even.

    Examples
    --------
    >>> _scaled(250, 1), _scaled(150, 1)
    (2, 2)
    """
    return round_half_even(Fraction(price_micro_eur * steps, FACTOR_STEPS))


def fixed_order(order: FlexOrder, sign: float) -> GenerationOrder | DemandOrder | None:
    """Return the part of an order in one direction as power that is not chosen any more.

    ``sign`` +1: its injection as generation, -1: its withdrawal as demand; None where it has none.
    """
    power = quantise_mw(np.maximum(sign * order.ordered_mw, 0.0))
    if not power.any():
        return None
    kind = GenerationOrder if sign > 0 else DemandOrder
    return kind(
        id=f"{order.reference}/{'inject' if sign > 0 else 'withdraw'}",
        participant=order.participant,
        buses=order.buses,
        pay=PAY + order.rule,
        steps=(PriceStep(p_mw=power, price_eur_per_mwh=np.zeros(len(power))),),
        p_mw_min=power,
    )
