"""Stage 5, settlement: positions, prices and meters of the day as a settlement folder, settled."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from data.records.posting import Batch
from dso.cycles.ledger_run import SETTLEMENT_RUN, run_fields
from dso.cycles.settlement_case import settlement_case
from dso.cycles.stages import Desk
from dso.settlement import settle_folder, write_settlement_case
from ledger_adapter.batches import batch_for_settlement, files_root, read_records

SETTLEMENT_FOLDER: Final = "settlement"
INPUT_FILES: Final = frozenset(
    {
        "activations.csv", "availability.csv", "certificates.csv", "communities.toml",
        "connections.csv", "emissions.csv", "import_emissions.csv", "meters.csv", "parts.csv",
        "positions.csv", "prices.csv", "reactive.csv", "rounds.csv", "settlement.toml",
        "substation.csv", "tariff.toml",
    }
)  # fmt: skip


def run_settlement(desk: Desk, dispatch_sha256: str) -> str:
    """Write the settlement folder, settle it as anybody would, and commit to both."""
    desk.progress.stage("5/7 settlement")
    plan = desk.plan

    def work(folder: Path) -> Batch:
        place = folder / SETTLEMENT_FOLDER
        write_settlement_case(settlement_case(plan), place)
        settle_folder(place, place)
        inputs, outputs = split_settlement(place)
        return batch_for_settlement(
            run_fields(plan, SETTLEMENT_RUN),
            input_root=files_root(inputs),
            output_root=files_root(outputs),
            lines=read_records("statement", place / "lines.csv"),
            subjects=desk.services.keys.subjects,
        )

    done = desk.run_stage("settlement", {"dispatch": dispatch_sha256}, work)
    desk.progress.step("lines and statements")
    return done


def split_settlement(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return input and output files of a settlement folder that holds both, by relative name."""
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    inputs = {name: path for name, path in files.items() if name in INPUT_FILES}
    outputs = {name: path for name, path in files.items() if name not in INPUT_FILES}
    return inputs, outputs
