"""Stage 6, posting: the batches go to the ledger, the bundle is exported and verified offline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from data.canonical import write_atomically
from data.records.posting import Receipt
from data.results import SUMMARY_FILE
from dso.cycles.clearing_files import (
    CLEARING,
    INTRADAY,
    RESULT_FILES,
    STUDY_FILES,
    named_files,
)
from dso.cycles.ledger_run import BUNDLE_RUN, DAY_AHEAD_RUN, SETTLEMENT_RUN, round_run, run_fields
from dso.cycles.stage_settlement import SETTLEMENT_FOLDER, split_settlement
from dso.cycles.stages import Desk
from ledger_adapter.bundle import PostedBatch, export_bundle
from ledger_adapter.commitment import batch_key
from ledger_adapter.outbox import drain_outbox
from ledger_adapter.ports import LedgerError
from ledger_adapter.verify import Report, verify_bundle

BUNDLE_FOLDER: Final = "bundle"
KEY_FILE: Final = "operator.vkey"
Files = Mapping[str, Path]


def run_posting(desk: Desk, settlement_sha256: str) -> str:
    """Post what waits in the outbox, export the bundle, and verify it as an auditor would."""
    desk.progress.stage("6/7 posting", steps=3)

    def work(folder: Path) -> None:
        drain_outbox(desk.services.store.engine, desk.services.ledger)
        desk.progress.step("ledger")
        batches, sources = posted_batches(desk)
        export_bundle(
            folder / BUNDLE_FOLDER,
            desk.services.ledger,
            key_fields=run_fields(desk.plan, BUNDLE_RUN),
            folders=sources,
            batches=batches,
            size_before=batches[0].receipt.first,
            subjects=desk.services.keys.subjects,
        )
        desk.progress.step("bundle")
        vkey = desk.services.keys.vkey_text
        report = verify_bundle(folder / BUNDLE_FOLDER, vkey)
        if not report.holds:
            raise BundleDoesNotHold(report)
        write_atomically(folder / KEY_FILE, vkey.encode())

    done = desk.run_stage("posting", {"settlement": settlement_sha256}, work)
    desk.progress.step("verified offline")
    return done


class BundleDoesNotHold(Exception):
    """The exported bundle fails its own verification: a fault of the program or of the disk."""

    def __init__(self, report: Report) -> None:
        super().__init__("the bundle does not hold: " + "; ".join(map(str, report.failures)))


def posted_batches(desk: Desk) -> tuple[tuple[PostedBatch, ...], dict[str, Files]]:
    """Return the day's batches with their receipts, and the files of each bundle folder."""
    plan, batches = desk.plan, []
    sources: dict[str, Files] = {}
    runs = [(DAY_AHEAD_RUN, plan.out / CLEARING)]
    runs += [(round_run(at), plan.out / INTRADAY / at.label) for at in plan.rounds()]
    for run, folder in runs:
        study, result = f"inputs/{run}", f"outputs/{run}"
        sources[study] = named_files(folder, STUDY_FILES)
        sources[result] = named_files(folder, RESULT_FILES)
        batches.append(
            PostedBatch(
                name=run,
                receipt=_receipt(desk, run, "clearing"),
                folders={"input_root": study, "output_root": result},
                digests={"certificate_sha256": f"{result}/{SUMMARY_FILE}"},
                records=f"{result}/trades.csv",
            )
        )
    inputs, outputs = split_settlement(plan.out / SETTLEMENT_FOLDER)
    sources["settlement/input"], sources["settlement/output"] = inputs, outputs
    batches.append(
        PostedBatch(
            name=SETTLEMENT_RUN,
            receipt=_receipt(desk, SETTLEMENT_RUN, "settlement"),
            folders={"input_root": "settlement/input", "output_root": "settlement/output"},
            records="settlement/output/lines.csv",
            records_kind="statement",
        )
    )
    return tuple(batches), sources


def _receipt(desk: Desk, run: str, kind: str) -> Receipt:
    receipt = desk.services.ledger.get(batch_key({**run_fields(desk.plan, run), "kind": kind}))
    if receipt is None:
        raise LedgerError(f"{run} is not in the ledger although the outbox was drained")
    return receipt
