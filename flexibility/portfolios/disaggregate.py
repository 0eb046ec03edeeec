"""The award of a portfolio shared out to its devices, in whole watts, to the last one."""

from __future__ import annotations

import numpy as np

from data.errors import InputError, Problem
from data.units import AWARD_TICK_MW, MICRO_PER_UNIT
from flexibility.devices.common import Floats, Ints
from flexibility.portfolios.aggregate import Portfolio


def split_watts(total: Ints, shares: Floats) -> Ints:
    """Split whole numbers period by period in fixed shares, so that nobody falls behind.

    Each gets the whole part of its share of the period; what is left over goes to those furthest
    behind their exact share so far, the first of equals. Charging and discharging keep separate
    accounts, because losses differ.

    Parameters
    ----------
    total : ndarray of int, shape (periods,)
        What is split, of any sign.
    shares : ndarray, shape (devices,)
        Positive, sum 1.

    Returns
    -------
    ndarray of int, shape (devices, periods)
        Sums to ``total`` in every period; each entry is the whole number below or above its exact
        share, of the same sign.

    Examples
    --------
    >>> split_watts(np.array([10, 10, -10]), np.full(3, 1 / 3)).tolist()
    [[4, 3, -4], [3, 4, -3], [3, 3, -3]]
    """
    given = np.zeros((len(shares), len(total)), dtype=np.int64)
    for sign in (1, -1):
        behind = np.zeros(len(shares))
        for period in np.flatnonzero(np.sign(total) == sign).tolist():
            exact = shares * abs(int(total[period]))
            # A sum of floats may miss a whole number by its last bit.
            whole = np.floor(exact + 1e-9).astype(np.int64)
            behind = behind + (exact - whole)
            left = abs(int(total[period])) - int(whole.sum())
            # Who holds a whole number already is not given one more.
            eligible = np.where(exact - whole > 1e-9, behind, -np.inf)
            first = np.argsort(-eligible, kind="stable")[:left]
            whole[first] += 1
            behind[first] -= 1.0
            given[:, period] = sign * whole
    return given


def disaggregate(portfolio: Portfolio, injection_mw: Floats) -> Floats:
    """Return the injection of each member [MW], shape (members, periods), on the tick of 1 W.

    If the award keeps the portfolio's order, each row keeps the member's own order (the proof is
    in `flexibility.portfolios.aggregate`).

    Parameters
    ----------
    portfolio : Portfolio
        The portfolio.
    injection_mw : ndarray, shape (periods,)
        Its award [MW], on the tick of 1e-6 MW.

    Raises
    ------
    InputError
        If the award has another length, is not finite or lies beyond the portfolio's power.
    """
    order = portfolio.order
    where = f"award of {order.id}"
    if injection_mw.shape != order.availability.shape or not np.isfinite(injection_mw).all():
        what = f"is not {len(order.availability)} finite values"
        raise InputError([Problem(where=where, what=what)])
    low = -order.charge_mw_max * order.availability
    high = order.discharge_mw_max * order.availability
    tick = 0.5 * AWARD_TICK_MW
    outside = (injection_mw < low - tick) | (injection_mw > high + tick)
    if outside.any():
        period = int(np.argmax(outside))
        what = (
            f"{injection_mw[period]:.6f} MW in period {period}, "
            f"possible {low[period]:.6f} to {high[period]:.6f} MW"
        )
        raise InputError([Problem(where=where, what=what)])
    watts = np.round(injection_mw * MICRO_PER_UNIT).astype(np.int64)
    if len(portfolio.members) == 1:
        return np.asarray(watts[None, :] / MICRO_PER_UNIT + 0.0)
    return np.asarray(split_watts(watts, portfolio.shares) / MICRO_PER_UNIT + 0.0)
