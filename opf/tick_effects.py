"""What rounding a schedule to ticks explains, derived from the awards that were rounded.

The point before rounding is optimal to `opf.certificate.KKT_MAX` by itself; the point that is
published is that one with every award moved by a few ticks. To first order this moves the flow of
every branch by the sum of what was rounded below it, the price difference along the branch by twice
its curvature times that, and a limit by its gradient times what was rounded. What a schedule on
ticks lacks beyond that is not explained by ticks and speaks against it.

Roundings mostly cancel, and then a flow moves by about the square root of their number. They need
not: storages that are alike follow one plan and are rounded alike. So the larger one of the two
counts, what is typical and what did happen, and of what did happen at most `TICKS_MAX` an award.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.units import AWARD_TICK_MW
from opf.awards import kept_distance
from opf.kkt import TickEffects
from opf.lagrangian_curvature import flow_curvature
from opf.linearise import Linearisation
from opf.power_flow import AcState
from opf.problem import Problem

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

# Ticks by which rounding may move one award: half a tick, and along the path of a storage what the
# periods before left over and what keeps it off its bounds. What moved further was not rounded.
TICKS_MAX: Final = 4.0


def typical_change_mw(problem: Problem) -> float:
    """Flow change by many roundings that mostly cancel [MW]."""
    per_period = len(problem.resources.inject_column) / max(problem.periods, 1)
    return AWARD_TICK_MW * max(1.0, float(np.sqrt(per_period)))


def effects_of_ticks(
    problem: Problem,
    before: Floats,
    x: Floats,
    state: AcState,
    lin: Linearisation,
    limit_price: Floats,
) -> TickEffects:
    """Derive what rounding may explain at a schedule on ticks.

    Parameters
    ----------
    before, x : ndarray, shape (columns,)
        Decision before rounding and on ticks.
    state, lin : AcState, Linearisation
        The AC point of ``x`` and its gradients.
    limit_price : ndarray, shape (k,)
        Price of each limit of the linearisation [EUR/MW-equivalent/h].
    """
    moved = _moved_injection(problem, x - before)
    return TickEffects(
        distance=kept_distance(problem.resources, problem.case.periods.mtu_h),
        gradient=_gradient_change(problem, moved, state, lin, limit_price),
        room=_room_change(problem, moved, lin),
    )


def typical_effects(problem: Problem, lin: Linearisation) -> TickEffects:
    """Return what rounding typically explains where prices come from an approximation."""
    return TickEffects(
        distance=kept_distance(problem.resources, problem.case.periods.mtu_h),
        gradient=np.zeros(len(problem.resources.cost)),
        room=np.full(len(lin.chosen), 2.0 * typical_change_mw(problem)),
    )


def _moved_injection(problem: Problem, change: Floats) -> Complexes:
    """What rounding moved at every node, shape (nodes, periods) [MW + j Mvar]."""
    res, most = problem.resources, TICKS_MAX * AWARD_TICK_MW
    rounded = np.clip(change, -most, most)[res.inject_column]
    moved = np.zeros_like(res.fixed)
    at = (res.inject_node, res.period[res.inject_column])
    np.add.at(moved, at, (res.inject_p + 1j * res.inject_q) * rounded)
    return moved


def _gradient_change(
    problem: Problem, moved: Complexes, state: AcState, lin: Linearisation, limit_price: Floats
) -> Floats:
    """By how much reduced costs moved: sums along the path to the substation, shape (columns,)."""
    res, tree, h = problem.resources, problem.programme.tree, problem.case.periods.mtu_h
    flows = np.zeros((len(tree.parent), problem.periods), dtype=complex)
    held = tree.flow_of_node >= 0
    np.add.at(flows, tree.flow_of_node[held], moved[held])
    for flow, parent in enumerate(tree.parent.tolist()):
        if parent >= 0:  # a parent stands after its children
            flows[parent] += flows[flow]
    least = typical_change_mw(problem)
    curvature = 2.0 * np.abs(flow_curvature(problem, state, lin, limit_price))
    total = np.zeros(len(res.cost))
    at = (res.inject_node, res.period[res.inject_column])
    for change, coefficient in ((flows.real, res.inject_p), (flows.imag, res.inject_q)):
        by_flow = curvature * np.maximum(np.abs(change), least)
        at_flow = np.vstack([tree.at_bottom(by_flow), np.zeros((1, problem.periods))])
        at_node = at_flow[tree.flow_of_node]
        total += np.bincount(
            res.inject_column, weights=np.abs(coefficient) * at_node[at], minlength=len(res.cost)
        )
    return np.asarray(h * total, dtype=float)


def _room_change(problem: Problem, moved: Complexes, lin: Linearisation) -> Floats:
    """By how much the room of limits moved, shape (k,) [MW-equivalent]."""
    at = moved[:, lin.period]
    change = (lin.limit_p * at.real + lin.limit_q * at.imag).sum(axis=0) / lin.scale
    return np.asarray(np.maximum(np.abs(change), 2.0 * typical_change_mw(problem)), dtype=float)
