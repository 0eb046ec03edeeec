"""A small real day: keys, a log in a file, study, output and settlement folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine

from ledger_adapter.keys import OperatorKeys, load_or_create_keys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite


@pytest.fixture
def keys(tmp_path: Path) -> OperatorKeys:
    return load_or_create_keys(tmp_path / "keys", "dso.example/test")


@pytest.fixture
def log(tmp_path: Path, keys: OperatorKeys) -> SqlLog:
    engine = configure_sqlite(create_engine(f"sqlite:///{tmp_path}/log.db"))
    return SqlLog(engine, keys.signer)
