"""Backup and restore: the whole database, ledger included, as one file that proves itself.

The file is one line with the SHA-256 of the rest, then a ZIP archive with ``manifest.json`` and one
member of JSON lines for each table. It does not depend on the database: what SQLite kept can be
restored to PostgreSQL and the other way round. The operator's keys are not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import Connection, LargeBinary, Table, delete, func, select, text

from data.canonical import pretty_json
from data.errors import InputError, Problem, refuse_if_any
from dso.store.bulk import insert_bulk
from dso.store.migrations import VERSION_TABLE
from dso.store.results import balances_micro_eur
from dso.store.store import Store
from dso.store.tables import METADATA
from ledger_adapter.anchors import ANCHOR_METADATA
from ledger_adapter.keys import OperatorKeys
from ledger_adapter.outbox import OUTBOX_METADATA, create_outbox
from ledger_adapter.payloads import PAYLOAD_METADATA
from ledger_adapter.ports import LedgerError
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import ACTION_TABLES, RECORD_TABLES

MAGIC: Final = b"gridclear-backup-1 sha256="
DIGEST_LENGTH: Final = 64
HEAD_LENGTH: Final = len(MAGIC) + DIGEST_LENGTH + 1
MANIFEST: Final = "manifest.json"
# A log's own row that says whose turn it is; every database has it from the start.
LOCK_ROWS: Final = frozenset({RECORD_TABLES.lock.name, ACTION_TABLES.lock.name})
# A fixed instant, so that equal databases give equal files.
ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
ROWS_PER_READ: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreState:
    """What must be equal before a backup and after its restore.

    Parameters
    ----------
    version : str
        Version of the tables.
    rows : mapping
        Rows of each table.
    heads : mapping
        Signed head of each log, as its checkpoint; empty for an empty log.
    balances_micro_eur : mapping
        Sum of the settlement lines of each participant and account [micro-EUR].
    """

    version: str
    rows: Mapping[str, int]
    heads: Mapping[str, str]
    balances_micro_eur: Mapping[str, int]


def all_tables() -> tuple[Table, ...]:
    """Return every table of the database, those that others refer to first."""
    groups = (
        METADATA, OUTBOX_METADATA, PAYLOAD_METADATA, ANCHOR_METADATA, RECORD_TABLES.metadata,
        ACTION_TABLES.metadata,
    )  # fmt: skip
    return tuple(table for metadata in groups for table in metadata.sorted_tables)


def create_all(store: Store, keys: OperatorKeys) -> tuple[SqlLog, SqlLog]:
    """Make what is missing of outbox, payloads, anchor and both logs; return the logs."""
    create_outbox(store.engine)
    PAYLOAD_METADATA.create_all(store.engine)
    ANCHOR_METADATA.create_all(store.engine)
    records = SqlLog(store.engine, keys.signer)
    return records, SqlLog(store.engine, keys.actions, ACTION_TABLES)


def read_state(connection: Connection) -> StoreState:
    """Read what a backup must keep."""
    heads = {}
    for tables in (RECORD_TABLES, ACTION_TABLES):
        newest = select(tables.batch.c.checkpoint).order_by(tables.batch.c.seq.desc()).limit(1)
        heads[tables.name] = connection.execute(newest).scalar() or ""
    version = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - our name
    return StoreState(
        version=str(version),
        rows={
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in all_tables()
        },
        heads=heads,
        balances_micro_eur=balances_micro_eur(connection),
    )


def write_backup(store: Store, keys: OperatorKeys, target: Path) -> StoreState:
    """Write the whole database to one file; the writers of that moment wait or are not in it.

    Parameters
    ----------
    store : Store
        What to save.
    keys : OperatorKeys
        The operator's; its public key goes into the file.
    target : Path
        File to write, whole or not at all.

    Raises
    ------
    InputError
        If a log is damaged: a backup of it would prove nothing.
    """
    records, actions = create_all(store, keys)
    refuse_if_any(_damage(records, actions))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("w+b") as stream:
            stream.write(MAGIC + b"0" * DIGEST_LENGTH + b"\n")
            state = _write_archive(store, keys, stream)
            stream.seek(HEAD_LENGTH)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            stream.seek(len(MAGIC))
            stream.write(digest.encode())
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return state


def _write_archive(store: Store, keys: OperatorKeys, stream: IO[bytes]) -> StoreState:
    with store.engine.connect() as plain, zipfile.ZipFile(stream, "w") as archive:
        connection = plain
        if plain.dialect.name == "postgresql":
            # One snapshot for all tables; SQLite's transaction holds the writers off.
            connection = plain.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            state = read_state(connection)
            for table in all_tables():
                with archive.open(_member(f"tables/{table.name}.jsonl"), "w") as lines:
                    _write_rows(connection, table, lines)
        manifest = pretty_json({"state": state, "vkey": keys.vkey_text})
        archive.writestr(_member(MANIFEST), manifest)
    return state


def restore_backup(source: Path, store: Store, keys: OperatorKeys) -> StoreState:
    """Fill an empty database from a backup and prove that it is what was saved.

    Parameters
    ----------
    source : Path
        A file of `write_backup`.
    store : Store
        Of an empty database.
    keys : OperatorKeys
        The operator's, those of the backup.

    Returns
    -------
    StoreState
        Of the restored database, equal to that of the backup.

    Raises
    ------
    InputError
        If the file is damaged, of other keys or another version, or the database holds rows; then
        nothing is written. Also if the restored ledger does not prove its head.
    """
    refuse_damaged(source)
    with zipfile.ZipFile(source) as archive:
        manifest = json.loads(archive.read(MANIFEST))
        refuse_if_any(_misfits(source, manifest, archive, keys))
        records, actions = create_all(store, keys)
        with store.transaction() as connection:
            _refuse_full(connection, source, manifest)
            for table in all_tables():
                if table.name in LOCK_ROWS:
                    connection.execute(delete(table))
                _restore_rows(connection, table, archive)
                _go_on_counting(connection, table)
            after = read_state(connection)
    _prove(source, manifest, after, records, actions)
    return after


def _refuse_full(connection: Connection, source: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a database that holds rows or has other tables."""
    before = read_state(connection)
    problems = []
    held = [name for name, rows in before.rows.items() if rows and name not in LOCK_ROWS]
    if held:
        what = f"holds rows in {', '.join(held)}"
        problems.append(Problem(where="store", what=what, remedy="restore into an empty database"))
    if before.version != manifest["state"]["version"]:
        what = f"tables of version {manifest['state']['version']}, here {before.version}"
        remedy = "restore with the version that made it, then upgrade"
        problems.append(Problem(where=str(source), what=what, remedy=remedy))
    refuse_if_any(problems)


