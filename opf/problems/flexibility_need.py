"""What a congestion point needs and what room it has, from an outlook on its limits.

Power at the buses of a point moves limit k by its slope dg_k/dP, taken at the expected AC state.
What relieving takes at the best bus of the grid takes ``max_i |dg_k/dp_i| / |slope|`` times as much
at the point. Room is how far the expected state may be moved until the first limit of the whole
grid is met: voltages move linearly with the power, magnitudes of currents are taken exactly, so a
flow that turns round is followed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opf.limits import limit_gradients
from opf.problems.scenario_limits import ExpectedGrid, scenario_values

Floats = NDArray[np.float64]
# Step of the slope [MW], steps of the search for room, and the most room that is stated [MW].
STEP_MW: Final = 1e-3
LADDER: Final = 32
ROOM_MAX_MW: Final = 100.0
# A point whose power moves a limit less than this share of the best bus's does not serve it.
EFFECT_MIN: Final = 0.05
# A slope below this moves nothing [pu or kA per MW].
SLOPE_MIN: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class PointNeed:
    """Need and room of one congestion point; arrays have shape (periods,).

    Parameters
    ----------
    need_mw : ndarray
        Injection that relieves [MW]: positive, more injection; negative, more withdrawal.
    room_inject_mw, room_withdraw_mw : ndarray
        How much more may be injected or withdrawn without meeting a limit [MW], not negative.
    served : ndarray of bool, shape (limits,)
        Limits with a need that power at the point relieves.
    unserved : tuple of int
        Limits of the point with a need that power there hardly moves.
    contradicting : tuple of int
        Periods in which limits of the point need opposite directions; the larger need stands.
    """

    need_mw: Floats
    room_inject_mw: Floats
    room_withdraw_mw: Floats
    served: NDArray[np.bool_]
    unserved: tuple[int, ...]
    contradicting: tuple[int, ...]


def point_need(
    expected: ExpectedGrid,
    elements: frozenset[tuple[str, int]],
    shares: Floats,
    need_mw: Floats,
) -> PointNeed:
    """Return need and room of a point.

    Parameters
    ----------
    expected : ExpectedGrid
        The expected state, no order used.
    elements : frozenset of (kind, index)
        The point's elements.
    shares : ndarray, shape (buses,)
        Where its power acts; sums to 1.
    need_mw : ndarray, shape (limits, periods)
        What relieving each limit takes at the bus that relieves it most [MW], not negative.
    """
    limits, periods = expected.limits, need_mw.shape[1]
    moved = np.repeat((STEP_MW * shares)[None, :, None], periods, axis=2).astype(complex)
    stepped = np.hstack(list(scenario_values(expected, moved)))
    slope = (stepped - expected.values) / STEP_MW
    mine = np.array(
        [key in elements for key in zip(limits.element_kind, limits.element.tolist(), strict=True)]
    )
    rows, columns = np.nonzero((need_mw > 0.0) & mine[:, None])
    gradient, _ = limit_gradients(expected.solver, expected.state, limits, rows, columns)
    best = np.abs(gradient).max(axis=0, initial=SLOPE_MIN)
    here = slope[rows, columns]
    serves = np.abs(here) >= np.maximum(EFFECT_MIN * best, SLOPE_MIN)
    at_point = need_mw[rows, columns] * best / np.maximum(np.abs(here), SLOPE_MIN)
    inject, withdraw = np.zeros(periods), np.zeros(periods)
    np.maximum.at(inject, columns[serves & (here < 0)], at_point[serves & (here < 0)])
    np.maximum.at(withdraw, columns[serves & (here > 0)], at_point[serves & (here > 0)])
    served = np.zeros(len(limits), dtype=bool)
    served[rows[serves]] = True
    return PointNeed(
        need_mw=np.where(inject >= withdraw, inject, -withdraw),
        room_inject_mw=_room(expected, shares, 1.0),
        room_withdraw_mw=_room(expected, shares, -1.0),
        served=served,
        unserved=tuple(np.unique(rows[~serves]).tolist()),
        contradicting=tuple(np.flatnonzero((inject > 0.0) & (withdraw > 0.0)).tolist()),
    )


def bus_effects(
    expected: ExpectedGrid, elements: frozenset[tuple[str, int]], shares: Sequence[Floats]
) -> Floats:
    """Return how power at several places moves the nearest limit of some elements.

    Parameters
    ----------
    expected : ExpectedGrid
        The expected state, no order used.
    elements : frozenset of (kind, index)
        Whose limits count; the one used most, in the period in which it is, is looked at.
    shares : sequence of ndarray, shape (buses,)
        Places; each sums to 1.

    Returns
    -------
    ndarray, shape (places,)
        dg/dP of the limit [pu or kA per MW].
    """
    limits = expected.limits
    mine = [
        row
        for row, key in enumerate(zip(limits.element_kind, limits.element.tolist(), strict=True))
        if key in elements
    ]
    used = expected.values[mine] - limits.maximum[mine][:, None]
    # per unit of the limit, so that voltages and currents compare
    used /= np.abs(limits.maximum[mine])[:, None]
    at, period = np.unravel_index(int(np.argmax(used)), used.shape)
    row, periods = mine[int(at)], expected.values.shape[1]
    moved = np.repeat((STEP_MW * np.array(shares))[:, :, None], periods, axis=2).astype(complex)
    stepped = next(itertools.islice(scenario_values(expected, moved), int(period), None))
    return np.asarray((stepped[row] - expected.values[row, period]) / STEP_MW)


def _room(expected: ExpectedGrid, shares: Floats, sign: float) -> Floats:
    """Return the largest power of a ladder at which every limit of the grid holds, (periods,).

    The powers that a grid carries are an interval around none: currents are convex in the power and
    voltages monotone. So the steps that hold are counted from below, twice: over the orders of
    magnitude, then between the last step that holds and the next one.
    """
    periods = expected.values.shape[1]
    steps = np.geomspace(STEP_MW / 10.0, ROOM_MAX_MW, LADDER)[:, None]
    ladder = np.repeat(steps, periods, axis=1)
    low, high = _between(expected, sign, np.zeros(periods), ladder, shares)
    fine = low + (high - low) * (np.arange(1, LADDER + 1) / LADDER)[:, None]
    return _between(expected, sign, low, fine, shares)[0]


def _between(
    expected: ExpectedGrid, sign: float, start: Floats, ladder: Floats, shares: Floats
) -> tuple[Floats, Floats]:
    """Return the last power that holds and the first that does not, (periods,) each [MW]."""
    held = _held(expected, sign * ladder, shares)
    every = np.arange(len(held))
    last = np.vstack([start[None, :], ladder])[held, every]
    after = np.vstack([ladder, ladder[-1:]])[held, every]
    return np.asarray(last), np.asarray(after)


def _held(expected: ExpectedGrid, power_mw: Floats, shares: Floats) -> NDArray[np.int64]:
    """Count the steps from the first one on at which every limit holds, (periods,)."""
    deviation = (power_mw[:, None, :] * shares[None, :, None]).astype(complex)
    counts = []
    for values in scenario_values(expected, deviation):
        holds = np.all(values <= expected.limits.maximum[:, None], axis=0)
        counts.append(len(holds) if holds.all() else int(np.argmin(holds)))
    return np.array(counts, dtype=np.int64)
