"""Killed after and inside its stages, a day ends with the bytes and root of a whole run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dso.cli.main import main
from tests.support.delivery_days import ALL_KILLS, KILLS, DeliveryDays, FinishedDay

pytestmark = pytest.mark.slow


def test_a_killed_day_ends_like_an_unbroken_one(killed: FinishedDay, long: FinishedDay) -> None:
    assert_alike(killed, long, len(KILLS))


@pytest.mark.long
def test_a_day_killed_after_every_stage_ends_like_an_unbroken_one(
    killed_everywhere: FinishedDay, long: FinishedDay
) -> None:
    assert_alike(killed_everywhere, long, len(ALL_KILLS))


def assert_alike(killed: FinishedDay, long: FinishedDay, kills: int) -> None:
    assert killed.exit_code == 0, killed.stderr
    # The last kill may come after the process has ended by itself.
    assert killed.kills >= kills - 1
    ours, theirs = killed.files(), long.files()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert "bundle/checkpoint" in ours  # the signed ledger root
    last = [line for line in killed.stdout.splitlines() if line.startswith("Ledger:")]
    assert last == [line for line in long.stdout.splitlines() if line.startswith("Ledger:")]


def test_a_finished_day_is_not_run_again(
    days: DeliveryDays, killed: FinishedDay, capsys: pytest.CaptureFixture[str]
) -> None:
    before, attempts = killed.files(), _attempts(killed)
    assert main(_words(days, killed)) == 0
    assert "nothing was run again" in capsys.readouterr().out
    assert killed.files() == before
    assert _attempts(killed) == attempts


def _attempts(day: FinishedDay) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(day.out / "store.sqlite")) as connection:
        return connection.execute("SELECT kind, attempt FROM cycle_run ORDER BY id").fetchall()


def test_a_file_changed_behind_its_back_stops_the_day(
    days: DeliveryDays, killed: FinishedDay, capsys: pytest.CaptureFixture[str]
) -> None:
    path = killed.out / "dispatch/delivery.csv"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole.replace(b"storage-0001", b"storage-0002", 1))
        assert main(_words(days, killed)) == 2
    finally:
        path.write_bytes(whole)
    assert "dispatch/delivery.csv: is not as its stage left it" in capsys.readouterr().err


def test_another_key_folder_is_refused(
    killed: FinishedDay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["day", "--date", "2016-10-30", "--feeder", killed.feeder, "--out", str(killed.out)]
    assert main([*words, "--keys", str(tmp_path / "keys"), "--quiet"]) == 2
    assert "the log was signed by another key" in capsys.readouterr().err


def _words(days: DeliveryDays, killed: FinishedDay) -> list[str]:
    return [*days.words(killed.out.name, killed.feeder, "2016-10-30"), "--quiet"]
