"""Awards: the decision on the tick of 1e-6 MW, and what each order got.

Powers are quantised before anything is derived. A storage is rounded along its path, so that its
state of charge never leaves its bounds; a shift keeps its energy in every window; reactive power is
rounded towards zero. What equal orders got together is shared in `opf.equal_orders`; so that the
parts of a storage keep bounds of their own, the whole stays two ticks of one period away from its
own where its plan leaves it the choice.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Award, ClearingCase
from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    ShiftOrder,
    StorageOrder,
)
from data.units import AWARD_TICK_MW, MICRO_PER_UNIT
from opf.column_builder import NOTHING
from opf.integer_choice import runs_of
from opf.order_columns import OrderColumns
from opf.resources import Resources

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
AwardStatus = Literal["accepted", "partial", "rejected", "paradoxically_rejected"]
HALF_TICK: Final = 0.5 * AWARD_TICK_MW
# Ticks of one period that a state of charge stays away from its bounds: three equal parts of it may
# be two thirds of a tick apart, which for a part of a third is what two ticks are for the whole.
RESERVE_TICKS: Final = 2
# A power so near to its bound has no choice [1e-6 MW].
AT_BOUND_TICKS: Final = 4
# Rounding of floats in a state of charge.
ROUNDING_MWH: Final = 1e-12


def _to_ticks(power_mw: Floats, lower: Floats, upper: Floats) -> Floats:
    """Nearest whole number of ticks within the bounds, as MW."""
    ticks = np.round(power_mw * MICRO_PER_UNIT)
    least = np.ceil(np.round(lower * MICRO_PER_UNIT, 3))
    most = np.floor(np.round(upper * MICRO_PER_UNIT, 3))
    return np.clip(ticks, least, most) / MICRO_PER_UNIT + 0.0


def _round_storage(order: StorageOrder, columns: OrderColumns, x: Floats, mtu_h: float) -> None:
    """Round charge and discharge along the path, keeping the state of charge within bounds."""
    assert columns.charge is not None
    assert columns.discharge is not None
    assert columns.energy is not None
    keep = (1.0 - order.self_discharge_per_day) ** (mtu_h / 24.0)
    gain, loss = order.efficiency_charge * mtu_h, mtu_h / order.efficiency_discharge
    target = x[columns.energy].copy()
    size = len(target)
    floor = np.full(size, order.energy_mwh_min)
    floor[-1] = max(floor[-1], order.energy_mwh_end_min)
    available = np.flatnonzero(order.availability > 0)
    if order.energy_mwh_departure_min is not None and len(available):
        last = available[-1]
        floor[last] = max(floor[last], order.energy_mwh_departure_min)
    most = np.floor(np.round(order.charge_mw_max * order.availability * MICRO_PER_UNIT, 3))
    most_out = np.floor(np.round(order.discharge_mw_max * order.availability * MICRO_PER_UNIT, 3))
    for t in range(size - 1, 0, -1):
        # what a full charge cannot bring back later must be there before
        reach = floor[t] - gain * most[t] / MICRO_PER_UNIT
        floor[t - 1] = max(floor[t - 1], reach / keep)
    plan = np.round(x[np.vstack([columns.charge, columns.discharge])] * MICRO_PER_UNIT)
    target = _keep_off_bounds(order, target, floor, plan, np.vstack([most, most_out]), mtu_h)
    energy = order.energy_mwh_start
    for t in range(size):
        kept = keep * energy
        ahead = target[t] - kept
        into = min(max(round(float(x[columns.charge[t]]) * MICRO_PER_UNIT), 0), int(most[t]))
        out = min(max(round(float(x[columns.discharge[t]]) * MICRO_PER_UNIT), 0), int(most_out[t]))
        # let the larger flow carry the rounding so far, so that errors do not add up
        if into >= out and into > 0:
            wanted = (ahead + out / MICRO_PER_UNIT * loss) / gain * MICRO_PER_UNIT
            into = min(max(round(wanted), 0), int(most[t]))
        elif out > 0:
            wanted = (into / MICRO_PER_UNIT * gain - ahead) / loss * MICRO_PER_UNIT
            out = min(max(round(wanted), 0), int(most_out[t]))
        new = kept + (into * gain - out * loss) / MICRO_PER_UNIT
        while new < floor[t] - ROUNDING_MWH and (out > 0 or into < most[t]):
            into, out = (into, out - 1) if out > 0 else (into + 1, out)
            new = kept + (into * gain - out * loss) / MICRO_PER_UNIT
        # where no tick meets both, the capacity is physics
        full = order.energy_mwh_max + ROUNDING_MWH
        while new > full and (into > 0 or out < most_out[t]):
            into, out = (into - 1, out) if into > 0 else (into, out + 1)
            new = kept + (into * gain - out * loss) / MICRO_PER_UNIT
        x[columns.charge[t]], x[columns.discharge[t]] = into / MICRO_PER_UNIT, out / MICRO_PER_UNIT
        x[columns.energy[t]] = energy = new


def _keep_off_bounds(
    order: StorageOrder, target: Floats, floor: Floats, plan: Floats, most: Floats, mtu_h: float
) -> Floats:
    """Move the planned energies a little off their bounds.

    Where the storage idles or charges or discharges at full power there is nothing to choose: then
    the last period before it that leaves a choice has to see to it.

    Parameters
    ----------
    target, floor : ndarray, shape (periods,)
        Planned energy and the least one at the end of each period [MWh].
    plan, most : ndarray, shape (2, periods)
        Planned and largest charge and discharge [1e-6 MW].
    """
    size = len(target)
    keep = (1.0 - order.self_discharge_per_day) ** (mtu_h / 24.0)
    per_tick = np.array([order.efficiency_charge * mtu_h, mtu_h / order.efficiency_discharge])
    per_tick /= MICRO_PER_UNIT
    low = floor + RESERVE_TICKS * per_tick[1]
    high = np.full(size, order.energy_mwh_max - RESERVE_TICKS * per_tick[1])
    larger = np.argmax(plan, axis=0)
    flow, full = plan[larger, np.arange(size)], most[larger, np.arange(size)]
    free = (flow > AT_BOUND_TICKS) & (flow < full - AT_BOUND_TICKS)
    change = target[1:] - keep * target[:-1]
    for t in range(size - 1, 0, -1):
        room = per_tick[larger[t]] * np.array([full[t] - flow[t], flow[t]]) * free[t]
        up, down = room if larger[t] == 0 else room[::-1]
        low[t - 1] = max(low[t - 1], (low[t] - change[t - 1] - up) / keep)
        high[t - 1] = min(high[t - 1], (high[t] - change[t - 1] + down) / keep)
    moved, off = target.copy(), 0.0
    for t in range(size):
        off *= keep
        if free[t]:
            off = min(max(target[t], low[t]), high[t]) - target[t] if low[t] <= high[t] else 0.0
        moved[t] += off
    return moved


def kept_distance(resources: Resources, mtu_h: float) -> Floats:
    """Distance to its bounds at which ticks may leave each column, shape (columns,) [MW, MWh].

    Two ticks of a power; of a state of charge and of the reactive power that a power factor bounds
    two more than they are kept off their bounds.
    """
    distance = np.full(len(resources.cost), 2.0 * AWARD_TICK_MW)
    for columns in resources.orders:
        order = columns.order
        if isinstance(order, StorageOrder):
            per_tick = AWARD_TICK_MW * mtu_h / order.efficiency_discharge
            distance[columns.energy] = max((RESERVE_TICKS + 2) * per_tick, 2.0 * AWARD_TICK_MW)
        factor = None if order.reactive is None else order.reactive.power_factor_min
        if columns.reactive is not None and factor is not None:
            off = RESERVE_TICKS * (1.0 + float(np.tan(np.arccos(factor))))
            distance[columns.reactive] = (off + 2.0) * AWARD_TICK_MW
    return distance


def _round_shift(order: ShiftOrder, columns: OrderColumns, resources: Resources, x: Floats) -> None:
    """Round a shift so that every window keeps its energy to the tick."""
    assert columns.power is not None
    at = columns.power
    wanted = x[at] * MICRO_PER_UNIT
    least = np.ceil(np.round(resources.lower[at] * MICRO_PER_UNIT, 3))
    most = np.floor(np.round(resources.upper[at] * MICRO_PER_UNIT, 3))
    ticks = np.clip(np.round(wanted), least, most)
    blocks = np.arange(len(at)) // order.window_periods
    for block in np.unique(blocks):
        members = np.flatnonzero(blocks == block)
        total = round(float(order.baseline_mw[members].sum()) * MICRO_PER_UNIT)
        missing = int(total - ticks[members].sum())
        step = 1 if missing > 0 else -1
        by_error = members[np.argsort(step * (ticks - wanted)[members], kind="stable")]
        for _ in range(abs(missing)):
            for k in by_error:
                if least[k] <= ticks[k] + step <= most[k]:
                    ticks[k] += step
                    break
    x[at] = ticks / MICRO_PER_UNIT


def quantise(case: ClearingCase, resources: Resources, x: Floats) -> Floats:
    """Put a decision on the tick; every bound and coupling of an order still holds."""
    x = x.copy()
    h = case.periods.mtu_h
    for columns in resources.orders:
        order = columns.order
        if isinstance(order, StorageOrder):
            _round_storage(order, columns, x, h)
        elif isinstance(order, ShiftOrder):
            _round_shift(order, columns, resources, x)
        elif isinstance(order, BlockOrder):
            assert columns.power is not None
            assert columns.ratio is not None
            ticks = np.round(x[columns.power] * MICRO_PER_UNIT)
            x[columns.power] = ticks / MICRO_PER_UNIT + 0.0
            if np.array_equal(ticks, np.round(order.profile_mw * MICRO_PER_UNIT)):
                x[columns.ratio] = 1.0
        else:
            for block in (columns.steps, columns.power):
                if block is not None:
                    x[block] = _to_ticks(x[block], resources.lower[block], resources.upper[block])
        if isinstance(order, CurtailOrder):
            _round_rebound(order, columns, x)
        if columns.reactive is not None:
            x[columns.reactive] = _round_reactive(columns, resources, x)
    return x


def _round_rebound(order: CurtailOrder, columns: OrderColumns, x: Floats) -> None:
    """Rebound of the rounded reductions; the energy of each run's rebound keeps to the tick."""
    assert columns.power is not None
    assert columns.rebound is not None
    assert columns.on is not None
    reduction = x[columns.power]
    if not np.any(columns.rebound != NOTHING):
        return
    ticks = np.zeros(len(reduction))
    length = order.rebound_periods or 0
    for first, last in runs_of(columns.on):
        total = order.rebound_share * float(reduction[first : last + 1].sum()) * MICRO_PER_UNIT
        marks = np.round(total / length * np.arange(length + 1))
        ticks[last + 1 : last + 1 + length] += np.diff(marks)
    x[columns.rebound] = ticks / MICRO_PER_UNIT


