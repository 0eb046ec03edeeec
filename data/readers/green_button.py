"""Read Green Button files (NAESB REQ.21 ESPI): an Atom feed of meter readings.

A feed holds entries that point at each other: UsagePoint, MeterReading (links to its ReadingType
and its IntervalBlocks), ReadingType (unit, power of ten, direction of flow, what is accumulated)
and IntervalBlocks with IntervalReadings: start [s since 1970, UTC], duration [s], value, quality.

Energy = value x 10^powerOfTenMultiplier in Wh (uom 72), or average power in W (uom 38) times the
duration; whole Wh, half-even. flowDirection 1 is import, 19 export, 4 net: its negative values are
export. accumulationBehaviour 4 (delta) and 0 are interval energies, 1, 3 and 9 (bulk, cumulative,
summation) are register readings. Anything else is refused by name.

Each block is one message, received when its entry says it was updated: a later feed with the same
periods is a revision.

The file comes from outside: a document type declaration is refused before anything is parsed, and
with it entities, their expansion and external references.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final
from xml.etree import ElementTree as ET
from xml.parsers import expat

import numpy as np

from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods, parse_utc
from data.records.metering import (
    DIRECTIONS,
    MISSING,
    NO_VALUE_WH,
    QUALITIES,
    Direction,
    Quality,
    ReadingBatch,
    RegisterReading,
)
from data.units import round_half_even

ATOM: Final = "{http://www.w3.org/2005/Atom}"
ESPI: Final = "{http://naesb.org/espi}"
BYTES_MAX: Final = 256 * 2**20
PERIODS_MAX: Final = 400_000
LAST_SECOND: Final = 7_258_118_400  # the year 2200
LONGEST_S: Final = 366 * 86_400
LARGEST_WH: Final = 10**14
DIGITS_MAX: Final = 30

WATT_HOURS, WATTS = 72, 38
FORWARD, NET, REVERSE = 1, 4, 19
MIXED: Final = 13
INTERVAL_BEHAVIOURS: Final = {0, 4}
REGISTER_BEHAVIOURS: Final = {1, 3, 9}
QUALITY_OF_READING: Final[dict[int, Quality]] = {
    0: "measured", 7: "edited", 8: "estimated", 9: "estimated", 10: "questionable",
    11: "estimated", 13: "questionable", 14: "raw", 16: "questionable", 17: "measured",
    18: "measured", 19: "measured",
}  # fmt: skip
"""ESPI QualityOfReading. 12 (forecast) and 15 (normalised for weather) are no readings: refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GreenButton:
    """What a feed holds; ``assumed`` names what it left unsaid."""

    batches: tuple[ReadingBatch, ...]
    registers: tuple[RegisterReading, ...]
    assumed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """A ReadingType."""

    uom: int
    power_of_ten: int
    flow: int | None
    behaviour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    where: str
    updated: datetime
    kind: _Kind
    element: ET.Element


@dataclass(frozen=True, slots=True, kw_only=True)
class _Value:
    start_s: int
    duration_s: int
    energy_wh: int
    quality: Quality


def read_green_button(
    content: bytes,
    *,
    meter: str,
    connection: str,
    source: str,
    mtu_minutes: int = 15,
    assume_direction: Direction | None = None,
) -> GreenButton:
    """Read a feed of one meter.

    Parameters
    ----------
    content : bytes
        The XML.
    meter, connection : str
        What they are called here: a feed names neither in a way that lasts.
    source : str
        File or message, for findings.
    mtu_minutes : int
        Length of the periods wanted [min]; the feed must have that length.
    assume_direction : {"import", "export"}, optional
        For feeds that do not state one; without it they are refused.

    Raises
    ------
    InputError
        With all problems: no XML, a DTD, units or qualities that are no meter's, blocks without
        reading type, periods of another length, a period twice in one block.
    """
    root = _parse(content, source)
    problems: list[Problem] = []
    assumed: set[str] = set()
    entries = list(root.iter(f"{ATOM}entry"))
    kinds = _reading_types(entries, problems)
    batches: list[ReadingBatch] = []
    registers: list[RegisterReading] = []
    for block in _blocks(entries, kinds, source, problems):
        values = _values(block, problems)
        flow = block.kind.flow
        if flow is None and assume_direction is not None:
            assumed.add(f"{source}: no flowDirection, taken as {assume_direction}")
            flow = FORWARD if assume_direction == "import" else REVERSE
        if flow not in (FORWARD, NET, REVERSE):
            what = "states no flowDirection" if flow is None else f"flowDirection {flow}"
            remedy = "1 import, 19 export and 4 net are read; say which it is"
            problems.append(Problem(where=block.where, what=what, remedy=remedy))
            continue
        for direction, part in _by_direction(values, flow):
            if block.kind.behaviour in REGISTER_BEHAVIOURS:
                registers.extend(_register(value, meter, direction, block) for value in part)
            else:
                name = (meter, connection, f"{source} {block.where}")
                batch = _batch(part, name, direction, block, mtu_minutes, problems)
                batches.extend([batch] if batch is not None else [])
    refuse_if_any(problems)
    if not batches and not registers:
        raise InputError([Problem(where=source, what="holds no interval readings")])
    return GreenButton(
        batches=tuple(batches), registers=tuple(registers), assumed=tuple(sorted(assumed))
    )


