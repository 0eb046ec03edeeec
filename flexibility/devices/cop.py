"""Coefficient of performance of heat pumps by temperature.

Ruhnau, Hirth, Praktiknjo (2019), "Time series of heat demand and heat pump efficiency for energy
system modeling", Scientific Data 6:189, https://doi.org/10.1038/s41597-019-0199-y: quadratic
regressions over the lift between source and sink, of manufacturers' data, times 0.85 for what
field tests find; a lift below 15 K counts as 15 K.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from flexibility.devices.common import Floats

Source = Literal["air", "ground", "water"]
Sink = Literal["radiator", "floor"]
REGRESSIONS: Final[dict[Source, tuple[float, float, float]]] = {
    "air": (6.08, -0.09, 0.0005),
    "ground": (10.29, -0.21, 0.0012),
    "water": (9.97, -0.20, 0.0012),
}
FIELD_CORRECTION: Final = 0.85
LIFT_K_MIN: Final = 15.0
COP_MIN: Final = 1.0


def flow_temperature_c(outdoor_c: Floats, sink: Sink) -> Floats:
    """Return the heating curve: 40 - T for radiators, 30 - T / 2 for heated floors [degC].

    Examples
    --------
    >>> flow_temperature_c(np.array([-10.0, 10.0]), "radiator").tolist()
    [50.0, 30.0]
    """
    if sink == "radiator":
        return np.asarray(40.0 - 1.0 * outdoor_c)
    return np.asarray(30.0 - 0.5 * outdoor_c)


def coefficient_of_performance(source_c: Floats, sink_c: Floats, source: Source = "air") -> Floats:
    """Return heat over electric power, at least 1.

    Parameters
    ----------
    source_c, sink_c : ndarray
        Temperatures of the source and of the flow [degC].
    source : str
        What heat is drawn from.

    Examples
    --------
    >>> coefficient_of_performance(np.array([7.0]), np.array([35.0])).round(3).tolist()
    [3.359]
    """
    lift = np.maximum(sink_c - source_c, LIFT_K_MIN)
    constant, linear, square = REGRESSIONS[source]
    cop = FIELD_CORRECTION * (constant + linear * lift + square * lift**2)
    return np.asarray(np.maximum(cop, COP_MIN))
