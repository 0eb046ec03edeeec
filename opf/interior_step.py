"""What one step of the interior point method works on: iterate, what it leaves open, direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opf.linearise import Linearisation
from opf.power_flow import AcState

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(slots=True)
class Iterate:
    """``u`` = free columns, activities of rows with room, rooms t and slacks s of the limits."""

    u: Floats
    lower_price: Floats
    upper_price: Floats
    row_price: Floats
    limit_price: Floats
    state: AcState
    lin: Linearisation


@dataclass(slots=True)
class Open:
    """What is missing: stationarity of ``u``, rows, limits; and the barrier's present level."""

    dual: Floats
    rows: Floats
    limits: Floats
    to_lower: Floats
    to_upper: Floats
    barrier: float


@dataclass(slots=True)
class Direction:
    """A step of everything, and how far it may go in the primal and the dual space."""

    u: Floats
    lower_price: Floats
    upper_price: Floats
    row_price: Floats
    limit_price: Floats
    primal: float = 0.0
    dual: float = 0.0


def way_to_bound(distance: Floats, step: Floats, has: Bools) -> float:
    """Largest share of a step, at most 1, that keeps every distance from becoming negative."""
    towards = has & (step < 0)
    if not towards.any():
        return 1.0
    return min(1.0, float((distance[towards] / -step[towards]).min()))


def recentre(product: Floats, barrier: float) -> Floats:
    """What brings products that are far off the barrier towards it (Gondzio)."""
    low, high = 0.1 * barrier, 10.0 * barrier
    off = np.where(product < low, low - product, np.where(product > high, high - product, 0.0))
    return np.maximum(off, -high)
