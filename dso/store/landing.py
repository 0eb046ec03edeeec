"""Results that others computed into a database of their own, landed in the operator's."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select

from data.periods import parse_utc
from dso.store.records import Artefact, StageKey
from dso.store.results import RESULT_TABLES, Rows
from dso.store.store import Store
from dso.store.tables import CYCLE_RUN

DONE: Final = "done"


def land_stages(source: Store, target: Store, *, folder: str) -> tuple[int, int]:
    """Copy every finished stage with its rows, each in one transaction and each once.

    Parameters
    ----------
    source : Store
        The database of one feeder's day.
    target : Store
        The operator's. A stage that it has, from here, is left as it is.
    folder : str
        Put before the names of the files.

    Returns
    -------
    tuple of int
        How many stages were new, and how many there are.

    Raises
    ------
    StageConflict
        If ``target`` has a stage with other input or another output.
    """
    with source.transaction() as connection:
        found = connection.execute(
            select(CYCLE_RUN).where(CYCLE_RUN.c.state == DONE).order_by(CYCLE_RUN.c.id)
        ).all()
    added = 0
    for run in found:
        key = StageKey(
            market=run.market,
            feeder=run.feeder,
            kind=run.kind,
            first_period=parse_utc(run.first_period),
            revision=run.revision,
        )
        if target.begin_stage(key, input_sha256=run.input_sha256).output_sha256 is None:
            added += 1
        target.finish_stage(
            key,
            run.output_sha256,
            artefacts=[
                Artefact(
                    name=f"{folder}/{each.name}", sha256=each.sha256, byte_count=each.byte_count
                )
                for each in source.artefacts(key)
            ],
            rows=_rows(source, run.id),
        )
    return added, len(found)


def _rows(source: Store, number: int) -> dict[str, Rows]:
    """Return the rows of a run by table, cells in the order of the columns after ``run_id``."""
    found: dict[str, Rows] = {}
    with source.transaction() as connection:
        for name, table in RESULT_TABLES.items():
            columns = list(table.columns)
            query = select(*columns[1:]).where(columns[0] == number).order_by(*columns[1:])
            rows = [tuple(row) for row in connection.execute(query)]
            if rows:
                found[name] = rows
    return found
