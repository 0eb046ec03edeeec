"""What was known when: every value carries `known_at`, and a join cannot look past its gate.

A `VersionedTable` holds every version of every value (a weather forecast is issued again and
again for the same hour). Nothing reads it directly: `known_before` cuts it at a gate, `join` asks
for the newest version known at each row's own gate. A model that is handed the cut table cannot
use what came later, because it is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods, format_utc
from data.records.forecast import Reading

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Instants = NDArray[np.datetime64]


def instant64(instant: datetime) -> np.datetime64:
    """Return an aware instant as UTC ``datetime64[s]``.

    Examples
    --------
    >>> instant64(datetime(2016, 7, 25, 12, tzinfo=UTC))
    np.datetime64('2016-07-25T12:00:00')
    """
    if instant.tzinfo is None:
        raise InputError([Problem(where=str(instant), what="has no UTC offset")])
    return np.datetime64(instant.astimezone(UTC).replace(tzinfo=None), "s")


def starts64(periods: Periods) -> Instants:
    """Return the start of each period as UTC ``datetime64[s]``, shape (periods,)."""
    step = np.timedelta64(periods.mtu_minutes * 60, "s")
    return instant64(periods.start) + np.arange(len(periods)) * step


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownValues:
    """What a join found: the newest version known at each row's gate.

    Parameters
    ----------
    value : ndarray, shape (rows, columns)
        Units as the columns' names say; NaN where nothing was known.
    known_at : ndarray of datetime64[s], shape (rows,)
        When the version became known; NaT where nothing was known.
    """

    value: Floats
    known_at: Instants

    @property
    def found(self) -> Bools:
        """Where a version was known, shape (rows,)."""
        return np.asarray(~np.isnat(self.known_at), dtype=np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionedTable:
    """Named values for periods, in as many versions as became known.

    Parameters
    ----------
    names : tuple of str
        Columns; a name ends in its unit (``temperature_c``, ``ghi_w_per_m2``) where we chose it.
    mtu_minutes : int
        Length of the periods [min].
    valid_at : ndarray of datetime64[s], shape (rows,)
        Start of the period each row is for, UTC.
    known_at : ndarray of datetime64[s], shape (rows,)
        When the row became known, UTC.
    value : ndarray, shape (rows, columns)
        The values; NaN where a source gave none.
    """

    names: tuple[str, ...]
    mtu_minutes: int
    valid_at: Instants
    known_at: Instants
    value: Floats

    def __post_init__(self) -> None:
        rows = len(self.valid_at)
        problems = []
        if self.known_at.shape != (rows,) or self.value.shape != (rows, len(self.names)):
            problems.append(
                Problem(
                    where="versioned table",
                    what=f"shapes {self.valid_at.shape}, {self.known_at.shape}, "
                    f"{self.value.shape} for {len(self.names)} columns",
                )
            )
        elif np.isnat(self.valid_at).any() or np.isnat(self.known_at).any():
            problems.append(Problem(where="versioned table", what="a row without an instant"))
        if len(set(self.names)) != len(self.names):
            problems.append(Problem(where="versioned table", what=f"names repeat: {self.names}"))
        refuse_if_any(problems)

    def known_before(self, gate: datetime) -> VersionedTable:
        """Return the rows known at ``gate`` (at the latest then), and no others."""
        kept = self.known_at <= instant64(gate)
        return VersionedTable(
            names=self.names,
            mtu_minutes=self.mtu_minutes,
            valid_at=self.valid_at[kept],
            known_at=self.known_at[kept],
            value=self.value[kept],
        )

    def join(self, valid_at: Instants, gates: Instants | datetime) -> KnownValues:
        """Return, for each row, the newest version known at its gate.

        Parameters
        ----------
        valid_at : ndarray of datetime64[s], shape (rows,)
            Start of the period asked for.
        gates : ndarray of datetime64[s], shape (rows,), or datetime
            When each row's forecast is (or was) made.

        Returns
        -------
        KnownValues
            Versions known after the gate are never taken, whatever the table holds.
        """
        asked = np.asarray(valid_at, dtype="datetime64[s]")
        if isinstance(gates, datetime):
            gates = np.full(len(asked), instant64(gates))
        order = np.lexsort((self.known_at, self.valid_at))
        valid, known = self.valid_at[order], self.known_at[order]
        # One integer per (period, version), ascending in both: a search finds the version.
        slots, slot_of_row = np.unique(valid, return_inverse=True)
        moments, moment_of_row = np.unique(known, return_inverse=True)
        width = len(moments) + 1
        keys = slot_of_row * width + moment_of_row
        slot = np.searchsorted(slots, asked)
        there = slot < len(slots)
        there[there] = slots[slot[there]] == asked[there]
        moment = np.searchsorted(moments, gates, side="right") - 1
        place = np.searchsorted(keys, slot * width + moment, side="right") - 1
        there &= (moment >= 0) & (place >= 0)
        there[there] = slot_of_row[place[there]] == slot[there]
        value = np.full((len(asked), len(self.names)), np.nan)
        value[there] = self.value[order[place[there]]]
        found_at = np.full(len(asked), np.datetime64("NaT"), dtype="datetime64[s]")
        found_at[there] = known[place[there]]
        return KnownValues(value=value, known_at=found_at)

    def latest(self, periods: Periods) -> Floats:
        """Return the newest version of each period, shape (periods, columns); NaN where none."""
        if len(self.valid_at) == 0:
            return np.full((len(periods), len(self.names)), np.nan)
        last = np.full(len(periods), self.known_at.max())
        return self.join(starts64(periods), last).value


def table_of_reading(reading: Reading, delay: timedelta = timedelta(0)) -> VersionedTable:
    """Return readings as a table: each known at the end of its period plus the meters' delay.

    Parameters
    ----------
    reading : Reading
        The readings; NaN stays NaN.
    delay : timedelta
        From the end of a period to the arrival of its reading.
    """
    valid = starts64(reading.periods)
    after = np.timedelta64(int((reading.periods.mtu + delay).total_seconds()), "s")
    return VersionedTable(
        names=reading.series,
        mtu_minutes=reading.periods.mtu_minutes,
        valid_at=valid,
        known_at=valid + after,
        value=reading.value_mw,
    )


def cut_reading(reading: Reading, gate: datetime) -> Reading:
    """Return the readings of periods that had ended at ``gate``.

    Raises
    ------
    InputError
        If there are none.
    """
    count = min(len(reading.periods), (gate - reading.periods.start) // reading.periods.mtu)
    if count < 1:
        raise InputError(
            [Problem(where="readings", what=f"none known at the gate {format_utc(gate)}")]
        )
    kept = Periods(
        start=reading.periods.start, count=count, mtu_minutes=reading.periods.mtu_minutes
    )
    return Reading(
        series=reading.series, periods=kept, value_mw=reading.value_mw[:count], known_at=kept.end
    )


def leak_problems(
    names: Sequence[str], known_at: Instants, gates: Instants | datetime
) -> list[Problem]:
    """List features that came after the gate of their row: the last check before a model.

    Parameters
    ----------
    names : sequence of str
        Features.
    known_at : ndarray of datetime64[s], shape (rows, features)
        When each feature of each row became known; NaT for what has no source (calendar).
    gates : ndarray of datetime64[s], shape (rows,), or datetime
        The gate of each row.
    """
    if isinstance(gates, datetime):
        gates = np.full(len(known_at), instant64(gates))
    late = ~np.isnat(known_at) & (known_at > np.asarray(gates)[:, None])
    problems = []
    for column in np.flatnonzero(late.any(axis=0)).tolist():
        row = int(np.argmax(late[:, column]))
        problems.append(
            Problem(
                where=f"feature {names[column]}",
                what=f"known at {known_at[row, column]}Z, after the gate {np.asarray(gates)[row]}Z "
                f"({int(late[:, column].sum())} rows in all)",
                remedy="join it as of the gate (VersionedTable.join)",
            )
        )
    return problems
