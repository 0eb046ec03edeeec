"""Take messages in, lay their revisions over each other, follow a connection through exchanges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods, format_utc
from data.records.metering import (
    MISSING,
    NO_VALUE_WH,
    Codes,
    Direction,
    Integers,
    MeterExchange,
    MeterFiles,
    ReadingBatch,
    RegisterReading,
    TamperFlag,
)


def accept_batch(files: MeterFiles, batch: ReadingBatch) -> MeterFiles:
    """Add a message to what is known; the same message sent again changes nothing.

    A message is the same when its source and its content are: a correction and a later return to
    the first value are both kept, each as a revision.

    Parameters
    ----------
    files : MeterFiles
        What came in so far.
    batch : ReadingBatch
        The new message.

    Returns
    -------
    MeterFiles
        With the batch at the end, or ``files`` itself.

    Raises
    ------
    InputError
        If the connection is unknown, or the meter does not stand there according to the exchanges.
    """
    if batch.connection not in {point.connection for point in files.points}:
        problem = Problem(
            where=f"readings of {batch.meter} from {batch.source}",
            what=f"connection {batch.connection!r} is unknown",
            remedy="add it to points.csv first",
        )
        raise InputError([problem])
    known = {(old.source, old.sha256) for old in files.batches if old.meter == batch.meter}
    if (batch.source, batch.sha256) in known:
        return files
    taken = replace(files, batches=(*files.batches, batch))
    stays_of(taken, batch.connection, batch.direction)  # refuses a meter from nowhere
    return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterStay:
    """A meter at a connection, from ``start`` (None: ever since) until ``end`` (None: still)."""

    meter: str
    start: datetime | None
    end: datetime | None


def stays_of(files: MeterFiles, connection: str, direction: Direction) -> tuple[MeterStay, ...]:
    """Return which meter stood at a connection when, from the exchange records alone.

    Raises
    ------
    InputError
        If exchanges contradict each other, or values came from a meter that no record puts there.
    """
    exchanges = exchanges_of(files, connection, direction)
    reporting = sorted(
        {b.meter for b in files.batches if (b.connection, b.direction) == (connection, direction)}
    )
    where = f"connection {connection} ({direction})"
    if not exchanges:
        if len(reporting) > 1:
            problem = Problem(
                where=where,
                what=f"values of {' and '.join(reporting)} without an exchange record",
                remedy="add the exchange to exchanges.csv with both register readings",
            )
            raise InputError([problem])
        return tuple(MeterStay(meter=meter, start=None, end=None) for meter in reporting)
    problems = [
        Problem(
            where=where,
            what=f"{before.installed_meter} was put in at {format_utc(before.at)}, but "
            f"{after.removed_meter} was taken out at {format_utc(after.at)}",
            remedy="complete exchanges.csv",
        )
        for before, after in pairwise(exchanges)
        if before.installed_meter != after.removed_meter or before.at >= after.at
    ]
    placed = {exchanges[0].removed_meter, *(x.installed_meter for x in exchanges)}
    problems.extend(
        Problem(where=where, what=f"values of {meter}, which no exchange put there")
        for meter in reporting
        if meter not in placed
    )
    refuse_if_any(problems)
    first = MeterStay(meter=exchanges[0].removed_meter, start=None, end=exchanges[0].at)
    ends = [*(x.at for x in exchanges[1:]), None]
    return (
        first,
        *(
            MeterStay(meter=x.installed_meter, start=x.at, end=end)
            for x, end in zip(exchanges, ends, strict=True)
        ),
    )


def split_by_connection(files: MeterFiles) -> dict[str, MeterFiles]:
    """Return what belongs to each connection point, so that each is looked at alone.

    Registers and tamper flags name a meter; it belongs where its values or an exchange put it.
    """
    batches: dict[str, list[ReadingBatch]] = {}
    exchanges: dict[str, list[MeterExchange]] = {}
    places: dict[str, set[str]] = {}
    for batch in files.batches:
        batches.setdefault(batch.connection, []).append(batch)
        places.setdefault(batch.meter, set()).add(batch.connection)
    for exchange in files.exchanges:
        exchanges.setdefault(exchange.connection, []).append(exchange)
        for meter in (exchange.removed_meter, exchange.installed_meter):
            places.setdefault(meter, set()).add(exchange.connection)
    registers: dict[str, list[RegisterReading]] = {}
    tampers: dict[str, list[TamperFlag]] = {}
    for reading in files.registers:
        for place in sorted(places.get(reading.meter, ())):
            registers.setdefault(place, []).append(reading)
    for flag in files.tampers:
        for place in sorted(places.get(flag.meter, ())):
            tampers.setdefault(place, []).append(flag)
    return {
        point.connection: MeterFiles(
            points=(point,),
            batches=tuple(batches.get(point.connection, ())),
            registers=tuple(registers.get(point.connection, ())),
            exchanges=tuple(exchanges.get(point.connection, ())),
            tampers=tuple(tampers.get(point.connection, ())),
        )
        for point in files.points
    }


def exchanges_of(
    files: MeterFiles, connection: str, direction: Direction
) -> tuple[MeterExchange, ...]:
    """Return the exchanges of one register of a connection, in time."""
    found = (x for x in files.exchanges if (x.connection, x.direction) == (connection, direction))
    return tuple(sorted(found, key=lambda x: x.at))


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestValues:
    """The newest value of each period, as it came.

    ``revision`` counts the different values known of a period; ``used`` are the messages, in the
    sequence they were laid over each other. Shapes (periods,).
    """

    value_wh: Integers
    quality: Codes
    revision: NDArray[np.int16]
    used: tuple[ReadingBatch, ...]


def latest_values(
    files: MeterFiles, connection: str, direction: Direction, periods: Periods, known_at: datetime
) -> LatestValues:
    """Lay the messages known at an instant over each other; the last received wins.

    In the period in which a meter was exchanged the values of both meters add up.

    Raises
    ------
    InputError
        If a message has another period length or grid, or two messages received at the same
        instant disagree: which is newer cannot be known.
    """
    total = _nothing(periods.count)
    used: list[ReadingBatch] = []
    for stay in stays_of(files, connection, direction):
        batches = sorted(
            (
                b
                for b in files.batches
                if (b.connection, b.direction, b.meter) == (connection, direction, stay.meter)
                and b.received_at <= known_at
            ),
            key=lambda b: (b.received_at, b.source, b.sha256),
        )
        inside = _within(periods, stay)
        value, quality, revision = _overlay(batches, periods)
        total = _add_stay(total, (value, quality, revision), inside)
        used.extend(batches)
    return LatestValues(value_wh=total[0], quality=total[1], revision=total[2], used=tuple(used))


Layer = tuple[Integers, Codes, NDArray[np.int16]]


def _nothing(count: int) -> Layer:
    return (
        np.full(count, NO_VALUE_WH, dtype=np.int64),
        np.full(count, MISSING, dtype=np.int8),
        np.zeros(count, dtype=np.int16),
    )


def _within(periods: Periods, stay: MeterStay) -> NDArray[np.bool_]:
    """Return the periods in which the meter stood there at least in part, shape (periods,)."""
    place = np.arange(periods.count)
    first = 0 if stay.start is None else (stay.start - periods.start) // periods.mtu
    inside = place >= first
    if stay.end is not None:
        last = -((periods.start - stay.end) // periods.mtu)  # rounded up: a part counts
        inside &= place < last
    return inside


def _add_stay(total: Layer, stay: Layer, inside: NDArray[np.bool_]) -> Layer:
    """Add what one meter counted; a period shared by two meters needs both values."""
    value, quality, revision = total[0].copy(), total[1].copy(), total[2].copy()
    here = inside & (stay[1] != MISSING)
    both = here & (quality != MISSING)
    fresh = here & ~both
    value[fresh], quality[fresh] = stay[0][fresh], stay[1][fresh]
    value[both] += stay[0][both]
    quality[both] = np.maximum(quality[both], stay[1][both])
    revision[here] = np.maximum(revision[here], stay[2][here])
    return value, quality, revision


def _overlay(batches: list[ReadingBatch], periods: Periods) -> Layer:
    value, quality, revision = _nothing(periods.count)
    newest: NDArray[np.int64] = np.full(periods.count, -1, dtype=np.int64)
    for batch in batches:
        at, source_at = _overlap(batch, periods)
        new_value, new_quality = batch.value_wh[source_at], batch.quality[source_at]
        says = new_quality != MISSING
        differs = says & ((new_value != value[at]) | (new_quality != quality[at]))
        stamp = round(batch.received_at.timestamp() * 1e6)
        if np.any(differs & (newest[at] == stamp)):
            place = at.start + int(np.flatnonzero(differs & (newest[at] == stamp))[0])
            start = periods.start + place * periods.mtu
            problem = Problem(
                where=f"{batch.meter} ({batch.direction}), period {format_utc(start)}",
                what=f"two values received at {format_utc(batch.received_at)}",
                remedy="state when each was received",
            )
            raise InputError([problem])
        value[at] = np.where(says, new_value, value[at])
        quality[at] = np.where(says, new_quality, quality[at])
        revision[at] += differs
        newest[at] = np.where(says, stamp, newest[at])
    return value, quality, revision


def _overlap(batch: ReadingBatch, periods: Periods) -> tuple[slice, slice]:
    """Return the places of a batch in the periods, and the places taken in the batch."""
    offset, rest = divmod(batch.periods.start - periods.start, periods.mtu)
    if batch.periods.mtu_minutes != periods.mtu_minutes or rest != timedelta(0):
        problem = Problem(
            where=f"readings of {batch.meter} from {batch.source}",
            what=f"periods of {batch.periods.mtu_minutes} min from "
            f"{format_utc(batch.periods.start)} do not fit those of {periods.mtu_minutes} min",
            remedy="read the meter in the market time unit",
        )
        raise InputError([problem])
    first = min(max(offset, 0), periods.count)
    last = min(max(offset + batch.periods.count, first), periods.count)
    return slice(first, last), slice(first - offset, last - offset)
