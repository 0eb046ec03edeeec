"""What is put where no usable value came in, and by which method.

In sequence of preference:

1. ``register_profile``: the registers bound the energy of the stretch; what the good values leave
   is shared out in proportion to the profile of like days (or, for a short gap, to the straight
   line between its neighbours), in whole Wh, exactly.
2. ``register_flat``: the same without any profile to share by.
3. ``interpolated``: gaps of at most two hours, a straight line between the neighbours.
4. ``like_days``: the mean of the four nearest days of the same kind at the same time of day.
5. ``none``: nothing of this is possible; the value stays open.

Two hours and like days are the practice of the Uniform Business Practices for Unbundled
Electricity Metering (Edison Electric Institute, vol. 2, 2000).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.local_week import LocalWeek
from data.records.metering import (
    INTERPOLATED,
    LIKE_DAYS,
    NO_VALUE_WH,
    REGISTER_FLAT,
    REGISTER_PROFILE,
    UNRESOLVED,
    Codes,
    Integers,
)
from data.units import share_out
from dso.metering.checks import Marks, runs_of

LIKE_DAYS_USED: Final = 4
LIKE_DAYS_REACH: Final = 28
INTERPOLATED_H_MAX: Final = 2.0
WEIGHT_STEPS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """Values for periods without a usable one, from the usable ones around.

    Parameters
    ----------
    value_wh : ndarray of int64, shape (periods,)
        What came in [Wh].
    usable : ndarray of bool, shape (periods,)
        Which of it may be trusted.
    """

    value_wh: Integers
    usable: Marks
    week: LocalWeek
    mtu_minutes: int

    def guesses(self, wanted: Marks) -> tuple[NDArray[np.float64], Codes]:
        """Return an estimate [Wh] and its method for each wanted period; NaN and none elsewhere."""
        guess = np.full(len(self.value_wh), np.nan)
        method = np.full(len(self.value_wh), UNRESOLVED, dtype=np.int8)
        short = int(INTERPOLATED_H_MAX * 60 / self.mtu_minutes)
        table = self._table()
        for first, last in runs_of(wanted):
            neighbours = first > 0 and last < len(self.usable)
            if neighbours and last - first <= short:
                neighbours = bool(self.usable[first - 1] and self.usable[last])
                if neighbours:
                    ends = self.value_wh[first - 1], self.value_wh[last]
                    guess[first:last] = np.linspace(ends[0], ends[1], last - first + 2)[1:-1]
                    method[first:last] = INTERPOLATED
                    continue
            for place in range(first, last):
                mean = self._like_days(table, place)
                if np.isfinite(mean):
                    guess[place], method[place] = mean, LIKE_DAYS
        return guess, method

    def _table(self) -> NDArray[np.float64]:
        """Return the usable values by local day and slot, NaN elsewhere."""
        table = np.full((len(self.week.kind), self.week.slots), np.nan)
        good = np.flatnonzero(self.usable)
        table[self.week.day[good], self.week.slot[good]] = self.value_wh[good]
        return table

    def _like_days(self, table: NDArray[np.float64], place: int) -> float:
        day, slot = int(self.week.day[place]), int(self.week.slot[place])
        column = table[:, slot]
        like = (self.week.kind == self.week.kind[day]) & np.isfinite(column)
        like[day] = False  # the repeated hour of autumn is no witness of itself
        distance = np.abs(np.arange(len(column)) - day)
        near = np.flatnonzero(like & (distance <= LIKE_DAYS_REACH))
        if not near.size:
            return float("nan")
        chosen = near[np.lexsort((near, distance[near]))][:LIKE_DAYS_USED]
        return float(column[chosen].mean())


def share_register_energy(
    energy_wh: int, places: NDArray[np.int64], guess: NDArray[np.float64]
) -> tuple[list[int], int]:
    """Share the energy that the registers leave over the periods without a value.

    Parameters
    ----------
    energy_wh : int
        What the registers counted less the usable values [Wh], >= 0.
    places : ndarray of int
        The periods to fill.
    guess : ndarray of float, shape (periods,)
        Estimates [Wh] whose proportions are kept; NaN where there is none.

    Returns
    -------
    (list of int, int)
        Values [Wh] that sum to ``energy_wh``, and the method's code.
    """
    shape = guess[places]
    if np.all(np.isfinite(shape)) and shape.sum() > 0:
        weights = [round(float(weight) * WEIGHT_STEPS) for weight in shape]
        return share_out(energy_wh, weights), REGISTER_PROFILE
    return share_out(energy_wh, [1] * len(places)), REGISTER_FLAT


def whole_wh(guess: NDArray[np.float64]) -> Integers:
    """Round estimates to whole Wh, half-even; NaN becomes no value."""
    safe = np.where(np.isfinite(guess), guess, 0.0)
    return np.where(np.isfinite(guess), np.rint(safe).astype(np.int64), NO_VALUE_WH)
