"""Characteristics over the voltage: Q(U) and P(U), linear between corners and flat outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from data.records.dispatch import DroopPoint


def droop_value(
    corners: Sequence[DroopPoint], quantity: Literal["q_var", "p_max_w"], vm_pu: float
) -> int | None:
    """Return a characteristic at one voltage, to the nearest W or var.

    Parameters
    ----------
    corners : sequence of DroopPoint
        With rising voltage.
    quantity : str
        ``q_var`` (reactive injection) or ``p_max_w`` (most active injection).
    vm_pu : float
        Voltage [pu].

    Returns
    -------
    int or None
        [var] or [W]; None where the corners do not set it or the voltage is not finite.

    Examples
    --------
    >>> corners = (DroopPoint(vm_pu=1.03, q_var=0), DroopPoint(vm_pu=1.05, q_var=-2000))
    >>> [droop_value(corners, "q_var", vm_pu) for vm_pu in (1.0, 1.04, 1.1)]
    [0, -1000, -2000]
    """
    values = [getattr(corner, quantity) for corner in corners]
    if not values or None in values or not np.isfinite(vm_pu):
        return None
    return round(float(np.interp(vm_pu, [corner.vm_pu for corner in corners], values)))
