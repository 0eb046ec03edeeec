"""What meters recorded: readings up to a gate, and the truth of the day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods, format_utc
from data.readers.simbench import NetworkProfiles, SimbenchGrid, profiles_for
from data.records.forecast import Reading
from data.records.network import Network
from forecasting.readings import Feeder, SeriesKind

Floats = NDArray[np.float64]
# More than any forecast looks back (forecasting.day_ahead.HISTORY_DAYS_MAX).
HISTORY_DAYS: Final = 72
RATIO_DAYS: Final = 7
TOTAL: Final = "total:"
TOTAL_OF_KIND: Final[Mapping[SeriesKind, str]] = {
    "load": "load", "wind": "wind", "pv": "renewables", "other": "other",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Recorded powers from some weeks before the delivery day to its end.

    Parameters
    ----------
    network : Network
        The grid whose elements were recorded.
    expected : forecasting.readings.Feeder
        Kinds and capacities of the series, totals of each kind included (``total:wind``).
    periods : Periods
        The periods recorded.
    power : NetworkProfiles
        Powers of all elements [MW, Mvar], shapes (periods, elements).
    received_until : datetime or None
        When the feed of readings stopped: what was metered later reached nobody before the day was
        settled. None: it never did.
    """

    network: Network
    expected: Feeder
    periods: Periods
    power: NetworkProfiles
    received_until: datetime | None = None

    @property
    def series(self) -> tuple[str, ...]:
        """Series ids: elements in service, then the totals of each kind."""
        return tuple(self.expected.kinds)

    def values_mw(self) -> Floats:
        """Return the recorded power of every series, shape (periods, series) [MW]."""
        loads, sgens = self.network.loads, self.network.sgens
        column = {f"load:{i}": self.power.load_p_mw[:, k] for k, i in enumerate(loads.index)}
        column |= {f"sgen:{i}": self.power.sgen_p_mw[:, k] for k, i in enumerate(sgens.index)}
        own = [name for name in self.series if not name.startswith(TOTAL)]
        for name in self.series[len(own) :]:
            kind = self.expected.kinds[name]
            members = [column[each] for each in own if self.expected.kinds[each] == kind]
            column[name] = np.sum(members, axis=0)
        return np.column_stack([column[name] for name in self.series])

    def readings_until(self, gate: datetime) -> Reading:
        """Return the readings known at a gate: of the periods that had ended by then."""
        count = (self._end_of_readings(gate) - self.periods.start) // self.periods.mtu
        known = replace(self.periods, count=count)
        return Reading(
            series=self.series,
            periods=known,
            value_mw=self.values_mw()[:count],
            known_at=gate,
        )

    def missing_before(self, gate: datetime) -> tuple[str, ...]:
        """Name what is missing of the readings that should be known at a gate."""
        end = self._end_of_readings(gate)
        if end >= gate:
            return ()
        hours = (gate - end) / timedelta(hours=1)
        since = f"none received since {format_utc(end)}, {hours:g} h before the gate"
        return (f"missing_readings: {since}; older ones taken",)

    def _end_of_readings(self, gate: datetime) -> datetime:
        return gate if self.received_until is None else min(gate, self.received_until)

    def reactive_ratio_until(self, gate: datetime) -> Floats:
        """Return sum(q) / sum(p) of each load over the week before a gate, shape (loads,)."""
        end = (self._end_of_readings(gate) - self.periods.start) // self.periods.mtu
        first = max(0, end - timedelta(days=RATIO_DAYS) // self.periods.mtu)
        p_mw = self.power.load_p_mw[first:end].sum(axis=0)
        q_mvar = self.power.load_q_mvar[first:end].sum(axis=0)
        ratio: Floats = np.divide(q_mvar, p_mw, out=np.zeros_like(p_mw), where=p_mw > 0.0)
        return ratio

    def during(self, periods: Periods) -> NetworkProfiles:
        """Return what was recorded in some of the periods."""
        first = (periods.start - self.periods.start) // self.periods.mtu
        rows = slice(first, first + len(periods))
        return NetworkProfiles(
            load_p_mw=self.power.load_p_mw[rows],
            load_q_mvar=self.power.load_q_mvar[rows],
            sgen_p_mw=self.power.sgen_p_mw[rows],
            sgen_q_mvar=self.power.sgen_q_mvar[rows],
        )


def with_totals(feeder: Feeder) -> Feeder:
    """Add a series for the total of each kind: quantiles of a sum are no sum of quantiles."""
    kinds = dict(feeder.kinds)
    capacity_mw = dict(feeder.capacity_mw)
    for kind, name in TOTAL_OF_KIND.items():
        members = [series for series, found in feeder.kinds.items() if found == kind]
        if members:
            kinds[f"{TOTAL}{name}"] = kind
        if members and kind != "load":
            capacity_mw[f"{TOTAL}{name}"] = sum(feeder.capacity_mw[series] for series in members)
    return replace(feeder, kinds=kinds, capacity_mw=capacity_mw)


def recorded_window(grid: SimbenchGrid, day: Periods) -> Periods:
    """Return the recorded periods a day needs: history for its forecasts, and the day."""
    start = max(grid.profiles.start, day.start - timedelta(days=HISTORY_DAYS))
    return Periods(start=start, count=(day.end - start) // day.mtu, mtu_minutes=day.mtu_minutes)


def read_recorded(grid: SimbenchGrid, expected: Feeder, day: Periods) -> Recorded:
    """Read what a day needs of the recorded profiles.

    Raises
    ------
    InputError
        Days that were not recorded, and every value that is not finite, with element and time.
    """
    window = recorded_window(grid, day)
    return Recorded(
        network=grid.network,
        expected=with_totals(expected),
        periods=window,
        power=profiles_for(grid, window),
    )
