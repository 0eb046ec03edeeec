"""Orders as settlement sees them: pay-as-bid activations against a frozen baseline, and fees.

The price of an order is spread over its energy, so that a period is paid in proportion to what it
delivers; spread and rounded, an order in full is worth its price to within half a micro-EUR/MWh
times its energy. Orders of one meter in one period are added up, their prices weighted by power.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.settlement import Activation, Availability, FlexibilityRule, SettlementCase
from data.units import WH_PER_MWH, energy_wh, round_half_even
from flexibility.procurement.border import W_PER_MW
from flexibility.procurement.market_orders import callable_mw
from flexibility.procurement.records import AvailabilityContract, FlexOrder, ReservationUpdate

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """Baseline and meter of one connection over the horizon.

    Parameters
    ----------
    participant : str
        Who holds the connection: the party obliged.
    baseline_mw : ndarray, shape (periods,)
        Baseline as frozen at the gate: withdrawal [MW], feeding in negative.
    meter_mw : ndarray, shape (periods,)
        Metered withdrawal [MW], feeding in negative.
    """

    participant: str
    baseline_mw: Floats
    meter_mw: Floats


def activations_of(
    orders: Sequence[FlexOrder], metered: Mapping[str, Metered], periods: Periods
) -> tuple[Activation, ...]:
    """Return what settlement takes of orders, in W with withdrawal positive, as in USEF.

    Parameters
    ----------
    orders : sequence of FlexOrder
        What was bought.
    metered : mapping of connection to Metered
        Of every connection that an order names.
    periods : Periods
        The horizon.

    Raises
    ------
    InputError
        Orders without a meter, of a party that does not hold the connection, or of one meter and
        period under different rules or in opposite directions.
    """
    problems: list[Problem] = []
    by_meter: dict[tuple[str, int], list[FlexOrder]] = defaultdict(list)
    for order in orders:
        known = metered.get(order.connection)
        where = f"order {order.reference}"
        if known is None:
            what = f"there is no meter of {order.connection or 'a connection'}"
            problems.append(Problem(where=where, what=what, remedy="name the connection obliged"))
        elif known.participant != order.participant:
            what = f"{order.connection} is held by {known.participant}, not {order.participant}"
            problems.append(Problem(where=where, what=what))
        else:
            for period in np.flatnonzero(order.ordered_mw).tolist():
                by_meter[order.connection, period].append(order)
    prices = {order.reference: _price_per_mwh(order, periods) for order in orders}
    found = []
    for (connection, period), of_meter in sorted(by_meter.items()):
        refused = _refused(connection, period, of_meter, periods)
        if refused is not None:
            problems.append(refused)
            continue
        power = [round(float(order.ordered_mw[period]) * W_PER_MW) for order in of_meter]
        if not sum(power):
            continue
        known = metered[connection]
        first = of_meter[0]
        found.append(
            Activation(
                participant=known.participant,
                connection=connection,
                period=period,
                baseline_w=round(float(known.baseline_mw[period]) * W_PER_MW),
                ordered_w=sum(power),
                meter_w=round(float(known.meter_mw[period]) * W_PER_MW),
                price_micro_eur_per_mwh=_weighted(
                    power, [prices[order.reference] for order in of_meter]
                ),
                penalty_micro_eur_per_mwh=_weighted(
                    power, [Fraction(order.penalty_micro_eur_per_mwh) for order in of_meter]
                ),
                rule=cast("FlexibilityRule", first.rule),
            )
        )
    refuse_if_any(problems)
    return tuple(found)


def _refused(
    connection: str, period: int, orders: Sequence[FlexOrder], periods: Periods
) -> Problem | None:
    where = f"{connection} at {periods.labels()[period]}"
    if len({order.rule for order in orders}) > 1:
        return Problem(where=where, what="is ordered under different rules")
    if len({float(np.sign(order.ordered_mw[period])) for order in orders}) > 1:
        return Problem(where=where, what="is ordered in opposite directions")
    return None


def _price_per_mwh(order: FlexOrder, periods: Periods) -> Fraction:
    """Return the price of an order over its energy, exact."""
    energy = sum(abs(energy_wh(float(p), periods.mtu_minutes)) for p in order.ordered_mw)
    return Fraction(order.price_micro_eur * WH_PER_MWH, max(energy, 1))


def _weighted(power_w: Sequence[int], values: Sequence[Fraction]) -> int:
    total = sum(abs(power) for power in power_w)
    weighted = sum(
        (abs(power) * value for power, value in zip(power_w, values, strict=True)), Fraction(0)
    )
    return round_half_even(weighted / total)


def availabilities_of(
    contracts: Sequence[AvailabilityContract],
    periods: Periods,
    timezone: str,
    updates: Mapping[str, ReservationUpdate] | None = None,
) -> tuple[Availability, ...]:
    """Return the fees owed for capacity kept ready; what was released is not paid.

    Contracts of one meter are added up per period, their fees weighted by power.
    """
    ready: dict[tuple[str, str, int], list[tuple[int, Fraction]]] = defaultdict(list)
    for contract in contracts:
        power = callable_mw(contract, periods, timezone, (updates or {}).get(contract.id))
        fee = Fraction(contract.availability_micro_eur_per_mw_h)
        for period in np.flatnonzero(power).tolist():
            owner = (contract.participant, contract.connection, period)
            ready[owner].append((round(float(power[period]) * W_PER_MW), fee))
    return tuple(
        Availability(
            participant=participant,
            connection=connection,
            period=period,
            available_w=sum(watt for watt, _ in kept),
            price_micro_eur_per_mw_h=_weighted(
                [watt for watt, _ in kept], [fee for _, fee in kept]
            ),
        )
        for (participant, connection, period), kept in sorted(ready.items())
    )


def with_flexibility(
    case: SettlementCase,
    activations: Sequence[Activation],
    availabilities: Sequence[Availability] = (),
) -> SettlementCase:
    """Return a settlement case with flexibility beside its energy markets."""
    return replace(
        case,
        activations=(*case.activations, *activations),
        availabilities=(*case.availabilities, *availabilities),
    )
