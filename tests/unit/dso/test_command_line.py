"""The command line: quick help, bad input in one message, nothing half-written."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import InputError, Problem, UnsupportedComponent
from dso.cli import main as command_line

COMMANDS = [name for name, _, _ in command_line.COMMANDS]
HEAVY = {
    "alembic", "clarabel", "cvxpy", "highspy", "jinja2", "matplotlib", "numpy", "pandapower",
    "pandas", "plotly", "power_grid_model", "pvlib", "pydantic", "pyomo", "qdldl", "rich", "scipy",
    "simbench", "sqlalchemy", "statsmodels",
}  # fmt: skip


@pytest.mark.parametrize(
    "words", [["--help"], [], *([name, "--help"] for name in COMMANDS), ["audit", "verify", "-h"]]
)
def test_help_loads_no_heavy_library(words: list[str]) -> None:
    script = (
        "import json, sys; from dso.cli.main import main; code = main(sys.argv[1:]); "
        "sys.stderr.write(json.dumps([code, sorted({m.split('.')[0] for m in sys.modules})]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(result.stderr)
    assert code == 0
    assert HEAVY.isdisjoint(modules)
    assert "dso" in result.stdout


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_teaches_by_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(words) == 0
    text = capsys.readouterr().out
    assert "dso audit verify" in text or f"  dso {words[0]} " in text
    assert "exit codes" in text or words[0] == "audit"


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("gridclear ")


@pytest.mark.parametrize(
    "words",
    [
        ["bogus"],
        ["day"],
        ["day", "--date", "25.07.2016", "--out", "x"],
        ["clear", "study"],
        ["audit"],
        ["audit", "verify", "bundle"],
    ],
)
def test_misuse_ends_with_two(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(words) == 2
    assert "usage: dso" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (
            InputError(
                [Problem(where="a.csv row 2", what="NaN"), Problem(where="b", what="c", remedy="d")]
            ),
            2,
            ["2 problems; nothing written", "  - a.csv row 2: NaN", "  - b: c -> d"],
        ),
        (UnsupportedComponent("motor:1"), 2, ["motor:1"]),
        (KeyboardInterrupt(), 130, ["interrupted"]),
        (PermissionError(13, "denied", "place"), 1, ["denied", "place"]),
    ],
)
def test_an_error_becomes_a_message_and_an_exit_code(
    error: BaseException,
    code: int,
    shown: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from dso.cli import settle

    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(settle, "run", fail)
    assert command_line.main(["settle", "folder", "--out", "out"]) == code
    text = capsys.readouterr().err
    assert all(part in text for part in shown)


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    from dso.cli import settle

    def fail(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(settle, "run", fail)
    with pytest.raises(ZeroDivisionError):
        command_line.main(["settle", "folder", "--out", "out"])


def test_a_missing_study_is_bad_input_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    assert command_line.main(["clear", str(tmp_path / "absent"), "--out", str(out)]) == 2
    assert "nothing written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_settlement_folder_is_bad_input_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    assert command_line.main(["settle", str(tmp_path / "absent"), "--out", str(out)]) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_feeder_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["day", "--date", "2016-07-25", "--out", str(tmp_path / "out"), "--feeder", "absent"]
    assert command_line.main(words) == 2
    said = capsys.readouterr().err
    assert "known: " in said
    assert "1-MV-rural--2-sw" in said
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_key_ends_with_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", "verify", str(tmp_path), "--key", str(tmp_path / "absent.vkey")]
    assert command_line.main(words) == 2
    assert "absent.vkey" in capsys.readouterr().err


def test_a_bundle_that_is_none_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "operator.vkey"
    key.write_text("no key\n")
    assert command_line.main(["audit", "verify", str(tmp_path), "--key", str(key)]) in (1, 2)


def test_a_settlement_runs_again_from_its_own_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "settlement"
    folder.mkdir()
    files = {
        "settlement.toml": 'mtu_minutes = 15\nimbalance = "single"\nrefund = "retain"\n',
        "positions.csv": (
            "participant,connection,bus,period_start,da_mwh,id_mwh,meter_mwh\n"
            "wind,c1,1,2016-07-24T22:00:00Z,1.0,1.5,1.25\n"
        ),
        "prices.csv": (
            "bus,period_start,dlmp_da_eur_per_mwh,dlmp_id_eur_per_mwh,imbalance_eur_per_mwh\n"
            "1,2016-07-24T22:00:00Z,40,50,60\n"
        ),
        "substation.csv": (
            "period_start,import_mwh,import_price_eur_per_mwh\n2016-07-24T22:00:00Z,-1.2,40\n"
        ),
        "activations.csv": (
            "participant,connection,period_start,baseline_mw,ordered_mw,meter_mw,"
            "price_eur_per_mwh,penalty_eur_per_mwh,rule\n"
        ),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    out = tmp_path / "deep" / "money"
    assert command_line.main(["settle", str(folder), "--out", str(out)]) == 0
    assert "sums to 0 micro-EUR" in capsys.readouterr().out
    first = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    # 1 MWh x 40 + 0.5 MWh x 50 - 0.25 MWh x 60 = 50 EUR, by hand.
    rows = list(csv.DictReader(first["lines.csv"].decode().splitlines()))
    amounts = [(row["participant"], int(row["amount_micro_eur"])) for row in rows]
    assert sum(amount for party, amount in amounts if party == "wind") == 50_000_000
    assert sum(amount for _, amount in amounts) == 0
    assert command_line.main(["settle", str(folder), "--out", str(out)]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == first
    assert sorted(entry.name for entry in out.parent.iterdir()) == ["money"]
