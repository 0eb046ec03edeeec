"""Networks that are linear in the injections: none at all, and linear branch flow.

Both answer the same two questions: by how much does every limit lie over its maximum at given
injections, and how does that change with them. The limits are those of `opf.limits`, so results,
prices and names are those of the AC engine.

Linear branch flow (Baran and Wu, IEEE Trans. Power Delivery 4(2), 1989, doi 10.1109/61.25627,
without its loss terms) on a radial grid, as a change from the no-load AC state:

    |V_i|^2 = |V_i|^2_no-load + 2 n_i^2 sum_b in path(i) (r_b P_b + x_b Q_b),
    P_b, Q_b = sum of injections below b;   import = import_no-load - sum of injections

with n_i the product of transformer ratios from the substation to node i and r_b, x_b referred to
the substation's side. The no-load state brings in ratios, charging and iron losses; losses of
load current are 0. A current limit is |S| <= rating |V_no-load|, by tangents to the circle.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from data.errors import UnsupportedComponent
from opf.grid import Grid
from opf.limits import (
    CURRENT_FROM,
    CURRENT_TO,
    EXPORT_CAP,
    IMPORT_CAP,
    VOLTAGE_LOWER,
    VOLTAGE_UPPER,
    LimitSet,
)
from opf.power_flow import NodalSolver, solve_state

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]


class LinearNetwork(Protocol):
    """What a linear programme needs to know of a network."""

    def import_mw(self, injection: Complexes) -> Floats:
        """Return the import at node injections (nodes, periods), shape (periods,) [MW]."""

    def excess(self, injection: Complexes) -> Floats:
        """Return g - g_max of every limit, shape (limits, periods); -inf where not modelled."""

    def gradients(self, chosen: Ints, period: Ints, injection: Complexes) -> tuple[Floats, Floats]:
        """Return dg/dp and dg/dq of (limit, period) pairs by node, shape (nodes, k) each."""

    def scale(self, chosen: Ints) -> Floats:
        """Return the largest |dg/dp| a limit can have: what slack in MW is measured by."""


def _cap_excess(limits: LimitSet, import_mw: Floats) -> Floats:
    """Excess of the import and export caps; -inf in the rows of other limits."""
    excess = np.full((len(limits), len(import_mw)), -np.inf)
    for family, value in ((IMPORT_CAP, import_mw), (EXPORT_CAP, -import_mw)):
        rows = limits.family == family
        excess[rows] = value[None, :] - limits.bound(len(import_mw))[rows]
    return excess


def _cap_gradient(limits: LimitSet, chosen: Ints) -> Floats:
    """Gradient of the caps, the same at every node, shape (k,); 0 for other limits."""
    family = limits.family[chosen]
    return np.where(family == IMPORT_CAP, -1.0, np.where(family == EXPORT_CAP, 1.0, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class CopperPlate:
    """No network: import = - sum of injections; only the caps at the substation limit anything."""

    limits: LimitSet
    nodes: int

    def import_mw(self, injection: Complexes) -> Floats:
        """Return the import, shape (periods,) [MW]."""
        return np.asarray(-injection.real.sum(axis=0))

    def excess(self, injection: Complexes) -> Floats:
        """Return g - g_max of the caps, -inf elsewhere, shape (limits, periods) [MW]."""
        return _cap_excess(self.limits, self.import_mw(injection))

    def gradients(self, chosen: Ints, period: Ints, injection: Complexes) -> tuple[Floats, Floats]:
        """Return the gradients of the caps, shape (nodes, k) each."""
        del period, injection  # the same everywhere
        dp = np.repeat(_cap_gradient(self.limits, chosen)[None, :], self.nodes, axis=0)
        return dp, np.zeros_like(dp)

    def scale(self, chosen: Ints) -> Floats:
        """Return ones: caps are in MW."""
        return np.ones(len(chosen))


@dataclass(frozen=True, slots=True, kw_only=True)
class RadialTree:
    """Branch pairs of a radial grid, each named by the node below it (nodes 1 .. n-1).

    Parameters
    ----------
    parent : ndarray of int, shape (nodes,)
        Node above; -1 at the substation.
    order : ndarray of int, shape (nodes,)
        Nodes from the substation outwards.
    ratio : ndarray, shape (nodes,)
        n_i: voltage at node i over the substation's without any current.
    impedance : ndarray of complex, shape (nodes,)
        Series impedance of the branches above node i, in parallel, at the substation's side [pu].
    share : ndarray of complex, shape (branches,)
        Part of a pair's current that each branch carries (1 without parallel branches).
    """

    parent: Ints
    order: Ints
    ratio: Floats
    impedance: Complexes
    share: Complexes


def build_radial_tree(grid: Grid, formulation: str) -> RadialTree:
    """Order a radial grid from the substation outwards.

    Parameters
    ----------
    formulation : str
        Name of the formulation, for the message.

    Raises
    ------
    UnsupportedComponent
        Meshed grids.
    """
    if not grid.radial:
        raise UnsupportedComponent(
            f"formulation {formulation!r} needs a radial grid and this one is meshed: use 'ac'"
        )
    nodes, b = grid.node_count, grid.branches
    joined = sparse.csr_matrix((np.ones(len(b)), (b.node_from, b.node_to)), shape=(nodes, nodes))
    order, above = csgraph.breadth_first_order(joined, 0, directed=False)
    parent = np.where(np.arange(nodes) == 0, -1, above).astype(np.int64)
    by_child: dict[int, list[int]] = defaultdict(list)
    child = np.where(parent[b.node_to] == b.node_from, b.node_to, b.node_from)
    for k, node in enumerate(child.tolist()):
        by_child[node].append(k)
    tap = -1.0 / (b.impedance * b.ytf)
    ratio, impedance = np.ones(nodes), np.zeros(nodes, dtype=complex)
    share = np.ones(len(b), dtype=complex)
    for node in order[1:].tolist():
        members = by_child[node]
        first = members[0]
        downwards = b.node_to[first] == node
        ratio[node] = ratio[parent[node]] * abs(tap[first]) ** (-1.0 if downwards else 1.0)
        admittance = ratio[b.node_to[members]] ** 2 / b.impedance[members]
        impedance[node] = 1.0 / admittance.sum()
        share[members] = admittance / admittance.sum()
    return RadialTree(
        parent=parent,
        order=order.astype(np.int64),
        ratio=ratio,
        impedance=impedance,
        share=share,
    )


def _path_matrix(tree: RadialTree) -> sparse.csr_matrix:
    """Return 1 where the branches above node b lie on the path of node j, shape (nodes, nodes)."""
    paths: list[list[int]] = [[] for _ in range(len(tree.parent))]
    for node in tree.order[1:].tolist():
        paths[node] = [*paths[int(tree.parent[node])], node]
    rows = np.array([b for path in paths for b in path], dtype=np.int64)
    columns = np.repeat(np.arange(len(paths)), [len(path) for path in paths])
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(paths), len(paths)))


class LinDistFlow:
    """Linear branch flow around the no-load AC state of a radial grid.

    Raises
    ------
    UnsupportedComponent
        Meshed grids.
    """

    def __init__(self, solver: NodalSolver, limits: LimitSet) -> None:
        grid = solver.grid
        self.limits = limits
        self.tree = build_radial_tree(grid, "lindistflow")
        self.paths = _path_matrix(self.tree)
        self.no_load = solve_state(solver, np.zeros((grid.node_count, 1), dtype=complex))
        b = grid.branches
        upwards = self.tree.parent[b.node_from] == b.node_to
        child = np.where(upwards, b.node_from, b.node_to)
        # one entry per limit: the node below the branch, and power into this end per MVA below
        at = np.zeros(len(limits), dtype=np.int64)
        gain = np.zeros(len(limits), dtype=complex)
        end_v, end_s = np.ones(len(limits)), np.zeros(len(limits), dtype=complex)
        for family, end, current, child_end in (
            (CURRENT_FROM, b.node_from, self.no_load.current_from, upwards),
            (CURRENT_TO, b.node_to, self.no_load.current_to, ~upwards),
        ):
            rows = np.flatnonzero(limits.family == family)
            k = limits.place[rows]
            at[rows] = child[k]
            gain[rows] = np.where(child_end[k], 1.0, -1.0) * np.conj(self.tree.share[k])
            v = self.no_load.v[end[k], 0]
            end_v[rows] = np.abs(v)
            end_s[rows] = v * np.conj(current[k, 0])
        self.below, self.gain, self.end_v, self.end_s = at, gain, end_v, end_s

    def import_mw(self, injection: Complexes) -> Floats:
        """Return the import: at no load, less the injections; shape (periods,) [MW]."""
        return np.asarray(self.no_load.exchange.real - injection.real.sum(axis=0))

    def vm_squared(self, injection: Complexes) -> Floats:
        """Return |V|^2 of every node, shape (nodes, periods) [pu^2]."""
        z = self.tree.impedance[:, None]
        flow = self.paths @ injection
        drop = self.paths.T @ (z.real * flow.real + z.imag * flow.imag)
        return np.asarray(np.abs(self.no_load.v) ** 2 + 2.0 * self.tree.ratio[:, None] ** 2 * drop)

    def end_power(self, injection: Complexes) -> Complexes:
        """Return the power into the branch end of each current limit, shape (limits, periods)."""
        below = (self.paths @ injection)[self.below]
        return np.asarray(self.end_s[:, None] + self.gain[:, None] * below)

    def excess(self, injection: Complexes) -> Floats:
        """Return g - g_max of every limit, shape (limits, periods) [pu, MW for the caps].

        Voltages count as (|V|^2 - limit^2) / (2 limit), which is linear and has the gradient of
        |V| where the limit binds.
        """
        limits = self.limits
        excess = _cap_excess(limits, self.import_mw(injection))
        squared = self.vm_squared(injection)
        for family, sign in ((VOLTAGE_UPPER, 1.0), (VOLTAGE_LOWER, -1.0)):
            rows = np.flatnonzero(limits.family == family)
            bound = np.abs(limits.bound(injection.shape[1])[rows])
            excess[rows] = sign * (squared[limits.place[rows]] - bound**2) / (2.0 * bound)
        current = (limits.family == CURRENT_FROM) | (limits.family == CURRENT_TO)
        loading = np.abs(self.end_power(injection)[current]) / self.end_v[current, None]
        excess[current] = loading - limits.bound(injection.shape[1])[current]
        return excess

    def gradients(self, chosen: Ints, period: Ints, injection: Complexes) -> tuple[Floats, Floats]:
        """Return dg/dp and dg/dq of (limit, period) pairs, shape (nodes, k) each.

        Current limits give the tangent to their circle at the present direction of the power.
        """
        limits, tree, nodes = self.limits, self.tree, len(self.tree.parent)
        dp = np.repeat(_cap_gradient(limits, chosen)[None, :], nodes, axis=0)
        dq = np.zeros_like(dp)
        family = limits.family[chosen]
        for kind, sign in ((VOLTAGE_UPPER, 1.0), (VOLTAGE_LOWER, -1.0)):
            columns = np.flatnonzero(family == kind)
            k = chosen[columns]
            node = limits.place[k]
            bound = np.abs(limits.bound_at(k, period[columns]))
            factor = sign * tree.ratio[node] ** 2 / bound
            on_path = self.paths[:, node].multiply(factor[None, :]).tocsr()
            dp[:, columns] = (
                self.paths.T @ on_path.multiply(tree.impedance.real[:, None])
            ).todense()
            dq[:, columns] = (
                self.paths.T @ on_path.multiply(tree.impedance.imag[:, None])
            ).todense()
        columns = np.flatnonzero((family == CURRENT_FROM) | (family == CURRENT_TO))
        if len(columns):
            k = chosen[columns]
            s = self.end_power(injection)[k, period[columns]]
            slope = np.conj(s) / np.maximum(np.abs(s), 1e-12) * self.gain[k] / self.end_v[k]
            member = np.asarray(self.paths[self.below[k]].todense()).T
            dp[:, columns] = member * slope.real
            dq[:, columns] = -member * slope.imag
        return dp, dq

    def scale(self, chosen: Ints) -> Floats:
        """Return the largest |dg/dp| that each limit can have: at its own node, at unit cosine."""
        limits, tree = self.limits, self.tree
        scale = np.ones(len(chosen))
        family, place = limits.family[chosen], limits.place[chosen]
        voltage = (family == VOLTAGE_UPPER) | (family == VOLTAGE_LOWER)
        node = place[voltage]
        path_r = np.asarray(self.paths[:, node].T @ tree.impedance.real)
        scale[voltage] = tree.ratio[node] ** 2 * path_r / np.abs(limits.maximum[chosen[voltage]])
        current = (family == CURRENT_FROM) | (family == CURRENT_TO)
        scale[current] = np.abs(self.gain[chosen[current]]) / self.end_v[chosen[current]]
        return np.maximum(scale, 1e-9)
