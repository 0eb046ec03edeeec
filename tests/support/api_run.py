"""A finished clearing behind the API: cleared for real, in the store, its batch in the ledger."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np

from data.canonical import sha256_hex
from data.periods import format_utc
from data.records.order import Order, kind_of
from data.results import SUMMARY_FILE, write_result
from data.study import read_study, write_study
from dso.cycles.clearing_files import RESULT_FILES, STUDY_FILES, named_files, read_status
from dso.cycles.result_rows import _clearing_rows
from dso.store.market_reads import find_run, page_runs
from dso.store.records import StageKey
from ledger_adapter.batches import batch_for_clearing, files_root, read_records
from ledger_adapter.outbox import drain_outbox, enqueue_batch
from opf.clearing import clear_case
from tests.support.api_market import NOW, Desk
from tests.support.cases import generation, library_network, make_case

OWNERS = {"o-pro": "pro", "o-rival": "rival"}
FIRST_PERIOD = "2026-11-22T23:00:00Z"
PERIODS = 4


def clear_two_orders(folder: Path) -> None:
    """Two plants on case33bw for the first hours of the delivery day; PV lifts a voltage."""
    sun = np.array([0.0, 3.0, 2.9, 0.5])
    orders: list[Order] = [
        dataclasses.replace(generation("o-pro", 17, sun, 0.0, PERIODS), participant="pro"),
        dataclasses.replace(
            generation("o-rival", 16, 0.5 * sun, 10.0, PERIODS), participant="rival"
        ),
    ]
    case = make_case(
        library_network("case33bw"), orders, price=np.array([40.0, 20.0, -10.0, 60.0]),
        periods=PERIODS, vm_pu_min=0.9, vm_pu_max=1.05,
    )  # fmt: skip
    start = NOW.replace(hour=23)
    case = dataclasses.replace(case, periods=dataclasses.replace(case.periods, start=start))
    write_study(case, folder, "pandapower:case33bw")
    case = read_study(folder)
    write_result(clear_case(case), case, folder)


def add_run(desk: Desk, cleared: Path) -> int:
    """Enter what `clear_two_orders` wrote as the day-ahead run of the delivery day."""
    services = desk.market.services
    start = NOW.replace(hour=23)
    folder = desk.calendar.day_folder("village", start) / "clearing"
    shutil.copytree(cleared, folder)
    case = read_study(folder)
    orders = [(each.id, kind_of(each), each.participant, each.asset, "{}") for each in case.orders]
    labels = frozenset(case.periods.labels())
    for kind, rows in (
        ("orders", {"market_order": orders}),
        ("day_ahead", _clearing_rows(folder, labels)),
    ):
        key = StageKey(market="test", feeder="village", kind=kind, first_period=start)
        services.store.begin_stage(key, input_sha256=sha256_hex(kind.encode()))
        with services.store.transaction() as connection:
            digest = sha256_hex((folder / SUMMARY_FILE).read_bytes() + kind.encode())
            services.store.finish_stage(key, digest, rows=rows, connection=connection)
    with services.store.transaction() as connection:
        number = int(page_runs(connection, kind="day_ahead", after=0, limit=1)[0]["id"])
        found = find_run(connection, number)
        assert found is not None
        assert found.first_period == format_utc(start) == FIRST_PERIOD
        batch = batch_for_clearing(
            {"market": "test", "feeder": "village", "interval": "2026-11-23", "run": "day-ahead",
             "revision": 0},
            input_root=files_root(named_files(folder, STUDY_FILES)),
            output_root=files_root(named_files(folder, RESULT_FILES)),
            certificate_sha256=sha256_hex((folder / SUMMARY_FILE).read_bytes()),
            status=read_status(folder),
            trades=read_records("trade", folder / "trades.csv"),
            subjects=services.keys.subjects,
        )  # fmt: skip
        enqueue_batch(connection, batch)
    drain_outbox(services.store.engine, services.ledger)
    return number
