"""The tables of a fleet's day."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.canonical import csv_bytes, pretty_json, write_atomically
from data.csv_table import table_bytes
from data.records.clearing import ClearingCase
from dso.fleet.fleet_file import FleetFile
from dso.fleet.page import render_fleet
from dso.fleet.run import FleetRun, deviation_wh
from flexibility.portfolios.fleet import portfolio_rows

SUMMARY: str = "summary.json"


def write_run(case: ClearingCase, file: FleetFile, run: FleetRun, folder: Path) -> None:
    """Write tables, page and summary of a fleet's day; equal runs give equal bytes.

    * ``devices.csv`` kind,device,bus,period_start,told_mw,told_mvar,metered_wh,metered_mvar,state
      (state: energy in MWh; of heat pumps the indoor temperature in degC; empty for PV plants)
    * ``not_followed.csv`` kind,device,reason,minutes
    * ``portfolios.csv`` portfolio,member,bus,share
    * ``shortfalls.csv`` car,bus,missing_wh,reason,payer,amount_micro_eur
    * ``grid.csv`` period_start,import_mw,import_unguided_mw
    * ``fleet.html``, ``summary.json``
    """
    labels = case.periods.labels()
    columns: dict[str, list[object]] = {
        name: [] for name in ("kind", "device", "bus", "period_start")
    }
    numbers: dict[str, list[np.ndarray]] = {
        name: [] for name in ("told_mw", "told_mvar", "metered_wh", "metered_mvar")
    }
    states: list[object] = []
    for kind, each in run.kinds.items():
        for row, device in enumerate(each.ids):
            columns["kind"] += [kind] * len(labels)
            columns["device"] += [device] * len(labels)
            columns["bus"] += [each.buses[row]] * len(labels)
            columns["period_start"] += labels
            for name, values in numbers.items():
                values.append(getattr(each, name)[row])
            states += [None if np.isnan(value) else value for value in each.stored[row]]
    rows = zip(
        *columns.values(), *(np.concatenate(parts).tolist() for parts in numbers.values()), states,
        strict=True,
    )  # fmt: skip
    tables = {
        "devices.csv": csv_bytes((*columns, *numbers, "state"), rows),
        "not_followed.csv": csv_bytes(
            ("kind", "device", "reason", "minutes"),
            [
                (kind, device, reason, minutes)
                for kind, each in run.kinds.items()
                for device, reasons in each.not_followed.items()
                for reason, minutes in reasons.items()
            ],
        ),
        "portfolios.csv": csv_bytes(
            ("portfolio", "member", "bus", "share"), portfolio_rows(run.offer.portfolios)
        ),
        "shortfalls.csv": csv_bytes(
            ("car", "bus", "missing_wh", "reason", "payer", "amount_micro_eur"),
            [
                (one.car, one.bus, one.missing_wh, one.reason, one.payer, one.amount_micro_eur)
                for one in run.shortfalls
            ],
        ),
        "grid.csv": table_bytes(
            {
                "period_start": labels,
                "import_mw": run.grid.import_mw,
                "import_unguided_mw": run.grid_unguided.import_mw,
            }
        ),
        "fleet.html": render_fleet(case, file, run),
        SUMMARY: pretty_json(summary_of(case, run)),
    }
    for name, content in tables.items():
        write_atomically(folder / name, content)


def summary_of(case: ClearingCase, run: FleetRun) -> dict[str, object]:
    """Return the day in a few numbers, energies in Wh and money in micro-EUR."""
    h = case.periods.mtu_h
    off = {kind: np.abs(deviation_wh(each, h)) for kind, each in run.kinds.items()}
    return {
        "devices": {kind: len(each.ids) for kind, each in run.kinds.items()},
        "portfolios": len(run.offer.portfolios),
        "portfolio_loss_share": run.offer.loss_share,
        "deviation_wh_sum": {kind: int(values.sum()) for kind, values in off.items()},
        "deviation_wh_max": {kind: int(values.max(initial=0)) for kind, values in off.items()},
        "shortfall_wh": sum(each.missing_wh for each in run.shortfalls),
        "shortfall_micro_eur": sum(each.amount_micro_eur for each in run.shortfalls),
        "cold_kh_max": max(run.cold_kh.values(), default=0.0),
        "violations": len(run.grid.violations),
        "violations_unguided": len(run.grid_unguided.violations),
        "replay_engine": run.grid.engine,
    }
