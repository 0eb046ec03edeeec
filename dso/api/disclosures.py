"""Disclosure files of records in the ledger: some fields shown, the others hidden, all proven."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data.errors import InputError, Problem
from data.periods import parse_utc
from dso.api.problems import Refusal, not_found
from dso.api.run_files import CLEARINGS, clearing_folder
from dso.cycles.ledger_run import DAY_AHEAD_RUN, SETTLEMENT_RUN
from dso.cycles.stage_settlement import settlement_folder
from dso.store.access import MARKET_CLOCK
from ledger_adapter.actions import open_action
from ledger_adapter.batches import read_records
from ledger_adapter.bundle import receipt_for_leaf
from ledger_adapter.commitment import batch_key
from ledger_adapter.disclosure import disclose_fields
from ledger_adapter.verify.opening import RECORD_KINDS

if TYPE_CHECKING:
    from dso.api.market import Market
    from dso.store.access import Action
    from dso.store.market_reads import RunRow
    from ledger_adapter.sql_log import SqlLog
    from ledger_adapter.verify.opening import OpenRecord

SETTLEMENT: Final = "settlement"
RUN_KINDS: Final = (*CLEARINGS, SETTLEMENT)


def disclose_record(
    market: Market, run: RunRow, record_id: str, subject: str | None, names: Collection[str]
) -> str:
    """Return the disclosure of a trade of a clearing, or of a statement of a settlement.

    Parameters
    ----------
    market : Market
        Whose ledger it is.
    run : RunRow
        A finished clearing or settlement.
    record_id : str
        Id of the trade, or the participant of the statement.
    subject : str or None
        Whose records may be shown; None: everybody's.
    names : collection of str
        Fields to show.

    Raises
    ------
    Refusal
        404 for a record that is not there or not the subject's, 409 where the run is not posted
        yet, 422 for fields that it does not have.
    """
    kind, table = _table_of(market, run)
    rows = read_records(kind, table)
    records = RECORD_KINDS[kind].records(rows)
    place = next((k for k, each in enumerate(records) if each.record_id == record_id), None)
    if place is None or subject not in (None, records[place].subject):
        raise not_found(f"record {record_id}")
    log = market.services.ledger
    key = batch_key(_run_fields(market, run))
    posted = log.get(key)
    if posted is None:
        problem = Problem(where=f"run {run.id}", what="is not in the ledger yet")
        raise Refusal(HTTPStatus.CONFLICT, [problem])
    record = records[place]
    run_key = market.services.keys.subjects.run_keys([record.subject], key)[record.subject]
    return _text(log, posted.first + 1 + place, kind, record, run_key, names)


def disclose_action(market: Market, log: SqlLog, action: Action, names: Collection[str]) -> str:
    """Return the disclosure of an action; as `disclose_record`, from the action log."""
    if action.batch_key is None or action.leaf is None:
        problem = Problem(where=f"action {action.action}", what="is not in the ledger yet")
        raise Refusal(HTTPStatus.CONFLICT, [problem])
    said = {
        "action": action.action, "actor": action.actor, "role": action.role, "verb": action.verb,
        "object": action.object, "reason": action.reason, "at_utc": action.at_utc,
        "clock": MARKET_CLOCK,
    }  # fmt: skip
    record = open_action(said)
    key = bytes.fromhex(action.batch_key)
    run_key = market.services.keys.subjects.run_keys([record.subject], key)[record.subject]
    return _text(log, action.leaf, "action", record, run_key, names)


def _text(
    log: SqlLog, leaf: int, kind: str, record: OpenRecord, run_key: bytes, names: Collection[str]
) -> str:
    head = log.head()
    proof = receipt_for_leaf(log, leaf, head, checkpoint=log.cosigned(head))
    try:
        return disclose_fields(kind, record, run_key, names, proof).decode()
    except InputError as error:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, error.problems) from error


def _table_of(market: Market, run: RunRow) -> tuple[str, Path]:
    """Return the kind of a run's records, and the table that holds them."""
    if run.kind != SETTLEMENT:
        return "trade", clearing_folder(market, run) / "trades.csv"
    folder = market.calendar.day_folder(run.feeder, parse_utc(run.first_period))
    table = folder / settlement_folder(run.revision) / "lines.csv"
    if not table.is_file():
        raise Refusal(
            HTTPStatus.CONFLICT, [Problem(where=f"run {run.id}", what="its files are not here")]
        )
    return "statement", table


def _run_fields(market: Market, run: RunRow) -> dict[str, str | int]:
    """Return what names the batch of a run, as the cycles name it."""
    first = parse_utc(run.first_period)
    day = market.calendar.day_folder(run.feeder, first).name
    names = {
        "day_ahead": DAY_AHEAD_RUN,
        "intraday": f"intraday-{first.strftime('%Y%m%dT%H%MZ')}",
        SETTLEMENT: SETTLEMENT_RUN,
    }
    return {
        "market": run.market,
        "feeder": run.feeder,
        "interval": day,
        "run": names[run.kind],
        "revision": run.revision,
        "kind": SETTLEMENT if run.kind == SETTLEMENT else "clearing",
    }
