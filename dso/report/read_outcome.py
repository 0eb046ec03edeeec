"""Read what came of the day: forecasts, deliveries, replays, money and the ledger's receipt."""

from __future__ import annotations

import base64
import binascii

import numpy as np

from dso.report.read_clearing import Axes
from dso.report.tables import FolderReader, float_of, missing_cells, text_of
from dso.report.views import (
    SCENARIOS,
    Floats,
    ForecastView,
    LedgerView,
    MoneyRow,
    MoneyView,
    Replay,
    Scenario,
    StorageView,
    ViolationView,
)

FORECAST_KINDS = ("load", "wind", "renewables", "other")
LEVELS = (10, 20, 30, 40, 50, 60, 70, 80, 90)
MARKET_COLUMNS = {
    "da": "Day ahead",
    "id": "Intraday",
    "imbalance": "Imbalance",
    "flexibility": "Flexibility",
    "refund": "Refund",
}


def read_forecasts(reader: FolderReader, axes: Axes) -> tuple[ForecastView, ...]:
    """Read the feeder's totals: quantiles and what really happened [MW]."""
    name = "forecast/feeder.csv"
    columns = ("kind", "period_start", *(f"q{level}" for level in LEVELS), "actual_mw")
    values: dict[str, Floats] = {}
    for row, cells in reader.rows(name, columns):
        period = axes.period.get(cells[1])
        if period is None:
            reader.complain(f"{name} row {row}", f"period {cells[1]!r} is not of this day")
            continue
        table = values.setdefault(cells[0], np.full((len(LEVELS) + 1, len(axes.periods)), np.nan))
        for place, cell in enumerate(cells[2:-1]):
            table[place, period] = reader.number(name, row, cell)
        # An actual may not be known yet; the page says how many are not.
        table[-1, period] = reader.number(name, row, cells[-1], blank=np.nan)
    order = [kind for kind in FORECAST_KINDS if kind in values]
    order += sorted(set(values) - set(order))
    for kind in order:
        missing_cells(reader, name, values[kind][:-1], f"quantiles of {kind}")
    return tuple(
        ForecastView(
            kind=kind, levels=LEVELS, value_mw=values[kind][:-1], actual_mw=values[kind][-1]
        )
        for kind in order
    )


def read_deliveries(
    reader: FolderReader, axes: Axes
) -> tuple[tuple[StorageView, ...], float, float]:
    """Read storages, and [MWh] the distance of all devices from their setpoints and their energy.

    Returns
    -------
    tuple
        Storages sorted by order; sum |delivered - setpoint| [MWh]; sum |setpoint| [MWh].
    """
    name = "dispatch/delivery.csv"
    columns = (
        "order", "asset", "bus", "period_start", "setpoint_mw", "delivered_mw", "soc_mwh",
    )  # fmt: skip
    count = len(axes.periods)
    found: dict[str, tuple[str, int, Floats]] = {}
    deviation_mw = instructed_mw = 0.0
    for row, cells in reader.rows(name, columns):
        period = axes.period.get(cells[3])
        if period is None:
            reader.complain(f"{name} row {row}", f"period {cells[3]!r} is not of this day")
            continue
        setpoint = reader.number(name, row, cells[4])
        delivered = reader.number(name, row, cells[5])
        deviation_mw += abs(delivered - setpoint)
        instructed_mw += abs(setpoint)
        if cells[6]:
            bus = reader.whole(name, row, cells[2])
            _, _, table = found.setdefault(cells[0], (cells[1], bus, np.full((3, count), np.nan)))
            table[:, period] = (setpoint, delivered, reader.number(name, row, cells[6]))
    scheduled = _scheduled_soc(reader, axes)
    capacity = _capacity(reader)
    storages = []
    for order in sorted(found, key=_natural):
        asset, bus, table = found[order]
        missing_cells(reader, name, table, f"values of storage {order}")
        if order not in capacity:
            reader.complain("clearing/orders.json", f"states no energy_mwh_max for {order}")
        storages.append(
            StorageView(
                order=order,
                asset=asset,
                bus=bus,
                energy_mwh_max=capacity.get(order, np.nan),
                soc_scheduled_mwh=scheduled.get(order, np.full(count, np.nan)),
                soc_delivered_mwh=table[2],
                setpoint_mw=table[0],
                delivered_mw=table[1],
            )
        )
    hours = axes.periods.mtu_h
    return tuple(storages), deviation_mw * hours, instructed_mw * hours


def read_violations(reader: FolderReader, axes: Axes) -> tuple[ViolationView, ...]:
    """Read every limit that did not hold in a replay."""
    name = "dispatch/violations.csv"
    columns = (
        "scenario", "element_kind", "element", "period_start", "side", "value", "limit", "unit",
    )  # fmt: skip
    found = []
    for row, cells in reader.rows(name, columns):
        period = axes.period.get(cells[3])
        scenario = next((known for known in SCENARIOS if known == cells[0]), None)
        if period is None or scenario is None:
            reader.complain(f"{name} row {row}", "scenario or period is unknown to this day")
            continue
        found.append(
            ViolationView(
                scenario=scenario,
                element_kind=cells[1],
                element=reader.whole(name, row, cells[2]),
                period=period,
                side=cells[4],
                value=reader.number(name, row, cells[5]),
                limit=reader.number(name, row, cells[6]),
                unit=cells[7],
            )
        )
    return tuple(found)


