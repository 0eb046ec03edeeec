"""The rows of a finished stage for the store, read from the files it is about to publish.

The files are the master and are hashed; the rows hold the same numbers as integers, for whoever
asks by party, asset, bus or time.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from data.canonical import canonical_json
from data.results import SUMMARY_FILE
from data.units import price_micro_eur
from dso.cycles.clearing_files import CLEARING, INTRADAY, is_binding, read_status
from dso.cycles.plan import DayPlan

Rows = Sequence[Sequence[object]]
WATTS_PER_MW: Final = 1_000_000
# Levels that the store keeps; the file has all.
LEVELS: Final = (("q10", 100), ("q50", 500), ("q90", 900))
PRICE_PARTS: Final = (
    "dlmp_p_eur_per_mwh", "energy_eur_per_mwh", "loss_eur_per_mwh", "congestion_eur_per_mwh",
    "voltage_eur_per_mwh", "dlmp_q_eur_per_mvarh",
)  # fmt: skip


def stage_rows(plan: DayPlan, kind: str, start: datetime | None, folder: Path) -> dict[str, Rows]:
    """Return the rows of a stage by table of the store.

    Parameters
    ----------
    plan : DayPlan
        The day.
    kind : str
        The stage.
    start : datetime or None
        First period of an intraday round.
    folder : Path
        What the stage wrote, names as in the day folder.
    """
    if kind == "intraday" and start is not None:
        at = next(each for each in plan.rounds() if each.periods.start == start)
        labels = at.periods.labels()[: at.binding]
        return _clearing_rows(folder / INTRADAY / at.label, frozenset(labels))
    read = _READERS.get(kind)
    return {} if read is None else read(plan, folder)


def _clearing_rows(folder: Path, binding: frozenset[str]) -> dict[str, Rows]:
    """Return awards, prices and trades of the periods that bind; none where nothing binds."""
    if not (folder / SUMMARY_FILE).is_file() or not is_binding(read_status(folder)):
        return {}
    awards = [
        (
            row["order"], int(row["bus"]), row["period_start"], _watts(row["injection_mw"]),
            _watts(row["injection_mvar"]), _optional_watts(row["charge_mw"]),
            _optional_watts(row["discharge_mw"]),
        )
        for row in _read(folder / "awards.csv", binding)
    ]  # fmt: skip
    prices = [
        (
            int(row["bus"]), row["period_start"],
            *(price_micro_eur(float(row[name])) for name in PRICE_PARTS),
        )
        for row in _read(folder / "prices.csv", binding)
    ]  # fmt: skip
    trades = [
        (
            row["trade"], row["period_start"], row["order"], row["participant"], int(row["bus"]),
            int(row["energy_wh"]), int(row["price_micro_eur_per_mwh"]),
        )
        for row in _read(folder / "trades.csv", binding)
    ]  # fmt: skip
    return {"award": awards, "price": prices, "trade": trades}


def _day_ahead_rows(plan: DayPlan, folder: Path) -> dict[str, Rows]:
    return _clearing_rows(folder / CLEARING, frozenset(plan.periods.labels()))


def _forecast_rows(_plan: DayPlan, folder: Path) -> dict[str, Rows]:
    rows = [
        (row["series"], row["period_start"], level, _watts(row[name]))
        for row in _read(folder / "forecast/forecast.csv")
        for name, level in LEVELS
        if name in row
    ]
    return {"forecast": rows}


def _order_rows(_plan: DayPlan, folder: Path) -> dict[str, Rows]:
    path = folder / CLEARING / "orders.json"
    orders = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    rows = [
        (
            order["id"], order["kind"], order["participant"], order.get("asset"),
            canonical_json(order).decode(),
        )
        for order in orders
    ]  # fmt: skip
    return {"market_order": rows}


def _dispatch_rows(_plan: DayPlan, folder: Path) -> dict[str, Rows]:
    rows = [
        (
            row["asset"], row["period_start"], _watts(row["delivered_mw"]),
            _watts(row["delivered_mvar"]),
        )
        for row in _read(folder / "dispatch/delivery.csv")
    ]  # fmt: skip
    return {"delivery": rows}


def _settlement_rows(_plan: DayPlan, folder: Path) -> dict[str, Rows]:
    rows = [
        (
            number, row["participant"], row["connection"] or None, row["period_start"],
            row["kind"], row["market"], int(row["quantity_wh"]),
            int(row["price_micro_eur_per_mwh"]), int(row["amount_micro_eur"]),
        )
        for number, row in enumerate(_settlement_lines(folder))
    ]  # fmt: skip
    return {"settlement_line": rows}


def _settlement_lines(folder: Path) -> Iterator[dict[str, str]]:
    """Read the lines of a first settlement, or what a revision adds to them."""
    yield from _read(folder / "settlement/lines.csv")
    for path in folder.glob("settlement-revisions/*/deltas.csv"):
        yield from _read(path)


_READERS: Final[Mapping[str, Callable[[DayPlan, Path], dict[str, Rows]]]] = {
    "forecast": _forecast_rows,
    "orders": _order_rows,
    "day_ahead": _day_ahead_rows,
    "dispatch": _dispatch_rows,
    "settlement": _settlement_rows,
}


def _read(path: Path, periods: frozenset[str] | None = None) -> Iterator[dict[str, str]]:
    if not path.is_file():  # a stage of an exercise, not of a market
        return
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if periods is None or row["period_start"] in periods:
                yield row


def _watts(text: str) -> int:
    """Return W or var of a power on the tick of 1e-6 MW or Mvar; forecasts are rounded to it."""
    return round(float(text) * WATTS_PER_MW)


def _optional_watts(text: str) -> int | None:
    return _watts(text) if text else None
