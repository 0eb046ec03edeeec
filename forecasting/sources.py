"""Third-party inputs: where they come from, whether they are plausible, and which one is believed.

The rule when sources of one quantity disagree, value by value:

1. What is not plausible for its unit is left out, and counted.
2. Of three or more sources the median counts; of two, the one named first.
3. Where two plausible sources differ by more than the unit's tolerance in more than a tenth of the
   coming periods, the forecast says so: the weather itself is in doubt.

Every source is listed with its file's SHA-256, its issue time and what was left out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from forecasting.as_of import VersionedTable, starts64
from forecasting.fault_runs import nan_median

Floats = NDArray[np.float64]
Instants = NDArray[np.datetime64]

# End of a column's name -> (least, most, tolerance between two sources), in that unit.
RANGES: Final[tuple[tuple[str, tuple[float, float, float]], ...]] = (
    ("_w_per_m2", (-10.0, 1600.0, 150.0)),
    ("_m_per_s", (0.0, 80.0, 3.0)),
    ("_eur_per_mwh", (-1000.0, 10000.0, 20.0)),
    ("_percent", (0.0, 100.0, 30.0)),
    ("_share", (0.0, 1.0, 0.3)),
    ("_degf", (-90.0, 140.0, 6.0)),
    ("_hpa", (850.0, 1100.0, 5.0)),
    ("_mm", (0.0, 500.0, 5.0)),
    ("_c", (-65.0, 60.0, 3.0)),
)
DISAGREE_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file that a forecast used.

    Parameters
    ----------
    name : str
        Of the file.
    role : str
        ``readings``, ``weather``, ``site`` or ``third-party forecast``.
    sha256 : str
        Of its bytes.
    rows : int
        Rows in it.
    issued_at : str
        The newest `known_at` used; empty where none applies.
    left_out : int
        Values that are not plausible for their unit.
    """

    name: str
    role: str
    sha256: str
    rows: int
    issued_at: str = ""
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinedSources:
    """One table out of several sources, with what was noticed.

    Parameters
    ----------
    table : VersionedTable
        What is believed; all versions of the only source, or one version where sources combine.
    left_out : tuple of int
        Values of each source that are not plausible.
    warnings : tuple of str
        Disagreements.
    """

    table: VersionedTable
    left_out: tuple[int, ...]
    warnings: tuple[str, ...]


def range_of(column: str) -> tuple[float, float, float]:
    """Return (least, most, tolerance) of a column by its unit; no bounds for unknown units.

    Examples
    --------
    >>> range_of("temperature_c")
    (-65.0, 60.0, 3.0)
    >>> range_of("VAR78")
    (-inf, inf, inf)
    """
    for ending, found in RANGES:
        if column.endswith(ending):
            return found
    return -np.inf, np.inf, np.inf


def leave_out_implausible(table: VersionedTable) -> tuple[VersionedTable, int]:
    """Return the table without values that their unit forbids, and how many there were."""
    value = table.value.copy()
    count = 0
    for column, name in enumerate(table.names):
        least, most, _ = range_of(name)
        with np.errstate(invalid="ignore"):
            wrong = (value[:, column] < least) | (value[:, column] > most)
        count += int(wrong.sum())
        value[wrong, column] = np.nan
    cleaned = VersionedTable(
        names=table.names,
        mtu_minutes=table.mtu_minutes,
        valid_at=table.valid_at,
        known_at=table.known_at,
        value=value,
    )
    return cleaned, count


def combine_sources(
    tables: Sequence[tuple[str, VersionedTable]], gate: datetime, ahead: Periods
) -> CombinedSources:
    """Make one table of several sources by the rule of this module.

    Parameters
    ----------
    tables : sequence of (name, VersionedTable)
        Sources in the order of preference; columns may differ.
    gate : datetime
        Nothing known later is used.
    ahead : Periods
        Periods to forecast: disagreement is counted there.

    Returns
    -------
    CombinedSources
    """
    checked = [leave_out_implausible(table.known_before(gate)) for _, table in tables]
    left_out = tuple(count for _, count in checked)
    if len(checked) == 1:
        return CombinedSources(table=checked[0][0], left_out=left_out, warnings=())
    names = tuple(dict.fromkeys(name for table, _ in checked for name in table.names))
    valid_at = np.unique(np.concatenate([table.valid_at for table, _ in checked]))
    layers = np.full((len(checked), len(valid_at), len(names)), np.nan)
    known_at = np.full((len(checked), len(valid_at)), np.datetime64("NaT"), dtype="datetime64[s]")
    for place, (table, _) in enumerate(checked):
        found = table.join(valid_at, gate)
        columns = [names.index(name) for name in table.names]
        layers[place][:, columns] = found.value
        known_at[place] = found.known_at
    coming = np.isin(valid_at, starts64(ahead))
    warnings = []
    value = np.full((len(valid_at), len(names)), np.nan)
    for column, name in enumerate(names):
        values = layers[:, :, column]
        value[:, column] = _believe(values)
        share, widest = _disagreement(values[:, coming], range_of(name)[2])
        if share > DISAGREE_SHARE:
            warnings.append(
                f"{name}: sources differ beyond {range_of(name)[2]:g} in {share:.0%} of the coming "
                f"periods (most: {widest:.4g}); {_words(len(tables))}"
            )
    newest = np.max(np.where(np.isnat(known_at), np.datetime64(0, "s"), known_at), axis=0)
    return CombinedSources(
        table=VersionedTable(
            names=names,
            mtu_minutes=checked[0][0].mtu_minutes,
            valid_at=valid_at,
            known_at=newest,
            value=value,
        ),
        left_out=left_out,
        warnings=tuple(warnings),
    )


def _believe(values: Floats) -> Floats:
    """Return the median of three or more sources, else the first that has a value."""
    count = np.isfinite(values).sum(axis=0)
    first = np.take_along_axis(values, np.argmax(np.isfinite(values), axis=0)[None, :], axis=0)[0]
    return np.where(count >= 3, nan_median(values, axis=0), first)


def _disagreement(values: Floats, tolerance: float) -> tuple[float, float]:
    """Return the share of periods in which sources differ beyond the tolerance, and the most."""
    both = np.isfinite(values).sum(axis=0) >= 2
    if not both.any():
        return 0.0, 0.0
    width = np.nanmax(values[:, both], axis=0) - np.nanmin(values[:, both], axis=0)
    return float((width > tolerance).sum() / values.shape[1]), float(width.max())


def _words(count: int) -> str:
    return "the first one is used" if count == 2 else "their median is used where three have one"
