"""``margins.csv``: by how much the limits of a study are drawn in, element by element."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.csv_table import TextTable, read_table, table_bytes
from data.errors import Problem
from data.periods import Periods
from data.records.clearing import LimitMargins, Limits
from data.records.network import Network
from data.study.series import period_numbers

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MARGINS_FILE: Final = "margins.csv"
MARGINS_HEADER: Final = ("element_kind", "element", "side", "period_start", "margin", "unit")
# What a row may name, in the order of the file: (element kind, side, unit).
PLACES: Final = (
    ("bus", "lower", "pu"), ("bus", "upper", "pu"), ("line", "", "percent"),
    ("trafo", "", "percent"),
)  # fmt: skip
FIELDS: Final = ("vm_pu_lower", "vm_pu_upper", "line_loading_percent", "trafo_loading_percent")


def no_margins(network: Network, periods: int) -> LimitMargins:
    """Return margins of zero everywhere."""
    return LimitMargins(
        vm_pu_upper=np.zeros((len(network.buses.index), periods)),
        vm_pu_lower=np.zeros((len(network.buses.index), periods)),
        line_loading_percent=np.zeros((len(network.lines.index), periods)),
        trafo_loading_percent=np.zeros((len(network.trafos.index), periods)),
    )


def _indices(network: Network) -> tuple[Ints, ...]:
    """Return the element numbers of each of `PLACES`."""
    buses = network.buses.index
    return buses, buses, network.lines.index, network.trafos.index


def margins_bytes(margins: LimitMargins, network: Network, periods: Periods) -> bytes:
    """Write the margins that are not zero, sorted by period, kind, element and side."""
    rows: list[tuple[int, int, int]] = []
    values: list[float] = []
    tables = [getattr(margins, field) for field in FIELDS]
    for place, (table, index) in enumerate(zip(tables, _indices(network), strict=True)):
        for element, period in np.argwhere(table > 0.0).tolist():
            rows.append((period, place, int(index[element])))
            values.append(float(table[element, period]))
    kinds = [PLACES[place] for _, place, _ in rows]
    order = sorted(
        range(len(rows)), key=lambda k: (rows[k][0], kinds[k][0], rows[k][2], kinds[k][1])
    )
    labels = periods.labels()
    return table_bytes(
        {
            "element_kind": [kinds[k][0] for k in order],
            "element": np.array([rows[k][2] for k in order], dtype=np.int64),
            "side": [kinds[k][1] for k in order],
            "period_start": [labels[rows[k][0]] for k in order],
            "margin": np.array([values[k] for k in order], dtype=float),
            "unit": [kinds[k][2] for k in order],
        }
    )


def read_margins(
    folder: Path, network: Network, limits: Limits, periods: Periods, problems: list[Problem]
) -> LimitMargins | None:
    """Read ``margins.csv``; elements and periods without a row have none.

    Parameters
    ----------
    folder : Path
        The study folder; None is returned where it has no such file.
    network, limits : Network, Limits
        The elements, and what their margins are taken from.
    periods : Periods
        Periods of the study.
    problems : list of Problem
        Collects unknown elements, negative and repeated margins, and limits without anything left.
    """
    path = folder / MARGINS_FILE
    if not path.exists():
        return None
    margins = no_margins(network, len(periods))
    table = read_table(path, MARGINS_HEADER, problems)
    if table is None:
        return margins
    values = table.numbers("margin", problems)
    period = period_numbers(table, periods, problems)
    known = {
        (*place, str(number)): (getattr(margins, field), row)
        for place, field, index in zip(PLACES, FIELDS, _indices(network), strict=True)
        for row, number in enumerate(index.tolist())
    }
    seen: set[tuple[str, ...]] = set()
    for line, key in enumerate(_keys(table)):
        fault = ""
        if key not in known:
            fault = (
                f"{key[0]} {key[3]}, side {key[1]!r}, unit {key[2]!r} is no limit of the network"
            )
        elif (*key, str(period[line])) in seen:
            fault = f"{key[0]} {key[3]} has two margins in this period"
        elif values[line] < 0.0:
            fault = f"the margin of {key[0]} {key[3]} is {values[line]:g}"
        if fault:
            remedy = "bus: lower or upper, pu; line, trafo: no side, percent; one row, not negative"
            problems.append(Problem(where=table.where(line), what=fault, remedy=remedy))
        elif period[line] >= 0 and np.isfinite(values[line]):
            field, row = known[key]
            field[row, period[line]] = values[line]
            seen.add((*key, str(period[line])))
    _report_nothing_left(margins, network, limits, periods, problems)
    return margins


def _keys(table: TextTable) -> list[tuple[str, str, str, str]]:
    names = ("element_kind", "side", "unit", "element")
    return list(zip(*(table.columns[name] for name in names), strict=True))


def _report_nothing_left(
    margins: LimitMargins,
    network: Network,
    limits: Limits,
    periods: Periods,
    problems: list[Problem],
) -> None:
    """Report limits that their margins leave no room between, by element and period."""
    labels = periods.labels()
    lower = limits.vm_pu_min[:, None] + margins.vm_pu_lower
    upper = limits.vm_pu_max[:, None] - margins.vm_pu_upper
    for kind, index, nothing in (
        ("bus", network.buses.index, lower >= upper),
        (
            "line", network.lines.index,
            margins.line_loading_percent >= limits.line_loading_percent_max[:, None],
        ),
        (
            "trafo", network.trafos.index,
            margins.trafo_loading_percent >= limits.trafo_loading_percent_max[:, None],
        ),
    ):  # fmt: skip
        problems.extend(
            Problem(
                where=f"{MARGINS_FILE} ({kind} {index[row]})",
                what=f"the margins leave nothing of its limits at {labels[period]}",
            )
            for row, period in np.argwhere(nothing).tolist()
        )
