"""Tables of the SQL log and the triggers that keep them append-only.

Triggers are hygiene: who owns the database can drop them. The evidence is the signed checkpoint
that others keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

_INDEX: Final = BigInteger().with_variant(Integer(), "sqlite")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTables:
    """The tables of one log; ``name`` is their prefix."""

    name: str
    metadata: MetaData
    entry: Table
    node: Table
    batch: Table
    cosignature: Table
    lock: Table

    @property
    def append_only(self) -> tuple[str, ...]:
        """Names of the tables whose rows never change."""
        tables = (self.entry, self.node, self.batch, self.cosignature)
        return tuple(table.name for table in tables)


def _log_tables(name: str) -> LogTables:
    metadata = MetaData()
    return LogTables(
        name=name,
        metadata=metadata,
        entry=Table(
            f"{name}_entry",
            metadata,
            Column("seq", _INDEX, primary_key=True, autoincrement=False),
            Column("leaf", LargeBinary, nullable=False),
            comment="The leaves of the log, in order.",
        ),
        node=Table(
            f"{name}_node",
            metadata,
            Column("level", SmallInteger, primary_key=True, autoincrement=False),
            Column("seq", _INDEX, primary_key=True, autoincrement=False),
            Column("hash", LargeBinary, nullable=False),
            comment="Roots of full tiles: one per 256 leaves (level 1), per 65,536 and so on.",
        ),
        batch=Table(
            f"{name}_batch",
            metadata,
            Column("seq", _INDEX, primary_key=True, autoincrement=False),
            Column("key", LargeBinary, nullable=False, unique=True),
            Column("first", _INDEX, nullable=False),
            Column("size", _INDEX, nullable=False),
            Column("root", LargeBinary, nullable=False),
            Column("content", LargeBinary, nullable=False, comment="SHA-256 over the leaf hashes"),
            Column("checkpoint", Text, nullable=False),
            comment="What was posted under which key, and the head signed for it.",
        ),
        cosignature=Table(
            f"{name}_cosignature",
            metadata,
            Column("seq", _INDEX, primary_key=True, autoincrement=False),
            Column("size", _INDEX, nullable=False),
            Column("line", Text, nullable=False),
            comment="Signature lines of others, and of the log's ML-DSA-44 key, on its heads.",
        ),
        lock=Table(
            f"{name}_lock",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("turn", _INDEX, nullable=False),
            comment="One row; whoever updates it is the one that posts. No evidence.",
        ),
    )


RECORD_TABLES: Final = _log_tables("ledger")
ACTION_TABLES: Final = _log_tables("action")

# What a BEFORE INSERT trigger requires: rows come in order. SQLite's REPLACE deletes the old row
# past every DELETE trigger, so a row that would collide has to be stopped before it is inserted,
# also one that collides by the unique key only.
_IN_ORDER: Final = "NEW.seq IS DISTINCT FROM (SELECT coalesce(max(seq) + 1, 0) FROM {table})"
_OUT_OF_ORDER: Final = {
    "entry": _IN_ORDER,
    "node": (
        "NEW.seq IS DISTINCT FROM"
        " (SELECT coalesce(max(seq) + 1, 0) FROM {table} WHERE level = NEW.level)"
    ),
    "batch": (
        "NEW.seq IS DISTINCT FROM (SELECT coalesce(max(seq) + 1, 0) FROM {table})"
        " OR NEW.first IS DISTINCT FROM (SELECT coalesce(max(size), 0) FROM {table})"
        " OR EXISTS (SELECT 1 FROM {table} WHERE key = NEW.key)"
    ),
    "cosignature": _IN_ORDER,
}
# Rows of one statement follow each other, the first follows what was there, and nothing is behind
# the last: with that true of every statement before, there is no gap and nothing out of order.
_GAP: Final = (
    "EXISTS (SELECT 1 FROM (SELECT {part} min(seq) AS lowest, max(seq) AS highest,"
    " count(*) AS rows FROM added {group}) AS given WHERE rows > 0 AND"
    " (highest - lowest + 1 <> rows OR highest <> (SELECT max(seq) FROM {table} {within})"
    " OR lowest < 0 OR (lowest > 0 AND NOT EXISTS"
    " (SELECT 1 FROM (SELECT seq FROM {table} {within}) AS held WHERE seq = lowest - 1))))"
)
_IN_BULK: Final = {
    "entry": {"part": "", "group": "", "within": ""},
    "node": {"part": "level,", "group": "GROUP BY level", "within": "WHERE level = given.level"},
}
"""Tables checked once per statement on PostgreSQL, and the column within which they count."""
_COPY_TYPES: Final = {BigInteger: "int8", SmallInteger: "int2", LargeBinary: "bytea"}
_ADVISORY_LOCK: Final = 0x6772_6964  # any number that nobody else uses for set-up


def configure_sqlite(engine: Engine) -> Engine:
    """Make every new connection of an SQLite engine durable: WAL, synchronous FULL, patient.

    NORMAL may lose the last commits when power fails, and their checkpoint may be out already.
    Other databases are left as they are.
    """
    if engine.dialect.name != "sqlite":
        return engine

    def set_pragmas(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine, "connect", set_pragmas)
    return engine


def create_tables(connection: Connection, tables: LogTables) -> None:
    """Create tables and triggers where they are missing; safe to call by many at once."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    elif not getattr(connection.connection.dbapi_connection, "in_transaction", False):
        # Python's driver starts no transaction for DDL, so two first starts could collide.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    tables.metadata.create_all(connection)
    triggers = {"sqlite": _sqlite_triggers, "postgresql": _postgresql_triggers}
    for statement in triggers[connection.dialect.name](tables):
        # exec_driver_sql, because a colon or percent sign in DDL is no parameter
        connection.exec_driver_sql(statement)
    if connection.execute(select(tables.lock.c.id)).first() is None:
        connection.execute(insert(tables.lock).values(id=1, turn=0))


