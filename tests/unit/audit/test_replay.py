"""Replay: what was signed is computed again; a wrong price that is signed is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from dso.audit import replay_bundle
from dso.audit.compare import Comparison, compare_tables, keep_periods
from dso.cli.main import main
from ledger_adapter.keys import load_or_create_keys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from tests.support.replay_day import clear_and_settle, post_and_export


@pytest.fixture(scope="module")
def cleared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clear_and_settle(tmp_path_factory.mktemp("cleared"))


def publish(
    cleared: Path,
    folder: Path,
    forge: Callable[[Path], None] = lambda _day: None,
    name: str = "day-ahead",
) -> list[str]:
    """Post a copy of the day, changed or not; returns the words that audit its bundle."""
    keys = load_or_create_keys(folder / "keys", "dso.example/replay")
    engine = configure_sqlite(create_engine(f"sqlite:///{folder}/log.db"))
    day = Path(shutil.copytree(cleared, folder / "day"))
    post_and_export(
        day, folder / "bundle", SqlLog(engine, keys.signer), keys, name=name, forge=forge
    )
    engine.dispose()
    return [str(folder / "bundle"), "--key", str(folder / "keys/operator.vkey")]


def replace_cell(path: Path, row: int, column: str, change: Callable[[str], str]) -> None:
    lines = path.read_text().split("\n")
    place = lines[0].split(",").index(column)
    cells = lines[row].split(",")
    cells[place] = change(cells[place])
    lines[row] = ",".join(cells)
    path.write_text("\n".join(lines))


def test_an_honest_day_runs_again(
    cleared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = publish(cleared, tmp_path)
    assert main(["audit", "replay", *words]) == 0
    said = capsys.readouterr().out
    assert "day-ahead: 132 prices, 8 awards, trades of 4 of 4 periods: equal bytes" in said
    assert "files: equal bytes" in said
    assert "HOLDS: every result is what its committed inputs give" in said
    report = replay_bundle(tmp_path / "bundle")
    assert [(run.name, run.comparison.identical) for run in report.runs] == [
        ("day-ahead", True), ("settlement", True),
    ]  # fmt: skip


def replace_text(path: Path, old: str, new: str) -> None:
    """Replace a text, and the status, so that the run differs."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new).replace('"status": "certified"', '"status": "other"'))


FORGERIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a price raised by a cent": (
        lambda day: replace_cell(
            day / "clearing/prices.csv", 7, "dlmp_p_eur_per_mwh", lambda v: str(float(v) + 0.01)
        ),
        "prices.csv row 8 (bus",
    ),
    "an award moved": (
        lambda day: replace_cell(
            day / "clearing/awards.csv", 3, "injection_mw", lambda v: str(float(v) + 0.001)
        ),
        "awards.csv row 4 (order",
    ),
    "a trade of one Wh more": (
        lambda day: replace_cell(
            day / "clearing/trades.csv", 1, "energy_wh", lambda v: str(int(v) + 1)
        ),
        "trades.csv row 2 (trade",
    ),
    "a price of trade one micro-EUR higher": (
        lambda day: replace_cell(
            day / "clearing/trades.csv", 1, "price_micro_eur_per_mwh", lambda v: str(int(v) + 1)
        ),
        "trades.csv row 2 (trade",
    ),
    "another price in the study": (
        lambda day: replace_cell(
            day / "clearing/import_price.csv", 2, "eur_per_mwh", lambda v: str(float(v) + 1)
        ),
        "prices.csv row",
    ),
    "no awards at all": (
        lambda day: (day / "clearing/awards.csv").unlink(),
        "awards.csv: is missing",
    ),
    "a summary that is none": (
        lambda day: (day / "clearing/summary.json").write_text('{"status": "certified"}'),
        "summary.json: objective_eur is None",
    ),
    "other versions named": (
        lambda day: replace_text(day / "clearing/summary.json", '"numpy": "', '"numpy": "9.'),
        "computed with numpy 9.",
    ),
    "prices that are no table": (
        lambda day: (day / "clearing/prices.csv").write_bytes(b"\xff"),
        "prices.csv: cannot be read",
    ),
    "an amount of money": (
        lambda day: replace_cell(
            day / "settled/lines.csv", 1, "amount_micro_eur", lambda v: str(int(v) + 1)
        ),
        "lines.csv: is not what is computed again",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_result_that_is_signed_verifies_and_is_found_by_replay(
    cleared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], forgery: str
) -> None:
    forge, named = FORGERIES[forgery]
    words = publish(cleared, tmp_path, forge)
    assert main(["audit", "verify", *words]) == 0
    capsys.readouterr()
    assert main(["audit", "replay", *words]) == 1
    said = capsys.readouterr().out
    assert named in said
    assert "DOES NOT HOLD: a result is not what its committed inputs give" in said


def test_a_touched_bundle_is_not_run(
    cleared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = publish(cleared, tmp_path)
    (tmp_path / "bundle/outputs/day-ahead/prices.csv").write_text("bus\n")
    assert main(["audit", "replay", *words]) == 1
    said = capsys.readouterr().out
    assert said.startswith("DOES NOT HOLD: outputs/day-ahead/prices.csv")
    assert "Replay" not in said


def test_runs_can_be_chosen_and_unknown_ones_are_refused(
    cleared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = publish(cleared, tmp_path)
    assert main(["audit", "replay", *words, "--run", "settlement"]) == 0
    assert "not run again: day-ahead" in capsys.readouterr().out
    assert main(["audit", "replay", *words, "--run", "evening"]) == 2
    assert "run 'evening': is not in the bundle" in capsys.readouterr().err


def test_only_a_rolling_run_may_trade_its_first_periods_alone(
    cleared: Path, tmp_path: Path
) -> None:
    def two_periods(day: Path) -> None:
        path = day / "clearing/trades.csv"
        table = path.read_bytes()
        prices = (day / "clearing/prices.csv").read_text().split("\n")[1:-1]
        labels = sorted({row.split(",")[1] for row in prices})
        path.write_bytes(keep_periods(table, labels[:2]))

    publish(cleared, tmp_path / "a", two_periods, name="intraday-1")
    (run, _) = replay_bundle(tmp_path / "a/bundle").runs
    assert run.comparison.holds
    assert (run.trading_periods, run.periods) == (2, 4)
    publish(cleared, tmp_path / "b", two_periods)
    assert not replay_bundle(tmp_path / "b/bundle").holds


def test_digits_of_another_machine_are_no_difference_and_money_has_none() -> None:
    table = b"bus,period_start,dlmp_p_eur_per_mwh\n1,2016-07-25T00:00:00Z,40.123456789\n"
    near, far = table.replace(b"6789", b"6788"), table.replace(b"40.1", b"40.2")
    found = Comparison()
    compare_tables("prices.csv", table, near, found)
    assert (found.holds, found.identical, found.prices) == (True, False, 1)
    assert 0 < found.worst < 1e-8
    compare_tables("prices.csv", table, far, found)
    assert not found.holds
    two = table + b"2,2016-07-25T00:00:00Z,41\n"
    several = Comparison()
    compare_tables("prices.csv", two, two.replace(b",4", b",3"), several)
    assert several.differences[1] == "prices.csv: 2 cells differ in all, numbers by 10"
    for again in (table[:-1] + b"0\n", table + table.split(b"\n")[1] + b"\n", b"bus\n1\n"):
        exact = Comparison()
        compare_tables("trades.csv", table, again, exact)
        assert not exact.holds
    missing = Comparison()
    compare_tables("prices.csv", table.replace(b"40.123456789", b""), table, missing)
    assert not missing.holds
