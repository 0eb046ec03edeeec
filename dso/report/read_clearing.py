"""Read the clearings of a day: day ahead and the binding periods of each intraday round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from dso.report.tables import (
    FolderReader,
    PeriodIndex,
    float_of,
    missing_cells,
    objects_of,
    text_of,
)
from dso.report.views import (
    Cause,
    ClearingSummary,
    FeederView,
    Floats,
    GridView,
    PriceView,
)

PRICE_COLUMNS = (
    "dlmp_p_eur_per_mwh",
    "energy_eur_per_mwh",
    "loss_eur_per_mwh",
    "congestion_eur_per_mwh",
    "voltage_eur_per_mwh",
)
CAUSE_EUR_PER_MWH = 0.01
"""Parts smaller than one cent per MWh at every bus are not named as a cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Where rows of the clearing's tables belong: period, bus and branch positions."""

    periods: Periods
    period: PeriodIndex
    bus: Mapping[int, int]
    branch: Mapping[tuple[str, int], int]

    @classmethod
    def of(cls, periods: Periods, feeder: FeederView) -> Axes:
        """Make the axes of a day on a feeder."""
        branches = zip(feeder.branch_kind, feeder.branch_element, strict=True)
        return cls(
            periods=periods,
            period=PeriodIndex({label: k for k, label in enumerate(periods.labels())}),
            bus={int(bus): k for k, bus in enumerate(feeder.bus)},
            branch={key: k for k, key in enumerate(branches)},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The periods ``[first, end)`` of the day that are taken from one clearing."""

    first: int
    end: int


def read_prices(
    reader: FolderReader, folder: str, axes: Axes, into: Floats, at: Window, *, blank: bool = False
) -> None:
    """Fill ``into``, shape (5, buses, periods), with the window's prices of one clearing.

    ``blank``: its cells may be empty (NaN), for it found no schedule.
    """
    empty = math.nan if blank else None
    name = f"{folder}/prices.csv"
    for row, cells in reader.rows(name, ("bus", "period_start", *PRICE_COLUMNS)):
        period = axes.period.get(cells[1])
        if period is None:
            reader.complain(f"{name} row {row}", f"period {cells[1]!r} is not of this day")
            continue
        if period >= at.end:
            break  # rows are sorted by period; the rest is advisory
        bus = axes.bus.get(reader.whole(name, row, cells[0]))
        if bus is None:
            reader.complain(f"{name} row {row}", f"bus {cells[0]} is not on feeder_map.json")
        elif period >= at.first:
            into[:, bus, period] = [
                reader.number(name, row, cell, blank=empty) for cell in cells[2:]
            ]
    if not blank:
        missing_cells(reader, name, into[0][:, at.first : at.end], "prices")


def read_grid(
    reader: FolderReader,
    folder: str,
    axes: Axes,
    into: GridView,
    at: Window,
    *,
    blank: bool = False,
) -> None:
    """Fill the window's voltages, loadings and powers of one clearing; as `read_prices`."""
    empty = math.nan if blank else None
    name = f"{folder}/buses.csv"
    for row, cells in reader.rows(name, ("bus", "period_start", "vm_pu")):
        period = axes.period.get(cells[1])
        if period is not None and period >= at.end:
            break
        bus = axes.bus.get(reader.whole(name, row, cells[0]))
        if bus is None or period is None:
            reader.complain(f"{name} row {row}", "bus or period is unknown to this day")
        elif period >= at.first:
            into.vm_pu[bus, period] = reader.number(name, row, cells[2], blank=empty)
    if not blank:
        missing_cells(reader, name, into.vm_pu[:, at.first : at.end], "voltages")
    name = f"{folder}/branches.csv"
    columns = ("element_kind", "element", "period_start", "p_from_mw", "loading_percent")
    for row, cells in reader.rows(name, columns):
        period = axes.period.get(cells[2])
        if period is not None and period >= at.end:
            break
        branch = axes.branch.get((cells[0], reader.whole(name, row, cells[1])))
        if branch is None or period is None:
            reader.complain(f"{name} row {row}", "branch or period is unknown to this day")
        elif period >= at.first:
            power, loading = (reader.number(name, row, cell, blank=empty) for cell in cells[3:5])
            into.p_from_mw[branch, period] = power
            into.loading_percent[branch, period] = loading


def fill_without_clearing(prices: Floats, import_price_eur_per_mwh: Floats) -> int:
    """Let the wholesale price stand where no clearing gave prices; return in how many periods.

    It is what imbalance is settled at there; nothing was traded.
    """
    empty: NDArray[np.bool_] = np.isnan(prices[0]).all(axis=0)
    prices[:, :, empty] = 0.0
    prices[:2, :, empty] = import_price_eur_per_mwh[empty]  # the price, and its energy part
    return int(empty.sum())


def empty_grid(axes: Axes) -> GridView:
    """Return a grid state with nothing in it (NaN)."""
    count = len(axes.periods)
    return GridView(
        vm_pu=np.full((len(axes.bus), count), np.nan),
        loading_percent=np.full((len(axes.branch), count), np.nan),
        p_from_mw=np.full((len(axes.branch), count), np.nan),
    )


def price_view(values: Floats) -> PriceView:
    """Name the layers of an array of shape (5, buses, periods)."""
    return PriceView(
        dlmp=values[0],
        energy=values[1],
        loss=values[2],
        congestion=values[3],
        voltage=values[4],
    )


def read_summary(
    reader: FolderReader, folder: str, name: str, axes: Axes, at: Window
) -> ClearingSummary:
    """Read status, bound, violations and certificate of one clearing."""
    file = f"{folder}/summary.json"
    summary = reader.mapping(file)
    if summary and not text_of(summary, "status"):
        reader.complain(file, "lacks status")
    violations = objects_of(summary, "violations")
    hits = {axes.period.get(text_of(item, "period_start")) for item in violations}
    certificate = summary.get("certificate")
    versions = summary.get("versions")
    return ClearingSummary(
        name=name,
        first=at.first,
        binding=at.end - at.first,
        status=text_of(summary, "status", "unknown"),
        objective_eur=float_of(summary, "objective_eur") or 0.0,
        penalty_eur=float_of(summary, "penalty_eur") or 0.0,
        bound_kind=text_of(summary, "bound_kind", "none"),
        gap=float_of(summary, "gap"),
        violations=len(violations),
        violated_periods=tuple(
            sorted(hit for hit in hits if hit is not None and at.first <= hit < at.end)
        ),
        input_sha256=text_of(summary, "input_sha256"),
        certificate=_pairs(certificate),
        versions=_pairs(versions),
    )


def read_causes(reader: FolderReader, folder: str, axes: Axes) -> tuple[Cause, ...]:
    """Read which limits moved day-ahead prices, the one moving them in most periods first."""
    name = f"{folder}/price_parts.csv"
    columns = ("bus", "period_start", "element_kind", "element", "side", "p_eur_per_mwh")
    found: dict[tuple[str, int, str], tuple[set[int], float]] = {}
    for row, cells in reader.rows(name, columns):
        period = axes.period.get(cells[1])
        part = reader.number(name, row, cells[5])
        if period is None or abs(part) < CAUSE_EUR_PER_MWH:
            continue
        key = (cells[2], reader.whole(name, row, cells[3]), cells[4])
        periods, largest = found.get(key, (set(), 0.0))
        periods.add(period)
        found[key] = (periods, part if abs(part) > abs(largest) else largest)
    causes = [
        Cause(
            element_kind=kind,
            element=element,
            side=side,
            periods=np.array(sorted(periods), dtype=np.int64),
            part_eur_per_mwh=largest,
        )
        for (kind, element, side), (periods, largest) in found.items()
    ]
    causes.sort(key=lambda cause: (-cause.periods.size, cause.element_kind, cause.element))
    return tuple(causes)


def read_import_price(reader: FolderReader, folder: str, axes: Axes) -> Floats:
    """Read the wholesale price: the file, else the one number of study.toml [EUR/MWh]."""
    name = f"{folder}/import_price.csv"
    values = np.full(len(axes.periods), np.nan)
    if reader.exists(name):
        for row, cells in reader.rows(name, ("period_start", "eur_per_mwh")):
            period = axes.period.get(cells[0])
            if period is not None:
                values[period] = reader.number(name, row, cells[1])
        missing_cells(reader, name, values, "import prices")
        return values
    stated = reader.toml(f"{folder}/study.toml").get("import_price", {})
    price = float_of(stated, "eur_per_mwh") if isinstance(stated, dict) else None
    if price is None:
        reader.complain(name, "is missing and study.toml states no import price")
        return values
    return np.full(len(axes.periods), price)


def read_order_states(reader: FolderReader, folder: str) -> tuple[tuple[str, int], ...]:
    """Count the day-ahead orders by what became of them."""
    count = dict.fromkeys(("accepted", "partial", "rejected", "paradoxically_rejected"), 0)
    for _, cells in reader.rows(f"{folder}/orders.csv", ("status",)):
        count[cells[0]] = count.get(cells[0], 0) + 1
    return tuple(item for item in count.items() if item[1])


def round_windows(names: Sequence[str], axes: Axes) -> tuple[tuple[str, Window], ...]:
    """Give each round its binding periods: one hour, or up to the next round if that is sooner.

    ``names`` are folder names like ``20160724T2200Z`` (the first period of the round).
    """
    per_hour = max(60 // axes.periods.mtu_minutes, 1)
    starts: list[tuple[int, str]] = []
    for name in sorted(names):
        text = f"{name[0:4]}-{name[4:6]}-{name[6:8]}T{name[9:11]}:{name[11:13]}:00Z"
        first = axes.period.get(text)
        if first is not None:
            starts.append((first, name))
    ends = [first for first, _ in starts[1:]] + [len(axes.periods)]
    return tuple(
        (name, Window(first=first, end=min(first + per_hour, end)))
        for (first, name), end in zip(starts, ends, strict=False)
    )


def _pairs(content: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(content, dict):
        return ()
    return tuple((str(key), _short(value)) for key, value in content.items())


def _short(value: object) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_short(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_short(item) for item in value)
    return str(value)
