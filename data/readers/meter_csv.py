"""Read meters from plain files: a meter folder, or one table of load.

A meter folder holds (UTC, start-labelled periods, energy in whole Wh)::

    points.csv     connection,feeder,limit_kw,resolution_wh,register_modulus_wh
    readings.csv   meter,connection,direction,period_start,energy_wh,quality,received_at
    registers.csv  meter,direction,at,register_wh,received_at                       (optional)
    exchanges.csv  connection,direction,at,removed_meter,final_wh,installed_meter,initial_wh,
                   received_at                                                      (optional)
    tampers.csv    meter,kind,start,end,received_at                                 (optional)
    feeders.csv    feeder,period_start,energy_wh                                    (optional)

An empty ``energy_wh`` says that the value is missing. Rows of one meter with one ``received_at``
are one message; a later ``received_at`` for the same period is a revision, both are kept.

A load table has ``period_start`` and one column per connection with its withdrawal per period [Wh].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from data.csv_table import TextTable, read_table
from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods, parse_utc
from data.records.metering import (
    DIRECTIONS,
    MISSING,
    NO_VALUE_WH,
    QUALITIES,
    TAMPER_KINDS,
    Direction,
    MeterExchange,
    MeterFiles,
    MeterPoint,
    ReadingBatch,
    RegisterReading,
    TamperFlag,
    TamperKind,
)

POINT_COLUMNS: Final = ("connection", "feeder", "limit_kw", "resolution_wh", "register_modulus_wh")
READING_COLUMNS: Final = (
    "meter", "connection", "direction", "period_start", "energy_wh", "quality", "received_at",
)  # fmt: skip
REGISTER_COLUMNS: Final = ("meter", "direction", "at", "register_wh", "received_at")
EXCHANGE_COLUMNS: Final = (
    "connection", "direction", "at", "removed_meter", "final_wh", "installed_meter", "initial_wh",
    "received_at",
)  # fmt: skip
TAMPER_COLUMNS: Final = ("meter", "kind", "start", "end", "received_at")
FEEDER_COLUMNS: Final = ("feeder", "period_start", "energy_wh")
PERIODS_MAX: Final = 400_000  # ten years of quarter-hours: beyond that a date is mistyped


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadTable:
    """Withdrawal of several connections; ``energy_wh`` has shape (periods, names), NaN: none."""

    names: tuple[str, ...]
    periods: Periods
    energy_wh: NDArray[np.float64]


def read_meter_folder(folder: Path, mtu_minutes: int = 15) -> MeterFiles:
    """Read a meter folder; every problem of every file in one error.

    Parameters
    ----------
    folder : Path
        With the files of the module's docstring.
    mtu_minutes : int
        Length of the periods [min].

    Raises
    ------
    InputError
        With all problems: unknown words, cells that are no whole number, instants off the grid,
        the same period twice in one message.
    """
    problems: list[Problem] = []
    points = _read(folder, "points.csv", POINT_COLUMNS, problems)
    readings = _read(folder, "readings.csv", READING_COLUMNS, problems)
    registers = _read(folder, "registers.csv", REGISTER_COLUMNS, problems, optional=True)
    exchanges = _read(folder, "exchanges.csv", EXCHANGE_COLUMNS, problems, optional=True)
    tampers = _read(folder, "tampers.csv", TAMPER_COLUMNS, problems, optional=True)
    found = MeterFiles(
        points=() if points is None else _points(points, problems),
        batches=() if readings is None else _batches(readings, mtu_minutes, problems),
        registers=() if registers is None else _registers(registers, problems),
        exchanges=() if exchanges is None else _exchanges(exchanges, problems),
        tampers=() if tampers is None else _tampers(tampers, problems),
    )
    known = {point.connection for point in found.points}
    strange = sorted({b.connection for b in found.batches} - known)
    problems.extend(
        Problem(where="readings.csv", what=f"connection {name!r} is not in points.csv")
        for name in strange
        if points is not None
    )
    refuse_if_any(problems)
    return found


def _read(
    folder: Path,
    name: str,
    header: Sequence[str],
    problems: list[Problem],
    *,
    optional: bool = False,
) -> TextTable | None:
    if optional and not (folder / name).exists():
        return None
    return read_table(folder / name, header, problems)


def whole(table: TextTable, row: int, column: str, problems: list[Problem]) -> int:
    """Return a cell as a whole number; what is none is a problem and counts as 0."""
    text = table.columns[column][row]
    try:
        return int(text)
    except ValueError:
        what = f"{column} is {text!r}" if text else f"{column} is empty"
        problems.append(Problem(where=table.where(row), what=what, remedy="state whole Wh"))
        return 0


def instant(table: TextTable, row: int, column: str, problems: list[Problem]) -> datetime | None:
    """Return a cell as an instant; what is none is a problem."""
    text = table.columns[column][row]
    try:
        return parse_utc(text)
    except ValueError:
        remedy = "state an instant with its offset, e.g. 2026-07-01T10:15:00Z"
        problems.append(
            Problem(where=table.where(row), what=f"{column} is {text!r}", remedy=remedy)
        )
        return None


def _word(
    table: TextTable, row: int, column: str, words: Sequence[str], problems: list[Problem]
) -> str:
    text = table.columns[column][row]
    if text not in words:
        remedy = f"use {', '.join(words)}"
        problems.append(
            Problem(where=table.where(row), what=f"{column} is {text!r}", remedy=remedy)
        )
        return words[0]
    return text


def _direction(table: TextTable, row: int, problems: list[Problem]) -> Direction:
    return cast("Direction", _word(table, row, "direction", DIRECTIONS, problems))


def _points(table: TextTable, problems: list[Problem]) -> tuple[MeterPoint, ...]:
    limits = table.numbers("limit_kw", problems)
    found, seen = [], set()
    for row in range(len(table)):
        name = table.columns["connection"][row]
        if name in seen or not name:
            what = f"connection {name!r} stands there twice" if name else "connection is empty"
            problems.append(Problem(where=table.where(row), what=what))
        seen.add(name)
        blank = not table.columns["resolution_wh"][row]
        turns = table.columns["register_modulus_wh"][row]
        found.append(
            MeterPoint(
                connection=name,
                feeder=table.columns["feeder"][row],
                limit_w=round(float(np.nan_to_num(limits[row])) * 1e3),
                resolution_wh=1 if blank else whole(table, row, "resolution_wh", problems),
                register_modulus_wh=whole(table, row, "register_modulus_wh", problems)
                if turns
                else None,
            )
        )
    return tuple(found)


def _batches(
    table: TextTable, mtu_minutes: int, problems: list[Problem]
) -> tuple[ReadingBatch, ...]:
    columns = [table.columns[name] for name in ("meter", "connection", "direction", "received_at")]
    messages: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(zip(*columns, strict=True)):
        messages.setdefault(key, []).append(row)
    found = []
    for rows in messages.values():
        batch = _batch(table, rows, mtu_minutes, problems)
        if batch is not None:
            found.append(batch)
    return tuple(found)


def _batch(
    table: TextTable, rows: list[int], mtu_minutes: int, problems: list[Problem]
) -> ReadingBatch | None:
    """Make one message of the rows of one meter received at one instant."""
    received_at = instant(table, rows[0], "received_at", problems)
    starts = [instant(table, row, "period_start", problems) for row in rows]
    direction = _direction(table, rows[0], problems)
    known = [(row, start) for row, start in zip(rows, starts, strict=True) if start is not None]
    if received_at is None or not known:
        return None
    first = min(start for _, start in known)
    mtu = timedelta(minutes=mtu_minutes)
    count = (max(start for _, start in known) - first) // mtu + 1
    if count > PERIODS_MAX:
        problems.append(Problem(where=table.where(rows[0]), what=f"spans {count} periods"))
        return None
    value = np.full(count, NO_VALUE_WH, dtype=np.int64)
    quality = np.full(count, MISSING, dtype=np.int8)
    seen: set[int] = set()
    for row, start in known:
        place, rest = divmod(start - first, mtu)
        if rest or place in seen:
            label = table.columns["period_start"][row]
            what = f"{label} is not on the grid of {mtu_minutes} min" if rest else f"{label} twice"
            problems.append(Problem(where=table.where(row), what=what))
            continue
        seen.add(place)
        word = _word(table, row, "quality", QUALITIES, problems)
        if table.columns["energy_wh"][row] == "":
            continue
        energy_wh = whole(table, row, "energy_wh", problems)
        if word == "missing":
            continue
        value[place] = energy_wh
        quality[place] = [str(name) for name in QUALITIES].index(word)
    return ReadingBatch(
        meter=table.columns["meter"][rows[0]],
        connection=table.columns["connection"][rows[0]],
        direction=direction,
        periods=Periods(start=first, count=count, mtu_minutes=mtu_minutes),
        value_wh=value,
        quality=quality,
        received_at=received_at,
        source=table.name,
    )


def _registers(table: TextTable, problems: list[Problem]) -> tuple[RegisterReading, ...]:
    found = []
    for row in range(len(table)):
        at = instant(table, row, "at", problems)
        received_at = instant(table, row, "received_at", problems)
        if at is not None and received_at is not None:
            found.append(
                RegisterReading(
                    meter=table.columns["meter"][row],
                    direction=_direction(table, row, problems),
                    at=at,
                    register_wh=whole(table, row, "register_wh", problems),
                    received_at=received_at,
                )
            )
    return tuple(found)


def _exchanges(table: TextTable, problems: list[Problem]) -> tuple[MeterExchange, ...]:
    found = []
    for row in range(len(table)):
        at = instant(table, row, "at", problems)
        received_at = instant(table, row, "received_at", problems)
        if at is not None and received_at is not None:
            found.append(
                MeterExchange(
                    connection=table.columns["connection"][row],
                    direction=_direction(table, row, problems),
                    at=at,
                    removed_meter=table.columns["removed_meter"][row],
                    final_wh=whole(table, row, "final_wh", problems),
                    installed_meter=table.columns["installed_meter"][row],
                    initial_wh=whole(table, row, "initial_wh", problems),
                    received_at=received_at,
                )
            )
    return tuple(found)


def _tampers(table: TextTable, problems: list[Problem]) -> tuple[TamperFlag, ...]:
    found = []
    for row in range(len(table)):
        start = instant(table, row, "start", problems)
        received_at = instant(table, row, "received_at", problems)
        open_end = not table.columns["end"][row]
        end = None if open_end else instant(table, row, "end", problems)
        if start is not None and received_at is not None:
            kind = cast("TamperKind", _word(table, row, "kind", TAMPER_KINDS, problems))
            found.append(
                TamperFlag(
                    meter=table.columns["meter"][row],
                    kind=kind,
                    start=start,
                    end=end,
                    received_at=received_at,
                )
            )
    return tuple(found)


def read_feeders(path: Path, periods: Periods) -> dict[str, NDArray[np.int64]]:
    """Read what the feeder meters counted, shape (periods,) each [Wh].

    Raises
    ------
    InputError
        If a feeder lacks a period, or names one twice.
    """
    problems: list[Problem] = []
    table = read_table(path, FEEDER_COLUMNS, problems)
    if table is None:
        raise InputError(problems)
    place = {start: k for k, start in enumerate(periods.starts)}
    found: dict[str, NDArray[np.int64]] = {}
    for row in range(len(table)):
        start = instant(table, row, "period_start", problems)
        name = table.columns["feeder"][row]
        if name not in found:
            found[name] = np.full(periods.count, NO_VALUE_WH, dtype=np.int64)
        series = found[name]
        if start is None or start not in place:
            continue
        if series[place[start]] != NO_VALUE_WH:
            problems.append(Problem(where=table.where(row), what=f"{name}: period twice"))
        series[place[start]] = whole(table, row, "energy_wh", problems)
    problems.extend(
        Problem(where=f"{path.name} ({name})", what=f"{int((v == NO_VALUE_WH).sum())} periods lack")
        for name, v in found.items()
        if (v == NO_VALUE_WH).any()
    )
    refuse_if_any(problems)
    return found


def read_load_table(path: Path) -> LoadTable:
    """Read a table with one column of energies per connection; the MTU is that of its rows.

    Raises
    ------
    InputError
        If the header has no ``period_start``, rows are not evenly spaced, or a cell is no number.
    """
    problems: list[Problem] = []
    header = _header(path)
    if len(header) < 2 or header[0] != "period_start":
        what = "the first column is not period_start, or there is no other"
        raise InputError([Problem(where=path.name, what=what)])
    table = read_table(path, header, problems)
    if table is None:
        raise InputError(problems)
    starts = [instant(table, row, "period_start", problems) for row in range(len(table))]
    values = np.column_stack([table.numbers(name, problems, blank=True) for name in header[1:]])
    known = [start for start in starts if start is not None]
    if len(known) < 2:
        problems.append(Problem(where=path.name, what=f"has {len(known)} periods"))
    refuse_if_any(problems)
    mtu = known[1] - known[0]
    uneven = [row for row in range(1, len(known)) if known[row] - known[row - 1] != mtu]
    if uneven or mtu <= timedelta(0) or mtu % timedelta(minutes=1):
        where = table.where(uneven[0]) if uneven else table.where(1)
        what = f"{len(uneven)} rows do not follow the row before by {mtu}"
        raise InputError([Problem(where=where, what=what, remedy="leave no period out")])
    minutes = mtu // timedelta(minutes=1)
    periods = Periods(start=known[0], count=len(known), mtu_minutes=minutes)
    return LoadTable(names=tuple(header[1:]), periods=periods, energy_wh=values)


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            line = stream.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Problem(where=path.name, what=f"cannot be read: {error}")]) from error
    return line.rstrip("\r\n").split(",")
