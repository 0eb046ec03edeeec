"""Whether envelopes are what their rule says, judged by power flows of power-grid-model alone.

Nothing of the engine that made them is asked: limits are values of the replay, worst uses are found
by trying, sensitivities are differences of two power flows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opf.problems.envelopes import FairnessRule
from tests.support.random_envelopes import SharedFeeder

Floats = np.ndarray
# The definition, with a band for what differences of power flows can tell.
LOADS_SHARE, SLIGHT_USE_SHARE, BAND = 0.05, 0.1, 0.1
# Excess that is rounding [pu; share of a rating].
HOLDS = 3e-5
# A limit this near binds, and a level this little higher is equal.
BINDS, EQUAL = 1e-4, 2e-3
# Voltages and loadings looked at, nearest to their limit first.
NEAREST = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Corner:
    """One direction of use and the sign of the reactive power in it."""

    feeder: SharedFeeder
    turn: complex

    def excess(self, used: Floats) -> Floats:
        """Excess over every limit, shape (limits, columns) [pu; share of the rating]."""
        feeder = self.feeder
        report = feeder.use(used * self.turn)
        limits, network = feeder.limits, feeder.network
        vm = report.vm_pu[network.buses.index != network.slack_bus]
        upper, lower = limits.vm_pu_max[0], limits.vm_pu_min[0]
        line = limits.line_loading_percent_max[:, None]
        trafo = limits.trafo_loading_percent_max[:, None]
        return np.vstack(
            [
                vm - upper,
                lower - vm,
                report.line_loading_percent / line - 1.0,
                report.trafo_loading_percent / trafo - 1.0,
            ]
        )

    def nearest(self, x: Floats) -> list[int]:
        """Return the limits nearest to binding where all, all but one or one alone is in use."""
        alone = np.diag(x)
        tried = self.excess(np.hstack([x[:, None], x[:, None] - alone, alone])).max(axis=1)
        buses = 2 * (len(self.feeder.network.buses.index) - 1)
        parts = (np.arange(buses), np.arange(buses, len(tried)))
        return [
            int(k)
            for part in parts
            for k in part[np.argsort(-tried[part], kind="stable")[:NEAREST]]
        ]

    def worst_use(self, limit: int, x: Floats) -> tuple[Floats, float]:
        """Switch envelopes on and off, one at a time, as long as it makes a limit worse."""
        used, best = x.copy(), float(self.excess(x[:, None])[limit, 0])
        for _ in range(4 * len(x)):
            tried = np.repeat(used[:, None], len(x), axis=1)
            np.fill_diagonal(tried, x - used)
            found = self.excess(tried)[limit]
            if found.max() <= best + 1e-10:
                break
            used, best = tried[:, int(found.argmax())], float(found.max())
        return used, best

    def slopes(self, limit: int, used: Floats, step: float) -> Floats:
        """How a MW more of each envelope moves a limit; who relieves it moves it not."""
        both = np.repeat(used[:, None], 2 * len(used), axis=1)
        both[:, : len(used)] += step * np.eye(len(used))
        both[:, len(used) :] -= step * np.eye(len(used))
        found = self.excess(both)[limit]
        return np.maximum(found[: len(used)] - found[len(used) :], 0.0) / (2.0 * step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """A limit that binds: who may be said to load it, and who surely does."""

    may_load: np.ndarray
    loads: np.ndarray


def faults_of_shares(
    feeder: SharedFeeder, rule: FairnessRule, sign: float, x: Floats
) -> tuple[list[str], int]:
    """Return what is wrong with the envelopes of one direction.

    Parameters
    ----------
    feeder : SharedFeeder
        The case.
    rule : str
        What ``x`` is said to follow.
    sign : float
        +1 exports, -1 imports.
    x : ndarray, shape (connections,)
        The envelopes [MW].

    Returns
    -------
    (faults, slight)
        Sentences, and how many go on beyond a limit that they move and do not load.
    """
    connections = feeder.connections
    request = connections.export_mw if sign > 0 else connections.import_mw
    level = x / request if rule == "pro_rata" else x
    step = 1e-3 * float(request.max())
    faults, bottlenecks, slight = [], [], 0
    for turn in sorted({tan * each for tan in connections.tan_max for each in (1.0, -1.0)}):
        corner = Corner(feeder=feeder, turn=sign * (1.0 + 1j * turn))
        for limit in corner.nearest(x):
            used, excess = corner.worst_use(limit, x)
            if excess > HOLDS:
                faults.append(f"limit {limit} is exceeded by {excess:.2e}")
            if excess < -BINDS:
                continue
            slope = corner.slopes(limit, used, step)
            room = float(slope @ used) - excess
            bottlenecks.append(_bottleneck(slope, room, request))
            beyond = level > level[bottlenecks[-1].loads].max(initial=0.0) * (1.0 + EQUAL)
            slight += int((beyond & (slope > 0.0) & (x > 0.0)).sum())
    for row in np.flatnonzero(x < request * (1.0 - 1e-6)).tolist():
        held = [
            each
            for each in bottlenecks
            if each.may_load[row]
            and level[row] >= (1.0 - EQUAL) * level[each.loads].max(initial=0.0)
        ]
        if not held:
            faults.append(f"{connections.name[row]} has no bottleneck at {x[row]:.6f} MW")
    return faults, slight


def _bottleneck(slope: Floats, room: float, request: Floats) -> Bottleneck:
    """Read the definition once in favour of loading and once against it."""
    largest = slope.max(initial=0.0)

    def loads(band: float) -> np.ndarray:
        hardly = slope < LOADS_SHARE * (1.0 + band) * largest
        together = float(slope[hardly] @ request[hardly])
        little = together <= SLIGHT_USE_SHARE * (1.0 + band) * max(room, 0.0)
        return np.asarray((slope > 1e-7 * largest) & ~(hardly & little))

    return Bottleneck(may_load=loads(-BAND), loads=loads(BAND))
