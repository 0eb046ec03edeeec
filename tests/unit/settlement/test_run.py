"""Revisions, disputes and payments from folder to folder: what is refused, what is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.errors import InputError
from dso.settlement import settle_folder
from tests.unit.settlement.test_folder import FOLDER, write

DISPUTES = (
    "id,participant,connection,start,end,argument,opened_at,state,decided_at,reason\n"
    "1,{who},,2026-06-01T10:00:00Z,2026-06-01T10:15:00Z,no,2026-06-02T10:00:00Z,open,,\n"
)
TERMS = """\
message_id = "x"
created_at = 2026-07-03T08:00:00Z
execution_date = 2026-07-06
due_date = 2026-07-17
[operator]
name = "Grid"
address = ["Square"]
iban = "DE89370400440532013000"
"""


def test_a_dispute_of_a_stranger_is_refused_and_nothing_written(tmp_path: Path) -> None:
    (tmp_path / "disputes.csv").write_text(DISPUTES.format(who="nobody"))
    with pytest.raises(InputError, match="names nobody who has a position"):
        settle_folder(write(tmp_path / "in"), tmp_path / "out", disputes=tmp_path / "disputes.csv")
    assert not (tmp_path / "out").exists()


def test_money_without_an_account_is_refused(tmp_path: Path) -> None:
    (tmp_path / "terms.toml").write_text(TERMS)
    with pytest.raises(InputError, match="has an amount due and no account"):
        settle_folder(write(tmp_path / "in"), tmp_path / "out", payments=tmp_path / "terms.toml")
    assert not (tmp_path / "out").exists()


def test_an_earlier_settlement_of_other_periods_is_refused(tmp_path: Path) -> None:
    settle_folder(write(tmp_path / "in"), tmp_path / "first")
    shifted = {
        name: text.replace("T10:", "T11:").replace("T12:15", "T13:15")
        for name, text in FOLDER.items()
    }
    with pytest.raises(InputError, match="has periods that this one has not"):
        settle_folder(
            write(tmp_path / "later", shifted), tmp_path / "out", earlier=tmp_path / "first"
        )


def test_a_folder_that_is_no_settlement_is_no_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"lines\.csv"):
        settle_folder(write(tmp_path / "in"), tmp_path / "out", earlier=tmp_path / "empty")


def test_revisions_count_and_name_what_they_revise(tmp_path: Path) -> None:
    folder = write(tmp_path / "in")
    settle_folder(folder, tmp_path / "0")
    first = settle_folder(folder, tmp_path / "1", earlier=tmp_path / "0")
    second = settle_folder(folder, tmp_path / "2", earlier=tmp_path / "1")
    assert (first.revision, second.revision) == (1, 2)
    assert second.additions == ()
    summary = json.loads((tmp_path / "2/summary.json").read_text())
    assert summary["revision"] == 2
    assert len(summary["earlier_lines_sha256"]) == 64
    page = next((tmp_path / "2/statements").glob("default*.html")).read_text()
    assert "nothing changed for you" in page
