"""Storages and shifts that stay idle: the cost below which their best use would have paid.

Every use of a storage that is worth most per MWh moved is found by Dinkelbach's method: the ratio
of what a schedule earns at the published prices to the energy it moves is raised by solving linear
programmes in the order's own constraints until no schedule earns more (W. Dinkelbach, On nonlinear
fractional programming, doi:10.1287/mnsc.13.7.492). A schedule that does nothing is feasible, so the
ratio does not depend on size.
"""

from __future__ import annotations

import dataclasses
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.records.order import ShiftOrder, StorageOrder, kind_of
from data.units import AWARD_TICK_MW
from opf.column_builder import asset_tan_phi
from opf.explanations.published import Published
from opf.explanations.records import (
    BestUse,
    OrderExplanation,
    PeriodOutcome,
    Threshold,
)
from opf.explanations.steps import bus_weights
from opf.linear_programme import solve_linear

Floats = NDArray[np.float64]

ROUNDS_MAX: Final = 30
# Worth below this is no use at all: prices themselves are no more accurate [EUR/MWh].
WORTH_MIN: Final = 1e-3
RATIO_TOLERANCE: Final = 1e-7
MOVED_MIN_MWH: Final = 1e-9


def order_price(published: Published, order: StorageOrder | ShiftOrder) -> Floats:
    """DLMP that the order sees, with the Mvar that come with its withdrawal [EUR/MWh]."""
    weights = bus_weights(order)
    price = published.mean_price(weights)
    if isinstance(order, ShiftOrder) and order.reactive is None:
        rows = [published.row_of[bus] for bus in weights]
        price_q = (
            np.array(list(weights.values())) @ (published.result.prices.dlmp_q_eur_per_mvarh[rows])
        )
        price = price + asset_tan_phi(published.case, order) * price_q
    return price


def explain_storage(published: Published, order: StorageOrder) -> OrderExplanation:
    """Explain a storage: what it did, or the cost per MWh below which a cycle would have paid."""
    award, h = published.awards[order.id], published.case.periods.mtu_h
    assert award.charge_mw is not None
    assert award.discharge_mw is not None
    moved = award.charge_mw + award.discharge_mw
    offered = (order.charge_mw_max + order.discharge_mw_max) * order.availability
    explained = _blank(published, order, h * float(offered.sum()), h * float(moved.sum()))
    if float(moved.max(initial=0.0)) > 0.5 * AWARD_TICK_MW:
        return explained
    worth = best_cycle(order, order_price(published, order), h)
    return _idle(explained, worth, reason="no_cycle_pays")


def explain_shift(published: Published, order: ShiftOrder) -> OrderExplanation:
    """Explain a shift: what it moved, or the price per MWh below which a move would have paid."""
    award, h = published.awards[order.id], published.case.periods.mtu_h
    moved = 0.5 * np.abs(-award.injection_mw.sum(axis=0) - order.baseline_mw)
    offered = np.maximum(order.p_mw_max - order.baseline_mw, order.baseline_mw - order.p_mw_min)
    explained = _blank(published, order, h * 0.5 * float(offered.sum()), h * float(moved.sum()))
    if float(moved.max(initial=0.0)) > AWARD_TICK_MW:
        return explained
    return _idle(explained, best_move(order, order_price(published, order)), "no_move_pays")


def _blank(
    published: Published, order: StorageOrder | ShiftOrder, offered_mwh: float, moved_mwh: float
) -> OrderExplanation:
    award, price = published.awards[order.id], order_price(published, order)
    used = np.abs(award.injection_mw.sum(axis=0))
    return OrderExplanation(
        order=order.id,
        kind=kind_of(order),
        status=award.status,
        reason="accepted",
        surplus_eur=award.surplus_eur,
        offered_mwh=offered_mwh,
        awarded_mwh=moved_mwh,
        deciding_period=int(np.argmax(used)),
        limit_price_eur_per_mwh=None,
        market_price_eur_per_mwh=float(price[int(np.argmax(used))]),
        lines=published.lines(bus_weights(order), int(np.argmax(used))),
    )


def _idle(
    explained: OrderExplanation,
    best: BestUse | None,
    reason: Literal["no_cycle_pays", "no_move_pays"],
) -> OrderExplanation:
    """Add what the best use would have been worth, and the threshold where there is one."""
    if best is None:
        note = "its limits leave it nothing to do"
        return dataclasses.replace(explained, reason=reason, deciding_period=None, lines=(),
                                   market_price_eur_per_mwh=None, notes=(note,))  # fmt: skip
    threshold = Threshold(
        direction="at_most",
        price_eur_per_mwh=best.worth_eur_per_mwh,
        period=None,
        basis="cycle" if reason == "no_cycle_pays" else "move",
    )
    pays = best.worth_eur_per_mwh > WORTH_MIN
    return dataclasses.replace(
        explained,
        reason=reason,
        deciding_period=None,
        lines=(),
        market_price_eur_per_mwh=None,
        best_use=best,
        threshold=threshold if pays else None,
        notes=() if pays else ("at these prices it would not pay even at no cost",),
    )


