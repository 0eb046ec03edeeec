"""What a static inverter gives in reactive power by its own: droops on voltage and on power.

Source of the shapes and of the standard values: VDE-AR-N 4105:2018-11, 5.7.2 (generators at the
low-voltage grid): Q(U) with 0.93, 0.97, 1.03 and 1.07 of nominal voltage, cos phi(P) from half of
rated power on, cos phi 0.95 up to 4.6 kVA and 0.90 above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from data.errors import Problem, refuse_if_any
from flexibility.devices.common import Floats

SMALL_PLANT_MVA: Final = 4.6e-3
POWER_FACTOR_SMALL: Final = 0.95
POWER_FACTOR_LARGE: Final = 0.90
CURVE_POINTS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class VoltVarCurve:
    """Reactive power over voltage: full injection below the first voltage, full withdrawal above
    the last, none between the two in the middle, straight lines between.

    Parameters
    ----------
    vm_pu : tuple of float
        Four rising voltages [pu].
    """

    vm_pu: tuple[float, float, float, float] = (0.93, 0.97, 1.03, 1.07)

    def __post_init__(self) -> None:
        points = np.asarray(self.vm_pu, dtype=float)
        if len(points) != CURVE_POINTS or not np.isfinite(points).all():
            refuse_if_any([Problem(where="Q(U)", what=f"{self.vm_pu} are not four voltages")])
        rising = np.diff(points) > 0.0
        rising[1] = points[2] >= points[1]
        if not rising.all() or points[0] <= 0.0:
            refuse_if_any([Problem(where="Q(U)", what=f"voltages {self.vm_pu} do not rise")])

    def share(self, vm_pu: Floats) -> Floats:
        """Return the share of the largest reactive power, in [-1, 1], positive into the grid.

        Examples
        --------
        >>> VoltVarCurve().share(np.array([0.9, 0.95, 1.0, 1.05, 1.1])).round(3).tolist()
        [1.0, 0.5, 0.0, -0.5, -1.0]
        """
        return np.asarray(np.interp(vm_pu, self.vm_pu, (1.0, 0.0, 0.0, -1.0)) + 0.0)


def power_factor_required(s_mva_max: Floats) -> Floats:
    """Return the power factor that a plant of this size must be able to run at, either way."""
    return np.where(s_mva_max <= SMALL_PLANT_MVA, POWER_FACTOR_SMALL, POWER_FACTOR_LARGE)


def power_factor_over_power(injection_mw: Floats, p_mw_rated: Floats, lowest: Floats) -> Floats:
    """Return the reactive power of the cos phi(P) characteristic [Mvar], never positive.

    cos phi is 1 up to half of rated power and falls in a straight line to ``lowest`` at rated
    power, withdrawing reactive power (which lowers the voltage).

    Examples
    --------
    >>> power_factor_over_power(np.array([0.4, 1.0]), np.ones(2), np.full(2, 0.9)).round(4).tolist()
    [0.0, -0.4843]
    """
    share = np.clip(injection_mw / p_mw_rated, 0.0, 1.0)
    factor = 1.0 - (1.0 - lowest) * np.maximum(2.0 * share - 1.0, 0.0)
    return 0.0 - injection_mw * np.tan(np.arccos(factor))
