"""`dso ledger`: what it refuses, and what fsck says of a damaged log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from dso.cli.main import main
from ledger_adapter.keys import load_or_create_keys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from tests.support.ledger_day import export_day, write_day
from tests.support.witness_process import running_witness


@pytest.fixture
def place(tmp_path: Path) -> Path:
    keys = load_or_create_keys(tmp_path / "keys", "dso.example/command")
    engine = configure_sqlite(create_engine(f"sqlite:///{tmp_path}/store.sqlite"))
    export_day(write_day(tmp_path / "day"), tmp_path / "bundle", SqlLog(engine, keys.signer), keys)
    engine.dispose()
    return tmp_path


def ledger(place: Path, action: str, *words: str) -> int:
    return main(
        ["ledger", action, str(place / "store.sqlite"), "--keys", str(place / "keys"), *words]
    )


def test_fsck_names_the_damage(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ledger(place, "fsck") == 0
    assert "no damage" in capsys.readouterr().out
    with closing(sqlite3.connect(place / "store.sqlite")) as connection:
        connection.execute("DROP TRIGGER ledger_entry_update")
        connection.execute("UPDATE ledger_entry SET leaf = 'x' WHERE seq = 5")
        connection.commit()
    assert ledger(place, "fsck") == 1
    said = capsys.readouterr().out
    assert "DAMAGE: batch 1: the leaves do not give its root" in said
    assert "damaged: restore a backup" in said


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("root", "'text'", "a cell is of another type"),
        ("size", "'many'", "a cell is of another type"),
        ("checkpoint", "x'00'", "a cell is of another type"),
        ("checkpoint", "'no note'", "its checkpoint is not the one signed"),
        ("first", "7", "batch 0 starts at 7, not 0"),
    ],
)
def test_fsck_survives_cells_of_another_type(
    place: Path, capsys: pytest.CaptureFixture[str], column: str, value: str, said: str
) -> None:
    with closing(sqlite3.connect(place / "store.sqlite")) as connection:
        connection.execute("DROP TRIGGER ledger_batch_update")
        connection.execute(f"UPDATE ledger_batch SET {column} = {value} WHERE seq = 0")
        connection.commit()
    assert ledger(place, "fsck") == 1
    assert said in capsys.readouterr().out


def test_a_damaged_newest_head_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(place / "store.sqlite")) as connection:
        connection.execute("DROP TRIGGER ledger_batch_update")
        connection.execute("UPDATE ledger_batch SET root = 'text' WHERE seq = 2")
        connection.commit()
    assert ledger(place, "fsck") == 2
    assert "batch 2 is damaged: restore a backup" in capsys.readouterr().err


def test_all_problems_are_said_at_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ledger", "fsck", str(place / "nowhere.db"), "--keys", str(place / "nokeys")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "is no file and no database URL" in said
    assert "holds no operator.key" in said
    assert not (place / "nowhere.db").exists()
    assert not (place / "nokeys").exists()
    stranger = load_or_create_keys(place / "other", "dso.example/command")
    words = ["ledger", "fsck", str(place / "store.sqlite"), "--keys", str(stranger.folder)]
    assert main(words) == 2
    assert "another key" in capsys.readouterr().err
    assert main(["ledger", "fsck", "bogus://x", "--keys", str(place / "keys")]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["receipt", "--leaf", "99", "--out", "x"], "the log has 9 leaves"),
        (["receipt", "--leaf", "-1", "--out", "x"], "no leaves from -1"),
        (["publish", "--witness", "http://127.0.0.1:1", "--out", "x"], "give one for each"),
        (["publish", "--bundle", "nowhere", "--out", "x"], "nowhere/checkpoint"),
        (
            ["disclose", "--bundle", "BUNDLE", "--batch", "day-ahead", "--record", "t9",
             "--field", "bus", "--out", "x"],
            "day-ahead t9: is not in the bundle",
        ),
        (
            ["disclose", "--bundle", "BUNDLE", "--batch", "settlement", "--record", "sun",
             "--field", "iban", "--out", "x"],
            "has no field 'iban'",
        ),
        (
            ["disclose", "--bundle", "nowhere", "--batch", "day-ahead", "--record", "t1",
             "--field", "bus", "--out", "x"],
            "manifest.json",
        ),
    ],
)  # fmt: skip
def test_bad_input_writes_nothing(
    place: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    action, *rest = [word.replace("BUNDLE", str(place / "bundle")) for word in words]
    assert ledger(place, action, *rest) == 2
    assert said in capsys.readouterr().err
    assert not (place / "x").exists()


def test_a_refusing_witness_is_said_and_the_rest_is_published(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = load_or_create_keys(place / "other", "dso.example/other")
    vkey = place / "other/operator.vkey"
    with running_witness(place / "witness", vkey) as witness:
        words = ["--witness", witness.url, "--witness-key", str(witness.vkeys)]
        assert ledger(place, "publish", *words, "--out", str(place / "cosigned")) == 1
    assert "REFUSED: " in capsys.readouterr().out
    lines = (place / "cosigned").read_text().splitlines()
    assert sum(line.startswith("\N{EM DASH} dso.example/command ") for line in lines) == 2
    assert other.signer.key.name not in (place / "cosigned").read_text()
    # Once cosigned by the log's own second key, it is not cosigned again.
    assert ledger(place, "publish", "--out", str(place / "again")) == 0
    assert (place / "again").read_bytes() == (place / "cosigned").read_bytes()


def test_an_action_is_written_down(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--actor", "A", "--role", "r", "--verb", "v", "--object", "o", "--reason", "why"]
    assert ledger(place, "act", *words) == 0
    assert "stands at leaf 1 of the action log" in capsys.readouterr().out
    assert ledger(place, "fsck") == 0
    assert "action log: 2 leaves" in capsys.readouterr().out


def test_an_erased_subject_cannot_be_disclosed_any_more(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--bundle", str(place / "bundle"), "--batch", "day-ahead", "--record", "t1"]
    words += ["--field", "bus", "--out", str(place / "shown.json")]
    assert ledger(place, "disclose", *words) == 0
    for _ in range(2):
        assert ledger(place, "erase", "--subject", "sun") == 0
    assert "every proof stays valid" in capsys.readouterr().out
    (place / "shown.json").unlink()
    assert ledger(place, "disclose", *words) == 2
    assert "erased" in capsys.readouterr().err
    assert not (place / "shown.json").exists()
    # What was disclosed or published before stays checkable; the log is what it was.
    assert ledger(place, "fsck") == 0
    bundle, key = str(place / "bundle"), str(place / "keys/operator.vkey")
    assert main(["audit", "verify", bundle, "--key", key]) == 0