def best_cycle(order: StorageOrder, price: Floats, mtu_h: float) -> BestUse | None:
    """Find the schedule that earns most per MWh charged and discharged at given prices.

    Parameters
    ----------
    price : ndarray, shape (periods,)
        DLMP that the storage sees [EUR/MWh].
    mtu_h : float
        Length of a period [h].

    Returns
    -------
    BestUse or None
        ``worth_eur_per_mwh`` is the cost on each MWh charged and discharged at which it breaks
        even; None where the order's limits allow nothing.
    """
    size, h = len(price), mtu_h
    rows, right = _energy_rows(order, h)
    lower = np.concatenate([np.zeros(2 * size), _energy_floor(order)])
    upper = np.concatenate(
        [
            order.charge_mw_max * order.availability,
            order.discharge_mw_max * order.availability,
            np.full(size, order.energy_mwh_max),
        ]
    )
    earns = h * np.concatenate([-price, price, np.zeros(size)])
    moves = h * np.concatenate([np.ones(2 * size), np.zeros(size)])
    worth, x = -float(np.abs(price).max()) - 1.0, None
    for _ in range(ROUNDS_MAX):
        solution = solve_linear(-(earns - worth * moves), rows, right, right, lower, upper)
        if solution is None or float(moves @ solution.x) < MOVED_MIN_MWH:
            break
        ratio = float(earns @ solution.x) / float(moves @ solution.x)
        if x is not None and ratio <= worth + RATIO_TOLERANCE:
            break
        worth, x = ratio, solution.x
    if x is None:
        return None
    return _use(price, _main_period(x[:size]), _main_period(x[size : 2 * size]), worth)


def _use(price: Floats, take: int | None, give: int | None, worth: float) -> BestUse:
    return BestUse(
        take_period=take,
        give_period=give,
        take_price_eur_per_mwh=None if take is None else float(price[take]),
        give_price_eur_per_mwh=None if give is None else float(price[give]),
        worth_eur_per_mwh=worth,
    )


def _main_period(power: Floats) -> int | None:
    return int(np.argmax(power)) if float(power.max(initial=0.0)) > AWARD_TICK_MW else None


def _energy_floor(order: StorageOrder) -> Floats:
    """Least energy at the end of each period [MWh]."""
    floor = np.full(len(order.availability), order.energy_mwh_min)
    floor[-1] = max(floor[-1], order.energy_mwh_end_min)
    available = np.flatnonzero(order.availability > 0)
    if order.energy_mwh_departure_min is not None and len(available):
        last = available[-1]
        floor[last] = max(floor[last], order.energy_mwh_departure_min)
    return floor


def _energy_rows(order: StorageOrder, mtu_h: float) -> tuple[sparse.csr_matrix, Floats]:
    """e_t - keep e_(t-1) - eff_c h c + h d / eff_d = 0, columns [charge, discharge, energy]."""
    size = len(order.availability)
    keep = (1.0 - order.self_discharge_per_day) ** (mtu_h / 24.0)
    energy = sparse.eye(size) - keep * sparse.eye(size, k=-1)
    rows = sparse.hstack(
        [
            -order.efficiency_charge * mtu_h * sparse.eye(size),
            mtu_h / order.efficiency_discharge * sparse.eye(size),
            energy,
        ],
        format="csr",
    )
    right = np.zeros(size)
    right[0] = keep * order.energy_mwh_start
    return rows, right


def best_move(order: ShiftOrder, price: Floats) -> BestUse | None:
    """Find the pair of periods of one window between which a move from the baseline earns most.

    A move has a price per MWh moved, so the best one is between the dearest period that can be
    lowered and the cheapest that can be raised.

    Parameters
    ----------
    price : ndarray, shape (periods,)
        DLMP that the withdrawal sees [EUR/MWh].
    """
    best: BestUse | None = None
    raised = order.p_mw_max - order.baseline_mw > AWARD_TICK_MW
    lowered = order.baseline_mw - order.p_mw_min > AWARD_TICK_MW
    for start in range(0, len(price), order.window_periods):
        window = slice(start, start + order.window_periods)
        take = np.where(raised[window], price[window], np.inf)
        give = np.where(lowered[window], price[window], -np.inf)
        into, out = int(np.argmin(take)), int(np.argmax(give))
        worth = float(give[out] - take[into])
        if into != out and np.isfinite(worth) and (best is None or worth > best.worth_eur_per_mwh):
            best = _use(price, start + into, start + out, worth)
    return best


def use_periods(
    published: Published, order: StorageOrder | ShiftOrder
) -> tuple[PeriodOutcome, ...]:
    """List power and price of every period; awarded is the net power moved, offered the most."""
    award, price = published.awards[order.id], order_price(published, order)
    power = award.injection_mw.sum(axis=0)
    if isinstance(order, StorageOrder):
        base = np.zeros(len(price))
        up, down = order.discharge_mw_max, order.charge_mw_max
        most = np.where(power >= 0, up, down) * order.availability
        cost = np.where(power >= 0, order.price_discharge_eur_per_mwh,
                        order.price_charge_eur_per_mwh)  # fmt: skip
    else:
        base = -order.baseline_mw
        most = np.where(
            power >= base, order.baseline_mw - order.p_mw_min, order.p_mw_max - order.baseline_mw
        )
        cost = order.price_eur_per_mwh
    return tuple(
        PeriodOutcome(
            period=t,
            offered_mw=float(most[t]),
            awarded_mw=abs(float(power[t] - base[t])),
            limit_price_eur_per_mwh=float(cost[t]),
            market_price_eur_per_mwh=float(price[t]),
            gap_eur_per_mwh=None,
        )
        for t in range(len(price))
    )
