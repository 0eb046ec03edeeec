"""Meters: what came in, with every revision, and what validation made of it.

Energy is integer Wh. A register counts one direction only and never runs backwards: ``import`` is
what the connection took from the grid, ``export`` what it fed in, so every interval value is >= 0
and the sign appears only in `ValidatedMeter.injection_wh` (export - import, positive into the
grid). A value that is not there is `NO_VALUE_WH` with quality ``missing``, never zero: a sum that
took it by mistake is off by a petawatt-hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.canonical import canonical_json, sha256_hex
from data.errors import Problem, refuse_if_any
from data.periods import Periods

Integers = NDArray[np.int64]
Codes = NDArray[np.int8]
Bits = NDArray[np.int32]

Direction = Literal["import", "export"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("import", "export")

Quality = Literal["missing", "raw", "measured", "edited", "estimated", "questionable"]
QUALITIES: Final[tuple[Quality, ...]] = (
    "missing", "raw", "measured", "edited", "estimated", "questionable",
)  # fmt: skip
MISSING, RAW, MEASURED, EDITED, ESTIMATED, QUESTIONABLE = range(6)
"""Positions in `QUALITIES`, the codes that arrays carry."""

Method = Literal[
    "as_read", "interpolated", "like_days", "register_profile", "register_flat", "none"
]
METHODS: Final[tuple[Method, ...]] = (
    "as_read", "interpolated", "like_days", "register_profile", "register_flat", "none",
)  # fmt: skip
AS_READ, INTERPOLATED, LIKE_DAYS, REGISTER_PROFILE, REGISTER_FLAT, UNRESOLVED = range(6)
"""Positions in `METHODS`: how a value of a validated series came about."""

FlagName = Literal[
    "gap", "negative", "over_limit", "spike", "stuck", "zero_run", "register_mismatch",
    "register_backwards", "tamper", "reported_doubtful", "register_confirmed",
]  # fmt: skip
FLAGS: Final[tuple[FlagName, ...]] = (
    "gap", "negative", "over_limit", "spike", "stuck", "zero_run", "register_mismatch",
    "register_backwards", "tamper", "reported_doubtful", "register_confirmed",
)  # fmt: skip
FLAG_BIT: Final[dict[FlagName, int]] = {name: 1 << place for place, name in enumerate(FLAGS)}

TamperKind = Literal[
    "cover_open", "terminal_open", "magnetic_field", "reverse_flow", "phase_missing",
    "power_down", "clock_set", "other",
]  # fmt: skip
TAMPER_KINDS: Final[tuple[TamperKind, ...]] = (
    "cover_open", "terminal_open", "magnetic_field", "reverse_flow", "phase_missing",
    "power_down", "clock_set", "other",
)  # fmt: skip

NO_VALUE_WH: Final = -(10**15)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingBatch:
    """Interval values of one register as one message brought them; revisions are later batches.

    Parameters
    ----------
    meter, connection : str
        The device, and the connection point it stood at.
    direction : {"import", "export"}
        The register.
    periods : Periods
        The periods the message speaks of.
    value_wh : ndarray of int64, shape (periods,)
        Energy [Wh]; `NO_VALUE_WH` exactly where the quality is missing. Negative values are kept
        as they came: validation deals with them.
    quality : ndarray of int8, shape (periods,)
        Codes into `QUALITIES`. Missing means that this message says nothing of the period: it
        takes no earlier value away.
    received_at : datetime
        When the operator had it, UTC.
    source : str
        File or message it came from.
    """

    meter: str
    connection: str
    direction: Direction
    periods: Periods
    value_wh: Integers
    quality: Codes
    received_at: datetime
    source: str

    def __post_init__(self) -> None:
        refuse_if_any(_batch_problems(self))

    @property
    def sha256(self) -> str:
        """Hash of the content, whoever sent it and whenever: equal batches are one delivery."""
        return sha256_hex(
            canonical_json(
                {
                    "meter": self.meter,
                    "connection": self.connection,
                    "direction": self.direction,
                    "start": self.periods.start,
                    "mtu_minutes": self.periods.mtu_minutes,
                    "value_wh": sha256_hex(self.value_wh.astype("<i8").tobytes()),
                    "quality": sha256_hex(self.quality.tobytes()),
                }
            )
        )


def _batch_problems(batch: ReadingBatch) -> list[Problem]:
    where = f"readings of {batch.meter} ({batch.direction}) from {batch.source}"
    count, problems = batch.periods.count, []
    if batch.value_wh.shape != (count,) or batch.quality.shape != (count,):
        what = f"{batch.value_wh.size} values and {batch.quality.size} qualities"
        return [Problem(where=where, what=f"{what} for {count} periods")]
    if batch.value_wh.dtype != np.int64 or batch.quality.dtype != np.int8:
        problems.append(Problem(where=where, what="values must be int64 and qualities int8"))
    if np.any((batch.quality < 0) | (batch.quality >= len(QUALITIES))):
        problems.append(Problem(where=where, what="holds an unknown quality code"))
    elif np.any((batch.value_wh == NO_VALUE_WH) != (batch.quality == MISSING)):
        problems.append(Problem(where=where, what="value and quality differ on what is missing"))
    if batch.received_at.tzinfo is None:
        problems.append(Problem(where=where, what="received_at has no UTC offset"))
    if batch.direction not in DIRECTIONS:
        problems.append(Problem(where=where, what=f"direction is {batch.direction!r}"))
    return problems


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterReading:
    """What a register showed at an instant: the total since the meter was made.

    Parameters
    ----------
    at : datetime
        Instant it was shown, UTC.
    register_wh : int
        Total [Wh], >= 0.
    """

    meter: str
    direction: Direction
    at: datetime
    register_wh: int
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterExchange:
    """A meter taken out and another put in; the only thing that may make a register jump.

    ``final_wh`` is what the removed meter showed [Wh], ``initial_wh`` what the new one showed.
    """

    connection: str
    direction: Direction
    at: datetime
    removed_meter: str
    final_wh: int
    installed_meter: str
    initial_wh: int
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TamperFlag:
    """Something the meter noticed about itself, from ``start`` until ``end`` (None: still so)."""

    meter: str
    kind: TamperKind
    start: datetime
    end: datetime | None
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterPoint:
    """What is known of a connection point besides its values.

    Parameters
    ----------
    feeder : str
        The feeder meter it is counted under.
    limit_w : int
        What the main fuse lets through [W]; an interval above it cannot be true.
    resolution_wh : int
        Step of the register as transmitted [Wh], >= 1.
    register_modulus_wh : int or None
        Where the register turns over to 0 [Wh]; None: it does not.
    """

    connection: str
    feeder: str
    limit_w: int
    resolution_wh: int = 1
    register_modulus_wh: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterFiles:
    """Everything that came in about a set of connection points; order means nothing."""

    points: tuple[MeterPoint, ...]
    batches: tuple[ReadingBatch, ...]
    registers: tuple[RegisterReading, ...] = ()
    exchanges: tuple[MeterExchange, ...] = ()
    tampers: tuple[TamperFlag, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterFinding:
    """One thing validation or the sum check found.

    Parameters
    ----------
    kind : str
        A flag of `FLAGS`, or ``theft``, ``wrong_feeder``, ``swapped``, ``dead``, ``unmetered``.
    subjects : tuple of str
        Connections (two for ``swapped``).
    first, last : datetime
        Start of the first and of the last period concerned, UTC.
    energy_wh : int
        Energy at stake [Wh].
    words : str
        What was found, in a sentence with its numbers.
    """

    kind: str
    subjects: tuple[str, ...]
    first: datetime
    last: datetime
    energy_wh: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedSeries:
    """One register of one connection after validation, estimation and editing.

    Parameters
    ----------
    value_wh : ndarray of int64, shape (periods,)
        Energy to settle [Wh], >= 0; `NO_VALUE_WH` where ``method`` is ``none``: nothing could be
        put there and the billing rule has to decide.
    quality : ndarray of int8, shape (periods,)
        Codes into `QUALITIES`: what came in, or ``estimated`` where a value was substituted.
    method : ndarray of int8, shape (periods,)
        Codes into `METHODS`.
    flags : ndarray of int32, shape (periods,)
        Bits of `FLAG_BIT`.
    revision : ndarray of int16, shape (periods,)
        How many values of the period were known, 0: none; 2 and more: it was revised.
    known_at : datetime
        Only what had been received by then was used.
    inputs_sha256 : str
        Hash of exactly those inputs.
    """

    connection: str
    direction: Direction
    periods: Periods
    value_wh: Integers
    quality: Codes
    method: Codes
    flags: Bits
    revision: NDArray[np.int16]
    known_at: datetime
    inputs_sha256: str
    findings: tuple[MeterFinding, ...]

    @property
    def substituted(self) -> NDArray[np.bool_]:
        """Where the value is not the one the meter sent, shape (periods,)."""
        return np.asarray(self.method != AS_READ)

    @property
    def unresolved(self) -> NDArray[np.bool_]:
        """Where there is no value at all, shape (periods,)."""
        return np.asarray(self.method == UNRESOLVED)

    def flagged(self, name: FlagName) -> NDArray[np.bool_]:
        """Return where a flag is set, shape (periods,)."""
        return np.asarray((self.flags & FLAG_BIT[name]) != 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedMeter:
    """A connection point as settlement takes it: both registers in one signed series.

    Parameters
    ----------
    injection_wh : ndarray of int64, shape (periods,)
        export - import [Wh], positive into the grid; `NO_VALUE_WH` where ``unresolved``.
    import_wh, export_wh : ndarray of int64, shape (periods,)
        The registers [Wh].
    substituted : ndarray of bool, shape (periods,)
        A value of one of the registers was put there by a method, see the series.
    unresolved : ndarray of bool, shape (periods,)
        There is no value: the billing rule has to decide.
    series : tuple of ValidatedSeries
        The registers with methods, flags and findings.
    sha256 : str
        Hash of values and marks: a revision that changes anything changes it.
    """

    connection: str
    periods: Periods
    injection_wh: Integers
    import_wh: Integers
    export_wh: Integers
    substituted: NDArray[np.bool_]
    unresolved: NDArray[np.bool_]
    series: tuple[ValidatedSeries, ...]
    sha256: str
