"""A small day on disk and its export: shared by the bundle tests and the crash tests."""

from __future__ import annotations

from pathlib import Path

from data.records.posting import Receipt
from ledger_adapter.batches import (
    batch_for_clearing,
    batch_for_settlement,
    folder_root,
    read_records,
)
from ledger_adapter.bundle import PostedBatch, export_bundle
from ledger_adapter.keys import OperatorKeys
from ledger_adapter.ports import Ledger
from ledger_adapter.verify.opening import LINE_FIELDS, TRADE_FIELDS

RUN: dict[str, str | int] = {"market": "village", "interval": "2016-07-25", "revision": 0}
FILES = {
    "study/study.toml": 'name = "village"\nperiods = 2\n',
    "study/orders.json": '[{"id": "pv", "kind": "generation", "participant": "sun"}]\n',
    "output/trades.csv": ",".join(TRADE_FIELDS)
    + "\nt1,pv,sun,3,2016-07-24T22:00:00Z,250,20000000"
    + '\nt2,load,"moon, Ltd",4,2016-07-24T22:00:00Z,-250,20000000'
    + "\nt3,pv,sun,3,2016-07-24T22:15:00Z,125,-1500000\n",
    "output/summary.json": '{"status": "certified"}\n',
    "output/timings.json": '{"seconds": 1.5}\n',
    "settle/settlement.toml": "mtu_minutes = 15\n",
    "settled/lines.csv": ",".join(LINE_FIELDS)
    + "\nsun,c1,2016-07-24T22:00:00Z,da,250,20000000,5000"
    + '\n"moon, Ltd",c2,2016-07-24T22:00:00Z,da,-250,20000000,-5000'
    + "\nsun,c1,2016-07-24T22:15:00Z,da,125,-1500000,-188"
    + "\naccount:upstream,c0,2016-07-24T22:15:00Z,upstream,-125,-1500000,188\n",
}


def write_day(folder: Path) -> Path:
    """Write the day's four folders."""
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def post_day(day: Path, ledger: Ledger, keys: OperatorKeys) -> list[PostedBatch]:
    """Post one clearing and one settlement."""
    clearing = batch_for_clearing(
        {**RUN, "run": "day-ahead"},
        input_root=folder_root(day / "study"),
        output_root=folder_root(day / "output"),
        certificate_sha256=_sha256(day / "output" / "summary.json"),
        status="certified",
        trades=read_records("trade", day / "output" / "trades.csv"),
        subjects=keys.subjects,
    )
    settlement = batch_for_settlement(
        {**RUN, "run": "settlement"},
        input_root=folder_root(day / "settle"),
        output_root=folder_root(day / "settled"),
        lines=read_records("statement", day / "settled" / "lines.csv"),
        subjects=keys.subjects,
    )
    return [
        PostedBatch(
            name="day-ahead",
            receipt=ledger.post(clearing),
            folders={"input_root": "inputs/day-ahead", "output_root": "outputs/day-ahead"},
            digests={"certificate_sha256": "outputs/day-ahead/summary.json"},
            records="outputs/day-ahead/trades.csv",
        ),
        PostedBatch(
            name="settlement",
            receipt=ledger.post(settlement),
            folders={"input_root": "settlement/input", "output_root": "settlement/output"},
            records="settlement/output/lines.csv",
            records_kind="statement",
        ),
    ]


def export_day(
    day: Path, target: Path, ledger: Ledger, keys: OperatorKeys, *, disclose: bool = True
) -> Receipt:
    """Post the day and write its bundle."""
    batches = post_day(day, ledger, keys)
    return export_bundle(
        target,
        ledger,
        key_fields={**RUN, "run": "bundle" if disclose else "closed bundle"},
        folders={
            "inputs/day-ahead": day / "study",
            "outputs/day-ahead": day / "output",
            "settlement/input": day / "settle",
            "settlement/output": day / "settled",
        },
        batches=batches,
        size_before=batches[0].receipt.first,
        subjects=keys.subjects if disclose else None,
    )


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()