def _parse(content: bytes, source: str) -> ET.Element:
    if len(content) > BYTES_MAX:
        raise InputError([Problem(where=source, what=f"is larger than {BYTES_MAX >> 20} MiB")])
    _refuse_dtd(content, source)
    try:
        return ET.fromstring(content)  # noqa: S314  without DTD: checked above
    except (ET.ParseError, LookupError, ValueError) as error:
        raise InputError([Problem(where=source, what=f"is no XML: {error}")]) from error


def _refuse_dtd(content: bytes, source: str) -> None:
    """Refuse a document type declaration, and text that is no XML, without building anything."""

    def refuse(*_declaration: object) -> None:
        what = "has a document type declaration, which no Green Button file needs"
        raise InputError([Problem(where=source, what=what, remedy="remove <!DOCTYPE ...>")])

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)  # noqa: FBT003  expat's own signature
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise InputError([Problem(where=source, what=f"is no XML: {error}")]) from error


def _whole(element: ET.Element, name: str) -> int | None:
    text = element.findtext(f"{ESPI}{name}")
    return None if text is None or not text.strip() else int(text)


def _self(entry: ET.Element) -> str:
    return _links(entry, "self")[0] if _links(entry, "self") else ""


def _links(entry: ET.Element, relation: str) -> list[str]:
    return [
        link.get("href", "").rstrip("/")
        for link in entry.findall(f"{ATOM}link")
        if link.get("rel") == relation
    ]


def _content(entry: ET.Element, name: str) -> list[ET.Element]:
    return [found for part in entry.findall(f"{ATOM}content") for found in part.iter(ESPI + name)]


def _reading_types(entries: list[ET.Element], problems: list[Problem]) -> dict[str, _Kind]:
    found: dict[str, _Kind] = {}
    for entry in entries:
        for element in _content(entry, "ReadingType"):
            where = f"ReadingType {_self(entry)}"
            try:
                kind = _Kind(
                    uom=_whole(element, "uom") or 0,
                    power_of_ten=_whole(element, "powerOfTenMultiplier") or 0,
                    flow=_whole(element, "flowDirection") or None,
                    behaviour=_whole(element, "accumulationBehaviour") or 0,
                )
            except ValueError as error:
                problems.append(Problem(where=where, what=f"holds a word for a number: {error}"))
                continue
            found[_self(entry)] = kind
    return found


def _blocks(
    entries: list[ET.Element], kinds: dict[str, _Kind], source: str, problems: list[Problem]
) -> Iterator[_Block]:
    """Find the reading type of each block through its MeterReading."""
    type_of = {
        _self(entry): [kinds[link] for link in _links(entry, "related") if link in kinds]
        for entry in entries
        if _content(entry, "MeterReading")
    }
    number = 0
    for entry in entries:
        for element in _content(entry, "IntervalBlock"):
            number += 1
            where = f"IntervalBlock {number}"
            reading = (
                _links(entry, "up")[0].rsplit("/IntervalBlock", 1)[0] if _links(entry, "up") else ""
            )
            candidates = type_of.get(reading, [])
            if not candidates and len(kinds) == 1:
                candidates = list(kinds.values())
            updated = _instant(entry)
            if len(candidates) != 1 or updated is None:
                what = "its entry says no time of update" if updated is None else (
                    f"{len(candidates)} reading types lead to it"
                )  # fmt: skip
                problems.append(Problem(where=f"{source} {where}", what=what))
                continue
            kind = candidates[0]
            if not _readable(kind, f"{source} {where}", problems):
                continue
            yield _Block(where=where, updated=updated, kind=kind, element=element)


def _readable(kind: _Kind, where: str, problems: list[Problem]) -> bool:
    count = len(problems)
    if kind.uom not in (WATT_HOURS, WATTS):
        what = f"unit of measure {kind.uom}"
        problems.append(Problem(where=where, what=what, remedy="72 (Wh) and 38 (W) are read"))
    if kind.behaviour not in INTERVAL_BEHAVIOURS | REGISTER_BEHAVIOURS:
        what = f"accumulationBehaviour {kind.behaviour}"
        remedy = "4 (delta), 1, 3 and 9 (register) are read"
        problems.append(Problem(where=where, what=what, remedy=remedy))
    if not -9 <= kind.power_of_ten <= 9:
        problems.append(Problem(where=where, what=f"powerOfTenMultiplier {kind.power_of_ten}"))
    return len(problems) == count


def _instant(entry: ET.Element) -> datetime | None:
    for name in ("updated", "published"):
        text = (entry.findtext(f"{ATOM}{name}") or "").strip()
        if text:
            try:
                return parse_utc(text)
            except ValueError:
                return None
    return None


