"""A day that was really cleared and settled, small enough to be run again in a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from data.records.posting import Receipt
from data.results import SUMMARY_FILE
from dso.cycles.clearing_files import RESULT_FILES, STUDY_FILES, named_files
from dso.settlement import settle_folder
from ledger_adapter.batches import (
    batch_for_clearing,
    batch_for_settlement,
    files_root,
    read_records,
)
from ledger_adapter.bundle import PostedBatch, export_bundle
from ledger_adapter.keys import OperatorKeys
from ledger_adapter.ports import Ledger
from tests.support.clearing_folder import write_clearing

RUN: dict[str, str | int] = {"market": "village", "interval": "2016-07-25", "revision": 0}
SETTLEMENT = {
    "settlement.toml": 'mtu_minutes = 15\nimbalance = "dual"\n'
    'imbalance_spread_eur_per_mwh = 2.5\nrefund = "pro_rata_withdrawal"\n',
    "positions.csv": "participant,connection,bus,period_start,da_mwh,id_mwh,meter_mwh\n"
    "sun,pv,1,2026-06-01T10:00:00Z,0.5,0.5,0.45\n"
    "default:load,house,2,2026-06-01T10:00:00Z,-0.1,-0.1,-0.1234567\n",
    "prices.csv": "bus,period_start,dlmp_da_eur_per_mwh,dlmp_id_eur_per_mwh,"
    "imbalance_eur_per_mwh\n1,2026-06-01T10:00:00Z,30,31,33.3333333\n"
    "2,2026-06-01T10:00:00Z,40,41,43\n",
    "substation.csv": "period_start,import_mwh,import_price_eur_per_mwh\n"
    "2026-06-01T10:00:00Z,-0.32,35\n",
    "activations.csv": "participant,connection,period_start,baseline_mw,ordered_mw,meter_mw,"
    "price_eur_per_mwh,penalty_eur_per_mwh,rule\n",
}


def clear_and_settle(folder: Path) -> Path:
    """Clear one study and settle one folder; inputs and outputs stand apart below ``folder``."""
    write_clearing(folder / "clearing")
    for name, text in SETTLEMENT.items():
        (folder / "settlement").mkdir(exist_ok=True)
        (folder / "settlement" / name).write_text(text, encoding="utf-8")
    settle_folder(folder / "settlement", folder / "settled")
    return folder


def post_and_export(
    day: Path,
    target: Path,
    ledger: Ledger,
    keys: OperatorKeys,
    *,
    name: str = "day-ahead",
    forge: Callable[[Path], None] = lambda _day: None,
) -> Receipt:
    """Post a cleared day and write its bundle.

    ``forge`` may change the results first: then a false day is posted and signed in good order.
    """
    forge(day)
    clearing = day / "clearing"
    study, result = named_files(clearing, STUDY_FILES), named_files(clearing, RESULT_FILES)
    inputs = {path.name: path for path in sorted((day / "settlement").iterdir())}
    outputs = {
        path.relative_to(day / "settled").as_posix(): path
        for path in sorted((day / "settled").rglob("*"))
        if path.is_file()
    }
    cleared = batch_for_clearing(
        {**RUN, "run": name},
        input_root=files_root(study),
        output_root=files_root(result),
        certificate_sha256=files_sha256(result[SUMMARY_FILE]),
        status=str(json.loads(result[SUMMARY_FILE].read_text())["status"]),
        trades=read_records("trade", result["trades.csv"]),
        subjects=keys.subjects,
    )
    settled = batch_for_settlement(
        {**RUN, "run": "settlement"},
        input_root=files_root(inputs),
        output_root=files_root(outputs),
        lines=read_records("statement", outputs["lines.csv"]),
        subjects=keys.subjects,
    )
    batches = [
        PostedBatch(
            name=name,
            receipt=ledger.post(cleared),
            folders={"input_root": f"inputs/{name}", "output_root": f"outputs/{name}"},
            digests={"certificate_sha256": f"outputs/{name}/{SUMMARY_FILE}"},
            records=f"outputs/{name}/trades.csv",
        ),
        PostedBatch(
            name="settlement",
            receipt=ledger.post(settled),
            folders={"input_root": "settlement/input", "output_root": "settlement/output"},
            records="settlement/output/lines.csv",
            records_kind="statement",
        ),
    ]
    return export_bundle(
        target,
        ledger,
        key_fields={**RUN, "run": "bundle"},
        folders={
            f"inputs/{name}": study,
            f"outputs/{name}": result,
            "settlement/input": inputs,
            "settlement/output": outputs,
        },
        batches=batches,
        size_before=batches[0].receipt.first,
        subjects=keys.subjects,
    )


def files_sha256(path: Path) -> str:
    """SHA-256 of a file in hex."""
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()
