"""SIGKILL while posting and exporting, then a new start: the same log, the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from ledger_adapter.keys import load_or_create_keys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from ledger_adapter.verify import verify_bundle
from tests.support.ledger_day import export_day, write_day

REPOSITORY = Path(__file__).resolve().parents[3]
WORKER = """
import sys
from pathlib import Path
from sqlalchemy import create_engine
from tests.support.ledger_day import export_day
from data.records.posting import Batch
from ledger_adapter.keys import load_or_create_keys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
folder = Path(sys.argv[1])
keys = load_or_create_keys(folder / "keys")
log = SqlLog(configure_sqlite(create_engine(f"sqlite:///{folder}/log.db")), keys.signer)
print("ready", flush=True)
for number in range(60):
    key = number.to_bytes(32, "big")
    log.post(Batch(key=key, leaves=tuple(b"%d %d" % (number, k) for k in range(50))))
export_day(folder / "day", folder / "bundle", log, keys)
print("done", flush=True)
"""


def run(folder: Path, kill_after_s: float | None) -> bool:
    """Run the worker; return whether it came to its end."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, folder], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait(timeout=60)
    process.stdout.close()
    return rest == "done\n"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """An undisturbed run, and the key folder it used."""
    folder = tmp_path_factory.mktemp("calm")
    write_day(folder / "day")
    assert run(folder, None)
    return folder, bytes_of(folder / "bundle")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kills_s", [(0.0, 0.02, 0.05), (0.1, 0.1), (0.2, 0.3)])
def test_killed_and_started_again(
    expected: tuple[Path, dict[str, bytes]], tmp_path: Path, kills_s: tuple[float, ...]
) -> None:
    import shutil

    calm, bundle = expected
    shutil.copytree(calm / "keys", tmp_path / "keys")
    write_day(tmp_path / "day")
    for kill_after_s in kills_s:
        run(tmp_path, kill_after_s)
        keys = load_or_create_keys(tmp_path / "keys")
        engine = configure_sqlite(create_engine(f"sqlite:///{tmp_path}/log.db"))
        log = SqlLog(engine, keys.signer)
        assert log.find_damage() == []
        assert log.head().size % 50 == 0 or log.head().size > 3000
        engine.dispose()
        if (tmp_path / "bundle").exists():
            assert verify_bundle(tmp_path / "bundle", keys.vkey_text).holds
    assert run(tmp_path, None)
    assert bytes_of(tmp_path / "bundle") == bundle
    engine = configure_sqlite(create_engine(f"sqlite:///{tmp_path}/log.db"))
    log = SqlLog(engine, keys.signer)
    export_day(tmp_path / "day", tmp_path / "bundle", log, keys)
    assert bytes_of(tmp_path / "bundle") == bundle
    engine.dispose()
