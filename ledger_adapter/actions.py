"""The action tree: what people did, in a log of its own beside the record log.

Its origin is the record log's with ``/actions`` behind it and it is signed by a key of its own.
Each batch names the head of the record log at its time, so that whoever has both logs knows which
records an action came after. Actors are persons: their names stand in the commitments only.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from data.periods import format_utc
from data.records.posting import Batch, Receipt
from ledger_adapter.batches import commit_batch
from ledger_adapter.commitment import RunFields
from ledger_adapter.keys import SubjectKeys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.verify.opening import ACTION_FIELDS, OpenRecord, action_records

ACTION_KIND: Final = "action"


def batch_for_actions(
    key_fields: RunFields,
    *,
    actions: Sequence[Mapping[str, str]],
    record_head: Receipt,
    subjects: SubjectKeys,
) -> Batch:
    """Batch of some actions, for the action log.

    Parameters
    ----------
    key_fields : mapping
        What names the batch: market, interval, run, revision. The kind is added here.
    actions : sequence of mapping
        Each has the fields ``action`` (id), ``actor``, ``role``, ``verb``, ``object``, ``reason``,
        ``at_utc`` and ``clock`` (what the time was taken from), all text.
    record_head : Receipt
        Head of the record log that the actors saw.
    subjects : SubjectKeys
        Keys of the actors.

    Raises
    ------
    InputError
        With every action that lacks a field or stands twice.
    SubjectErased
        If an actor was erased.
    """
    header: dict[str, object] = {
        "record_log_root": record_head.root.hex(),
        "record_log_size": record_head.size,
    }
    return commit_batch({**key_fields, "kind": "actions"}, header, ACTION_KIND, actions, subjects)


def post_action(
    log: SqlLog,
    fields: Mapping[str, str],
    *,
    at: datetime,
    record_head: Receipt,
    subjects: SubjectKeys,
    clock: str = "system clock",
) -> Receipt:
    """Post one action that happens now; its id is drawn.

    Parameters
    ----------
    log : SqlLog
        The action log.
    fields : mapping
        ``actor``, ``role``, ``verb``, ``object``, ``reason``.
    at : datetime
        Aware instant.
    record_head : Receipt
        Head of the record log.
    subjects : SubjectKeys
        Keys of the actors.
    clock : str
        What the time was taken from.
    """
    number = secrets.token_hex(16)
    action = {**fields, "action": number, "at_utc": format_utc(at), "clock": clock}
    batch = batch_for_actions(
        {"log": log.key.name, "action": number},
        actions=[action],
        record_head=record_head,
        subjects=subjects,
    )
    return log.post(batch)


def open_action(action: Mapping[str, str]) -> OpenRecord:
    """Return an action as the record that the batch commits to."""
    return action_records([{name: action[name] for name in ACTION_FIELDS}])[0]