def read_replays(reader: FolderReader) -> tuple[tuple[Scenario, Replay], ...]:
    """Read the figures of the three replays; each must be there."""
    name = "dispatch/replay.json"
    content = reader.mapping(name)
    replays: list[tuple[Scenario, Replay]] = []
    for scenario in SCENARIOS:
        figures = content.get(scenario)
        if not isinstance(figures, dict):
            reader.complain(name, f"lacks scenario {scenario}")
            continue
        counts = [figures.get("periods_violated"), figures.get("violations")]
        whole = [count for count in counts if isinstance(count, int)]
        if len(whole) != 2:
            reader.complain(name, f"{scenario}: periods_violated and violations must be integers")
            continue
        replays.append(
            (
                scenario,
                Replay(
                    engine=text_of(figures, "engine", "not stated"),
                    periods_violated=whole[0],
                    violations=whole[1],
                    worst_voltage_pu=float_of(figures, "worst_voltage_pu"),
                    worst_voltage_violation_pu=float_of(figures, "worst_voltage_violation_pu"),
                    worst_loading_percent=float_of(figures, "worst_loading_percent"),
                    worst_loading_violation_percent=float_of(
                        figures, "worst_loading_violation_percent"
                    ),
                    losses_mwh=float_of(figures, "losses_mwh"),
                ),
            )
        )
    return tuple(replays)


def read_money(reader: FolderReader) -> MoneyView:
    """Add up the settlement's lines, exactly, per party and market.

    Intraday rounds (markets ``id/1``, ``id/2``, ...) share one column. Every market of every
    period must sum to zero; those that do not are named.
    """
    name = "settlement/lines.csv"
    cells_of: dict[str, dict[str, int]] = {}
    sums: dict[tuple[str, str], int] = {}
    count = rounding = 0
    for row, cells in reader.rows(
        name, ("participant", "period_start", "kind", "amount_micro_eur", "market")
    ):
        party, start, kind, market = cells[0], cells[1], cells[2], cells[4]
        amount = reader.whole(name, row, cells[3])
        column = MARKET_COLUMNS.get(market.split("/", maxsplit=1)[0], market)
        amounts = cells_of.setdefault(party, {})
        amounts[column] = amounts.get(column, 0) + amount
        sums[start, market] = sums.get((start, market), 0) + amount
        rounding = max(rounding, abs(amount)) if kind == "rounding" else rounding
        count += 1
    used = {column for amounts in cells_of.values() for column in amounts}
    columns = [column for column in MARKET_COLUMNS.values() if column in used]
    columns += sorted(used - set(columns))
    rows = [
        MoneyRow(party=party, amounts_micro_eur=tuple(amounts.get(key, 0) for key in columns))
        for party, amounts in sorted(cells_of.items())
    ]
    summary = reader.mapping("settlement/summary.json")
    stated, own = summary.get("sum_micro_eur"), sum(sums.values())
    if summary and stated != own:
        reader.complain(
            "settlement/summary.json", f"states a sum of {stated} micro-EUR, its lines give {own}"
        )
    remarks = summary.get("remarks")
    return MoneyView(
        columns=tuple(columns),
        participants=tuple(row for row in rows if not row.party.startswith("account:")),
        accounts=tuple(row for row in rows if row.party.startswith("account:")),
        lines=count,
        sums_checked=len(sums),
        not_zero=tuple(sorted(key for key, total in sums.items() if total)),
        largest_rounding_micro_eur=rounding,
        remarks=tuple(map(str, remarks)) if isinstance(remarks, list) else (),
    )


def read_ledger(reader: FolderReader) -> LedgerView:
    """Read the checkpoint (a C2SP signed note) and the bundle's list of files."""
    name = "bundle/checkpoint"
    note = reader.text(name)
    head, _, tail = note.partition("\n\n")
    lines = head.split("\n")
    size, root = 0, b""
    if len(lines) < 3:
        if note:
            reader.complain(name, "is not a checkpoint: origin, size and root expected")
    else:
        size = reader.whole(name, 2, lines[1])
        try:
            root = base64.b64decode(lines[2], validate=True)
        except (binascii.Error, ValueError):
            reader.complain(f"{name} row 3", "the root is not base64")
    manifest = reader.json("bundle/manifest.json")
    listed = manifest.get("files", []) if isinstance(manifest, dict) else manifest
    files = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    return LedgerView(
        origin=lines[0],
        size=size,
        root_base64=lines[2] if len(lines) > 2 else "",
        root_hex=root.hex(),
        signatures=tuple(line for line in tail.split("\n") if line.startswith("\u2014 ")),
        note=note,
        files=tuple(
            (text_of(item, "name"), text_of(item, "sha256"), text_of(item, "role"))
            for item in files
        ),
    )


def _scheduled_soc(reader: FolderReader, axes: Axes) -> dict[str, Floats]:
    name = "clearing/awards.csv"
    soc: dict[str, Floats] = {}
    for row, cells in reader.rows(name, ("order", "period_start", "soc_mwh")):
        period = axes.period.get(cells[1])
        if cells[2] and period is not None:
            values = soc.setdefault(cells[0], np.full(len(axes.periods), np.nan))
            values[period] = reader.number(name, row, cells[2])
    return soc


def _capacity(reader: FolderReader) -> dict[str, float]:
    content = reader.json("clearing/orders.json")
    orders = content.get("orders", []) if isinstance(content, dict) else content
    capacity: dict[str, float] = {}
    for order in orders if isinstance(orders, list) else []:
        if isinstance(order, dict) and order.get("kind") == "storage":
            largest = float_of(order, "energy_mwh_max")
            if largest is not None:
                capacity[text_of(order, "id")] = largest
    return capacity


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """Sort key that puts storage:9 before storage:10."""
    parts: list[tuple[int, str]] = []
    number = ""
    for letter in text + "\0":
        if letter.isdigit():
            number += letter
            continue
        if number:
            parts.append((int(number), ""))
            number = ""
        parts.append((-1, letter))
    return tuple(parts)
