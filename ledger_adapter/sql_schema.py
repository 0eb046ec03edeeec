"""Tables of the SQL log and the triggers that keep them append-only.

Triggers are hygiene: who owns the database can drop them. The evidence is the signed checkpoint
that others keep.
"""

from __future__ import annotations

from typing import Final

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

METADATA: Final = MetaData()
_INDEX: Final = BigInteger().with_variant(Integer(), "sqlite")

ENTRY: Final = Table(
    "ledger_entry",
    METADATA,
    Column("seq", _INDEX, primary_key=True, autoincrement=False),
    Column("leaf", LargeBinary, nullable=False),
    comment="The leaves of the log, in order.",
)
NODE: Final = Table(
    "ledger_node",
    METADATA,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("seq", _INDEX, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    comment="Roots of full tiles: one per 256 leaves (level 1), per 65,536 (level 2) and so on.",
)
BATCH: Final = Table(
    "ledger_batch",
    METADATA,
    Column("seq", _INDEX, primary_key=True, autoincrement=False),
    Column("key", LargeBinary, nullable=False, unique=True),
    Column("first", _INDEX, nullable=False),
    Column("size", _INDEX, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False, comment="SHA-256 over the leaf hashes"),
    Column("checkpoint", Text, nullable=False),
    comment="What was posted under which key, and the head signed for it.",
)
LOCK: Final = Table(
    "ledger_lock",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("turn", _INDEX, nullable=False),
    comment="One row; whoever updates it is the one that posts. No evidence.",
)
APPEND_ONLY: Final = ("ledger_entry", "ledger_node", "ledger_batch")

# What a BEFORE INSERT trigger requires: rows come in order. SQLite's REPLACE deletes the old row
# past every DELETE trigger, so a row that would collide has to be stopped before it is inserted,
# also one that collides by the unique key only.
_OUT_OF_ORDER: Final = {
    "ledger_entry": "NEW.seq IS DISTINCT FROM (SELECT coalesce(max(seq) + 1, 0) FROM ledger_entry)",
    "ledger_node": (
        "NEW.seq IS DISTINCT FROM"
        " (SELECT coalesce(max(seq) + 1, 0) FROM ledger_node WHERE level = NEW.level)"
    ),
    "ledger_batch": (
        "NEW.seq IS DISTINCT FROM (SELECT coalesce(max(seq) + 1, 0) FROM ledger_batch)"
        " OR NEW.first IS DISTINCT FROM (SELECT coalesce(max(size), 0) FROM ledger_batch)"
        " OR EXISTS (SELECT 1 FROM ledger_batch WHERE key = NEW.key)"
    ),
}
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


def create_tables(connection: Connection) -> None:
    """Create tables and triggers where they are missing; safe to call by many at once."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    elif not getattr(connection.connection.dbapi_connection, "in_transaction", False):
        # Python's driver starts no transaction for DDL, so two first starts could collide.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    METADATA.create_all(connection)
    statements = _TRIGGERS[connection.dialect.name]
    for statement in statements:
        # exec_driver_sql, because a colon or percent sign in DDL is no parameter
        connection.exec_driver_sql(statement)
    if connection.execute(select(LOCK.c.id)).first() is None:
        connection.execute(insert(LOCK).values(id=1, turn=0))


def _sqlite_triggers() -> list[str]:
    found = []
    for table in APPEND_ONLY:
        refuse = f"SELECT RAISE(ABORT, '{table} is append-only')"
        condition = _OUT_OF_ORDER[table].replace("IS DISTINCT FROM", "IS NOT")
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


def _postgresql_triggers() -> list[str]:
    found = [
        (
            "CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
            " BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only',"
            " ERRCODE = 'integrity_constraint_violation'; END $$"
        )
    ]
    for table in APPEND_ONLY:
        found += [
            (
                f"CREATE OR REPLACE FUNCTION {table}_in_order() RETURNS trigger"
                f" LANGUAGE plpgsql AS $$ BEGIN IF {_OUT_OF_ORDER[table]} THEN"
                f" RAISE EXCEPTION '{table} is append-only'"
                " USING ERRCODE = 'integrity_constraint_violation'; END IF; RETURN NEW; END $$"
            ),
            (
                f"CREATE OR REPLACE TRIGGER {table}_insert BEFORE INSERT ON {table}"
                f" FOR EACH ROW EXECUTE FUNCTION {table}_in_order()"
            ),
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


_TRIGGERS: Final = {"sqlite": _sqlite_triggers(), "postgresql": _postgresql_triggers()}
