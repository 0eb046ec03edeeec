"""The log of people's actions: its own key, origin and tables, tied to the record log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from data.errors import InputError
from ledger_adapter.actions import batch_for_actions, open_action
from ledger_adapter.keys import OperatorKeys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import ACTION_TABLES, configure_sqlite
from ledger_adapter.verify.note import open_checkpoint
from ledger_adapter.verify.opening import record_leaf
from tests.support.ledger_batches import batch

RUN: dict[str, str | int] = {"market": "village", "interval": "2016-07-25", "revision": 0}
ACTION = {
    "action": "a-1",
    "actor": "Ada Lovelace",
    "role": "market operator",
    "verb": "publish",
    "object": "day-ahead 2016-07-25",
    "reason": "gate closed",
    "at_utc": "2016-07-24T10:00:03Z",
    "clock": "system clock, synchronised by NTP",
}


def test_two_trees_in_one_database(keys: OperatorKeys, tmp_path: Path) -> None:
    engine = configure_sqlite(create_engine(f"sqlite:///{tmp_path}/both.db"))
    records = SqlLog(engine, keys.signer)
    actions = SqlLog(engine, keys.actions, ACTION_TABLES)
    seen = records.post(batch(1, 5))
    posted = batch_for_actions(
        {**RUN, "run": "desk"}, actions=[ACTION], record_head=seen, subjects=keys.subjects
    )
    receipt = actions.post(posted)
    assert (records.head().size, actions.head().size) == (5, 2)
    assert actions.key.name == "dso.example/test/actions"
    assert open_checkpoint(receipt.checkpoint.encode(), keys.actions.key).size == 2
    header = json.loads(posted.leaves[0])
    assert (header["record_log_size"], header["record_log_root"]) == (5, seen.root.hex())
    assert records.find_damage() == actions.find_damage() == []
    run_key = keys.subjects.run_keys(["Ada Lovelace"], posted.key)["Ada Lovelace"]
    assert record_leaf("action", open_action(ACTION), run_key) == posted.leaves[1]
    assert b"Ada" not in b"".join(posted.leaves)


def test_actions_that_lack_a_field_are_all_named(keys: OperatorKeys, tmp_path: Path) -> None:
    engine = configure_sqlite(create_engine(f"sqlite:///{tmp_path}/both.db"))
    head = SqlLog(engine, keys.signer).head()
    broken = {name: value for name, value in ACTION.items() if name not in ("role", "reason")}
    with pytest.raises(InputError) as refusal:
        batch_for_actions(RUN, actions=[broken], record_head=head, subjects=keys.subjects)
    assert len(refusal.value.problems) == 2
    with pytest.raises(InputError, match="stands twice"):
        batch_for_actions(RUN, actions=[ACTION, ACTION], record_head=head, subjects=keys.subjects)
