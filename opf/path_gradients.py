"""Gradients of limits on a tree without a column per limit.

A limit in a low-voltage zone depends on every injection, but on those off its path to the
substation only through what its path has in common with theirs: written by flows on the tree that
know their losses (`opf.flow_gains`), its gradient is one number per flow on the path, and nothing
elsewhere. Those numbers are the rows of a step's programme. What prices all limits together make
of the nodes' prices needs no gradient of each: the adjoint is linear, so the weights are added up
first and one sweep per period does it, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opf.flow_gains import FlowGains, flow_gains
from opf.limits import (
    CURRENT_FROM,
    CURRENT_TO,
    EXPORT_CAP,
    IMPORT_CAP,
    VOLTAGE_LOWER,
    VOLTAGE_UPPER,
    LimitSet,
)
from opf.loss_curvature import FlowTree
from opf.power_flow import AcState, NodalSolver
from opf.radial_tree import RadialTree, TreeFactor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitWeights:
    """How chosen limits depend on voltages: ``dg = Re(weight dV_node + above dV_parent)``.

    Parameters
    ----------
    node : ndarray of int, shape (k,)
        The node, or of a branch its end away from the substation; the substation itself for caps.
    weight, above : ndarray of complex, shape (k,)
        0 for caps.
    cap : ndarray, shape (k,)
        1 for an import cap, -1 for an export cap, 0 otherwise: times the gradient of the import.
    """

    node: Ints
    weight: Complexes
    above: Complexes
    cap: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRows:
    """Derivatives of limits by the flows on their paths.

    Parameters
    ----------
    row, flow : ndarray of int, shape (entries,)
        Limit and flow of each entry; entries of the same two add up.
    dp, dq : ndarray, shape (entries,)
        Derivative by active and reactive flow [unit of the limit per MW, Mvar].
    scale : ndarray, shape (k,)
        Largest |dg/dp| on the path of each limit.
    """

    row: Ints
    flow: Ints
    dp: Floats
    dq: Floats
    scale: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class PathGradients:
    """Gradients of the limits of a linearisation, as far as something asks for them.

    ``by_root``, shape (nodes - 1,), is the derivative of the import by the voltages.
    """

    tree: RadialTree
    factor: TreeFactor
    v: Complexes
    weights: LimitWeights
    period: Ints
    by_root: Complexes
    import_p: Floats
    import_q: Floats

    def field(self, price: Floats) -> tuple[Floats, Floats]:
        """Sum ``price_k dg_k`` over the limits of each period.

        Parameters
        ----------
        price : ndarray, shape (k,)
            [EUR per unit of the limit].

        Returns
        -------
        (p, q) : ndarray, shape (nodes, periods)
        """
        nodes, periods = self.import_p.shape
        right = np.zeros((nodes, periods), dtype=complex)
        w = self.weights
        np.add.at(right, (w.node, self.period), price * w.weight)
        above = self.parent_node()
        np.add.at(right, (above, self.period), price * w.above)
        x = self.tree.solve_adjoint(self.factor, right[1:]) / np.conj(self.v[1:])
        cap = np.bincount(self.period, weights=price * w.cap, minlength=periods)
        p, q = cap * self.import_p, cap * self.import_q
        p[1:] += x.real
        q[1:] += x.imag
        return p, q

    def parent_node(self) -> Ints:
        """Node above that of each limit; the substation above itself."""
        at = self.weights.node - 1
        place = self.tree.parent[self.tree.position[np.maximum(at, 0)]]
        above = np.where(place >= 0, self.tree.order[np.maximum(place, 0)] + 1, 0)
        return np.where(at >= 0, above, 0)

    def gains(self, flows: FlowTree) -> FlowGains:
        """What changes of the flows become on their way to the substation."""
        return flow_gains(self.tree, self.factor, self.v, flows)

    def by_flow(self, flows: FlowTree, gains: FlowGains) -> PathRows:
        """Derivatives by the flows, which are not 0 on each limit's own path alone."""
        w = self.weights
        scale = np.zeros(len(self.period))
        on_tree, caps = np.flatnonzero(w.cap == 0), np.flatnonzero(w.cap != 0)
        period = self.period[on_tree]
        paths = self.tree.along_paths(
            self.factor, period, w.node[on_tree] - 1, w.weight[on_tree], w.above[on_tree]
        )
        gradient = paths.adjoint / np.conj(self.v[paths.node + 1, period])
        scale[on_tree] = np.abs(gradient.real).max(axis=0, initial=0.0)
        level, limit = np.nonzero(paths.node >= 0)
        node = paths.node[level, limit] + 1
        rows, flow = [on_tree[limit]], [flows.flow_of_node[node]]
        value = [self._by_chain(gains, node, period[limit], paths.eliminated[level, limit])]
        root = np.flatnonzero(flows.parent < 0)
        top = gains.top[root]
        for k in caps.tolist():
            t = np.full(len(root), self.period[k])
            at = self.tree.position[top - 1]
            weight = w.cap[k] * self.by_root[top - 1]
            g, d = self.factor.g[at, t], np.conj(self.factor.d[at, t])
            rows.append(np.full(len(root), k))
            flow.append(root)
            value.append(self._by_chain(gains, top, t, g * weight + d * np.conj(weight)))
            scale[k] = np.abs(self.import_p[:, self.period[k]]).max()
        number, derivative = np.concatenate(flow), np.concatenate(value)
        known = number >= 0
        return PathRows(
            row=np.concatenate(rows)[known],
            flow=number[known],
            dp=derivative.real[known],
            dq=derivative.imag[known],
            scale=scale,
        )

    def _by_chain(
        self, gains: FlowGains, node: Ints, period: Ints, by_node: Complexes
    ) -> Complexes:
        """Derivatives by the flows through nodes, from those by what the nodes carry."""
        here = by_node / np.conj(self.v[node, period])
        return gains.in_chain.at(node, period).back(here)


