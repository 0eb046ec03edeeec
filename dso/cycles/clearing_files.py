"""Read clearings back: only their first, binding periods, because tables are sorted by period."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.periods import Periods
from data.readers.simbench import NetworkProfiles
from data.records.network import Network
from data.records.order import Order
from data.results import CERTIFIED, SUMMARY_FILE
from data.study.margins import MARGINS_FILE
from data.study.order_fields import context_of
from data.study.read_orders import ORDERS_FILE, read_orders
from data.study.series import POSITION_FILE, PROFILES_FILE
from data.study.settings import SETTINGS_FILE
from data.study.write_study import PRICE_FILE

Floats = NDArray[np.float64]
CLEARING: Final = "clearing"
INTRADAY: Final = "clearing/intraday"
STUDY_FILES: Final = (
    SETTINGS_FILE, ORDERS_FILE, PROFILES_FILE, PRICE_FILE, POSITION_FILE, MARGINS_FILE,
)  # fmt: skip
RESULT_FILES: Final = (
    "awards.csv", "branches.csv", "buses.csv", "orders.csv", "price_parts.csv", "prices.csv",
    "substation.csv", SUMMARY_FILE, "trades.csv",
)  # fmt: skip


def named_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Return those of the named files that a folder has, by name."""
    return {name: folder / name for name in names if (folder / name).is_file()}


def read_status(folder: Path) -> str:
    """Return the status of a clearing."""
    summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    return str(summary["status"])


def is_binding(status: str) -> bool:
    """Tell whether a clearing of this status may bind anybody."""
    return status in CERTIFIED


def read_book(folder: Path, network: Network, periods: Periods) -> tuple[Order, ...]:
    """Read the orders of a study folder of the day.

    Raises
    ------
    InputError
        With every order that cannot be read.
    """
    problems: list[Problem] = []
    orders, _ = read_orders(folder, context_of(network, len(periods)), problems)
    if problems:
        raise InputError(problems)
    return orders


def head_rows(path: Path, columns: Sequence[str], periods: Periods) -> Iterator[list[str]]:
    """Yield the named cells of the rows of some first periods; stops at the first later row.

    The last cell is the position of the row's period.
    """
    place = {label: str(number) for number, label in enumerate(periods.labels())}
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        header = next(reader)
        wanted = [header.index(name) for name in columns]
        start = header.index("period_start")
        for row in reader:
            number = place.get(row[start])
            if number is None:
                return
            yield [*(row[k] for k in wanted), number]


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardTable:
    """Awards of single-bus orders, shape (orders, periods) each [MW, Mvar]."""

    injection_mw: Floats
    injection_mvar: Floats
    charge_mw: Floats
    discharge_mw: Floats


def read_awards(folder: Path, orders: Sequence[Order], periods: Periods) -> AwardTable:
    """Read the awards of the first periods of a clearing; rows as ``orders``, others are passed."""
    row = {order.id: k for k, order in enumerate(orders)}
    names = ("injection_mw", "injection_mvar", "charge_mw", "discharge_mw")
    values = np.full((len(names), len(orders), len(periods)), np.nan)
    for order, *cells, period in head_rows(folder / "awards.csv", ("order", *names), periods):
        if order in row:
            values[:, row[order], int(period)] = [float(cell or 0.0) for cell in cells]
    _refuse_gaps(folder / "awards.csv", values)
    return AwardTable(**dict(zip(names, values, strict=True)))


def read_fixed(folder: Path, network: Network, periods: Periods) -> NetworkProfiles:
    """Read the profiles of the first periods of a study, scaling applied."""
    columns = {
        (kind, str(index)): (table, place)
        for table, (kind, elements) in enumerate((("load", network.loads), ("sgen", network.sgens)))
        for place, index in enumerate(elements.index)
    }
    values = [
        np.full((2, len(periods), len(elements.index)), np.nan)
        for elements in (network.loads, network.sgens)
    ]
    names = ("element", "id", "p_mw", "q_mvar")
    for kind, index, p_mw, q_mvar, period in head_rows(folder / PROFILES_FILE, names, periods):
        table, place = columns[kind, index]
        values[table][:, int(period), place] = (float(p_mw), float(q_mvar))
    for powers in values:
        _refuse_gaps(folder / PROFILES_FILE, powers)
    load, sgen = values[0] * network.loads.scaling, values[1] * network.sgens.scaling
    return NetworkProfiles(
        load_p_mw=load[0], load_q_mvar=load[1], sgen_p_mw=sgen[0], sgen_q_mvar=sgen[1]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """Prices by bus, (periods,) each: DLMP, its energy part [EUR/MWh], reactive [EUR/Mvarh]."""

    dlmp: Mapping[int, Floats]
    energy: Mapping[int, Floats]
    reactive: Mapping[int, Floats]


def read_bus_prices(folder: Path, buses: Sequence[int], periods: Periods) -> PriceTable:
    """Read the prices of some buses in the first periods of a clearing."""
    values = {bus: np.full((3, len(periods)), np.nan) for bus in buses}
    names = ("bus", "dlmp_p_eur_per_mwh", "energy_eur_per_mwh", "dlmp_q_eur_per_mvarh")
    for bus, *prices, period in head_rows(folder / "prices.csv", names, periods):
        found = values.get(int(bus))
        if found is not None:
            found[:, int(period)] = [float(price) for price in prices]
    for found in values.values():
        _refuse_gaps(folder / "prices.csv", found)
    return PriceTable(
        dlmp={bus: found[0] for bus, found in values.items()},
        energy={bus: found[1] for bus, found in values.items()},
        reactive={bus: found[2] for bus, found in values.items()},
    )


def _refuse_gaps(path: Path, values: Floats) -> None:
    """A table of ours without a value is a fault of the program, not of the input."""
    if not np.isfinite(values).all():
        raise ValueError(f"{path} lacks {int((~np.isfinite(values)).sum())} values")