def _prove(
    source: Path, manifest: Mapping[str, Any], after: StoreState, records: SqlLog, actions: SqlLog
) -> None:
    """Refuse a restored database that is not what the backup says or whose logs do not hold."""
    saved = manifest["state"]
    problems = _damage(records, actions)
    problems += [
        Problem(where=str(source), what=f"{name} after the restore are not those of the backup")
        for name, now in (
            ("rows", after.rows),
            ("heads", after.heads),
            ("balances_micro_eur", after.balances_micro_eur),
        )
        if dict(now) != saved[name]
    ]
    refuse_if_any(problems)


def _damage(*logs: SqlLog) -> list[Problem]:
    remedy = "restore an older backup whose head others hold"
    problems = []
    for log in logs:
        try:
            found = log.find_damage()
        except LedgerError as error:
            found = [str(error)]
        where = f"log {log.key.name}"
        problems += [Problem(where=where, what=each, remedy=remedy) for each in found]
    return problems


def refuse_damaged(source: Path) -> None:
    """Refuse a file of which any byte is not as it was written."""
    remedy = "take another copy of the backup"
    try:
        with source.open("rb") as stream:
            head = stream.read(HEAD_LENGTH)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError([Problem(where=str(source), what=f"cannot be read: {error}")]) from error
    if not head.startswith(MAGIC):
        raise InputError([Problem(where=str(source), what="is no backup", remedy=remedy)])
    if head != MAGIC + digest.encode() + b"\n":
        what = "is damaged: its content does not have the digest in its first line"
        raise InputError([Problem(where=str(source), what=what, remedy=remedy)])


def _misfits(
    source: Path, manifest: Mapping[str, Any], archive: zipfile.ZipFile, keys: OperatorKeys
) -> list[Problem]:
    """Return why an undamaged file cannot be restored here."""
    problems = []
    if manifest["vkey"] != keys.vkey_text:
        remedy = "use the key folder of the store that was saved (--keys)"
        problems.append(Problem(where="keys", what="are not those of the backup", remedy=remedy))
    expected = {MANIFEST, *(f"tables/{table.name}.jsonl" for table in all_tables())}
    if set(archive.namelist()) != expected:
        odd = ", ".join(sorted(set(archive.namelist()) ^ expected))
        problems.append(Problem(where=str(source), what=f"holds other tables: {odd}"))
    return problems


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, date_time=ZIP_TIME)
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def _write_rows(connection: Connection, table: Table, stream: IO[bytes]) -> None:
    """Write the rows of a table by primary key, one JSON array a line; bytes as hex."""
    query = select(table).order_by(*table.primary_key.columns)
    binary = _binary_columns(table)
    for row in connection.execute(query, execution_options={"yield_per": ROWS_PER_READ}):
        cells = [
            cell.hex() if place in binary and cell is not None else cell
            for place, cell in enumerate(row)
        ]
        line = json.dumps(cells, ensure_ascii=False, separators=(",", ":"))
        stream.write(f"{line}\n".encode())


def _restore_rows(connection: Connection, table: Table, archive: zipfile.ZipFile) -> None:
    binary = _binary_columns(table)
    rows: list[list[Any]] = []
    with archive.open(f"tables/{table.name}.jsonl") as lines:
        for line in lines:
            cells = json.loads(line)
            for place in binary:
                cells[place] = None if cells[place] is None else bytes.fromhex(cells[place])
            rows.append(cells)
            if len(rows) == ROWS_PER_READ:
                insert_bulk(connection, table, rows)
                rows = []
    insert_bulk(connection, table, rows)


def _binary_columns(table: Table) -> frozenset[int]:
    return frozenset(
        place for place, column in enumerate(table.columns) if isinstance(column.type, LargeBinary)
    )


def _go_on_counting(connection: Connection, table: Table) -> None:
    """Let PostgreSQL number new rows after those that were restored; SQLite does by itself."""
    counted = table.autoincrement_column
    if connection.dialect.name != "postgresql" or counted is None:
        return
    connection.exec_driver_sql(
        f"SELECT setval(pg_get_serial_sequence('\"{table.name}\"', '{counted.name}'),"  # noqa: S608 - our names
        f' coalesce(max("{counted.name}"), 0) + 1, false) FROM "{table.name}"'
    )
