"""Which zone each part of the interior point method's system belongs to."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from opf.linearise import Linearisation, limit_node
from opf.problem import Problem

Ints = NDArray[np.int64]

UNKNOWN: Final = -1


class ZonePlaces:
    """Zones of columns, flows, rows and limits; without zones, all of them are in zone 0.

    A column that injects in several zones is in the last of them: pivots then count on either side.
    """

    def __init__(self, problem: Problem) -> None:
        res, of_node = problem.resources, problem.zones.of_node
        self.count = problem.zones.count + 1
        zone = np.full(len(res.cost), UNKNOWN)
        zone[res.inject_column] = of_node[res.inject_node]
        row, column = res.rows.nonzero()
        self.of_row = np.zeros(res.rows.shape[0], dtype=np.int64)
        np.maximum.at(self.of_row, row, zone[column])
        # what injects nothing (a state of charge) is where its rows are
        by_row = np.zeros(len(zone), dtype=np.int64)
        np.maximum.at(by_row, column, self.of_row[row])
        zone = np.where(zone == UNKNOWN, by_row, zone)
        self.of_column: Ints = zone[problem.programme.free]
        by_period = np.repeat(of_node[problem.programme.tree.bottom], problem.periods)
        self.of_flow: Ints = np.tile(by_period, len(problem.programme.flow_parts))
        self._of_limit: Ints = of_node[limit_node(problem)]

    def of_limit(self, lin: Linearisation) -> Ints:
        """Zone of every limit of a linearisation."""
        return np.asarray(self._of_limit[lin.chosen])

    def of_system(self, lin: Linearisation) -> Ints:
        """Zone of every column, flow, flow balance, row and limit of `opf.kkt_system`."""
        limit = self.of_limit(lin)
        return np.concatenate([self.of_column, self.of_flow, self.of_flow, self.of_row, limit])

    def of_iterate(self, lin: Linearisation, loose: Ints) -> Ints:
        """Zone of every column, loose row, room and slack of an iterate."""
        limit = self.of_limit(lin)
        return np.concatenate([self.of_column, self.of_row[loose], limit, limit])