def _values(block: _Block, problems: list[Problem]) -> list[_Value]:
    scale = Fraction(10) ** block.kind.power_of_ten
    found: list[_Value] = []
    for number, reading in enumerate(block.element.iter(f"{ESPI}IntervalReading"), start=1):
        where = f"{block.where}, reading {number}"
        period = reading.find(f"{ESPI}timePeriod")
        try:
            start = None if period is None else _whole(period, "start")
            duration = None if period is None else _whole(period, "duration")
            text = reading.findtext(f"{ESPI}value")
            amount = None if text is None else _amount(text)
            code = _quality(reading)
        except (ArithmeticError, ValueError):
            problems.append(Problem(where=where, what="holds a word for a number"))
            continue
        if start is None or duration is None or amount is None or duration <= 0:
            problems.append(Problem(where=where, what="lacks start, duration or value"))
        elif not (0 <= start <= LAST_SECOND and duration <= LONGEST_S):
            problems.append(Problem(where=where, what=f"start {start} s, duration {duration} s"))
        elif abs(amount * scale) > LARGEST_WH:
            problems.append(Problem(where=where, what=f"value {text} is beyond any meter"))
        elif code not in QUALITY_OF_READING:
            what = f"quality {code} is no meter reading"
            problems.append(Problem(where=where, what=what, remedy="leave forecasts out"))
        else:
            hours = Fraction(duration, 3600) if block.kind.uom == WATTS else Fraction(1)
            found.append(
                _Value(
                    start_s=start,
                    duration_s=duration,
                    energy_wh=round_half_even(amount * scale * hours),
                    quality=QUALITY_OF_READING[code],
                )
            )
    return found


def _amount(text: str) -> Fraction:
    """Return a number as written; an exponent that would fill the memory is a word, not a number.

    Raises
    ------
    ValueError, ArithmeticError
        If it is no number that a meter could show.
    """
    number = Decimal(text.strip())
    if not number.is_finite() or abs(number.adjusted()) > DIGITS_MAX or len(text) > 100:
        raise ValueError(text[:100])
    return Fraction(number)


def _quality(reading: ET.Element) -> int:
    """Return the quality of a reading: 0 (valid) unsaid, 13 (mixed) where it says several."""
    said = {_whole(part, "quality") or 0 for part in reading.findall(f"{ESPI}ReadingQuality")}
    return 0 if not said else said.pop() if len(said) == 1 else MIXED


def _by_direction(values: list[_Value], flow: int) -> list[tuple[Direction, list[_Value]]]:
    """Give each register its values; a net series feeds two."""
    if flow != NET:
        return [(DIRECTIONS[0] if flow == FORWARD else DIRECTIONS[1], values)]

    def part(sign: int) -> list[_Value]:
        return [
            _Value(
                start_s=v.start_s,
                duration_s=v.duration_s,
                energy_wh=max(sign * v.energy_wh, 0),
                quality=v.quality,
            )
            for v in values
        ]

    return [(DIRECTIONS[0], part(1)), (DIRECTIONS[1], part(-1))]


def _register(value: _Value, meter: str, direction: Direction, block: _Block) -> RegisterReading:
    """Take a cumulative value as what the register showed at the end of its period."""
    shown = datetime.fromtimestamp(value.start_s + value.duration_s, tz=UTC)
    return RegisterReading(
        meter=meter,
        direction=direction,
        at=shown,
        register_wh=value.energy_wh,
        received_at=max(block.updated, shown),
    )


def _batch(
    values: list[_Value],
    name: tuple[str, str, str],
    direction: Direction,
    block: _Block,
    mtu_minutes: int,
    problems: list[Problem],
) -> ReadingBatch | None:
    if not values:
        return None
    mtu_s, where = 60 * mtu_minutes, name[2]
    first = min(value.start_s for value in values)
    count = (max(value.start_s for value in values) - first) // mtu_s + 1
    lengths = sorted({value.duration_s for value in values})
    off = [v for v in values if (v.start_s - first) % mtu_s]
    twice = len(values) - len({value.start_s for value in values})
    found: list[str] = []
    if lengths != [mtu_s]:
        found.append(f"periods of {', '.join(map(str, lengths))} s, not of {mtu_s} s")
    if off:
        found.append(f"{len(off)} periods do not follow the first by multiples of {mtu_s} s")
    if twice:
        found.append(f"{twice} periods stand there twice")
    if count > PERIODS_MAX:
        found.append(f"spans {count} periods")
    problems.extend(Problem(where=where, what=what) for what in found)
    if found:
        return None
    energy = np.full(count, NO_VALUE_WH, dtype=np.int64)
    quality = np.full(count, MISSING, dtype=np.int8)
    for value in values:
        place = (value.start_s - first) // mtu_s
        energy[place] = value.energy_wh
        quality[place] = QUALITIES.index(value.quality)
    periods = Periods(
        start=datetime.fromtimestamp(first, tz=UTC), count=count, mtu_minutes=mtu_minutes
    )
    last = periods.start + timedelta(seconds=mtu_s * count)
    return ReadingBatch(
        meter=name[0],
        connection=name[1],
        direction=direction,
        periods=periods,
        value_wh=energy,
        quality=quality,
        received_at=max(block.updated, last),
        source=where,
    )
