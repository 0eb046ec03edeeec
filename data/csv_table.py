r"""Tables as columns: CSV written and read whole, without a call per cell.

Same text as `data.canonical.csv_bytes`: ``,`` and ``\n``, 12 significant digits, blanks for what
does not apply.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.canonical import csv_bytes
from data.errors import Problem

Floats = NDArray[np.float64]
Column = Sequence[str] | NDArray[np.float64] | NDArray[np.int64]


def number_texts(values: Floats) -> list[str]:
    """Write numbers with 12 significant digits; NaN gives a blank, never ``-0``.

    Raises
    ------
    ValueError
        If a value is infinite.
    """
    flat = np.asarray(values, dtype=float).ravel() + 0.0
    if np.any(np.isinf(flat)):
        raise ValueError("refusing to write an infinite number")
    texts = (("%.12g\n" * len(flat)) % tuple(flat.tolist())).split("\n")[:-1]
    for place in np.flatnonzero(np.isnan(flat)).tolist():
        texts[place] = ""
    return texts


def round_significant(values: Floats) -> Floats:
    """Round numbers to the 12 significant digits that files carry; NaN stays NaN.

    Examples
    --------
    >>> round_significant(np.array([1 / 3, -0.0])).tolist()
    [0.333333333333, 0.0]
    """
    array = np.asarray(values, dtype=float) + 0.0
    flat = array.ravel().tolist()
    texts = (("%.12g\n" * len(flat)) % tuple(flat)).split("\n")[:-1]
    return np.array(list(map(float, texts)), dtype=float).reshape(array.shape)


def _texts(column: Column) -> Sequence[str]:
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "f":
            return number_texts(np.asarray(column, dtype=float))
        return list(map(str, column.ravel().tolist()))
    return column


def table_bytes(columns: Mapping[str, Column]) -> bytes:
    """Write a table of named columns of equal length.

    Parameters
    ----------
    columns : mapping of header to texts, integers or numbers
        NaN gives a blank cell.

    Raises
    ------
    ValueError
        If columns differ in length or a number is infinite.
    """
    texts = [_texts(column) for column in columns.values()]
    rows = list(zip(*texts, strict=True))
    body = "\n".join(map(",".join, rows))
    # Marks that need quotes are rare (names of participants): only then pay for a check per cell.
    if '"' in body or "\r" in body or body.count(",") != len(rows) * (len(texts) - 1):
        return csv_bytes(list(columns), rows)
    if body.count("\n") != max(len(rows) - 1, 0):
        return csv_bytes(list(columns), rows)
    return (",".join(columns) + "\n" + body + ("\n" if rows else "")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """A table as read: one tuple of texts per column, ``lines`` the file row each came from."""

    name: str
    columns: dict[str, tuple[str, ...]]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        """Name a row for a message."""
        return f"{self.name} row {self.lines[row]}"

    def numbers(self, column: str, problems: list[Problem], *, blank: bool = False) -> Floats:
        """Read finite numbers; what is none becomes NaN and a problem.

        Parameters
        ----------
        blank : bool
            Whether an empty cell is allowed; it becomes NaN.
        """
        values = np.array([_number(text) for text in self.columns[column]], dtype=float)
        for row in np.flatnonzero(~np.isfinite(values)).tolist():
            text = self.columns[column][row]
            if text or not blank:
                problem = f"{column} is {text!r}" if text else f"{column} is empty"
                problems.append(
                    Problem(where=self.where(row), what=problem, remedy="state a finite number")
                )
                values[row] = np.nan
        return values


def _number(text: str) -> float:
    try:
        return float(text) if "_" not in text else np.nan
    except ValueError:
        return np.nan


def _plain_columns(text: str) -> tuple[list[str], list[tuple[str, ...]]] | None:
    """Header and columns of a table without quotes and with rows of one width, None of others.

    Large tables are like that, and cutting them at commas takes a tenth of the time of reading
    them mark by mark.
    """
    if '"' in text or "\r" in text.replace("\r\n", "\n"):
        return None
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    header = lines[0].split(",")
    if len(header) < 2 or any(line.count(",") != len(header) - 1 for line in lines):
        return None
    cells = ",".join(lines).split(",")
    width = len(header)
    return header, [tuple(cells[width + k :: width]) for k in range(width)]


def read_table(path: Path, header: Sequence[str], problems: list[Problem]) -> TextTable | None:
    """Read a CSV file whose header holds exactly the given columns, in any order.

    Parameters
    ----------
    path : Path
        The file, UTF-8.
    header : sequence of str
        Columns expected.
    problems : list of Problem
        Collects what is wrong.

    Returns
    -------
    TextTable or None
        None when nothing can be read; rows of another width are left out (and a problem).
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        problems.append(Problem(where=path.name, what=f"cannot be read: {reason}"))
        return None
    plain = _plain_columns(text)
    rows = [] if plain else list(csv.reader(io.StringIO(text, newline="")))
    found = plain[0] if plain else rows[0] if rows else []
    if sorted(found) != sorted(header):
        problems.append(
            Problem(
                where=f"{path.name} row 1",
                what=f"the header is {','.join(found)!r}",
                remedy=f"state {','.join(header)}",
            )
        )
        return None
    if plain:
        columns = plain[1]
        return TextTable(
            name=path.name,
            columns=dict(zip(found, columns, strict=True)),
            lines=range(2, len(columns[0]) + 2),
        )
    good = [(place, row) for place, row in enumerate(rows[1:], start=2) if len(row) == len(header)]
    if len(good) < len(rows) - 1:
        problems.extend(
            Problem(where=f"{path.name} row {place}", what=f"{len(row)} cells, not {len(header)}")
            for place, row in enumerate(rows[1:], start=2)
            if len(row) != len(header)
        )
    columns = list(zip(*(row for _, row in good), strict=True)) if good else [()] * len(header)
    return TextTable(
        name=path.name,
        columns=dict(zip(found, columns, strict=True)),
        lines=tuple(place for place, _ in good),
    )
