"""Read the files of a day folder: every problem is collected, none is guessed away."""

from __future__ import annotations

import csv
import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.errors import Problem, refuse_if_any
from data.periods import parse_utc
from dso.report.views import Floats

MESSAGES_PER_FILE = 5


@dataclass(slots=True)
class FolderReader:
    """Reads one folder and remembers what was wrong, to say all of it at once."""

    folder: Path
    problems: list[Problem] = field(default_factory=list)
    _said: dict[str, int] = field(default_factory=dict)

    def complain(self, where: str, what: str, remedy: str = "") -> None:
        """Note a problem; after a few in one file only their number grows."""
        name = where.split(" ", maxsplit=1)[0]
        self._said[name] = self._said.get(name, 0) + 1
        if self._said[name] <= MESSAGES_PER_FILE:
            self.problems.append(Problem(where=where, what=what, remedy=remedy))

    def refuse(self) -> None:
        """Raise `InputError` with all problems so far, or return."""
        more = [
            Problem(where=name, what=f"and {count - MESSAGES_PER_FILE} more problems of this file")
            for name, count in self._said.items()
            if count > MESSAGES_PER_FILE
        ]
        refuse_if_any([*self.problems, *more])

    def exists(self, name: str) -> bool:
        """Tell whether a file of the folder is there."""
        return (self.folder / name).is_file()

    def text(self, name: str) -> str:
        """Return a file's text, or "" with a problem noted."""
        try:
            return (self.folder / name).read_bytes().decode("utf-8")
        except FileNotFoundError:
            self.complain(name, "is missing", "run the stage that writes it")
        except (OSError, UnicodeDecodeError) as error:
            self.complain(name, f"cannot be read: {error}")
        return ""

    def json(self, name: str) -> object:
        """Return a JSON file's content, or an empty object with a problem noted."""
        text = self.text(name)
        if not text:
            return {}
        try:
            return json.loads(text, parse_constant=_refuse_constant)
        except ValueError as error:
            self.complain(name, f"is not JSON: {error}")
            return {}

    def mapping(self, name: str) -> Mapping[str, object]:
        """Return a JSON file that holds an object."""
        content = self.json(name)
        if isinstance(content, dict):
            return content
        self.complain(name, "must hold one JSON object")
        return {}

    def toml(self, name: str) -> Mapping[str, object]:
        """Return a TOML file's content, or nothing with a problem noted."""
        try:
            return tomllib.loads(self.text(name))
        except tomllib.TOMLDecodeError as error:
            self.complain(name, f"is not TOML: {error}")
            return {}

    def rows(self, name: str, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and the cells of ``columns`` (``?`` marks one that may be absent)."""
        if not self.exists(name):
            self.complain(name, "is missing", "run the stage that writes it")
            return
        with (self.folder / name).open(encoding="utf-8", newline="") as stream:
            table = csv.reader(stream)
            header = next(table, [])
            wanted = [column.removesuffix("?") for column in columns]
            lacking = [
                column for column in columns if column not in header and not column.endswith("?")
            ]
            if lacking:
                self.complain(f"{name} header", f"lacks {', '.join(lacking)}")
                return
            places = [header.index(column) if column in header else -1 for column in wanted]
            for number, cells in enumerate(table, start=2):
                if len(cells) != len(header):
                    self.complain(
                        f"{name} row {number}", f"has {len(cells)} cells, not {len(header)}"
                    )
                    continue
                yield number, [cells[place] if place >= 0 else "" for place in places]

    def number(self, name: str, row: int, text: str, *, blank: float | None = None) -> float:
        """Parse a finite number; a blank is ``blank`` where that is allowed."""
        if text == "" and blank is not None:
            return blank
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self.complain(f"{name} row {row}", f"{text!r} is not a finite number")
        return value

    def whole(self, name: str, row: int, text: str) -> int:
        """Parse an integer exactly."""
        try:
            return int(text)
        except ValueError:
            self.complain(f"{name} row {row}", f"{text!r} is not an integer")
            return 0


@dataclass(frozen=True, slots=True)
class PeriodIndex:
    """Position of a period in the day by its label; instants in other offsets are read too."""

    positions: Mapping[str, int]

    def get(self, text: str) -> int | None:
        """Return the position of a period start, None when it is outside the day."""
        position = self.positions.get(text)
        if position is not None:
            return position
        try:
            label = f"{parse_utc(text):%Y-%m-%dT%H:%M:%SZ}"
        except ValueError:
            return None
        return self.positions.get(label)


def missing_cells(reader: FolderReader, name: str, values: Floats, what: str) -> None:
    """Complain when a table that must be complete has gaps (NaN where no row was)."""
    gaps = int(np.isnan(values).sum())
    if gaps:
        reader.complain(name, f"{gaps} of {values.size} {what} are missing", "write every row")


def text_of(content: Mapping[str, object], key: str, default: str = "") -> str:
    """Return a text field, or its default."""
    value = content.get(key, default)
    return default if value is None else str(value)


def float_of(content: Mapping[str, object], key: str) -> float | None:
    """Return a finite number field, or None when absent, null or not a number."""
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def objects_of(content: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    """Return a list of objects, empty when absent."""
    value = content.get(key, [])
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not allowed")
