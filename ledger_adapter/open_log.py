"""Open the logs of a store that exists, for whoever looks after them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from data.errors import InputError, Problem
from ledger_adapter.keys import PRIVATE_FILE, OperatorKeys, SubjectErased, load_or_create_keys
from ledger_adapter.ports import LedgerError
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import ACTION_TABLES, configure_sqlite


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLogs:
    """The record log, the action log and the keys they are signed with."""

    keys: OperatorKeys
    records: SqlLog
    actions: SqlLog


@contextmanager
def open_logs(store: str, keys: Path) -> Iterator[OpenLogs]:
    """Open both logs of a store.

    Parameters
    ----------
    store : str
        Path of an SQLite file that exists, or a database URL.
    keys : Path
        Key folder that exists.

    Raises
    ------
    InputError
        If store or key folder are missing, do not belong together, or cannot be read.
    """
    problems = []
    if "://" not in store and not Path(store).is_file():
        problems.append(Problem(where=f"store {store}", what="is no file and no database URL"))
    if not (keys / PRIVATE_FILE).is_file():
        problems.append(Problem(where=f"key folder {keys}", what=f"holds no {PRIVATE_FILE}"))
    if problems:
        raise InputError(problems)
    url = store if "://" in store else f"sqlite:///{Path(store).resolve()}"
    operator = load_or_create_keys(keys)
    try:
        engine = configure_sqlite(create_engine(url))
    except (SQLAlchemyError, ImportError) as error:
        raise InputError([Problem(where=f"store {store}", what=str(error))]) from error
    try:
        yield OpenLogs(
            keys=operator,
            records=SqlLog(engine, operator.signer),
            actions=SqlLog(engine, operator.actions, ACTION_TABLES),
        )
    except (LedgerError, SubjectErased, SQLAlchemyError) as error:
        raise InputError([Problem(where=f"store {store}", what=str(error))]) from error
    finally:
        engine.dispose()
