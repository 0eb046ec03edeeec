"""Alembic migrations of the store: ``upgrade`` brings a database to the newest."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

VERSION_TABLE = "dso_store_version"
_ADVISORY_LOCK = 0x6473_6F01  # any number that only this program uses


def upgrade(connection: Connection, *, revision: str = "head") -> None:
    """Bring the store's tables to a version, the newest by default, in the caller's transaction.

    Two processes may do this at once: the second waits for the first and finds nothing to do.
    On SQLite the transaction already holds the one writer's lock.

    Parameters
    ----------
    connection : Connection
        With a transaction begun.
    revision : str
        Version to stop at.
    """
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent))
    configuration.set_main_option("path_separator", "os")
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, revision)
