"""What orders of one family or column got together, shared among them on whole ticks.

Pro rata: no member gets less than its share rounded down or more than it rounded up. Who gets the
ticks left over: where nothing couples the periods, the largest remainder; along the path of a
storage or a shift, who is furthest behind its share of the energy so far. Then by time of
submission (unknown last), then by order id.

A family stays two ticks of one period off its energy bounds where it can (`opf.awards`), so that
two or three members keep their own although ticks cannot be halved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.order import ShiftOrder, StorageOrder
from data.units import MICRO_PER_UNIT
from opf.order_columns import OrderColumns
from opf.proportional_orders import WEIGHTS_PER_UNIT, Family, Spread
from opf.resources import Resources

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WEIGHTS_PER_TICK: Final = WEIGHTS_PER_UNIT // MICRO_PER_UNIT
# Ticks by which members are behind count as equal to so many decimals.
EQUAL_DECIMALS: Final = 6


def share_ticks(ticks: int, lower: Sequence[float], upper: Sequence[float]) -> list[int]:
    """Split whole ticks pro rata to what members offer above their lower bounds.

    Parameters
    ----------
    ticks : int
        What they got together [1e-6 MW].
    lower, upper : sequence of float
        Bounds of each member [MW], in the order in which equal remainders are served.

    Returns
    -------
    list of int
        Ticks of each member; their sum is ``ticks``.

    Examples
    --------
    >>> share_ticks(7, [0.0, 0.0], [1.0, 1.0])
    [4, 3]
    >>> share_ticks(10, [0.0, 0.0], [1.0, 2.0])
    [3, 7]
    >>> share_ticks(3, [2e-6, 0.0], [2e-6, 5e-6])
    [2, 1]
    """
    least = [round(value * WEIGHTS_PER_UNIT) for value in lower]
    room = [round(high * WEIGHTS_PER_UNIT) - low for high, low in zip(upper, least, strict=True)]
    above = ticks * WEIGHTS_PER_TICK - sum(least)
    if sum(room) <= 0:  # every size is given: only the rounding of their sum is to share
        room = [1] * len(least)
    whole = WEIGHTS_PER_TICK * sum(room)
    parts = [divmod(low * sum(room) + above * r, whole) for low, r in zip(least, room, strict=True)]
    given = [tick for tick, _ in parts]
    most = [(low + r) // WEIGHTS_PER_TICK for low, r in zip(least, room, strict=True)]
    # a tick that would exceed a member's own bound goes to another, as long as there is one
    first = sorted(range(len(parts)), key=lambda k: (given[k] + 1 > most[k], -parts[k][1], k))
    for k in first[: ticks - sum(given)]:
        given[k] += 1
    return given


def share_families(
    spread: Spread, book: Resources, families: Sequence[Family], x: Floats, mtu_h: float
) -> Floats:
    """Share what families got among their members.

    Parameters
    ----------
    spread : Spread
        Columns of the single orders.
    book : Resources
        Columns of the families.
    families : sequence of Family
        In the order of the book.
    x : ndarray, shape (columns of the book,)
        Decision on ticks.
    mtu_h : float
        Length of a period [h].

    Returns
    -------
    ndarray, shape (columns of the offers,)
        On ticks too; the members of a family add up to it exactly.
    """
    own = x[spread.source]
    at = 0
    for family, columns in zip(families, book.orders, strict=True):
        members = spread.offers.orders[at : at + len(family.members)]
        at += len(members)
        if len(members) == 1:
            continue
        # the first member has the columns of its family: read before they are written
        if isinstance(family.order, StorageOrder):
            _share_storage(family, columns, members, x, own, mtu_h)
        elif isinstance(family.order, ShiftOrder):
            _share_shift(family, columns, members, x, own)
        for role in ("steps", "reactive"):
            _share_columns(spread.offers, [getattr(m, role) for m in members], x, own)
    return own


def _share_columns(
    offers: Resources, blocks: Sequence[Ints | None], x: Floats, own: Floats
) -> None:
    """Share columns one by one, without regard to the periods before."""
    together = blocks[0]
    if together is None:
        return
    each = np.stack([block.ravel() for block in blocks if block is not None])
    for place, column in enumerate(together.ravel().tolist()):
        members = each[:, place]
        ticks = round(float(x[column]) * MICRO_PER_UNIT)
        if not ticks:
            own[members] = 0.0
            continue
        lower, upper = offers.lower[members].tolist(), offers.upper[members].tolist()
        own[members] = np.array(share_ticks(ticks, lower, upper), dtype=float) / MICRO_PER_UNIT


def share_pro_rata(
    ticks: int, weights: Sequence[int], most: Sequence[int], behind: Sequence[float]
) -> list[int]:
    """Split whole ticks in proportion to weights; those left over go to who is furthest behind.

    Parameters
    ----------
    ticks : int
        What there is to share [1e-6 MW], not negative.
    weights : sequence of int
        Size of each member, in the order in which equals are served.
    most : sequence of int
        What each may get [1e-6 MW]; exceeded only where nobody else may get it either.
    behind : sequence of float
        Ticks by which each is behind its share of what was given before.

    Examples
    --------
    >>> share_pro_rata(3, [1, 1], [9, 9], [-0.5, 0.5])
    [1, 2]
    >>> share_pro_rata(4, [1, 2], [9, 9], [0.0, 0.0])
    [1, 3]
    """
    total = sum(weights)
    parts = [divmod(ticks * weight, total) for weight in weights]
    given = [whole for whole, _ in parts]
    missing = [
        round(late + rest / total, EQUAL_DECIMALS)
        for (_, rest), late in zip(parts, behind, strict=True)
    ]
    first = sorted(
        range(len(parts)),
        key=lambda k: (parts[k][1] == 0, given[k] + 1 > most[k], -missing[k], k),
    )
    for k in first[: ticks - sum(given)]:
        given[k] += 1
    return given


def _whole_ticks(power_mw: Floats) -> list[int]:
    """Whole ticks that powers leave room for."""
    floors = np.floor(np.round(power_mw * MICRO_PER_UNIT, 3))
    return [int(value) for value in floors.tolist()]


def _ticks(x: Floats, columns: Ints) -> list[int]:
    return [round(value * MICRO_PER_UNIT) for value in x[columns].tolist()]


def _share_storage(
    family: Family,
    columns: OrderColumns,
    members: Sequence[OrderColumns],
    x: Floats,
    own: Floats,
    mtu_h: float,
) -> None:
    """Share charge and discharge so that every state of charge stays near its share of the whole.

    Who holds less than its share charges the tick left over, who holds more discharges it.
    """
    order = family.order
    assert isinstance(order, StorageOrder)
    assert columns.charge is not None
    assert columns.discharge is not None
    keep = (1.0 - order.self_discharge_per_day) ** (mtu_h / 24.0)
    gain = order.efficiency_charge * mtu_h / MICRO_PER_UNIT
    loss = mtu_h / order.efficiency_discharge / MICRO_PER_UNIT
    weights, total = family.weights, sum(family.weights)
    parts: list[StorageOrder] = [m for m in family.members if isinstance(m, StorageOrder)]
    most_in = [_whole_ticks(part.charge_mw_max * part.availability) for part in parts]
    most_out = [_whole_ticks(part.discharge_mw_max * part.availability) for part in parts]
    into, out = _ticks(x, columns.charge), _ticks(x, columns.discharge)
    energy = [part.energy_mwh_start for part in parts]
    spare = [0.0] * len(parts)  # energy beyond the share of the whole [MWh]
    for t in range(len(into)):
        spare = [keep * value for value in spare]
        charged = share_pro_rata(
            into[t], weights, [most[t] for most in most_in], [-value / gain for value in spare]
        )
        for k, given in enumerate(charged):
            spare[k] += gain * (given - into[t] * weights[k] / total)
        drawn = share_pro_rata(
            out[t], weights, [most[t] for most in most_out], [value / loss for value in spare]
        )
        for k, (given, taken) in enumerate(zip(charged, drawn, strict=True)):
            spare[k] -= loss * (taken - out[t] * weights[k] / total)
            energy[k] = keep * energy[k] + given * gain - taken * loss
            member = members[k]
            assert member.charge is not None
            assert member.discharge is not None
            assert member.energy is not None
            own[member.charge[t]] = given / MICRO_PER_UNIT
            own[member.discharge[t]] = taken / MICRO_PER_UNIT
            own[member.energy[t]] = energy[k]


def _share_shift(
    family: Family,
    columns: OrderColumns,
    members: Sequence[OrderColumns],
    x: Floats,
    own: Floats,
) -> None:
    """Share a shifted load so that every member draws its own energy in every window."""
    order = family.order
    assert isinstance(order, ShiftOrder)
    assert columns.power is not None
    weights, total = family.weights, sum(family.weights)
    parts: list[ShiftOrder] = [m for m in family.members if isinstance(m, ShiftOrder)]
    most = [_whole_ticks(part.p_mw_max) for part in parts]
    least = [[-value for value in _whole_ticks(-part.p_mw_min)] for part in parts]
    together = _ticks(x, columns.power)
    shares = np.zeros((len(parts), len(together)), dtype=np.int64)
    behind = [0] * len(parts)  # in ticks times the sum of weights
    for t, ticks in enumerate(together):
        given = share_pro_rata(
            ticks, weights, [own_most[t] for own_most in most], [late / total for late in behind]
        )
        for k, weight in enumerate(weights):
            behind[k] += ticks * weight - given[k] * total
        shares[:, t] = given
    for start in range(0, len(together), order.window_periods):
        window = range(start, min(start + order.window_periods, len(together)))
        wanted = [
            round(float(part.baseline_mw[window.start : window.stop].sum()) * MICRO_PER_UNIT)
            for part in parts
        ]
        if sum(wanted) == sum(together[t] for t in window):
            _keep_energy(shares, window, wanted, np.array(least), np.array(most))
    for member, drawn in zip(members, shares, strict=True):
        assert member.power is not None
        own[member.power] = drawn / MICRO_PER_UNIT


def _keep_energy(
    shares: Ints, window: range, wanted: Sequence[int], least: Ints, most: Ints
) -> None:
    """Move ticks between members within a period until each draws what it wants in a window."""
    missing = np.array(wanted) - shares[:, window.start : window.stop].sum(axis=1)
    for t in window:
        for taker in np.flatnonzero(missing > 0).tolist():
            for giver in np.flatnonzero(missing < 0).tolist():
                ticks = min(
                    int(missing[taker]),
                    -int(missing[giver]),
                    max(int(most[taker, t] - shares[taker, t]), 0),
                    max(int(shares[giver, t] - least[giver, t]), 0),
                )
                shares[taker, t] += ticks
                shares[giver, t] -= ticks
                missing[taker] -= ticks
                missing[giver] += ticks
