"""Cars that left with less than their energy: how much, why, and who pays."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

import numpy as np

from data.errors import Problem, refuse_if_any
from data.units import WH_PER_MWH, money_micro_eur, round_half_even, share_out
from flexibility.devices.common import TIME_TOLERANCE_H
from flexibility.devices.vehicles import CarSessions, CarState

ShortfallReason = Literal["asked for more than it can reach", "held back", "charged too late"]
Payer = Literal["nobody", "operator", "aggregator"]
PARTS_PER_MWH: Final = 1000 * WH_PER_MWH
# In the sequence in which they are told apart.
PAYER: Final[dict[ShortfallReason, Payer]] = {
    "asked for more than it can reach": "nobody",
    "held back": "operator",
    "charged too late": "aggregator",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortfallRule:
    """What a missing MWh in a car's battery is worth.

    Parameters
    ----------
    price_micro_eur_per_mwh : int
        Compensation [micro-EUR/MWh], not negative.
    """

    price_micro_eur_per_mwh: int

    def __post_init__(self) -> None:
        if self.price_micro_eur_per_mwh < 0:
            what = f"price {self.price_micro_eur_per_mwh} micro-EUR/MWh is negative"
            refuse_if_any([Problem(where="shortfall rule", what=what)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """One reason why a car left with less than it asked for.

    Parameters
    ----------
    car : str
        Session id.
    bus : int
        Its charging point.
    missing_wh : int
        Energy missing in the battery for this reason [Wh].
    reason : str
        What kept it away: the session itself was too short or the charger too small; the limit
        of the grid connection held it back; or it was charged too late.
    payer : str
        Who owes the amount: nobody, the grid operator whose limit it was, or the aggregator.
    amount_micro_eur : int
        What the driver receives [micro-EUR].
    """

    car: str
    bus: int
    missing_wh: int
    reason: ShortfallReason
    payer: Payer
    amount_micro_eur: int


def find_shortfalls(
    sessions: CarSessions, state: CarState, rule: ShortfallRule, *, dt_h: float
) -> tuple[Shortfall, ...]:
    """Name what every departed car misses; the reasons of a car add up to what it misses.

    First what the session could never reach, then what the connection held back, then the rest.
    Energies are rounded to whole Wh; a car that misses less than half a Wh misses nothing.

    Parameters
    ----------
    sessions : CarSessions
        What was asked for.
    state : CarState
        Where the cars stand; only those departed by then are judged.
    rule : ShortfallRule
        What a missing MWh is worth.
    dt_h : float
        Length of the steps [h]: a car charges in whole steps.

    Returns
    -------
    tuple of Shortfall
        In the sequence of the sessions.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones(1)
    >>> late = CarSessions(
    ...     ids=("car-1",), buses=(7,), arrival_h=one, departure_h=2 * one,
    ...     energy_mwh_arrival=0.010 * one, energy_mwh_departure=0.040 * one,
    ...     energy_mwh_reserve=0 * one, energy_mwh_max=0.060 * one, charge_mw_max=0.011 * one,
    ...     discharge_mw_max=0 * one, efficiency_charge=one, efficiency_discharge=one)
    >>> gone = CarState(elapsed_h=2.0, energy_mwh=0.018 * one, held_back_mwh=0.003 * one)
    >>> for each in find_shortfalls(late, gone, ShortfallRule(price_micro_eur_per_mwh=400_000_000),
    ...                             dt_h=0.25):
    ...     print(each.reason, each.missing_wh, each.payer, each.amount_micro_eur)
    asked for more than it can reach 19000 nobody 0
    held back 3000 operator 1200000
    """
    reach = sessions.reachable_mwh(dt_h)
    found = []
    for k in range(len(sessions.ids)):
        if sessions.departure_h[k] > state.elapsed_h + TIME_TOLERANCE_H:
            continue
        missed = sessions.energy_mwh_departure[k] - state.energy_mwh[k]
        left = _whole(missed, WH_PER_MWH)
        if left == 0:
            continue
        own = min(max(sessions.energy_mwh_departure[k] - reach[k], 0.0), missed)
        held = min(state.held_back_mwh[k], missed - own)
        # In thousandths of a Wh, so that the remainder of a float is no reason.
        weights = [_whole(part, PARTS_PER_MWH) for part in (own, held, missed - own - held)]
        reasons: tuple[ShortfallReason, ...] = tuple(PAYER)
        parts = zip(reasons, share_out(left, weights), strict=True)
        found += [
            Shortfall(
                car=sessions.ids[k],
                bus=sessions.buses[k],
                missing_wh=missing,
                reason=reason,
                payer=PAYER[reason],
                amount_micro_eur=(
                    0
                    if PAYER[reason] == "nobody"
                    else money_micro_eur(missing, rule.price_micro_eur_per_mwh)
                ),
            )
            for reason, missing in parts
            if missing > 0
        ]
    return tuple(found)


def _whole(energy_mwh: float | np.floating, per_mwh: int) -> int:
    """Return an energy [MWh] in whole parts of a MWh, at least 0."""
    return max(round_half_even(Fraction(float(energy_mwh)) * per_mwh), 0)
