"""Find a ledger by name: the SQL log, or a third party's behind an entry point.

An adapter is a callable ``(location, signer) -> Ledger``, a class or a function, that a package
declares in its own ``pyproject.toml``::

    [project.entry-points."gridclear.ledgers"]
    file = "file_ledger:FileLedger"
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Final

from data.errors import InputError, Problem
from ledger_adapter.conformance import OpenLedger
from ledger_adapter.ports import Ledger
from ledger_adapter.signers import Signer

GROUP: Final = "gridclear.ledgers"
SQL: Final = "sql"


def open_sql_ledger(location: str, signer: Signer) -> Ledger:
    """Open the SQL log at a database URL."""
    from sqlalchemy import create_engine

    from ledger_adapter.sql_log import SqlLog
    from ledger_adapter.sql_schema import configure_sqlite

    return SqlLog(configure_sqlite(create_engine(location)), signer)


def find_adapter(name: str) -> OpenLedger:
    """Return the adapter of a name.

    Raises
    ------
    InputError
        If nobody or more than one package offers it, or it cannot be loaded.
    """
    if name == SQL:
        return open_sql_ledger
    offered = [point for point in entry_points(group=GROUP) if point.name == name]
    where = f"ledger {name!r}"
    if len(offered) != 1:
        known = ", ".join(sorted({SQL, *(point.name for point in entry_points(group=GROUP))}))
        what = f"is offered by {len(offered)} packages"
        raise InputError([Problem(where=where, what=what, remedy=f"known: {known}")])
    try:
        adapter: OpenLedger = offered[0].load()
    except (ImportError, AttributeError) as error:
        raise InputError([Problem(where=where, what=f"cannot be loaded: {error}")]) from error
    return adapter
