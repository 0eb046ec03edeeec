"""Units and signs: the one page every other module refers to.

Units
-----
========================  =======================  =============================
quantity                  unit in code             suffix
========================  =======================  =============================
active power              MW                       ``_mw``
reactive power            Mvar                     ``_mvar``
energy                    MWh (float), Wh (int)    ``_mwh``, ``_wh``
voltage                   per unit of nominal      ``_pu``
current                   kA                       ``_ka``
energy price, DLMP        EUR/MWh                  ``_eur_per_mwh``
published price           integer micro-EUR/MWh    ``_micro_eur_per_mwh``
money                     integer micro-EUR        ``_micro_eur``
duration                  h                        ``_h``
efficiency, share         0..1                     none, never percent
========================  =======================  =============================

Signs
-----
* ``injection_*`` is positive into the grid; a withdrawal is a negative injection.
* Everything else is a non-negative pair: ``charge_mw``/``discharge_mw``,
  ``import_mwh``/``export_mwh``.
* Flow at a branch end is positive from the bus into the branch.
* DLMP = d(cost)/d(withdrawal) = dual of the MW balance / MTU hours: a positive price means
  that one more MWh taken there costs money.
* Payment positive = the participant receives.
* ``imbalance_mwh`` = metered injection - scheduled injection.
* pandapower's own signs (load + withdrawal, sgen + injection, storage + charging) exist only
  in ``data.readers`` and in the study folder's ``profiles.csv``.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

WH_PER_MWH: Final = 1_000_000
MICRO_PER_UNIT: Final = 1_000_000
AWARD_TICK_MW: Final = 1e-6


def round_half_even(value: Fraction) -> int:
    """Round an exact rational to the nearest integer, ties to even: the one rounding rule."""
    return round(value)


def energy_wh(power_mw: float, mtu_minutes: int) -> int:
    """Energy of a constant power over one period, as integer Wh, half-even.

    Parameters
    ----------
    power_mw : float
        Power on the award tick of 1e-6 MW [MW]; it is read as a whole number of ticks.
    mtu_minutes : int
        Length of the period [min].

    Returns
    -------
    int
        Energy [Wh].

    Examples
    --------
    >>> energy_wh(0.000002, 15), energy_wh(0.000006, 15), energy_wh(-1.5, 15)
    (0, 2, -375000)
    """
    ticks = round(power_mw * MICRO_PER_UNIT)
    return round_half_even(Fraction(ticks * mtu_minutes, 60))


def share_out(total: int, weights: Sequence[int]) -> list[int]:
    """Split a whole number in proportion to weights: the largest remainders get what is left over.

    Parameters
    ----------
    total : int
        What is split, of any sign.
    weights : sequence of int
        Not negative, not all 0.

    Returns
    -------
    list of int
        Sums to ``total``; each within 1 of its exact share. Equal remainders are served in the
        sequence of the weights.

    Examples
    --------
    >>> share_out(10, [1, 1, 1]), share_out(-7, [1, 3])
    ([4, 3, 3], [-2, -5])
    """
    sign, whole = (-1 if total < 0 else 1), sum(weights)
    parts = [divmod(abs(total) * weight, whole) for weight in weights]
    given = [part for part, _ in parts]
    by_remainder = sorted(range(len(parts)), key=lambda k: (-parts[k][1], k))
    for k in by_remainder[: abs(total) - sum(given)]:
        given[k] += 1
    return [sign * part for part in given]


def money_micro_eur(quantity_wh: int, price_micro_eur_per_mwh: int) -> int:
    """Money for an energy at a published price, half-even.

    Examples
    --------
    >>> money_micro_eur(250_000, 20_000_000)   # 0.25 MWh at 20 EUR/MWh = 5 EUR
    5000000
    """
    return round_half_even(Fraction(quantity_wh * price_micro_eur_per_mwh, WH_PER_MWH))


def price_micro_eur(price_eur_per_mwh: float) -> int:
    """Publish a price: EUR/MWh as integer micro-EUR/MWh, half-even on its decimal text.

    Raises
    ------
    ValueError
        If the price is not finite.

    Examples
    --------
    >>> price_micro_eur(39.712345678)
    39712346
    """
    if not np.isfinite(price_eur_per_mwh):
        raise ValueError(f"a price must be finite, got {price_eur_per_mwh!r}")
    scaled = Decimal(repr(float(price_eur_per_mwh))) * MICRO_PER_UNIT
    return int(scaled.to_integral_value(rounding=ROUND_HALF_EVEN))


def quantise_mw(power_mw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round powers [MW] to the award tick of 1e-6 MW, half-even; never returns -0.0."""
    return np.round(np.asarray(power_mw, dtype=float) * MICRO_PER_UNIT) / MICRO_PER_UNIT + 0.0
