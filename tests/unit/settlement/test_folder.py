from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import InputError
from dso.settlement import (
    read_settlement,
    settle_folder,
    settlement_files,
    write_settlement_case,
)
from dso.settlement.outputs import statement_name

FOLDER = {
    "settlement.toml": """
mtu_minutes = 15
imbalance = "dual"
imbalance_spread_eur_per_mwh = 2.5
refund = "pro_rata_withdrawal"
""",
    "positions.csv": """participant,connection,bus,period_start,da_mwh,id_mwh,meter_mwh
sun & co <1>,pv,1,2026-06-01T10:00:00Z,0.5,0.5,0.45
sun & co <1>,pv,1,2026-06-01T12:15:00+02:00,0.5,0.6,0.6
default:load,house,2,2026-06-01T10:00:00Z,-0.1,-0.1,-0.1234567
default:load,house,2,2026-06-01T10:15:00Z,-0.1,-0.2,-0.2
""",
    "prices.csv": """bus,period_start,dlmp_da_eur_per_mwh,dlmp_id_eur_per_mwh,imbalance_eur_per_mwh
1,2026-06-01T10:00:00Z,30,31,33.3333333
1,2026-06-01T10:15:00Z,-30,31,33
2,2026-06-01T10:00:00Z,40,41,43
2,2026-06-01T10:15:00Z,40,41,43
""",
    "substation.csv": """period_start,import_mwh,import_price_eur_per_mwh
2026-06-01T10:00:00Z,-0.32,35
2026-06-01T10:15:00Z,-0.39,35
""",
    "activations.csv": "participant,connection,period_start,baseline_mw,ordered_mw,meter_mw,"
    "price_eur_per_mwh,penalty_eur_per_mwh,rule\n",
}


