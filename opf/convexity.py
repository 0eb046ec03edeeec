"""What makes a step of the interior point method minimise where the Lagrangian is concave.

The signs of the pivots say whether it does. On grids without zones a multiple of the barrier's own
scale is added until it does. On grids with zones some zone nearly always has concave flows, and
what it needs must not hold up the others: the pivots say which zones are concerned, their concave
flows count as straight until the zone's steps are long again.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from opf.kkt_system import KktSystem
from opf.linearise import Linearisation
from opf.zone_places import ZonePlaces

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Convexification, in units of barrier / width^2: the least, and its growth.
LEAST_SHIFT: Final = 4.0
SHIFT_GROWTH: Final = 4.0
# Steps shorter than this ask for more convexification, longer ones than that for less.
SHORT_STEP: Final = 0.1
LONG_STEP: Final = 0.7
# Long steps in a row after which concave flows of a zone are no longer straight.
LONG_STEPS: Final = 2
# On grids with zones: concave flows whose curvature is below this are straight [EUR/MW^2].
LEAST_CURVATURE: Final = 1e-3
# Relative residual up to which a factorisation is of use.
USABLE: Final = 1e-6


class Convexity:
    """What is added or left out, zone by zone, and what the last steps taught."""

    def __init__(self, zones: ZonePlaces) -> None:
        self.zones = zones
        self.shift = np.zeros(zones.count)
        # zones whose concave flows count as straight, and long steps of each in a row
        self.straight = np.zeros(zones.count, dtype=bool)
        self.long_steps = np.zeros(zones.count, dtype=np.int64)
        # whether a step would not have minimised without convexification
        self.met = False

    def begin(self, flows: Floats) -> Floats:
        """Take curvature by flows for a new step; returns it without what is next to nothing."""
        self.straight &= self.long_steps < LONG_STEPS
        if self.zones.count == 1:
            return flows
        return np.where(np.abs(flows) < LEAST_CURVATURE, np.maximum(flows, 0.0), flows)

    def used(self, flows: Floats) -> Floats:
        """Curvature with which the flows count at present."""
        return np.where(self.straight[self.zones.of_flow], np.maximum(flows, 0.0), flows)

    def whole(self, system: KktSystem) -> bool:
        """Whether a step minimises on a grid without zones; where it would not, shift."""
        if system.is_convex():
            return True
        self.met = True
        self.shift = np.maximum(LEAST_SHIFT, SHIFT_GROWTH * self.shift)
        return False

    def by_zone(self, system: KktSystem, lin: Linearisation, flows: Floats) -> bool:
        """Whether a step minimises on a grid with zones; where it would not, straighten.

        Parameters
        ----------
        system : KktSystem
            Factorised, and solved once.
        flows : ndarray, shape (flows,)
            Curvature by flows, as of `begin`.
        """
        zones = self.zones
        concave = np.bincount(zones.of_flow[flows < 0.0], minlength=zones.count) > 0
        lacking = system.missing_pivots(zones.of_system(lin), zones.count)
        if lacking.sum():
            wrong = (lacking > 0) & concave & ~self.straight
            self._straighten(wrong if wrong.any() else concave)
            return False
        if not system.inaccuracy < USABLE:
            # pivots of the right signs may be next to nothing where curvature changes its sign
            self._straighten(concave)
            return False
        return True

    def _straighten(self, chosen: Bools) -> None:
        self.straight |= chosen
        self.long_steps[self.straight] = 0

    def learn(self, way: Floats) -> None:
        """Convexify more in zones that stop a step short, and less in those that do not."""
        more, less = way < SHORT_STEP, way > LONG_STEP
        lower = np.where(self.shift > LEAST_SHIFT, self.shift / SHIFT_GROWTH, 0.0)
        higher = np.maximum(LEAST_SHIFT, SHIFT_GROWTH * self.shift)
        self.shift = np.where(more, higher, np.where(less, lower, self.shift))
        self.long_steps = np.where(less, self.long_steps + 1, 0)
