"""Validation, estimation and editing: billable values of everything known at an instant.

A value that came in is changed only where it is impossible (negative, above the main fuse) or where
the registers contradict it; what merely looks strange is flagged and kept. Where registers confirm
a strange value, that is flagged too. Nothing is overwritten: the messages stay as they are, and the
same call with an earlier ``known_at`` gives what was billed then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import canonical_json, sha256_hex
from data.local_week import local_week
from data.periods import Periods, format_utc
from data.records.metering import (
    AS_READ,
    DIRECTIONS,
    ESTIMATED,
    FLAG_BIT,
    MISSING,
    NO_VALUE_WH,
    UNRESOLVED,
    Bits,
    Codes,
    Direction,
    FlagName,
    Integers,
    MeterFiles,
    MeterFinding,
    MeterPoint,
    TamperFlag,
    ValidatedMeter,
    ValidatedSeries,
)
from dso.metering import checks
from dso.metering.checks import CheckRules, Marks, runs_of
from dso.metering.estimate import Estimator, share_register_energy, whole_wh
from dso.metering.intake import LatestValues, latest_values, split_by_connection, stays_of
from dso.metering.registers import RegisterStretch, register_stretches

TOLERANCE_STEPS: Final = 2
FLAG_WORDS: Final[dict[FlagName, str]] = {
    "gap": "no value came in",
    "negative": "values below zero",
    "over_limit": "values above what the main fuse lets through",
    "spike": "a value far out of its day and of the days before",
    "stuck": "one value repeated",
    "zero_run": "no energy at all",
    "register_mismatch": "the interval values do not add up to the registers",
    "register_backwards": "a register went backwards without an exchange record",
    "tamper": "the meter reported tampering",
    "reported_doubtful": "the sender doubts the values",
    "register_confirmed": "strange values that the registers confirm",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationRules:
    """How meters are validated; part of the rules that settlement names.

    ``timezone`` and ``holidays`` say which days are alike, ``checks`` holds the thresholds.
    """

    timezone: str
    holidays: frozenset[date] = frozenset()
    checks: CheckRules = field(default_factory=CheckRules)


def validate_meters(
    files: MeterFiles, periods: Periods, known_at: datetime, rules: ValidationRules
) -> tuple[ValidatedMeter, ...]:
    """Validate, estimate and edit every connection point.

    Parameters
    ----------
    files : MeterFiles
        Everything that came in.
    periods : Periods
        What is to be settled, with enough days before it to judge by.
    known_at : datetime
        Only what had been received by then is used.
    rules : ValidationRules
        Thresholds and calendar.

    Returns
    -------
    tuple of ValidatedMeter
        By connection, sorted.

    Raises
    ------
    InputError
        If messages do not fit the periods, or contradict the exchange records.
    """
    by_connection = split_by_connection(files)
    return tuple(
        _validate_point(by_connection[point.connection], point, periods, known_at, rules)
        for point in sorted(files.points, key=lambda point: point.connection)
    )


def _validate_point(
    files: MeterFiles,
    point: MeterPoint,
    periods: Periods,
    known_at: datetime,
    rules: ValidationRules,
) -> ValidatedMeter:
    registers = {b.direction for b in files.batches if b.connection == point.connection}
    present = [d for d in DIRECTIONS if d in registers] or [DIRECTIONS[0]]
    series = tuple(
        validate_register(files, point, direction, periods, known_at, rules)
        for direction in present
    )
    by_direction = {one.direction: one for one in series}
    nothing = np.zeros(periods.count, dtype=np.int64)
    taken, fed = (by_direction[d].value_wh if d in by_direction else nothing for d in DIRECTIONS)
    unresolved = np.any([one.unresolved for one in series], axis=0)
    injection = np.where(unresolved, NO_VALUE_WH, fed - taken)
    substituted = np.any([one.substituted for one in series], axis=0)
    content = {
        "connection": point.connection,
        "start": periods.start,
        "mtu_minutes": periods.mtu_minutes,
        "injection": sha256_hex(injection.astype("<i8").tobytes()),
        "series": [
            [one.direction, *(sha256_hex(part.astype("<i8").tobytes())
             for part in (one.value_wh, one.quality, one.method, one.flags))]
            for one in series
        ],
    }  # fmt: skip
    return ValidatedMeter(
        connection=point.connection,
        periods=periods,
        injection_wh=injection,
        import_wh=taken,
        export_wh=fed,
        substituted=substituted,
        unresolved=unresolved,
        series=series,
        sha256=sha256_hex(canonical_json(content)),
    )


@dataclass(slots=True)
class _Work:
    """A series while it is worked on; one register of one connection."""

    value: Integers
    quality: Codes
    method: Codes
    flags: Bits
    usable: Marks
    doubtful: Marks

    def mark(self, name: FlagName, where: Marks) -> None:
        self.flags[where] |= FLAG_BIT[name]


def validate_register(
    files: MeterFiles,
    point: MeterPoint,
    direction: Direction,
    periods: Periods,
    known_at: datetime,
    rules: ValidationRules,
) -> ValidatedSeries:
    """Validate one register; parameters as in `validate_meters`."""
    latest = latest_values(files, point.connection, direction, periods, known_at)
    tampers = _tampers(files, point, direction, known_at)
    work = _checked(latest, point, periods, rules, tampers)
    stretches = register_stretches(files, point, direction, periods, known_at)
    for stretch in stretches:
        _judge_by_register(work, stretch, point, periods)
    _fill(work, stretches, point, periods, rules)
    return ValidatedSeries(
        connection=point.connection,
        direction=direction,
        periods=periods,
        value_wh=work.value,
        quality=work.quality,
        method=work.method,
        flags=work.flags,
        revision=latest.revision,
        known_at=known_at,
        inputs_sha256=_hash_inputs(latest, stretches, tampers),
        findings=_findings(work, latest, point, periods),
    )


def _tampers(
    files: MeterFiles, point: MeterPoint, direction: Direction, known_at: datetime
) -> list[TamperFlag]:
    meters = {stay.meter for stay in stays_of(files, point.connection, direction)}
    return sorted(
        (t for t in files.tampers if t.meter in meters and t.received_at <= known_at),
        key=lambda t: (t.start, t.meter, t.kind),
    )


def _checked(
    latest: LatestValues,
    point: MeterPoint,
    periods: Periods,
    rules: ValidationRules,
    tampers: Sequence[TamperFlag],
) -> _Work:
    """Run every check on the values as they came."""
    value, mtu = latest.value_wh, periods.mtu_minutes
    present = ~checks.mark_missing(latest.quality)
    negative = checks.mark_negative(value, present)
    over = checks.mark_over_limit(value, present, point.limit_w, mtu)
    usable = present & ~negative & ~over
    work = _Work(
        value=value.copy(),
        quality=latest.quality.copy(),
        method=np.full(periods.count, AS_READ, dtype=np.int8),
        flags=np.zeros(periods.count, dtype=np.int32),
        usable=usable,
        doubtful=np.zeros(periods.count, dtype=bool),
    )
    work.mark("gap", ~present)
    work.mark("negative", negative)
    work.mark("over_limit", over)
    doubts: dict[FlagName, Marks] = {
        "spike": checks.mark_spikes(value, usable, mtu, rules.checks),
        "stuck": checks.mark_stuck(value, usable, rules.checks),
        "zero_run": checks.mark_zero_runs(value, usable, mtu, rules.checks),
        "reported_doubtful": checks.mark_reported(latest.quality) & usable,
    }
    for name, marks in doubts.items():
        work.mark(name, marks)
        work.doubtful |= marks & usable
    # No doubt to be settled by the register: who tampers with a meter tampers with its register.
    work.mark("tamper", _tampered(tampers, periods))
    return work


def _tampered(tampers: Sequence[TamperFlag], periods: Periods) -> Marks:
    marks = np.zeros(periods.count, dtype=bool)
    for flag in tampers:
        first = max(0, (flag.start - periods.start) // periods.mtu)
        end = periods.end if flag.end is None else min(flag.end, periods.end)
        last = -((periods.start - end) // periods.mtu)
        marks[first : max(first, last)] = True
    return marks


def _judge_by_register(
    work: _Work, stretch: RegisterStretch, point: MeterPoint, periods: Periods
) -> None:
    """Confirm or reject the doubtful values of a stretch; flag what cannot be mended."""
    here = np.zeros(periods.count, dtype=bool)
    here[stretch.first : stretch.last] = True
    if stretch.energy_wh is None:
        work.mark("register_backwards", here)
        return
    tolerance = TOLERANCE_STEPS * point.resolution_wh
    good = here & work.usable
    left = stretch.energy_wh - int(work.value[good].sum())
    open_count = int((here & ~work.usable).sum())
    possible = open_count * point.limit_w * periods.mtu_minutes // 60
    if -tolerance <= left <= possible + tolerance:
        work.mark("register_confirmed", good & work.doubtful)
        return
    doubtful = good & work.doubtful
    rest = left + int(work.value[doubtful].sum())
    room = (open_count + int(doubtful.sum())) * point.limit_w * periods.mtu_minutes // 60
    if doubtful.any() and -tolerance <= rest <= room + tolerance:
        work.usable[doubtful] = False
        work.mark("register_mismatch", doubtful)
        return
    work.mark("register_mismatch", here)


def _fill(
    work: _Work,
    stretches: Sequence[RegisterStretch],
    point: MeterPoint,
    periods: Periods,
    rules: ValidationRules,
) -> None:
    """Put a value wherever none is usable, by the best method there is."""
    wanted = ~work.usable
    if not wanted.any():
        return
    week = local_week(periods, rules.timezone, rules.holidays)
    estimator = Estimator(
        value_wh=work.value, usable=work.usable, week=week, mtu_minutes=periods.mtu_minutes
    )
    guess, method = estimator.guesses(wanted)
    filled = whole_wh(guess)
    for stretch in stretches:
        places = stretch.first + np.flatnonzero(wanted[stretch.first : stretch.last])
        if stretch.energy_wh is None or not places.size:
            continue
        inside = slice(stretch.first, stretch.last)
        left = stretch.energy_wh - int(work.value[inside][work.usable[inside]].sum())
        possible = len(places) * point.limit_w * periods.mtu_minutes // 60
        if 0 <= left <= possible + TOLERANCE_STEPS * point.resolution_wh:
            filled[places], method[places] = share_register_energy(left, places, guess)
        elif -TOLERANCE_STEPS * point.resolution_wh <= left < 0:
            filled[places], method[places] = share_register_energy(0, places, guess)
    work.value[wanted] = filled[wanted]
    work.method[wanted] = method[wanted]
    work.quality[wanted] = np.where(method[wanted] == UNRESOLVED, MISSING, ESTIMATED)


def _hash_inputs(
    latest: LatestValues, stretches: Sequence[RegisterStretch], tampers: Sequence[TamperFlag]
) -> str:
    return sha256_hex(
        canonical_json(
            {
                "batches": [[b.source, b.received_at, b.sha256] for b in latest.used],
                "registers": [s.words for s in stretches],
                "tampers": [[t.meter, t.kind, t.start, t.end] for t in tampers],
            }
        )
    )


def _findings(
    work: _Work, latest: LatestValues, point: MeterPoint, periods: Periods
) -> tuple[MeterFinding, ...]:
    """Say each flag once per run of periods, with the energy it moved."""
    said: list[MeterFinding] = []
    came: NDArray[np.int64] = np.where(latest.quality == MISSING, 0, latest.value_wh)
    now: NDArray[np.int64] = np.where(work.method == UNRESOLVED, 0, work.value)
    for name, words in FLAG_WORDS.items():
        for first, last in runs_of((work.flags & FLAG_BIT[name]) != 0):
            moved = int(now[first:last].sum() - came[first:last].sum())
            start = periods.start + first * periods.mtu
            end = periods.start + (last - 1) * periods.mtu
            kept = bool((work.method[first:last] == AS_READ).all())
            said.append(
                MeterFinding(
                    kind=name,
                    subjects=(point.connection,),
                    first=start,
                    last=end,
                    energy_wh=moved,
                    words=f"{point.connection}: {words} in {last - first} periods from "
                    f"{format_utc(start)}, "
                    + ("values kept" if kept else f"values changed by {moved} Wh"),
                )
            )
    return tuple(sorted(said, key=lambda finding: (finding.first, finding.kind)))
