"""Import and limits linearised at an AC point, and the prices that follow from multipliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from opf.limits import (
    CURRENT_FROM,
    CURRENT_TO,
    EXPORT_CAP,
    IMPORT_CAP,
    import_gradient,
    limit_gradients,
    limit_values,
)
from opf.path_gradients import PathGradients, gradients_along_paths
from opf.power_flow import AcState
from opf.problem import Problem
from opf.quadratic import LimitRows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Flow derivatives below this share of a limit's largest gradient are left to the cost gradient.
SMALL_DIFFERENCE: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Linearisation:
    """Gradients at one AC point.

    ``import_p``/``import_q`` have shape (nodes, periods); ``limit_p``/``limit_q`` (nodes, k) belong
    to the pairs (``chosen``, ``period``) of limit number and period; ``scale`` is max |limit_p|.
    """

    import_p: Floats
    import_q: Floats
    chosen: Ints
    period: Ints
    limit_p: Floats
    limit_q: Floats
    scale: Floats
    left_out_p: Floats
    left_out_q: Floats
    rows: LimitRows
    paths: PathGradients | None = None


def choose_limits(
    problem: Problem,
    state: AcState,
    kept: set[tuple[int, int]],
    per_family: int = 12,
    reach: float = 1.0,
) -> set[tuple[int, int]]:
    """Add the violated and nearly active limits: the worst of each family, zone and period.

    ``reach`` is a factor to the distance within which a limit counts as nearly active.
    """
    limits = problem.limits
    over = limit_values(limits, state) - limits.bound(problem.periods)
    chosen = set(kept)
    margin = np.full(len(limits), 0.005)
    current = (limits.family == CURRENT_FROM) | (limits.family == CURRENT_TO)
    margin[current] = 0.1 * limits.maximum[current]
    cap = (limits.family == IMPORT_CAP) | (limits.family == EXPORT_CAP)
    margin[cap] = 0.05 * np.abs(limits.maximum[cap]) + 0.1
    near = over > -reach * margin[:, None]
    zone = problem.zones.of_node[limit_node(problem)]
    group = limits.family * (problem.zones.count + 1) + zone
    row, t = np.nonzero(near)
    ranked = np.lexsort((row, -over[row, t], t, group[row]))
    row, t = row[ranked], t[ranked]
    key = group[row] * problem.periods + t
    begin = np.flatnonzero(np.diff(key, prepend=-1) != 0)
    rank = np.arange(len(key)) - np.repeat(begin, np.diff(begin, append=len(key)))
    worst = rank < per_family
    chosen.update(zip(row[worst].tolist(), t[worst].tolist(), strict=True))
    return chosen


def limit_node(problem: Problem) -> Ints:
    """Node that each limit stands at, shape (limits,): of a branch the end it is measured at."""
    limits, b = problem.limits, problem.grid.branches
    node = limits.place.copy()
    for family, end in ((CURRENT_FROM, b.node_from), (CURRENT_TO, b.node_to)):
        of_family = limits.family == family
        node[of_family] = end[limits.place[of_family]]
    return node


def _limit_rows(
    problem: Problem, period: Ints, limit_p: Floats, limit_q: Floats, scale: Floats
) -> tuple[tuple[sparse.csr_matrix, sparse.csr_matrix], Floats, Floats]:
    """Sparse rows over flows and substation columns, and the node gradients they leave out."""
    tree = problem.programme.tree
    parts = len(problem.programme.flow_parts)
    entries = []
    left_out = []
    for part, gradient in enumerate((limit_p, limit_q)):
        difference = tree.differences(gradient)
        small = np.abs(difference) < SMALL_DIFFERENCE * scale[None, :]
        kept = np.where(small, 0.0, difference) if part < parts else np.zeros_like(difference)
        flow, row = np.nonzero(kept)
        entries.append((row, flow, kept[flow, row] / scale[row]))
        missing = gradient.copy()
        missing[tree.bottom] -= tree.at_bottom(kept)
        missing[0] = 0.0
        left_out.append(missing)
    by_flow = _by_flow(problem, period, entries[:parts])
    by_column = _by_column(problem, period, limit_p[0] / scale, limit_q[0] / scale)
    return (by_flow, by_column), left_out[0], left_out[1]


def _by_flow(
    problem: Problem, period: Ints, entries: list[tuple[Ints, Ints, Floats]]
) -> sparse.csr_matrix:
    """Place (row, flow, value) of each part, shape (rows, flows x periods x parts)."""
    flows, size = len(problem.programme.tree.parent), problem.periods
    rows = np.concatenate([row for row, _, _ in entries])
    columns = np.concatenate(
        [
            part * flows * size + flow * size + period[row]
            for part, (row, flow, _) in enumerate(entries)
        ]
    )
    values = np.concatenate([value for _, _, value in entries])
    shape = (len(period), len(problem.programme.flow_parts) * flows * size)
    return sparse.csr_matrix((values, (rows, columns)), shape=shape)


def _by_column(problem: Problem, period: Ints, top_p: Floats, top_q: Floats) -> sparse.csr_matrix:
    """Derivatives by columns at the substation itself, shape (rows, columns)."""
    res = problem.resources
    top = np.flatnonzero(res.inject_node == 0)
    column = res.inject_column[top]
    hit_row, hit = np.nonzero(period[:, None] == res.period[column][None, :])
    value = res.inject_p[top][hit] * top_p[hit_row] + res.inject_q[top][hit] * top_q[hit_row]
    return sparse.csr_matrix((value, (hit_row, column[hit])), shape=(len(period), len(res.cost)))


def _rows_along_paths(
    problem: Problem, paths: PathGradients, period: Ints
) -> tuple[sparse.csr_matrix, sparse.csr_matrix, Floats, sparse.csc_matrix]:
    """Sparse rows over flows and substation columns, their scale, and the balances of the flows."""
    tree = problem.programme.tree
    gains = paths.gains(tree)
    found = paths.by_flow(tree, gains)
    scale = np.maximum(found.scale, 1e-9)
    entries = [(found.row, found.flow, value / scale[found.row]) for value in (found.dp, found.dq)]
    by_column = _by_column(problem, period, -paths.weights.cap / scale, 0.0 * scale)
    balances = problem.programme.balances(gains.to_parent)
    return _by_flow(problem, period, entries), by_column, scale, balances


def price_field(
    problem: Problem, lin: Linearisation, price: Floats, by_node: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Sum ``price_k / scale_k * gradient_k`` over the limits of each period.

    Parameters
    ----------
    price : ndarray, shape (k,)
        Price of each limit of the linearisation [EUR/MW-equivalent/h].
    by_node : (ndarray, ndarray), shape (nodes, k)
        Node gradients of them by active and reactive injection.

    Returns
    -------
    (p, q) : ndarray, shape (nodes, periods)
        [EUR/MWh, EUR/Mvarh].
    """
    collect = sparse.csr_matrix(
        (price / lin.scale, (np.arange(len(price)), lin.period)),
        shape=(len(price), problem.periods),
    )
    return np.asarray(by_node[0] @ collect), np.asarray(by_node[1] @ collect)


