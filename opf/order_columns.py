"""Which columns belong to one order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records.order import Order

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderColumns:
    """Columns of one order by role, each of shape (..., periods); 0 where there is none.

    ``steps`` (generation, demand: one row per price step), ``charge``, ``discharge``, ``energy``
    (storage), ``power`` (shift, bilateral, block: injection, curtail: reduction), ``rebound``
    (curtail), ``moved`` (shift: above and below its baseline, shape (2, periods)), ``ratio``
    (block: one column for all periods), ``reactive``. ``tan_phi`` [Mvar/MW] is the fixed ratio of
    reactive to active power where q follows p; ``on`` are the periods in which a curtail order is
    on.
    """

    order: Order
    steps: Ints | None = None
    charge: Ints | None = None
    discharge: Ints | None = None
    energy: Ints | None = None
    power: Ints | None = None
    rebound: Ints | None = None
    moved: Ints | None = None
    ratio: Ints | None = None
    reactive: Ints | None = None
    tan_phi: Floats | None = None
    on: Bools | None = None