def write(folder: Path, changes: dict[str, str] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in {**FOLDER, **(changes or {})}.items():
        (folder / name).write_text(text)
    return folder


def refusal(folder: Path, out: Path) -> str:
    with pytest.raises(InputError) as caught:
        settle_folder(folder, out)
    assert not out.exists()
    return str(caught.value)


def test_a_folder_is_settled_and_written(tmp_path: Path) -> None:
    folder, out = write(tmp_path / "in"), tmp_path / "out"
    result = settle_folder(folder, out).result
    summary = json.loads((out / "summary.json").read_text())
    assert summary["sum_micro_eur"] == 0
    assert {group["sum_micro_eur"] for group in summary["periods"]} == {0}
    markets = [(group["period_start"][11:16], group["market"]) for group in summary["periods"]]
    assert markets == [
        ("10:00", "da"), ("10:00", "imbalance"), ("10:00", "refund"),
        ("10:15", "da"), ("10:15", "id/1"), ("10:15", "refund"),
    ]  # fmt: skip
    lines = (out / "lines.csv").read_text().splitlines()
    assert lines[0].startswith(
        "participant,connection,period_start,kind,quantity_wh,price_micro_eur_per_mwh,"
        "amount_micro_eur"
    )
    # 10:00: shortfall of 0.05 MWh at 33.333333 + 2.5, by hand.
    assert (
        "sun & co <1>,pv,2026-06-01T10:00:00Z,imbalance,-50000,35833333,-1791667,imbalance" in lines
    )
    assert "default:load,house,2026-06-01T10:00:00Z,imbalance,-23457,45500000,-1067294" in (
        "\n".join(lines)
    )
    assert len(lines) == len(result.lines) + 1
    assert sum(int(line.split(",")[6]) for line in lines[1:]) == 0


def test_statements_are_self_contained_and_escape_names(tmp_path: Path) -> None:
    out = tmp_path / "out"
    settle_folder(write(tmp_path / "in"), out)
    names = sorted(path.name for path in (out / "statements").iterdir())
    assert len(names) == 2 * 3
    page = (out / "statements" / f"{statement_name('sun & co <1>')}.html").read_text()
    assert "sun &amp; co &lt;1&gt;" in page
    assert "co <1>" not in page
    for forbidden in ("<script", "http:", "https:", "src=", "url(", "@import"):
        assert forbidden not in page
    assert "prefers-color-scheme" in page
    own = (out / "statements" / f"{statement_name('default:load')}.csv").read_text()
    assert {line.split(",")[0] for line in own.splitlines()[1:]} == {"default:load"}


def test_every_problem_is_said_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    changes = {
        "settlement.toml": 'mtu_minutes = 15\nimbalance = "triple"\nrefund = "mine"\nspread = 1\n',
        "positions.csv": FOLDER["positions.csv"].replace("0.45", "nan")
        + "ghost,x,99,2026-06-01T10:00:00Z,1,1,1\n"
        + "default:load,house,2,2026-06-01T10:15:00Z,-0.1,-0.2,-0.2\n"
        + "account:rounding,y,1,2026-06-01T10:00:00,1,1\n",
        "prices.csv": FOLDER["prices.csv"].replace(
            "1,2026-06-01T10:15:00Z,-30,31,33\n", "1,2026-06-01T11:00:00Z,-30,31,33\n"
        ),
        "substation.csv": FOLDER["substation.csv"].replace("-0.39,35", "-0.39,inf"),
        "activations.csv": FOLDER["activations.csv"]
        + "default:load,house,2026-06-01T10:00:00Z,1,0.5,,7,11,half\n",
    }
    text = refusal(write(tmp_path / "in", changes), tmp_path / "out")
    for part in (
        "settlement.toml: has an unknown key 'spread'",
        "unknown rule 'triple'",
        "unknown rule 'mine'",
        "positions.csv row 2: meter_mwh: 'nan' is not a finite number",
        "ghost, x: unknown bus 99",
        "ghost, x: 1 of 2 periods missing, first 2026-06-01T10:15:00Z",
        "row 7: default:load, house, 2026-06-01T10:15:00Z stands there twice",
        "row 8: has 6 cells, not 7",
        "prices.csv row 3: period_start 2026-06-01T11:00:00Z is no period",
        "prices.csv: bus 1: 1 of 2 periods missing",
        "substation.csv row 3: import_price_eur_per_mwh: 'inf'",
        "activations.csv row 2: meter_mw: '' is not a finite number",
        "unknown rule 'half'",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("substation.csv", "10:15:00Z", "10:45:00Z", "2 of 4 periods missing"),
        ("substation.csv", "10:15:00Z", "10:07:00Z", "off the grid of 15 minutes"),
        ("substation.csv", "10:15:00Z", "10:00:00Z", "stands there twice"),
        ("substation.csv", "import_mwh", "import_kwh", "has no column import_mwh"),
        ("positions.csv", "10:15:00Z", "10:15:00", "no instant with offset"),
        ("positions.csv", "house,2,2026-06-01T10:15", "house,1,2026-06-01T10:15", "from bus 2 to"),
        ("positions.csv", "default:load", "account:load", "are the operator's"),
        ("settlement.toml", "2.5", "-2.5", "must be >= 0"),
        ("settlement.toml", "imbalance_spread_eur_per_mwh = 2.5", "", "which dual needs"),
        ("settlement.toml", "pro_rata_withdrawal", "pro_rata_capacity", "has no capacity"),
        ("settlement.toml", "= 15", "= 0.25", "no whole number of minutes"),
    ],
)
def test_refusals(tmp_path: Path, name: str, old: str, new: str, said: str) -> None:
    changed = FOLDER[name].replace(old, new)
    assert changed != FOLDER[name]
    assert said in refusal(write(tmp_path / "in", {name: changed}), tmp_path / "out")


@pytest.mark.parametrize("name", sorted(FOLDER))
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "in")
    (folder / name).unlink()
    assert f"{name}: is missing" in refusal(folder, tmp_path / "out")