def linearise(
    problem: Problem, state: AcState, pairs: set[tuple[int, int]], *, by_node: bool = True
) -> Linearisation:
    """Gradients of the import and of the given (limit, period) pairs at an AC point.

    Parameters
    ----------
    by_node : bool, optional
        Whether the gradient of every limit by every node is needed; on large radial grids rows and
        prices do without.
    """
    solver, limits = problem.solver, problem.limits
    ordered = sorted(pairs, key=lambda pair: (pair[1], pair[0]))
    chosen = np.array([k for k, _ in ordered], dtype=np.int64)
    period = np.array([t for _, t in ordered], dtype=np.int64)
    g = limit_values(limits, state)[chosen, period]
    if solver.tree is None:
        import_p, import_q = import_gradient(solver, state)
        limit_p, limit_q = limit_gradients(solver, state, limits, chosen, period)
        scale = np.maximum(np.abs(limit_p).max(axis=0), 1e-9) if ordered else np.zeros(0)
        rows, left_out_p, left_out_q = _limit_rows(problem, period, limit_p, limit_q, scale)
        balances, paths = problem.programme.flow_rows, None
    else:
        paths = gradients_along_paths(solver, state, limits, chosen, period)
        import_p, import_q = paths.import_p, paths.import_q
        by_flow, by_column, scale, balances = _rows_along_paths(problem, paths, period)
        rows = (by_flow, by_column)
        left_out_p = left_out_q = limit_p = limit_q = np.zeros((len(import_p), 0))
        if by_node:
            limit_p, limit_q = limit_gradients(solver, state, limits, chosen, period)
    return Linearisation(
        import_p=import_p,
        import_q=import_q,
        chosen=chosen,
        period=period,
        limit_p=limit_p,
        limit_q=limit_q,
        scale=scale,
        left_out_p=left_out_p,
        left_out_q=left_out_q,
        rows=LimitRows(
            by_flow=rows[0],
            by_column=rows[1],
            balances=balances,
            room=(limits.bound_at(chosen, period) - g) / scale,
            scale=scale,
        ),
        paths=paths,
    )


def limit_field(problem: Problem, lin: Linearisation, price: Floats) -> tuple[Floats, Floats]:
    """Sum ``price_k / scale_k * gradient_k`` over the limits: as `price_field`, of all there is."""
    if lin.paths is not None and lin.limit_p.shape[1] != len(price):
        return lin.paths.field(price / lin.scale)
    return price_field(problem, lin, price, (lin.limit_p, lin.limit_q))


def left_out_field(problem: Problem, lin: Linearisation, price: Floats) -> tuple[Floats, Floats]:
    """Sum over the limits what their sparse rows leave out of the gradients."""
    if lin.paths is None:
        return price_field(problem, lin, price, (lin.left_out_p, lin.left_out_q))
    nothing = np.zeros_like(lin.import_p)
    return nothing, nothing


def cost_gradient(problem: Problem, lin: Linearisation) -> Floats:
    """Gradient of the cost by the columns at the linearisation point [EUR per unit]."""
    h = problem.case.periods.mtu_h
    price = problem.case.import_price_eur_per_mwh * h
    return problem.resources.cost + problem.resources.column_gradient(
        lin.import_p * price, lin.import_q * price
    )


def node_prices(problem: Problem, lin: Linearisation, limit_price: Floats) -> tuple[Floats, Floats]:
    """DLMP_P and DLMP_Q of every node at the AC point, shape (nodes, periods).

    DLMP_i = -(c dP0/dp_i + sum_k mu_k dg_k/dp_i), with c the import price; the caps' own prices
    are among the mu_k.
    """
    c = problem.case.import_price_eur_per_mwh
    field_p, field_q = limit_field(problem, lin, limit_price)
    return -(c * lin.import_p + field_p), -(c * lin.import_q + field_q)
