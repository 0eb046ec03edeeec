"""Setpoints: what the market decided, told to each asset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.clearing import Award
from data.records.dispatch import Setpoint
from data.records.order import Order
from data.units import quantise_mw

Floats = NDArray[np.float64]


def setpoints_from_awards(
    *, orders: Sequence[Order], awards: Sequence[Award], periods: Periods
) -> tuple[Setpoint, ...]:
    """Turn the awards of one clearing into setpoints.

    Parameters
    ----------
    orders : sequence of Order
        The order book.
    awards : sequence of Award
        One award per order, any sequence.
    periods : Periods
        Periods of the awards.

    Returns
    -------
    tuple of Setpoint
        One per order and bus, sorted by order id; injection positive [MW, Mvar]. The asset of an
        order that names none is ``order:<id>``.

    Raises
    ------
    InputError
        With all problems: an award without order, an order without award or with two, a wrong
        number of periods, a value that is not finite.
    """
    by_id = {order.id: order for order in orders}
    awarded = [award.order for award in awards]
    problems = [
        Problem(where=f"award of {name}", what="no such order")
        for name in sorted(set(awarded) - set(by_id))
    ]
    problems += [
        Problem(where=f"order {name}", what=f"{awarded.count(name)} awards, expected one")
        for name in sorted(by_id)
        if awarded.count(name) != 1
    ]
    for award in awards:
        shape = (len(award.buses), len(periods))
        if award.injection_mw.shape != shape or award.injection_mvar.shape != shape:
            problems.append(Problem(where=f"award of {award.order}", what=f"not of shape {shape}"))
        elif not (np.isfinite(award.injection_mw).all() & np.isfinite(award.injection_mvar).all()):
            problems.append(Problem(where=f"award of {award.order}", what="a value is not finite"))
    refuse_if_any(problems)
    return tuple(
        Setpoint(
            order=award.order,
            asset=by_id[award.order].asset or f"order:{award.order}",
            bus=bus,
            periods=periods,
            injection_mw=quantise_mw(award.injection_mw[row]),
            injection_mvar=quantise_mw(award.injection_mvar[row]),
        )
        for award in sorted(awards, key=lambda each: each.order)
        for row, bus in enumerate(award.buses)
    )


def setpoints_from_position(
    *, orders: Sequence[Order], position_mw: Floats, position_mvar: Floats, periods: Periods
) -> tuple[Setpoint, ...]:
    """Turn the final position of a day (day-ahead plus intraday rounds) into setpoints.

    Parameters
    ----------
    orders : sequence of Order
        Orders at one bus each.
    position_mw, position_mvar : ndarray, shape (orders, periods)
        Injection [MW, Mvar], rows as ``orders``.
    periods : Periods
        The periods.

    Returns
    -------
    tuple of Setpoint
        One per order, sorted by order id.

    Raises
    ------
    InputError
        If a shape differs, a value is not finite or an order spans several buses.
    """
    shape = (len(orders), len(periods))
    problems = []
    for name, value in (("position_mw", position_mw), ("position_mvar", position_mvar)):
        if value.shape != shape:
            problems.append(Problem(where=name, what=f"shape {value.shape}, expected {shape}"))
        elif not np.isfinite(value).all():
            problems.append(Problem(where=name, what="a value is not finite"))
    problems += [
        Problem(where=order.id, what=f"{len(order.buses)} buses; use its award")
        for order in orders
        if len(order.buses) != 1
    ]
    refuse_if_any(problems)
    told = [
        Setpoint(
            order=order.id,
            asset=order.asset or f"order:{order.id}",
            bus=order.buses[0][0],
            periods=periods,
            injection_mw=quantise_mw(position_mw[row]),
            injection_mvar=quantise_mw(position_mvar[row]),
        )
        for row, order in enumerate(orders)
    ]
    return tuple(sorted(told, key=lambda each: each.order))