def _round_reactive(columns: OrderColumns, resources: Resources, x: Floats) -> Floats:
    """Reactive power on the tick, a little towards zero where the power factor binds."""
    assert columns.reactive is not None
    at = columns.reactive
    lower, upper = resources.lower[at], resources.upper[at]
    reactive = columns.order.reactive
    if reactive is not None and reactive.power_factor_min is not None:
        active = np.zeros(len(at))
        if columns.steps is not None:
            active = x[columns.steps].sum(axis=0)
        for block in (columns.charge, columns.discharge, columns.power):
            if block is not None:
                active = active + x[block]
        tan = float(np.tan(np.arccos(reactive.power_factor_min)))
        # parts of an order lose up to a tick of their active and of their reactive power
        reach = np.maximum(active * tan - RESERVE_TICKS * (1.0 + tan) * AWARD_TICK_MW, 0.0)
        lower, upper = np.maximum(lower, -reach), np.minimum(upper, reach)
    return _to_ticks(x[at], np.minimum(lower, upper), upper)


def _injection(columns: OrderColumns, x: Floats) -> tuple[Floats, Floats]:
    """Active and reactive injection of an order as a whole, shape (periods,) each."""
    order = columns.order
    if isinstance(order, StorageOrder):
        p = x[columns.discharge] - x[columns.charge]
    elif isinstance(order, GenerationOrder):
        p = x[columns.steps].sum(axis=0)
    elif isinstance(order, DemandOrder):
        p = -x[columns.steps].sum(axis=0)
    elif isinstance(order, ShiftOrder):
        p = -x[columns.power]
    elif isinstance(order, CurtailOrder):
        p = x[columns.power] - x[columns.rebound]
    else:
        p = x[columns.power]
    q = np.zeros(len(p)) if columns.tan_phi is None else p * columns.tan_phi
    if columns.reactive is not None:
        q = x[columns.reactive]
    return p + 0.0, q + 0.0


