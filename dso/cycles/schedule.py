"""What the market has agreed on so far: day-ahead, then the binding periods of each round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from data.readers.simbench import NetworkProfiles
from data.records.order import Order, StorageOrder
from dso.cycles.clearing_files import (
    CLEARING,
    INTRADAY,
    is_binding,
    read_awards,
    read_book,
    read_fixed,
    read_status,
)
from dso.cycles.firm_positions import FirmPart, firm_parts, is_bought, is_traded_again
from dso.cycles.plan import DayPlan, Round
from flexibility.battery import Battery, next_energy_mwh
from flexibility.offers import ENERGY_TOLERANCE_MWH, splice_orders

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NOTHING: Final = -1
DAY_AHEAD: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Positions of every order and fixed element, and which clearing they come from.

    Parameters
    ----------
    orders : tuple of Order
        The day-ahead book, sorted by id; rounds replace terms (`last_terms`), never orders. What
        is decided once stands there as its firm parts (`firm_positions`).
    position_mw, position_mvar, charge_mw, discharge_mw : ndarray, shape (orders, periods)
        Position of each order [MW, Mvar], and of a storage its two parts.
    fixed : NetworkProfiles
        Powers of all loads and generators as the clearing of each period took them.
    source : ndarray of int, shape (periods,)
        -1: no certified clearing yet, 0: day-ahead, else the number of the intraday round.
    """

    periods: Periods
    orders: tuple[Order, ...]
    position_mw: Floats
    position_mvar: Floats
    charge_mw: Floats
    discharge_mw: Floats
    fixed: NetworkProfiles
    source: Ints

    def energy_mwh(
        self, before: int, bought_mw: Floats | None = None
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        """Return the energy of each storage at the start of a period, and remarks.

        Follows the positions from the day's start, with the power bought beside them (rows as
        ``orders``). Positions of two clearings need not fit together where one of them was not
        certified: then the energy is kept in its bounds and a remark says so.
        """
        energies: dict[str, float] = {}
        remarks = []
        for row, order in enumerate(self.orders):
            if not isinstance(order, StorageOrder):
                continue
            battery, energy, cut = Battery.of_order(order), order.energy_mwh_start, 0.0
            for period in range(before):
                charge, discharge = self.charge_mw[row, period], self.discharge_mw[row, period]
                if bought_mw is not None and bought_mw[row, period] != 0.0:
                    net = discharge - charge + bought_mw[row, period]
                    charge, discharge = max(-net, 0.0), max(net, 0.0)
                reached = next_energy_mwh(
                    battery, energy, float(charge), float(discharge), self.periods.mtu_h
                )
                energy = min(max(reached, order.energy_mwh_min), order.energy_mwh_max)
                cut = max(cut, abs(energy - reached))
            energies[order.id] = energy
            if cut > ENERGY_TOLERANCE_MWH:
                remarks.append(f"{order.id}: positions leave its bounds by {cut:.6f} MWh, cut")
        return energies, tuple(remarks)


def empty_schedule(plan: DayPlan, orders: Sequence[Order]) -> Schedule:
    """Return the schedule before any clearing: nobody has sold anything."""
    shape = (len(orders), len(plan.periods))
    return Schedule(
        periods=plan.periods,
        orders=tuple(orders),
        position_mw=np.zeros(shape),
        position_mvar=np.zeros(shape),
        charge_mw=np.zeros(shape),
        discharge_mw=np.zeros(shape),
        fixed=read_fixed(plan.out / CLEARING, plan.network, plan.periods),
        source=np.full(shape[1], NOTHING, dtype=np.int64),
    )


def day_ahead_schedule(plan: DayPlan) -> Schedule:
    """Read the schedule after the day-ahead clearing; empty where it is not certified."""
    folder = plan.out / CLEARING
    book = read_book(folder, plan.network, plan.periods)
    schedule = empty_schedule(plan, [order for order in book if is_traded_again(order)])
    if not is_binding(read_status(folder)):
        return schedule
    cleared = _with_clearing(schedule, plan, folder, 0, plan.periods, DAY_AHEAD)
    parts = firm_parts(book, folder, plan.network, cleared.fixed, plan.periods)
    return with_firm(cleared, parts)


def with_firm(schedule: Schedule, parts: Sequence[FirmPart]) -> Schedule:
    """Add what is decided once to a schedule; its orders stay sorted by id."""
    if not parts:
        return schedule
    orders = [*schedule.orders, *(part.order for part in parts)]
    ranked = sorted(range(len(orders)), key=lambda k: orders[k].id)

    def merged(before: Floats, new: Sequence[Floats]) -> Floats:
        return np.vstack([before, np.array(new)])[ranked]

    nothing = [np.zeros(len(schedule.periods))] * len(parts)
    return replace(
        schedule,
        orders=tuple(orders[k] for k in ranked),
        position_mw=merged(schedule.position_mw, [part.injection_mw for part in parts]),
        position_mvar=merged(schedule.position_mvar, [part.injection_mvar for part in parts]),
        charge_mw=merged(schedule.charge_mw, nothing),
        discharge_mw=merged(schedule.discharge_mw, nothing),
    )


def after_round(schedule: Schedule, plan: DayPlan, at: Round) -> Schedule:
    """Return the schedule after an intraday round; unchanged where it is not certified."""
    folder = plan.out / INTRADAY / at.label
    if not is_binding(read_status(folder)):
        return schedule
    binding = replace(at.periods, count=at.binding)
    return _with_clearing(schedule, plan, folder, at.first, binding, at.number)


def final_schedule(plan: DayPlan) -> Schedule:
    """Read the schedule after the last round."""
    schedule = day_ahead_schedule(plan)
    for at in plan.rounds():
        schedule = after_round(schedule, plan, at)
    return schedule


def last_terms(plan: DayPlan, schedule: Schedule) -> tuple[Order, ...]:
    """Return the book with, for each period, the terms last in force: what devices answer to."""
    orders = schedule.orders
    used = set(schedule.source.tolist())
    for at in plan.rounds():
        if at.number in used:
            folder = plan.out / INTRADAY / at.label
            book = read_book(folder, plan.network, at.periods)
            orders = splice_orders(orders, [order for order in book if not is_bought(order)])
    return orders


def _with_clearing(
    schedule: Schedule, plan: DayPlan, folder: Path, first: int, binding: Periods, source: int
) -> Schedule:
    """Lay the awards and fixed powers of a clearing's binding periods over the schedule."""
    here = slice(first, first + len(binding))
    awards = read_awards(folder, schedule.orders, binding)
    fixed = read_fixed(folder, plan.network, binding)

    def laid(before: Floats, change: Floats, axis: int) -> Floats:
        after = before.copy()
        after[(here, slice(None)) if axis == 0 else (slice(None), here)] = change
        return after

    chosen = schedule.source.copy()
    chosen[here] = source
    return replace(
        schedule,
        position_mw=laid(schedule.position_mw, awards.injection_mw, 1),
        position_mvar=laid(schedule.position_mvar, awards.injection_mvar, 1),
        charge_mw=laid(schedule.charge_mw, awards.charge_mw, 1),
        discharge_mw=laid(schedule.discharge_mw, awards.discharge_mw, 1),
        fixed=NetworkProfiles(
            load_p_mw=laid(schedule.fixed.load_p_mw, fixed.load_p_mw, 0),
            load_q_mvar=laid(schedule.fixed.load_q_mvar, fixed.load_q_mvar, 0),
            sgen_p_mw=laid(schedule.fixed.sgen_p_mw, fixed.sgen_p_mw, 0),
            sgen_q_mvar=laid(schedule.fixed.sgen_q_mvar, fixed.sgen_q_mvar, 0),
        ),
        source=chosen,
    )