def limit_weights(
    solver: NodalSolver, state: AcState, limits: LimitSet, chosen: Ints, period: Ints
) -> LimitWeights:
    """Derivatives of chosen limits by the voltages of the tree they stand on.

    Parameters
    ----------
    chosen, period : ndarray of int, shape (k,)
        Limit number and period.
    """
    assert solver.tree is not None
    tree, b = solver.tree, solver.grid.branches
    count = len(chosen)
    family, place = limits.family[chosen], limits.place[chosen]
    node = np.zeros(count, dtype=np.int64)
    weight, above = np.zeros(count, dtype=complex), np.zeros(count, dtype=complex)
    for kind, sign in ((VOLTAGE_UPPER, 1.0), (VOLTAGE_LOWER, -1.0)):
        m = np.flatnonzero(family == kind)
        v = state.v[place[m], period[m]]
        node[m], weight[m] = place[m], sign * np.conj(v) / np.abs(v)
    depth = np.concatenate([[-1], tree.depth[tree.position]])
    for kind, current, y_f, y_t in (
        (CURRENT_FROM, state.current_from, b.yff, b.yft),
        (CURRENT_TO, state.current_to, b.ytf, b.ytt),
    ):
        m = np.flatnonzero(family == kind)
        branch = place[m]
        i = current[branch, period[m]]
        direction = np.conj(i) / np.maximum(np.abs(i), 1e-12)
        below = depth[b.node_to[branch]] > depth[b.node_from[branch]]
        node[m] = np.where(below, b.node_to[branch], b.node_from[branch])
        weight[m] = direction * np.where(below, y_t[branch], y_f[branch])
        above[m] = direction * np.where(below, y_f[branch], y_t[branch])
    cap = (family == IMPORT_CAP).astype(float) - (family == EXPORT_CAP)
    return LimitWeights(node=node, weight=weight, above=above, cap=cap)


def gradients_along_paths(
    solver: NodalSolver,
    state: AcState,
    limits: LimitSet,
    chosen: Ints,
    period: Ints,
) -> PathGradients:
    """Eliminate the power flow at a state; import and limits follow from it."""
    assert solver.tree is not None
    factor, v = solver.factorise(state), state.v
    periods = v.shape[1]
    weights = np.conj(solver.grid.slack_v) * solver.y_slack_row[1:]
    x = solver.tree.solve_adjoint(factor, np.repeat(weights[:, None], periods, axis=1))
    x /= np.conj(v[1:])
    return PathGradients(
        tree=solver.tree,
        factor=factor,
        v=v,
        weights=limit_weights(solver, state, limits, chosen, period),
        period=period,
        by_root=weights,
        import_p=np.vstack([np.full((1, periods), -1.0), x.real]),
        import_q=np.vstack([np.zeros((1, periods)), x.imag]),
    )