def test_parts_rounds_and_capacities_round_trip(tmp_path: Path) -> None:
    changes = {
        "settlement.toml": 'mtu_minutes = 15\nimbalance = "single"\nrefund = "pro_rata_capacity"\n',
        "parts.csv": "bus,period_start,element_kind,element,side,p_eur_per_mwh,q_eur_per_mvarh,"
        "market\n2,2026-06-01T10:00:00Z,line,7,from,4.5,0.1,da\n"
        "2,2026-06-01T10:15:00Z,bus,2,upper,-0.25,0,id/2\n",
        "rounds.csv": "participant,connection,period_start,round,position_mwh,dlmp_eur_per_mwh\n"
        "sun & co <1>,pv,2026-06-01T10:15:00Z,1,0.55,31\n"
        "sun & co <1>,pv,2026-06-01T10:15:00Z,2,0.6,30\n"
        "default:load,house,2026-06-01T10:15:00Z,2,-0.2,41\n",
        "connections.csv": "participant,connection,capacity_mw\nsun & co <1>,pv,1\n"
        "default:load,house,0.03\n",
        "activations.csv": FOLDER["activations.csv"]
        + "default:load,house,2026-06-01T10:00:00Z,0.9,0.5,0.5,7,11,cap_120\n",
        "substation.csv": "period_start,import_mwh,import_price_eur_per_mwh,da_import_mwh,"
        "id_import_mwh,da_energy_eur_per_mwh,id_energy_eur_per_mwh\n"
        "2026-06-01T10:15:00Z,-0.39,35,-0.39,-0.395,36,37\n"
        "2026-06-01T10:00:00Z,-0.32,35,-0.39,-0.39,36,37\n",
    }
    case = read_settlement(write(tmp_path / "in", changes))
    write_settlement_case(case, tmp_path / "again")
    assert read_settlement(tmp_path / "again") == case
    result = settle_folder(tmp_path / "again", tmp_path / "out").result
    accounts = {line.participant for line in result.lines if line.participant.startswith("account")}
    assert "account:rent_congestion/line:7:from" in accounts
    assert "account:rent_voltage/bus:2:upper" in accounts
    assert "account:rent_import" in accounts
    markets = {line.market for line in result.lines}
    assert markets >= {"da", "id/1", "id/2", "imbalance", "flexibility", "refund"}


def test_the_order_of_rows_changes_no_byte(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    shuffler = random.Random(7)
    for name in ("positions.csv", "prices.csv", "substation.csv"):
        header, *rows = (second / name).read_text().splitlines()
        shuffler.shuffle(rows)
        (second / name).write_text("\n".join([header, *rows]) + "\n")
    one = settlement_files(settle_folder(first, tmp_path / "x").result)
    two = settlement_files(settle_folder(second, tmp_path / "y").result)
    assert one == two


def test_the_same_input_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    folder = write(tmp_path / "in")
    settle_folder(folder, tmp_path / "here")
    script = (
        "import sys, pathlib; from dso.settlement import settle_folder;"
        "settle_folder(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run(
        [sys.executable, "-c", script, str(folder), str(tmp_path / "there")],
        check=True, env=environment, cwd=Path(__file__).parents[3],
    )  # fmt: skip

    def tree(root: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }

    assert tree(tmp_path / "here") == tree(tmp_path / "there")


def test_a_second_run_into_the_settlement_folder_leaves_no_old_statement(tmp_path: Path) -> None:
    folder = write(tmp_path / "in")
    settle_folder(folder, folder)
    settle_folder(write(folder, {"positions.csv": FOLDER["positions.csv"].replace(
        "default:load", "new")}), folder)  # fmt: skip
    names = {path.stem for path in (folder / "statements").iterdir()}
    assert names == {statement_name("sun & co <1>"), "new", "_operator_accounts"}


def test_statement_names_never_meet(tmp_path: Path) -> None:
    names = ["a", "A", "%41", "_operator_accounts", "a/b", "a b", "..", ".", "ä", "~", "a%2Fb"]
    files = [statement_name(name) for name in names]
    assert len({name.lower() for name in files}) == len(names)
    assert all("/" not in name and not name.startswith((".", "_")) for name in files)


def test_settlement_is_pure_and_light() -> None:
    script = (
        "import sys, dso.settlement; heavy = {'pandas', 'scipy', 'pandapower', 'sqlalchemy',"
        "'opf', 'dispatch', 'forecasting', 'flexibility', 'ledger_adapter'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", script], check=True, cwd=root)
