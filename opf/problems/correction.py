"""One-minute correction: the least-cost change of setpoints that brings every limit back.

What the market wants of each unit is the starting point. Where that would break a limit, less a
small margin, one linear programme over the units changes it,

    min  sum_i (up_i u_i + down_i d_i + var_i |q_i - q_i wanted|) + scarcity sum_k slack_k
    s.t. p_i = p_i wanted + u_i - d_i, p_min <= p <= p_max, q_min <= q <= q_max, |q_i| <= tan_i p_i
         g_k + (dg_k/ds) ds <= g_k max - margin_k + slack_k max_i |dg_k/dp_i|

around the AC point, and again around the AC point this leads to, until the AC state holds. Slack is
MW-equivalent as in the clearing. Nothing depends on the answer of the minute before but what the
caller puts in, so a correction ends by itself when its reason does.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.errors import Problem, refuse_if_any
from data.units import quantise_mw
from opf.limits import CURRENT_FROM, CURRENT_TO, limit_gradients
from opf.linear_programme import SolverStopped, solve_linear
from opf.power_flow import AcState, PowerFlowDiverged
from opf.problems.monitored_grid import MonitoredGrid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

ROUNDS_MAX: Final = 4
ROWS_PER_FAMILY: Final = 12
# Limits this near their bound enter the programme with those that are broken.
NEAR_PU: Final = 0.004
NEAR_LOADING_SHARE: Final = 0.05
SCARCITY_EUR_PER_MWH: Final = 4000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """What can be told something; every array has shape (units,).

    Parameters
    ----------
    name : tuple of str
        Asset ids, none twice.
    bus : ndarray of int
        Where each is connected.
    p_mw, q_mvar : ndarray
        Injection the market wants [MW, Mvar].
    p_mw_min, p_mw_max : ndarray
        What it can do in this minute; a unit that does not follow has both at what it does.
    q_mvar_min, q_mvar_max : ndarray
        Its reactive power [Mvar].
    tan_max : ndarray
        |q| <= tan_max |p|; ``inf`` where the inverter does not mind.
    up_eur_per_mwh, down_eur_per_mwh, var_eur_per_mvarh : ndarray
        What a deviation from what is wanted costs, each positive.
    """

    name: tuple[str, ...]
    bus: Ints
    p_mw: Floats
    q_mvar: Floats
    p_mw_min: Floats
    p_mw_max: Floats
    q_mvar_min: Floats
    q_mvar_max: Floats
    tan_max: Floats
    up_eur_per_mwh: Floats
    down_eur_per_mwh: Floats
    var_eur_per_mvarh: Floats

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A limit that is exceeded: value and limit in pu or percent, and the MW-equivalent short."""

    element_kind: str
    element: int
    side: str
    value: float
    limit: float
    mw_short: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What each unit is to do, and what that leaves.

    Parameters
    ----------
    p_mw, q_mvar : ndarray, shape (units,)
        New setpoints on the tick of 1e-6 MW.
    changed : ndarray of bool, shape (units,)
        Where they differ from what the market wants.
    cost_eur_per_h : float
        Price of the deviation.
    before, unmended : tuple of Broken
        Limits broken (margins apart) if all did as wanted, and those that stay broken.
    binding : tuple of (element kind, element, side)
        Limits that the programme was held by: the reason of every change.
    rounds : int
        Linear programmes solved.
    fallback : str
        Empty, or what the answer rests on instead of the programme.
    """

    p_mw: Floats
    q_mvar: Floats
    changed: NDArray[np.bool_]
    cost_eur_per_h: float
    before: tuple[Broken, ...]
    unmended: tuple[Broken, ...]
    binding: tuple[tuple[str, int, str], ...]
    rounds: int
    fallback: str = ""


def correct_setpoints(
    at: MonitoredGrid, other: Complexes, units: Units, margin: Floats
) -> Correction:
    """Return the least-cost setpoints that keep every limit of the grid in this minute.

    Parameters
    ----------
    at : MonitoredGrid
        The grid and its limits.
    other : ndarray of complex, shape (nodes,)
        What injects beside the units [MW + j Mvar], as measured or estimated.
    units : Units
        Who can be told what.
    margin : ndarray, shape (limits,)
        What is kept free of each limit, in the unit of g (`MonitoredGrid.margins`).

    Raises
    ------
    InputError
        With everything that is not finite, ranges that are empty, units named twice, unknown buses.
    """
    _refuse_unusable(at, other, units, margin)
    node = at.nodes_of(units.bus)
    p, q = np.clip(units.p_mw, units.p_mw_min, units.p_mw_max), units.q_mvar.copy()
    try:
        state = _state(at, other, node, p, q)
    except PowerFlowDiverged:
        return _without_state(units, p, q)
    before = list_broken(at, state)
    allowed = at.limits.maximum - margin
    kept: set[int] = set()
    binding: tuple[int, ...] = ()
    rounds = 0
    fallback = ""
    while rounds < ROUNDS_MAX:
        over = at.values(state)[:, 0] - allowed
        if rounds and not (over > at.tolerance).any():
            break
        if not rounds and not (over > 0.0).any():
            break
        kept |= _rows_to_keep(at, over)
        rounds += 1
        try:
            p, q, binding = _solve_step(at, units, node, (p, q), state, sorted(kept), allowed)
            state = _state(at, other, node, p, q)
        except (SolverStopped, PowerFlowDiverged) as error:
            fallback = f"correction_stopped: {error}; the setpoints found until then hold"
            break
    told_p, told_q = quantise_mw(p), quantise_mw(q)
    wanted_p, wanted_q = quantise_mw(units.p_mw), quantise_mw(units.q_mvar)
    return Correction(
        p_mw=told_p,
        q_mvar=told_q,
        changed=(told_p != wanted_p) | (told_q != wanted_q),
        cost_eur_per_h=_cost(units, told_p, told_q),
        before=before,
        unmended=list_broken(at, state),
        binding=tuple(at.name(k) for k in binding),
        rounds=rounds,
        fallback=fallback,
    )


def list_broken(at: MonitoredGrid, state: AcState) -> tuple[Broken, ...]:
    """List the limits a state exceeds by more than rounding, worst MW-equivalent first."""
    over = at.values(state)[:, 0] - at.limits.maximum
    rows = np.flatnonzero(over > at.tolerance)
    if not len(rows):
        return ()
    gradient, _ = limit_gradients(at.solver, state, at.limits, rows, np.zeros_like(rows))
    short = over[rows] / np.maximum(np.abs(gradient).max(axis=0), 1e-9)
    found = []
    for row, mw in sorted(zip(rows.tolist(), short.tolist(), strict=True), key=lambda x: -x[1]):
        kind, element, side = at.name(row)
        limit = float(at.limits.maximum[row] * at.per_unit[row])
        found.append(
            Broken(
                element_kind=kind,
                element=element,
                side=side,
                value=limit + float(over[row] * at.per_unit[row]),
                limit=limit,
                mw_short=mw,
            )
        )
    return tuple(found)


def _state(at: MonitoredGrid, other: Complexes, node: Ints, p: Floats, q: Floats) -> AcState:
    injection = other.copy()
    np.add.at(injection, node, p + 1j * q)
    return at.state(injection)


def _without_state(units: Units, p: Floats, q: Floats) -> Correction:
    """Answer where what is wanted has no AC state: it stands, and says so."""
    return Correction(
        p_mw=quantise_mw(p),
        q_mvar=quantise_mw(q),
        changed=np.zeros(len(units), dtype=bool),
        cost_eur_per_h=0.0,
        before=(),
        unmended=(),
        binding=(),
        rounds=0,
        fallback="no_power_flow: the wanted setpoints have no AC state; nothing is changed",
    )


def _rows_to_keep(at: MonitoredGrid, over: Floats) -> set[int]:
    """Choose the broken and nearly broken limits, the worst of each family."""
    near = np.full(len(over), NEAR_PU)
    current = np.isin(at.limits.family, (CURRENT_FROM, CURRENT_TO))
    near[current] = NEAR_LOADING_SHARE * at.limits.maximum[current]
    chosen: set[int] = set()
    for family in np.unique(at.limits.family):
        members = np.flatnonzero((at.limits.family == family) & (over > -near))
        worst = members[np.argsort(-over[members] / near[members], kind="stable")]
        chosen.update(int(k) for k in worst[:ROWS_PER_FAMILY])
    return chosen


def _solve_step(
    at: MonitoredGrid,
    units: Units,
    node: Ints,
    now: tuple[Floats, Floats],
    state: AcState,
    kept: Collection[int],
    allowed: Floats,
) -> tuple[Floats, Floats, tuple[int, ...]]:
    """Solve one linear programme around an AC point; return p, q and the limits that bind.

    Columns: p, q, u, d, |q - wanted|, slack.
    """
    rows = np.array(list(kept), dtype=np.int64)
    gradient_p, gradient_q = limit_gradients(at.solver, state, at.limits, rows, np.zeros_like(rows))
    scale = np.maximum(np.abs(gradient_p).max(axis=0), 1e-9)
    a_p, a_q = (gradient_p[node] / scale).T, (gradient_q[node] / scale).T
    room = (allowed[rows] - at.values(state)[rows, 0]) / scale
    n, k = len(units), len(rows)
    eye = sparse.identity(n, format="csr")
    none = sparse.csr_matrix((n, n))
    cap = sparse.csr_matrix((n, k))
    inverter = np.isfinite(units.tan_max)
    tangent = sparse.diags(np.where(inverter, units.tan_max, 0.0)) @ eye
    blocks = sparse.vstack(
        [
            sparse.hstack([eye, none, -eye, eye, none, cap]),
            sparse.hstack([none, eye, none, none, -eye, cap]),
            sparse.hstack([none, -eye, none, none, -eye, cap]),
            sparse.hstack([-tangent, eye, none, none, none, cap])[inverter],
            sparse.hstack([-tangent, -eye, none, none, none, cap])[inverter],
            sparse.csr_matrix(np.hstack([a_p, a_q, np.zeros((k, 3 * n)), -np.identity(k)])),
        ],
        format="csc",
    )
    limited = np.full(2 * int(inverter.sum()), 0.0)
    upper = np.concatenate(
        [units.p_mw, units.q_mvar, -units.q_mvar, limited, room + a_p @ now[0] + a_q @ now[1]]
    )
    lower = np.full(len(upper), -np.inf)
    lower[:n] = units.p_mw
    infinite = np.full(3 * n + k, np.inf)
    solution = solve_linear(
        np.concatenate(
            [
                np.zeros(2 * n), units.up_eur_per_mwh, units.down_eur_per_mwh,
                units.var_eur_per_mvarh, np.full(k, SCARCITY_EUR_PER_MWH),
            ]
        ),
        blocks,
        lower,
        upper,
        np.concatenate([units.p_mw_min, units.q_mvar_min, np.zeros(3 * n + k)]),
        np.concatenate([units.p_mw_max, units.q_mvar_max, infinite]),
    )  # fmt: skip
    if solution is None:
        raise SolverStopped("the ranges of the units leave no setpoints")
    held = np.flatnonzero(np.abs(solution.row_dual[-k:]) > 1e-6) if k else np.zeros(0, dtype=int)
    return solution.x[:n], solution.x[n : 2 * n], tuple(int(rows[h]) for h in held)


def _cost(units: Units, p: Floats, q: Floats) -> float:
    change = p - units.p_mw
    return float(
        units.up_eur_per_mwh @ np.maximum(change, 0.0)
        + units.down_eur_per_mwh @ np.maximum(-change, 0.0)
        + units.var_eur_per_mvarh @ np.abs(q - units.q_mvar)
    )


def _refuse_unusable(at: MonitoredGrid, other: Complexes, units: Units, margin: Floats) -> None:
    problems = [
        Problem(where=name, what="is named twice")
        for name in sorted(set(units.name))
        if units.name.count(name) > 1
    ]
    for field in (
        "p_mw", "q_mvar", "p_mw_min", "p_mw_max", "q_mvar_min", "q_mvar_max",
        "up_eur_per_mwh", "down_eur_per_mwh", "var_eur_per_mvarh",
    ):  # fmt: skip
        value = getattr(units, field)
        if value.shape != (len(units),):
            problems.append(Problem(where=field, what=f"shape {value.shape}, not ({len(units)},)"))
            continue
        problems += [
            Problem(where=units.name[row], what=f"{field} is {value[row]}")
            for row in np.flatnonzero(~np.isfinite(value)).tolist()
        ]
    problems += [
        Problem(where=units.name[row], what=f"tan_max is {units.tan_max[row]}")
        for row in np.flatnonzero(~(units.tan_max >= 0.0)).tolist()
    ]
    for low, high, unit in (
        (units.p_mw_min, units.p_mw_max, "MW"),
        (units.q_mvar_min, units.q_mvar_max, "Mvar"),
    ):
        problems += [
            Problem(where=units.name[row], what=f"can do {low[row]} to {high[row]} {unit}: nothing")
            for row in np.flatnonzero(low > high).tolist()
        ]
    for name, array, size in (
        ("other", other, at.grid.node_count), ("margin", margin, len(at.limits)),
    ):  # fmt: skip
        if array.shape != (size,) or not np.isfinite(array).all():
            problems.append(Problem(where=name, what=f"is not {size} finite values"))
    refuse_if_any(problems)