def _offered(columns: OrderColumns, resources: Resources) -> Floats | None:
    """Largest power the order offers or asks for, shape (periods,); None for storage and shift."""
    if columns.steps is not None:
        return np.asarray(resources.upper[columns.steps].sum(axis=0))
    if isinstance(columns.order, BilateralOrder):
        return resources.upper[columns.power]
    return None


def make_award(
    case: ClearingCase,
    resources: Resources,
    columns: OrderColumns,
    x: Floats,
    price_at: dict[int, Floats],
) -> Award:
    """Derive the award of one order from the quantised decision.

    Parameters
    ----------
    price_at : dict
        Published DLMP of each bus, shape (periods,) [EUR/MWh].
    """
    order, h = columns.order, case.periods.mtu_h
    p, q = _injection(columns, x)
    buses: tuple[int, ...]
    if isinstance(order, BilateralOrder):
        buses = (order.buses[0][0], order.bus_to)
        mw = np.vstack([p, -p]) + 0.0
        mvar = np.vstack([q, -q]) + 0.0
    else:
        buses = tuple(bus for bus, _ in order.buses)
        share = np.array([s for _, s in order.buses])[:, None]
        mw, mvar = share * p[None, :] + 0.0, share * q[None, :] + 0.0
    offered = _offered(columns, resources)
    accepted = np.ones(len(p))
    if offered is not None:
        accepted = np.divide(np.abs(p), offered, out=np.ones(len(p)), where=offered > HALF_TICK)
    own = [
        c
        for c in (columns.steps, columns.charge, columns.discharge, columns.power)
        if c is not None
    ]
    cost = sum(float((resources.cost[c] * x[c]).sum()) for c in own)
    if isinstance(order, ShiftOrder):
        moved = np.abs(-p - order.baseline_mw)
        cost = float((0.5 * h * order.price_eur_per_mwh * moved).sum())
    revenue = h * sum(float(price_at[bus] @ mw[k]) for k, bus in enumerate(buses))
    if columns.ratio is not None:
        accepted = np.full(len(p), round(float(x[columns.ratio[0]]), 9))
    elif isinstance(order, CurtailOrder):
        reduction = x[columns.power]
        accepted = np.divide(
            reduction, order.p_mw_max, out=np.zeros(len(p)), where=order.p_mw_max > HALF_TICK
        )
    status, reason = _status(order, p, accepted, offered)
    is_storage = isinstance(order, StorageOrder)
    return Award(
        order=order.id,
        participant=order.participant,
        buses=buses,
        injection_mw=mw,
        injection_mvar=mvar,
        accepted_share=np.clip(accepted, 0.0, 1.0),
        charge_mw=x[columns.charge] + 0.0 if is_storage else None,
        discharge_mw=x[columns.discharge] + 0.0 if is_storage else None,
        soc_mwh=x[columns.energy] + 0.0 if is_storage else None,
        status=status,
        surplus_eur=revenue - cost,
        reason=reason,
    )


def _status(
    order: object, p: Floats, accepted: Floats, offered: Floats | None
) -> tuple[AwardStatus, str]:
    """Accepted, partial or rejected, and a first reason."""
    used = bool(np.any(np.abs(p) > HALF_TICK))
    if offered is None:
        if isinstance(order, BlockOrder) and 0.0 < accepted.max(initial=0.0) < 1.0:
            return "partial", "accepted in part"
        if used or isinstance(order, ShiftOrder):
            return "accepted", ""
        if isinstance(order, BlockOrder | CurtailOrder):
            return "rejected", "the market is better off without it"
        return "rejected", "no price spread covers its losses and costs"
    if not np.any(offered > HALF_TICK):
        return "accepted", "nothing was offered"
    if np.all(accepted > 1 - 1e-9):
        return "accepted", ""
    return ("partial" if used else "rejected"), "price or a binding limit at its bus"
