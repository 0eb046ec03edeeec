"""Everything on docs/settlement.md, run from top to bottom in an empty folder."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from dso.settlement import read_settlement, settle
from dso.settlement.outputs import lines_csv
from tests.support.walk_through import pictures_of, run_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settlement.md"


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("village")
    assert run_page(PAGE, folder) == 5
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_same_folder_gives_the_same_bytes(walked: Path) -> None:
    for path in (walked / "money").rglob("*"):
        if path.is_file():
            again = walked / "again" / path.relative_to(walked / "money")
            assert path.read_bytes() == again.read_bytes()


def test_what_the_page_says_of_bert_and_the_line(walked: Path) -> None:
    """Bert's 2 kW for a quarter-hour are 0.5 kWh x 180 EUR/MWh = 9 cents; line 7 earns a rent."""
    cash: Counter[tuple[str, str]] = Counter()
    for line in rows(walked / "money/lines.csv"):
        cash[line["participant"], line["kind"]] += int(line["amount_micro_eur"])
    assert cash["bert", "flexibility"] == 90_000
    assert cash["bert", "penalty"] == 0
    assert cash["account:rent_congestion/line:7:from", "rent_congestion"] == 30_000  # 2.5 kWh x 12
    assert sum(cash.values()) == 0


def test_the_contested_change_waits_and_then_is_booked(walked: Path) -> None:
    waiting = [r for r in rows(walked / "revised/lines.csv") if r["kind"] == "dispute"]
    assert {r["participant"] for r in waiting} == {"account:dispute/D-1"}
    final = (walked / "final/lines.csv").read_bytes()
    assert final == lines_csv(settle(read_settlement(walked / "village")).lines)
    assert final == (walked / "paid/lines.csv").read_bytes()


def test_every_picture_of_the_page_is_there() -> None:
    assert all(picture.is_file() for picture in pictures_of(PAGE))
    assert len(pictures_of(PAGE)) == 4
