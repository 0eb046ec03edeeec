"""Zones: parts of a grid that hang on the rest by one branch, usually a transformer.

A low-voltage network behind its transformers (parallel ones count as one branch) shares nothing
with its neighbours but the node it hangs on. What carries zones is the rest, here 0. Grids without
such transformers are cut at branches whose removal disconnects them, into parts of similar size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from opf.grid import Grid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Grids up to this size are one system.
NODES_UNCUT_MAX: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Zones:
    """A partition of the nodes.

    Parameters
    ----------
    of_node : ndarray of int, shape (nodes,)
        Zone of each node, 1 to ``count``; 0 for what carries them.
    top : ndarray of int, shape (count,)
        Node of each zone at its boundary.
    """

    of_node: Ints
    top: Ints

    @property
    def count(self) -> int:
        """Number of zones; 0 where one system is all there is."""
        return len(self.top)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spanning:
    """A breadth-first tree of the grid, and which of its branches are bridges.

    ``above`` is the node above each node (-1 for the substation), ``order`` goes from there down,
    ``bridge`` says whether what is between a node and the one above is all that holds it.
    """

    order: Ints
    above: Ints
    bridge: Bools


def one_zone(grid: Grid) -> Zones:
    """No partition: everything is one system."""
    return Zones(of_node=np.zeros(grid.node_count, dtype=np.int64), top=np.zeros(0, dtype=np.int64))


def zones_at_transformers(grid: Grid) -> Zones:
    """Cut where a transformer, or parallel ones, is all that holds a part of the grid.

    Parts that hold no further such parts are zones. One alone is no partition.
    """
    span = _span(grid)
    b = grid.branches
    transformer = np.zeros(grid.node_count, dtype=bool)
    line = np.zeros(grid.node_count, dtype=bool)
    for f, t, kind in zip(b.node_from.tolist(), b.node_to.tolist(), b.kind.tolist(), strict=True):
        lower = f if span.above[f] == t else t
        (transformer if kind == "trafo" else line)[lower] = True
    cuts = np.flatnonzero(transformer & ~line & span.bridge)
    return _zones(grid, span, _far(grid, span, cuts))


def zones_by_size(grid: Grid, count: int) -> Zones:
    """Cut at bridges into ``count`` zones of similar size, from the far ends up.

    A grid with too few bridges is cut into fewer.
    """
    span = _span(grid)
    goal = max(grid.node_count // (count + 1), 1)
    tops = _cuts(grid, span, goal, count)
    while len(tops) < count and goal > 1:
        goal = goal * 4 // 5
        tops = _cuts(grid, span, goal, count)
    return _zones(grid, span, np.array(sorted(tops), dtype=np.int64))


def _cuts(grid: Grid, span: _Spanning, goal: int, count: int) -> list[int]:
    """Highest nodes of at most ``count`` parts of about ``goal`` nodes."""
    weight = np.ones(grid.node_count, dtype=np.int64)
    tops: list[int] = []
    for node in span.order[:0:-1].tolist():
        if span.bridge[node] and weight[node] >= goal and len(tops) < count:
            tops.append(node)
        else:
            weight[span.above[node]] += weight[node]
    return tops


def find_zones(grid: Grid) -> Zones:
    """Return the partition the engine works with: at transformers, by size where there are none.

    A small grid is one system.
    """
    if grid.node_count <= NODES_UNCUT_MAX:
        return one_zone(grid)
    zones = zones_at_transformers(grid)
    return zones if zones.count else zones_by_size(grid, grid.node_count // NODES_UNCUT_MAX + 1)


def _span(grid: Grid) -> _Spanning:
    nodes, b = grid.node_count, grid.branches
    low, high = np.minimum(b.node_from, b.node_to), np.maximum(b.node_from, b.node_to)
    pairs = np.unique(np.column_stack([low, high]), axis=0).reshape(-1, 2)
    joined = sparse.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (nodes, nodes))
    order, above = csgraph.breadth_first_order(joined, 0, directed=False)
    above = np.where(above < 0, -1, above).astype(np.int64)
    depth = np.zeros(nodes, dtype=np.int64)
    for node in order[1:].tolist():
        depth[node] = depth[above[node]] + 1
    bridge = np.ones(nodes, dtype=bool)
    bridge[0] = False
    for f, t in pairs.tolist():
        if above[f] == t or above[t] == f:
            continue
        while f != t:  # a branch off the tree closes a ring: nothing in it is a bridge
            if depth[f] < depth[t]:
                f, t = t, f
            bridge[f] = False
            f = int(above[f])
    return _Spanning(order=order.astype(np.int64), above=above, bridge=bridge)


def _far(grid: Grid, span: _Spanning, cuts: Ints) -> Ints:
    """Cuts below which there is no other."""
    is_cut = np.zeros(grid.node_count, dtype=bool)
    is_cut[cuts] = True
    holds = np.zeros(grid.node_count, dtype=bool)
    for node in span.order[:0:-1].tolist():
        holds[span.above[node]] |= holds[node] or is_cut[node]
    return np.flatnonzero(is_cut & ~holds)


def _zones(grid: Grid, span: _Spanning, top: Ints) -> Zones:
    """Number the parts below the cuts; a part ends where the next one begins."""
    if len(top) < 2:
        return one_zone(grid)
    of_node = np.zeros(grid.node_count, dtype=np.int64)
    of_node[top] = 1 + np.arange(len(top))
    for node in span.order[1:].tolist():
        if not of_node[node]:
            of_node[node] = of_node[span.above[node]]
    return Zones(of_node=of_node, top=top)
