"""Every kind of day ends with its report, and says what it did."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from data.periods import parse_utc
from tests.support.delivery_days import FinishedDay

pytestmark = pytest.mark.slow
PERIODS = {"summer": 96, "winter": 96, "short": 92, "long": 100}


def test_the_day_is_done_and_every_clearing_certified(any_day: FinishedDay) -> None:
    assert any_day.exit_code == 0, any_day.stderr
    folders = [any_day.out / "clearing", *(any_day.out / "clearing/intraday").iterdir()]
    states = {json.loads((folder / "summary.json").read_text())["status"] for folder in folders}
    assert states == {"certified"}


def test_the_last_line_says_where_the_report_is(any_day: FinishedDay) -> None:
    assert any_day.stdout.splitlines()[-1] == f"Report: {any_day.out / 'report.html'}"
    assert (any_day.out / "report.html").stat().st_size > 100_000


def test_the_folder_holds_what_the_help_promises(any_day: FinishedDay) -> None:
    for name in (
        "report.html", "clearing/study.toml", "clearing/orders.json", "clearing/prices.csv",
        "clearing/summary.json", "settlement/positions.csv", "settlement/lines.csv",
        "settlement/summary.json", "bundle/manifest.json", "bundle/checkpoint", "operator.vkey",
    ):  # fmt: skip
        assert (any_day.out / name).is_file(), name
    assert not (any_day.out / ".partial").exists()


def test_a_day_has_92_96_or_100_periods_everywhere(any_day: FinishedDay) -> None:
    count = PERIODS[any_day.out.name]
    starts = _column(any_day, "settlement/substation.csv", "period_start")
    assert len(starts) == count
    instants = [parse_utc(start) for start in starts]
    step = timedelta(minutes=15)
    assert instants == [instants[0] + k * step for k in range(count)]
    assert len(list((any_day.out / "clearing/intraday").iterdir())) == count // 4
    for name in ("clearing/prices.csv", "dispatch/delivery.csv", "forecast/feeder.csv"):
        assert set(_column(any_day, name, "period_start")) == set(starts), name


def test_every_forecast_was_known_at_its_gate(summer: FinishedDay) -> None:
    about = json.loads((summer.out / "forecast/forecast.json").read_text())
    assert about["known_at"] == "2016-07-24T11:30:00Z"  # 13:30 in summer time
    for path in (summer.out / "forecast/intraday").iterdir():
        first = parse_utc(re.sub(r"(....)(..)(..)T(..)(..)Z", r"\1-\2-\3T\4:\5:00Z", path.stem))
        known_at = parse_utc(json.loads(path.read_text())["known_at"])
        assert first - known_at == timedelta(minutes=30)


def test_each_stage_ran_once_and_left_files(summer: FinishedDay) -> None:
    with closing(sqlite3.connect(summer.out / "store.sqlite")) as connection:
        rows = connection.execute("SELECT kind, state, attempt FROM cycle_run").fetchall()
        nameless = connection.execute(
            "SELECT count(*) FROM cycle_run WHERE id NOT IN (SELECT run_id FROM artefact)"
        ).fetchone()
    kinds = [kind for kind, _, _ in rows]
    single = {"forecast", "orders", "day_ahead", "dispatch", "settlement", "posting", "report"}
    assert set(kinds) == {*single, "intraday"}
    assert kinds.count("intraday") == 24
    assert {(state, attempt) for _, state, attempt in rows} == {("done", 1)}
    assert nameless == (0,)


def test_what_had_to_be_assumed_stands_on_the_page(summer: FinishedDay) -> None:
    notes = json.loads((summer.out / "day.json").read_text())["notes"]
    assert any("no reading of the day yet" in note for note in notes)
    page = (summer.out / "report.html").read_text(encoding="utf-8")
    assert all(note in page for note in notes)


def test_the_report_counts_what_the_replays_found(any_day: FinishedDay) -> None:
    replay = json.loads((any_day.out / "dispatch/replay.json").read_text())
    without, done = (replay[name]["periods_violated"] for name in ("without_market", "with_market"))
    page = (any_day.out / "report.html").read_text(encoding="utf-8")
    assert f"{without} → {done}" in page
    with (any_day.out / "dispatch/violations.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for scenario, figures in replay.items():
        mine = [row for row in rows if row["scenario"] == scenario]
        assert figures["violations"] == len(mine)
        assert figures["periods_violated"] == len({row["period_start"] for row in mine})


def _column(day: FinishedDay, name: str, column: str) -> list[str]:
    with (day.out / name).open(newline="") as stream:
        return [row[column] for row in csv.DictReader(stream)]
