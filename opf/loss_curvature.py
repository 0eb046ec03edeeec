"""Second-order losses for the optimiser: branch flow changes on a spanning tree.

Import and limits are linear in the injections plus what the losses add. A change df, dg of active
and reactive flow through branch b adds losses ``r_b (df^2 + dg^2) / |V|^2`` [MW] and ``x_b (...)``
[Mvar] right there, and a loss is a withdrawal: to the Lagrangian it is worth the local prices. So
the curvature of cost and priced limits together is diagonal in the flows,

    weight_b = (DLMP_P r_b + DLMP_Q x_b) / |V|^2,    prices averaged over the two ends.

That keeps the quadratic programme sparse and separable, and makes the successive programmes
converge where schedules are interior (storage levelling losses), where linear ones jump between
vertices. Where an overvoltage has eaten the price, the weight vanishes, as it should. On a meshed
grid a spanning tree is used: the curvature is then approximate, the gradients stay exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from opf.grid import Grid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowTree:
    """Flows that resources can change, chains without resources in between merged.

    Parameters
    ----------
    resistance, reactance : ndarray, shape (flows,)
        Sum of r / |V|^2 and x / |V|^2 along the merged chain [1/MW].
    parent : ndarray of int, shape (flows,)
        Flow above, -1 at the substation.
    bottom : ndarray of int, shape (flows,)
        Node at the lower end of the chain.
    flow_of_node : ndarray of int, shape (nodes,)
        Flow right above a node, -1 for the substation and nodes no resource is below.
    flow_of_branch : ndarray of int, shape (branches,)
        Flow that runs through a branch, -1 off the tree and where no resource is below.
    """

    resistance: Floats
    reactance: Floats
    parent: Ints
    bottom: Ints
    flow_of_node: Ints
    flow_of_branch: Ints

    def differences(self, gradient: Floats) -> Floats:
        """Express a gradient by node injections as one by flows.

        ``sum_i a_i dp_i = a_0 dp_0 + sum_f (a_bottom(f) - a_bottom(parent(f))) df_f`` holds exactly
        for any gradient a, because df_f is the sum of what is injected below f. Off the path to a
        monitored element the differences are tiny, so rows become sparse.

        Parameters
        ----------
        gradient : ndarray, shape (nodes, k)

        Returns
        -------
        ndarray, shape (flows, k)
        """
        at_bottom = gradient[self.bottom]
        above = np.where(
            (self.parent >= 0)[:, None], at_bottom[np.maximum(self.parent, 0)], gradient[:1] * 0.0
        )
        return at_bottom - above

    def weights(self, dlmp_p: Floats, dlmp_q: Floats) -> Floats:
        """Curvature of the Lagrangian by each flow, signed.

        Parameters
        ----------
        dlmp_p, dlmp_q : ndarray, shape (nodes, periods)
            Prices [EUR/MWh, EUR/Mvarh].

        Returns
        -------
        ndarray, shape (flows, periods)
            [EUR/MW^2/h]
        """
        top = np.where(self.parent >= 0, self.bottom[np.maximum(self.parent, 0)], 0)
        mean_p = 0.5 * (dlmp_p[self.bottom] + dlmp_p[top])
        mean_q = 0.5 * (dlmp_q[self.bottom] + dlmp_q[top])
        r, x = self.resistance[:, None], self.reactance[:, None]
        return mean_p * r + mean_q * x

    def at_bottom(self, differences: Floats) -> Floats:
        """Sum differences down the tree: the inverse of `differences`, shape (flows, k)."""
        total = differences.copy()
        for flow in range(len(self.parent) - 1, -1, -1):
            if self.parent[flow] >= 0:
                total[flow] += total[self.parent[flow]]
        return total


def build_flow_tree(grid: Grid, resource_nodes: Ints, vm_pu: Floats) -> FlowTree:
    """Find the flows above the nodes that carry resources.

    Parameters
    ----------
    resource_nodes : ndarray of int
        Nodes at which any column injects.
    vm_pu : ndarray, shape (nodes,)
        Typical voltages [pu].
    """
    nodes = grid.node_count
    b = grid.branches
    joined = sparse.csr_matrix((np.ones(len(b)), (b.node_from, b.node_to)), shape=(nodes, nodes))
    order, above = csgraph.breadth_first_order(joined, 0, directed=False)
    pair_z: dict[tuple[int, int], complex] = {}
    for f, t, z in zip(b.node_from.tolist(), b.node_to.tolist(), b.impedance.tolist(), strict=True):
        key = (min(f, t), max(f, t))
        known = pair_z.get(key)
        # parallel branches share the flow
        pair_z[key] = z if known is None else known * z / (known + z)
    own = np.zeros(nodes, dtype=bool)
    own[resource_nodes] = True
    children: list[list[int]] = [[] for _ in range(nodes)]
    flow_of_node = np.full(nodes, -1, dtype=np.int64)
    total: list[complex] = []
    parents: list[int] = []
    bottoms: list[int] = []
    for node in order[::-1].tolist():
        if node == 0:
            break
        below = children[node]
        if not own[node] and not below:
            continue
        if own[node] or len(below) > 1:
            flow = len(total)
            total.append(0j)
            parents.append(-1)
            bottoms.append(node)
            for child in below:
                parents[child] = flow
        else:
            flow = below[0]
        up = int(above[node])
        total[flow] += pair_z[(min(node, up), max(node, up))] / float(vm_pu[node]) ** 2
        flow_of_node[node] = flow
        children[up].append(flow)
    lower = np.where(above[b.node_to] == b.node_from, b.node_to, b.node_from)
    on_tree = (above[b.node_to] == b.node_from) | (above[b.node_from] == b.node_to)
    return FlowTree(
        resistance=np.array(total, dtype=complex).real,
        reactance=np.array(total, dtype=complex).imag,
        parent=np.array(parents, dtype=np.int64),
        bottom=np.array(bottoms, dtype=np.int64),
        flow_of_node=flow_of_node,
        flow_of_branch=np.where(on_tree, flow_of_node[lower], -1),
    )
