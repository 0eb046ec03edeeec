"""`dso outlook`: table, summary and page, the same bytes every time; refused, it leaves nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from dso.cli.main import main
from tests.support.page_reader import PageReader

pytestmark = pytest.mark.slow
DAY = "2016-07-25"


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("outlook") / "out"
    assert main(["outlook", "--date", DAY, "--out", str(out), "--quiet"]) == 0
    return out


def test_the_answer_is_a_table_a_summary_and_a_page(answer: Path) -> None:
    assert sorted(path.name for path in answer.iterdir()) == [
        "index.html", "outlook.csv", "outlook.json",
    ]  # fmt: skip
    about = json.loads((answer / "outlook.json").read_text())
    assert about["known_at"] == "2016-07-24T11:30:00Z"
    rows = list(csv.DictReader((answer / "outlook.csv").read_text().splitlines()))
    assert {row["element"] for row in rows} == {str(each["element"]) for each in about["elements"]}
    assert all(0.0 < float(row["probability"]) <= 1.0 for row in rows)
    assert all(float(row["need_mw_mean"]) > 0.0 for row in rows)


def test_the_page_shows_the_likeliest_limit_and_asks_nobody(answer: Path) -> None:
    page = (answer / "index.html").read_text()
    own = page[: page.index("<script>")]
    assert "MV1.101 Bus 15, too high" in own
    assert "Congestion outlook at the day-ahead gate" in own
    addresses = PageReader(page).addresses
    assert [each for each in addresses if not each.startswith(("#", "data:"))] == []


def test_a_second_run_gives_the_same_bytes(
    answer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    assert main(["outlook", "--date", DAY, "--out", str(again), "--quiet"]) == 0
    for path in answer.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()
    said = capsys.readouterr().out
    assert "MV1.101 Bus 15, upper: up to" in said


def test_a_day_without_readings_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["outlook", "--date", "2016-01-01", "--out", str(out), "--quiet"]) == 2
    assert not out.exists()
