"""Envelopes, droops and shed letters that the real-time cycle decided, and its steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from data.periods import format_utc, parse_utc
from data.records.dispatch import DroopPoint, InstructionKind
from dso.store.bulk import insert_missing
from dso.store.records import StageKey
from dso.store.results import Rows, run_number
from dso.store.tables import CYCLE_RUN, INSTRUCTION, STEP_RECORD


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptInstruction:
    """What one asset is told beside its setpoint; fields as in `data.records.dispatch`."""

    asset: str
    kind: InstructionKind
    valid_from: datetime
    expires_at: datetime
    reason: str
    p_min_w: int | None = None
    p_max_w: int | None = None
    droop: tuple[DroopPoint, ...] = ()


def add_instructions(
    connection: Connection, key: StageKey, told: Sequence[KeptInstruction]
) -> None:
    """Keep what assets are told; told once, it is not changed by telling it again."""
    number = run_number(connection, key)
    rows: list[dict[str, object]] = [
        {
            "run_id": number,
            "asset": each.asset,
            "kind": each.kind,
            "valid_from": format_utc(each.valid_from),
            "expires_at": format_utc(each.expires_at),
            "min_w": each.p_min_w,
            "max_w": each.p_max_w,
            "droop": json.dumps([[c.vm_pu, c.q_var, c.p_max_w] for c in each.droop]),
            "reason": each.reason,
        }
        for each in told
    ]
    insert_missing(connection, INSTRUCTION, rows)


def add_steps(connection: Connection, key: StageKey, rows: Rows) -> None:
    """Keep the records of the steps of a minute.

    Parameters
    ----------
    connection : Connection
        With a transaction begun.
    key : StageKey
        The run they belong to.
    rows : sequence of sequences
        Cells in the order of the table's columns after ``run_id``.
    """
    number = run_number(connection, key)
    names = [column.name for column in STEP_RECORD.columns]
    insert_missing(
        connection, STEP_RECORD, [dict(zip(names, (number, *row), strict=True)) for row in rows]
    )


def instructions_in_force(
    connection: Connection, *, market: str, feeder: str, now: datetime
) -> tuple[KeptInstruction, ...]:
    """Return, of each asset and kind, the last instruction in force at an instant."""
    table, run = INSTRUCTION.c, CYCLE_RUN.c
    query = (
        select(INSTRUCTION)
        .join(CYCLE_RUN, run.id == table.run_id)
        .where(
            run.market == market,
            run.feeder == feeder,
            table.valid_from <= format_utc(now),
            table.expires_at > format_utc(now),
        )
        .order_by(table.asset, table.kind, table.valid_from, table.run_id)
    )
    found = {(row.asset, row.kind): _kept(row) for row in connection.execute(query)}
    return tuple(found.values())


def times_shed(connection: Connection, *, market: str, feeder: str) -> dict[str, int]:
    """Return how many minutes each asset has been on a shed list so far."""
    table, run = STEP_RECORD.c, CYCLE_RUN.c
    query = (
        select(table.asset, func.count())
        .join(CYCLE_RUN, run.id == table.run_id)
        .where(run.market == market, run.feeder == feeder, table.step == "red")
        .group_by(table.asset)
    )
    return {asset: int(count) for asset, count in connection.execute(query)}


def _kept(row: Row[Any]) -> KeptInstruction:
    return KeptInstruction(
        asset=row.asset,
        kind=row.kind,
        valid_from=parse_utc(row.valid_from),
        expires_at=parse_utc(row.expires_at),
        reason=row.reason,
        p_min_w=row.min_w,
        p_max_w=row.max_w,
        droop=tuple(DroopPoint(vm_pu=v, q_var=q, p_max_w=p) for v, q, p in json.loads(row.droop)),
    )
