"""Read the CSV tables of a folder; every problem is collected, none stops the reading."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Generic, TypeVar

from data.errors import Problem
from data.periods import Periods, parse_utc
from dso.settlement.exact import parse_micro

MESSAGES_PER_FILE = 20
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One CSV file: which of the asked columns it has, and its cells in the asked order."""

    name: str
    columns: frozenset[str]
    rows: tuple[tuple[int, tuple[str, ...]], ...]


@dataclass(slots=True)
class TableFolder:
    """Reads one folder and remembers what was wrong, to say all of it at once."""

    folder: Path
    problems: list[Problem] = field(default_factory=list)
    _said: dict[str, int] = field(default_factory=dict)
    _instants: dict[str, datetime | None] = field(default_factory=dict)

    def complain(self, name: str, what: str, remedy: str = "", *, row: int | None = None) -> None:
        """Note a problem; after the first ones of a file only their number grows."""
        self._said[name] = self._said.get(name, 0) + 1
        if self._said[name] <= MESSAGES_PER_FILE:
            where = name if row is None else f"{name} row {row}"
            self.problems.append(Problem(where=where, what=what, remedy=remedy))

    def all_problems(self) -> list[Problem]:
        """Return the problems so far, with the number of those not spelled out."""
        more = [
            Problem(where=name, what=f"and {count - MESSAGES_PER_FILE} more problems in this file")
            for name, count in self._said.items()
            if count > MESSAGES_PER_FILE
        ]
        return [*self.problems, *more]

    def text(self, name: str) -> str:
        """Return a file's text, or "" with a problem noted."""
        try:
            return (self.folder / name).read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            self.complain(name, "is missing", "write it, at least its header")
        except (OSError, UnicodeDecodeError) as error:
            self.complain(name, f"cannot be read: {type(error).__name__}", "write it as UTF-8 text")
        return ""

    def table(self, name: str, required: Sequence[str], optional: Sequence[str] = ()) -> Table:
        """Read a CSV file; cells of an absent optional column are "".

        Rows with a wrong number of cells are noted as problems and left out.
        """
        asked = (*required, *optional)
        try:
            content = list(csv.reader(io.StringIO(self.text(name), newline="")))
        except csv.Error as error:
            self.complain(name, f"is no CSV: {error}")
            return Table(name=name, columns=frozenset(), rows=())
        header = content[0] if content else []
        if not content:
            if (self.folder / name).is_file():
                self.complain(name, "is empty", f"header: {','.join(required)}")
            return Table(name=name, columns=frozenset(), rows=())
        for column in sorted(set(required) - set(header)):
            self.complain(name, f"has no column {column}", f"header: {','.join(required)}")
        for column in sorted(set(header) - set(asked)):
            self.complain(name, f"has an unknown column {column!r}", f"known: {','.join(asked)}")
        if len(set(header)) < len(header):
            self.complain(name, "names a column twice in its header")
        if set(required) - set(header):
            return Table(name=name, columns=frozenset(header), rows=())
        places = [header.index(column) if column in header else None for column in asked]
        rows = []
        for number, cells in enumerate(content[1:], start=2):
            if not cells:
                continue
            if len(cells) != len(header):
                self.complain(name, f"has {len(cells)} cells, not {len(header)}", row=number)
                continue
            rows.append((number, tuple("" if k is None else cells[k] for k in places)))
        return Table(name=name, columns=frozenset(header), rows=tuple(rows))

    def micro(self, name: str, row: int, column: str, text: str) -> int:
        """Read a number as micro-units; 0 with a problem noted where it is none."""
        try:
            return parse_micro(text)
        except ValueError as error:
            self.complain(name, f"{column}: {error}", "give a finite number", row=row)
            return 0

    def integer(self, name: str, row: int, column: str, text: str) -> int | None:
        """Read an integer, or None with a problem noted."""
        stripped = text.strip()
        if stripped.removeprefix("-").isdecimal() and stripped.isascii() and len(stripped) < 12:
            return int(stripped)
        self.complain(name, f"{column}: {text!r} is not an integer", row=row)
        return None

    def label(self, name: str, row: int, column: str, text: str) -> str:
        """Read a name that must not be blank."""
        if not text.strip():
            self.complain(name, f"{column} is blank", row=row)
        return text.strip()

    def instant(self, name: str, row: int, text: str) -> datetime | None:
        """Read an instant with offset, or None with a problem noted."""
        if text not in self._instants:
            try:
                self._instants[text] = parse_utc(text.strip())
            except (ValueError, OverflowError):
                self._instants[text] = None
        found = self._instants[text]
        if found is None:
            self.complain(
                name, f"period_start: {text!r} is no instant with offset",
                "write YYYY-MM-DDTHH:MM:SSZ", row=row,
            )  # fmt: skip
        return found

    def period(self, name: str, row: int, text: str, periods: Periods | None) -> int | None:
        """Read the index of a period of the case, or None with a problem noted."""
        start = self.instant(name, row, text)
        if start is None or periods is None:
            return None
        index, rest = divmod(start - periods.start, periods.mtu)
        if rest != timedelta(0) or not 0 <= index < periods.count:
            self.complain(
                name, f"period_start {text} is no period of this settlement",
                "substation.csv says which periods are settled", row=row,
            )  # fmt: skip
            return None
        return index


@dataclass(slots=True)
class Series(Generic[Key]):
    """Values by key and period, to find duplicates and gaps."""

    periods: int
    values: dict[Key, list[tuple[int, ...] | None]] = field(default_factory=dict)

    def put(self, key: Key, period: int, values: tuple[int, ...]) -> bool:
        """Store the values of a period; False where it already has some."""
        slots = self.values.setdefault(key, [None] * self.periods)
        if slots[period] is not None:
            return False
        slots[period] = values
        return True

    def gaps(self) -> Iterator[tuple[Key, int, int]]:
        """Yield every key with missing periods: how many and the first."""
        for key, slots in self.values.items():
            if None in slots:
                yield key, slots.count(None), slots.index(None)

    def column(self, key: Key, place: int) -> tuple[int, ...]:
        """Return one value over all periods; a gap, already a problem, reads as 0."""
        return tuple(0 if slot is None else slot[place] for slot in self.values[key])
