"""One pandapower table, read column by column, every problem collected with the element's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from data.errors import Problem
from data.records.network import Bools, Floats, Ints

if TYPE_CHECKING:
    import pandas as pd


class PandapowerNet(Protocol):
    """What is read of a pandapower network: tables by name."""

    def __getitem__(self, name: str) -> pd.DataFrame: ...

    def __contains__(self, name: object) -> bool: ...

    def keys(self) -> list[str]:
        """Names of all tables and values."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementTable:
    """A table of one element kind; what is wrong is added to ``problems``, shared by all tables.

    Parameters
    ----------
    kind : str
        pandapower's name of the table, e.g. ``line``.
    frame : DataFrame
        The table.
    problems : list of Problem
        Collects every problem found.
    """

    kind: str
    frame: pd.DataFrame
    problems: list[Problem]

    @property
    def index(self) -> Ints:
        """Element numbers."""
        return np.asarray(self.frame.index, dtype=np.int64)

    def label(self, row: int) -> str:
        """Name one element for a message, e.g. ``line 3 (Cable 7)``."""
        name = self.texts("name")[row]
        return f"{self.kind} {self.frame.index[row]}" + (f" ({name})" if name else "")

    def report(self, row: int, what: str, remedy: str = "") -> None:
        """Collect one problem of one element."""
        self.problems.append(Problem(where=self.label(row), what=what, remedy=remedy))

    def optional_floats(self, column: str, default: float = np.nan) -> Floats:
        """Read a column whose absence or blanks mean ``default``."""
        if column not in self.frame.columns:
            return np.full(len(self.frame), default)
        import pandas as pd

        values = pd.to_numeric(self.frame[column], errors="coerce").to_numpy(float, na_value=np.nan)
        return np.where(np.isnan(values), default, values)

    def floats(self, column: str) -> Floats:
        """Read a column in which every element needs a finite number."""
        values = self.optional_floats(column)
        for row in np.flatnonzero(~np.isfinite(values)):
            self.report(int(row), f"{column} is {values[row]}", f"state a finite {column}")
        return values

    def buses(self, column: str, known: set[int]) -> Ints:
        """Read a column of bus numbers; -1 for a bus that does not exist (and a problem)."""
        values = self.floats(column)
        buses = np.where(np.isfinite(values), values, -1).astype(np.int64)
        for row, bus in enumerate(buses.tolist()):
            if bus not in known:
                self.report(row, f"{column} {bus} is not a bus of the network")
                buses[row] = -1
        return buses

    def counts(self, column: str) -> Ints:
        """Read a column of counts of at least 1; absent means 1."""
        values = self.optional_floats(column, 1.0)
        for row in np.flatnonzero(values < 1):
            self.report(int(row), f"{column} is {values[row]:g}", "state at least 1")
        return values.astype(np.int64)

    def flags(self, column: str, *, default: bool) -> Bools:
        """Read a column of truth values; absence or blanks mean ``default``."""
        return self.optional_floats(column, float(default)).astype(bool)

    def texts(self, column: str) -> tuple[str, ...]:
        """Read a column of texts; absence or blanks mean the empty text."""
        if column not in self.frame.columns:
            return ("",) * len(self.frame)
        column_values = self.frame[column]
        present = column_values.notna().tolist()
        return tuple(
            str(value) if known else ""
            for value, known in zip(column_values.tolist(), present, strict=True)
        )
