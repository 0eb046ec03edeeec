"""Compare a recorded result with the same result computed again, cell by cell."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

EXACT_FILES: Final = frozenset({"trades.csv"})
"""Energy in whole Wh at a whole micro-price: no tolerance."""
TOLERANCE: Final = 1e-6
"""Of a number with a unit (EUR/MWh, MW, p.u.), absolute, or relative where it is above one: what
another processor or build of a library may move. Equal versions give equal bytes."""
SUMMARY_FIELDS: Final = ("status", "objective_eur", "penalty_eur")


@dataclass(slots=True)
class Comparison:
    """What comparing one result found.

    Parameters
    ----------
    identical : bool
        True if every file has the same bytes.
    cells : int
        Cells that were compared.
    prices, awards : int
        Prices (bus and period) and awards (order and period) among them.
    worst : float
        Largest difference of a number that is within tolerance.
    differences : list of str
        What differs beyond it, the first of each file.
    notes : list of str
        Versions that are others here than those the result was computed with.
    """

    identical: bool = True
    cells: int = 0
    prices: int = 0
    awards: int = 0
    worst: float = 0.0
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """True if nothing differs beyond the tolerance."""
        return not self.differences


def compare_tables(name: str, recorded: bytes, again: bytes, into: Comparison) -> None:
    """Compare two tables row by row; the rows must stand in the same order."""
    into.identical &= recorded == again
    first, second = _rows(recorded), _rows(again)
    if not first or not second or first[0] != second[0]:
        into.differences.append(f"{name}: other columns than computed again")
        return
    header = first[0]
    into.cells += len(header) * (len(first) - 1)
    into.prices += (len(first) - 1) * (name == "prices.csv")
    into.awards += (len(first) - 1) * (name == "awards.csv")
    if len(first) != len(second):
        into.differences.append(
            f"{name}: {len(first) - 1} rows, computed again there are {len(second) - 1}"
        )
        return
    if recorded == again:
        return
    found, largest = 0, 0.0
    for number, (row, other) in enumerate(zip(first[1:], second[1:], strict=True), start=2):
        for column, cell, computed in zip(header, row, other, strict=False):
            if cell == computed or _near(name, cell, computed, into):
                continue
            found += 1
            largest = max(largest, _distance(cell, computed))
            if found == 1:
                place = ", ".join(f"{key} {value}" for key, value in _keys(header, row))
                into.differences.append(
                    f"{name} row {number} ({place}): {column} is {cell or 'empty'}, "
                    f"computed again {computed or 'empty'}"
                )
    if found > 1:
        into.differences.append(f"{name}: {found} cells differ in all, numbers by {largest:.3g}")


def compare_summaries(recorded: bytes, again: bytes, into: Comparison) -> None:
    """Compare status and money of two summaries; residuals of a solver are no statement."""
    into.identical &= recorded == again
    first, second = json.loads(recorded), json.loads(again)
    theirs, ours = first.get("versions", {}), second.get("versions", {})
    into.notes += [
        f"computed with {name} {theirs.get(name, 'unknown')}, again with {ours.get(name, 'none')}"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name)
    ]
    for name in SUMMARY_FIELDS:
        into.cells += 1
        cell, computed = str(first.get(name)), str(second.get(name))
        if cell != computed and not _near("summary.json", cell, computed, into):
            into.differences.append(f"summary.json: {name} is {cell}, computed again {computed}")


def compare_bytes(name: str, recorded: bytes | None, again: bytes | None, into: Comparison) -> None:
    """Compare two files byte by byte; None is a file that is not there."""
    into.cells += 1
    if recorded != again:
        into.identical = False
        what = "is missing" if recorded is None else "is not what is computed again"
        into.differences.append(f"{name}: {what}")


def keep_periods(table: bytes, periods: Sequence[str]) -> bytes:
    """Return a table with the rows of some periods only (column ``period_start``)."""
    rows = table.decode().splitlines(keepends=True)
    place = rows[0].rstrip("\n").split(",").index("period_start")
    wanted = set(periods)
    kept = [row for row in rows[1:] if next(csv.reader([row]))[place] in wanted]
    return "".join([rows[0], *kept]).encode()


def periods_of(table: bytes) -> list[str]:
    """Return the periods of a table in their order."""
    rows = _rows(table)
    place = rows[0].index("period_start")
    return sorted({row[place] for row in rows[1:]})


def _rows(table: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(table.decode(), newline="")))


def _near(name: str, cell: str, computed: str, into: Comparison) -> bool:
    difference = _distance(cell, computed)
    if name in EXACT_FILES or not math.isfinite(difference):
        return False
    if difference > TOLERANCE * max(1.0, abs(float(cell)), abs(float(computed))):
        return False
    into.worst = max(into.worst, difference)
    return True


def _distance(cell: str, computed: str) -> float:
    """Distance of two numbers; infinite if one of the cells is none."""
    try:
        difference = abs(float(cell) - float(computed))
    except ValueError:
        return math.inf
    return difference if math.isfinite(difference) else math.inf


def _keys(header: Sequence[str], row: Sequence[str]) -> list[tuple[str, str]]:
    names = ("trade", "order", "bus", "element_kind", "element", "period_start")
    return [(column, cell) for column, cell in zip(header, row, strict=False) if column in names]
