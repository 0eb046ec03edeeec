"""What devices are told, and what they did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setpoint:
    """Power one asset is told to follow; never overwritten by what it did.

    ``injection_mw``/``injection_mvar`` have shape (periods,), positive into the grid.
    """

    order: str
    asset: str
    bus: int
    periods: Periods
    injection_mw: Floats
    injection_mvar: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What one asset did: metered injection [MW], state of charge at period end [MWh] if any."""

    order: str
    asset: str
    bus: int
    periods: Periods
    injection_mw: Floats
    injection_mvar: Floats
    soc_mwh: Floats | None = None
    remarks: tuple[str, ...] = ()
