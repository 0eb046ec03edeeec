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


def choose_limits(
    problem: Problem, state: AcState, kept: set[tuple[int, int]], per_family: int = 12
) -> set[tuple[int, int]]:
    """Add the violated and nearly active limits: the worst of each family in each period."""
    limits = problem.limits
    over = limit_values(limits, state) - limits.bound(problem.periods)
    chosen = set(kept)
    margin = np.full(len(limits), 0.005)
    current = (limits.family == CURRENT_FROM) | (limits.family == CURRENT_TO)
    margin[current] = 0.1 * limits.maximum[current]
    cap = (limits.family == IMPORT_CAP) | (limits.family == EXPORT_CAP)
    margin[cap] = 0.05 * np.abs(limits.maximum[cap]) + 0.1
    near = over > -margin[:, None]
    for family in np.unique(limits.family):
        members = np.flatnonzero(limits.family == family)
        for t in np.flatnonzero(near[members].any(axis=0)):
            ranked = members[np.argsort(-over[members, t], kind="stable")[:per_family]]
            chosen.update((int(k), int(t)) for k in ranked if near[k, t])
    return chosen


def _limit_rows(
    problem: Problem, period: Ints, limit_p: Floats, limit_q: Floats, scale: Floats
) -> tuple[tuple[sparse.csr_matrix, sparse.csr_matrix], Floats, Floats]:
    """Sparse rows over flows and substation columns, and the node gradients they leave out."""
    res, tree = problem.resources, problem.programme.tree
    flows, size, count = len(tree.parent), problem.periods, len(period)
    parts = len(problem.programme.flow_parts)
    rows, columns, values = [], [], []
    left_out = []
    for part, gradient in enumerate((limit_p, limit_q)):
        difference = tree.differences(gradient)
        small = np.abs(difference) < SMALL_DIFFERENCE * scale[None, :]
        kept = np.where(small, 0.0, difference) if part < parts else np.zeros_like(difference)
        flow, row = np.nonzero(kept)
        rows.append(row)
        columns.append(part * flows * size + flow * size + period[row])
        values.append(kept[flow, row] / scale[row])
        missing = gradient.copy()
        missing[tree.bottom] -= tree.at_bottom(kept)
        missing[0] = 0.0
        left_out.append(missing)
    by_flow = sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(count, parts * flows * size),
    )
    top = np.flatnonzero(res.inject_node == 0)
    column = res.inject_column[top]
    hit_row, hit = np.nonzero(period[:, None] == res.period[column][None, :])
    value = (
        res.inject_p[top][hit] * limit_p[0, hit_row] + res.inject_q[top][hit] * limit_q[0, hit_row]
    ) / scale[hit_row]
    by_column = sparse.csr_matrix((value, (hit_row, column[hit])), shape=(count, len(res.cost)))
    return (by_flow, by_column), left_out[0], left_out[1]


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


def linearise(problem: Problem, state: AcState, pairs: set[tuple[int, int]]) -> Linearisation:
    """Gradients of the import and of the given (limit, period) pairs at an AC point."""
    solver, limits = problem.solver, problem.limits
    import_p, import_q = import_gradient(solver, state)
    ordered = sorted(pairs, key=lambda pair: (pair[1], pair[0]))
    chosen = np.array([k for k, _ in ordered], dtype=np.int64)
    period = np.array([t for _, t in ordered], dtype=np.int64)
    limit_p, limit_q = limit_gradients(solver, state, limits, chosen, period)
    scale = np.maximum(np.abs(limit_p).max(axis=0), 1e-9) if ordered else np.zeros(0)
    rows, left_out_p, left_out_q = _limit_rows(problem, period, limit_p, limit_q, scale)
    g = limit_values(limits, state)[chosen, period]
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
            room=(limits.bound_at(chosen, period) - g) / scale,
            scale=scale,
        ),
    )


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
    field_p, field_q = price_field(problem, lin, limit_price, (lin.limit_p, lin.limit_q))
    return -(c * lin.import_p + field_p), -(c * lin.import_q + field_q)