def _out_of_order(table: str) -> str:
    return _OUT_OF_ORDER[table.rpartition("_")[2]].format(table=table)


def _sqlite_triggers(tables: LogTables) -> list[str]:
    found = []
    for table in tables.append_only:
        refuse = f"SELECT RAISE(ABORT, '{table} is append-only')"
        condition = _out_of_order(table).replace("IS DISTINCT FROM", "IS NOT")
        found += [
            (
                f"CREATE TRIGGER IF NOT EXISTS {table}_insert BEFORE INSERT ON {table}"
                f" WHEN {condition} BEGIN {refuse}; END"
            ),
            (
                f"CREATE TRIGGER IF NOT EXISTS {table}_update BEFORE UPDATE ON {table}"
                f" BEGIN {refuse}; END"
            ),
            (
                f"CREATE TRIGGER IF NOT EXISTS {table}_delete BEFORE DELETE ON {table}"
                f" BEGIN {refuse}; END"
            ),
        ]
    return found


def _postgresql_triggers(tables: LogTables) -> list[str]:
    found = [
        (
            "CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
            " BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only',"
            " ERRCODE = 'integrity_constraint_violation'; END $$"
        )
    ]
    for table in tables.append_only:
        when, body = _postgresql_insert(table)
        found += [
            (
                f"CREATE OR REPLACE FUNCTION {table}_in_order() RETURNS trigger"
                f" LANGUAGE plpgsql AS $$ BEGIN IF {body} THEN"
                f" RAISE EXCEPTION '{table} is append-only'"
                " USING ERRCODE = 'integrity_constraint_violation'; END IF; RETURN NEW; END $$"
            ),
            f"CREATE OR REPLACE TRIGGER {table}_insert {when} EXECUTE FUNCTION {table}_in_order()",
            (
                f"CREATE OR REPLACE TRIGGER {table}_update BEFORE UPDATE OR DELETE ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION ledger_refuse()"
            ),
            (
                f"CREATE OR REPLACE TRIGGER {table}_truncate BEFORE TRUNCATE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()"
            ),
        ]
    return found


def _postgresql_insert(table: str) -> tuple[str, str]:
    """When the check of an insert runs, and what it refuses.

    Tables that take thousands of rows at once are checked once per statement: a call per row costs
    more than the row. PostgreSQL can do that because its primary key lets no row be replaced.
    """
    partition = _IN_BULK.get(table.rpartition("_")[2])
    if partition is None:
        return f"BEFORE INSERT ON {table} FOR EACH ROW", _out_of_order(table)
    when = f"AFTER INSERT ON {table} REFERENCING NEW TABLE AS added FOR EACH STATEMENT"
    return when, _GAP.format(table=table, **partition)


def insert_rows(connection: Connection, table: Table, rows: Sequence[Sequence[object]]) -> None:
    """Insert rows whose cells stand in the order of the columns.

    By COPY on PostgreSQL, which takes several times as many rows per second as INSERT.
    """
    if not rows:
        return
    names = [column.name for column in table.columns]
    if connection.dialect.name != "postgresql":
        connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])
        return
    driver: Any = connection.connection.driver_connection
    copy = f"COPY {table.name} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)"
    with driver.cursor() as cursor, cursor.copy(copy) as stream:
        stream.set_types([_COPY_TYPES[type(column.type)] for column in table.columns])
        for row in rows:
            stream.write_row(row)
