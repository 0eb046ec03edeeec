"""Stage 5, settlement: positions, prices and meters of the day as a settlement folder, settled."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from data.records.posting import Batch
from dso.cycles.bought import bought_of_day, settle_bought
from dso.cycles.ledger_run import SETTLEMENT_RUN, run_fields
from dso.cycles.messages import updates_by
from dso.cycles.meters_read import READINGS_JSON, read_meters, write_readings
from dso.cycles.reserved import contracts_sha256
from dso.cycles.settlement_case import settlement_case
from dso.cycles.stages import Desk
from dso.settlement import settle_folder, write_settlement_case
from ledger_adapter.batches import batch_for_settlement, files_root, read_records

SETTLEMENT_FOLDER: Final = "settlement"
REVISIONS_FOLDER: Final = "settlement-revisions"
INPUT_FILES: Final = frozenset(
    {
        "activations.csv", "availability.csv", "certificates.csv", "communities.toml",
        "connections.csv", "emissions.csv", "import_emissions.csv", "meters.csv", "parts.csv",
        "positions.csv", "prices.csv", "reactive.csv", READINGS_JSON, "rounds.csv",
        "settlement.toml", "substation.csv", "tariff.toml",
    }
)  # fmt: skip


def run_settlement(desk: Desk, dispatch_sha256: str, *, revision: int = 0) -> str:
    """Write the settlement folder, settle it as anybody would, and commit to both.

    Parameters
    ----------
    desk : Desk
        Where the day is run.
    dispatch_sha256 : str
        Output of the dispatch.
    revision : int
        0 on the first time. A later one reads the meters again and adds to the lines of the one
        before: its folder has what stands now and, in ``deltas.csv``, what was added.
    """
    desk.progress.stage("5/7 settlement")
    if desk.is_done("settlement", revision=revision):
        return desk.output_of("settlement", revision=revision)  # readings of since are the next's
    plan = desk.plan
    meters = read_meters(desk)
    inputs = {"dispatch": dispatch_sha256}
    if meters.used or meters.unassigned:
        inputs["readings"] = meters.sha256()
    bought = bought_of_day(desk)
    inputs |= bought.inputs
    if plan.feeder.contract_files:
        inputs["contracts"] = contracts_sha256(plan)
    received = updates_by(plan, plan.periods.start)
    if received.updates:
        inputs["messages"] = received.sha256
    if revision:
        inputs["earlier"] = desk.output_of("settlement", revision=revision - 1)

    def work(folder: Path) -> Batch:
        place = folder / settlement_folder(revision)
        case = settlement_case(plan, meters.injection_wh)
        if bought.orders or plan.feeder.contract_files:
            case = settle_bought(plan, case, bought.orders, received.updates)
        write_settlement_case(case, place)
        earlier = plan.out / settlement_folder(revision - 1) if revision else None
        settle_folder(place, place, earlier=earlier)
        write_readings(meters, place)
        found, made = split_settlement(place)
        return batch_for_settlement(
            run_fields(plan, SETTLEMENT_RUN, revision=revision),
            input_root=files_root(found),
            output_root=files_root(made),
            lines=read_records("statement", place / "lines.csv"),
            subjects=desk.services.keys.subjects,
        )

    done = desk.run_stage("settlement", inputs, work, revision=revision)
    desk.progress.step("lines and statements")
    return done


def settlement_folder(revision: int) -> str:
    """Return the folder of a settlement inside the day's.

    Examples
    --------
    >>> settlement_folder(0), settlement_folder(2)
    ('settlement', 'settlement-revisions/2')
    """
    return f"{REVISIONS_FOLDER}/{revision}" if revision else SETTLEMENT_FOLDER


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
