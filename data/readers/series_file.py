"""Files of values by period: `period_start`, optional `known_at`, then any named columns."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import sha256_hex
from data.errors import Problem
from data.periods import parse_utc

Floats = NDArray[np.float64]
Instants = NDArray[np.datetime64]

PERIOD_COLUMN: Final = "period_start"
KNOWN_COLUMN: Final = "known_at"
PROBLEMS_MAX: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFile:
    """A file as read.

    Parameters
    ----------
    name : str
        File name, for messages.
    sha256 : str
        Of the bytes.
    columns : tuple of str
        Value columns, in the order of the file.
    start : ndarray of datetime64[s], shape (rows,)
        Start of each row's period, UTC; not ordered yet.
    known_at : ndarray of datetime64[s], shape (rows,)
        As stated; NaT where nothing is.
    value : ndarray, shape (rows, columns)
        NaN where the cell is empty.
    """

    name: str
    sha256: str
    columns: tuple[str, ...]
    start: Instants
    known_at: Instants
    value: Floats


def read_series_file(path: Path, problems: list[Problem]) -> SeriesFile | None:
    """Read a file of values by period.

    Parameters
    ----------
    path : Path
        UTF-8 CSV with a header.
    problems : list of Problem
        Collects what is wrong, at most five rows of each sort by name.

    Returns
    -------
    SeriesFile or None
        None when the file cannot be used.
    """
    try:
        content = path.read_bytes()
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        problems.append(Problem(where=str(path), what=f"cannot be read: {reason}"))
        return None
    header = [cell.strip() for cell in rows[0]] if rows else []
    columns = [name for name in header if name not in (PERIOD_COLUMN, KNOWN_COLUMN)]
    if PERIOD_COLUMN not in header or not columns or len(set(header)) != len(header):
        problems.append(
            Problem(
                where=f"{path.name} row 1",
                what=f"the header is {','.join(header)!r}",
                remedy=f"state {PERIOD_COLUMN}, then named columns, each once",
            )
        )
        return None
    found: list[Problem] = []
    body = [(place, row) for place, row in enumerate(rows[1:], start=2) if row]
    good = []
    for place, row in body:
        if len(row) == len(header):
            good.append((place, row))
        else:
            found.append(
                Problem(where=f"{path.name} row {place}", what=f"{len(row)} cells, not "
                        f"{len(header)}")
            )  # fmt: skip
    places = {name: header.index(name) for name in header}
    start = _instants(path, good, places[PERIOD_COLUMN], found, blank=False)
    if KNOWN_COLUMN in places:
        known_at = _instants(path, good, places[KNOWN_COLUMN], found, blank=True)
    else:
        known_at = np.full(len(good), np.datetime64("NaT"), dtype="datetime64[s]")
    value = np.column_stack(
        [_numbers(path, good, places[name], name, found) for name in columns]
    ).reshape(len(good), len(columns))
    if not good:
        found.append(Problem(where=path.name, what="holds no row"))
    problems.extend(found[:PROBLEMS_MAX])
    if len(found) > PROBLEMS_MAX:
        rest = len(found) - PROBLEMS_MAX
        problems.append(Problem(where=path.name, what=f"{rest} more rows that cannot be read"))
    if found:
        return None
    return SeriesFile(
        name=path.name,
        sha256=sha256_hex(content),
        columns=tuple(columns),
        start=start,
        known_at=known_at,
        value=value,
    )


def _instants(
    path: Path, rows: list[tuple[int, list[str]]], column: int, found: list[Problem], *, blank: bool
) -> Instants:
    instants = np.full(len(rows), np.datetime64("NaT"), dtype="datetime64[s]")
    for k, (place, row) in enumerate(rows):
        text = row[column].strip()
        if not text and blank:
            continue
        try:
            instants[k] = np.datetime64(parse_utc(text).replace(tzinfo=None), "s")
        except ValueError:
            found.append(
                Problem(
                    where=f"{path.name} row {place}",
                    what=f"{text!r} is no instant with an offset",
                    remedy="write it like 2026-05-01T13:00:00Z",
                )
            )
    return instants


def _numbers(
    path: Path, rows: list[tuple[int, list[str]]], column: int, name: str, found: list[Problem]
) -> Floats:
    values = np.full(len(rows), np.nan)
    for k, (place, row) in enumerate(rows):
        text = row[column].strip()
        if not text:
            continue
        try:
            values[k] = float(text) if "_" not in text else np.nan
        except ValueError:
            values[k] = np.nan
        if not np.isfinite(values[k]):
            found.append(
                Problem(
                    where=f"{path.name} row {place}",
                    what=f"{name} is {text!r}",
                    remedy="state a finite number, or leave the cell empty where none was read",
                )
            )
    return values
