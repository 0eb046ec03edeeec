"""`dso fleet`: a feeder's devices offer, are cleared, and carry out their awards at the meter."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from dso.cli.main import main

ROOT = Path(__file__).parents[2]
WEATHER = ROOT / "data" / "series" / "victoria_weather.csv"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of 2016-01-20 with the charging sessions of three weeks."""
    out = tmp_path_factory.mktemp("fleet")
    offered = main(
        ["fleet", "offer", str(out / "study"), "--date", "2016-01-20", "--car-weeks", "3",
         "--weather", str(WEATHER), "--weather-from", "2014-05-07T14:00:00Z"]
    )  # fmt: skip
    assert offered == 0
    assert main(["clear", str(out / "study"), "--out", str(out / "result")]) == 0
    ran = main(
        ["fleet", "run", str(out / "study"), str(out / "result"), "--out", str(out / "devices")]
    )
    assert ran == 0
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_meters_say_what_was_awarded_to_the_watt_hour(fleet: Path) -> None:
    awarded: dict[str, float] = {}
    for row in rows(fleet / "result" / "awards.csv"):
        key = row["period_start"]
        awarded[key] = awarded.get(key, 0.0) + float(row["injection_mw"]) * 250_000
    metered: dict[str, int] = {}
    devices = rows(fleet / "devices" / "devices.csv")
    count = len({row["device"] for row in devices})
    for row in devices:
        metered[row["period_start"]] = metered.get(row["period_start"], 0) + int(row["metered_wh"])
    assert metered.keys() == awarded.keys()
    assert len(metered) == 96
    # Each meter rounds to a whole Wh.
    assert max(abs(metered[t] - awarded[t]) for t in metered) <= 0.5 * count
    summary = json.loads((fleet / "devices" / "summary.json").read_text())
    assert max(summary["deviation_wh_max"].values()) <= 1
    assert summary["violations"] == 0


def test_cars_leave_with_their_energy_and_keep_their_reserve(fleet: Path) -> None:
    stated = json.loads((fleet / "study" / "fleet.json").read_text())["cars"]
    energy: dict[str, list[float]] = {}
    for row in rows(fleet / "devices" / "devices.csv"):
        if row["kind"] == "cars":
            energy.setdefault(row["device"], []).append(float(row["state"]))
    assert rows(fleet / "devices" / "shortfalls.csv") == []
    gone = 0
    for k, car in enumerate(stated["ids"]):
        assert min(energy[car]) >= min(
            stated["energy_mwh_reserve"][k], stated["energy_mwh_arrival"][k]
        )
        if stated["departure_h"][k] <= 24.0:
            gone += 1
            at = round(stated["departure_h"][k] * 4) - 1
            assert energy[car][at] >= stated["energy_mwh_departure"][k] - 1e-9
    assert gone >= 5


def test_rooms_stay_warm_and_shares_add_up(fleet: Path) -> None:
    pumps = json.loads((fleet / "study" / "fleet.json").read_text())["pumps"]
    rooms = [
        float(row["state"])
        for row in rows(fleet / "devices" / "devices.csv")
        if row["kind"] == "pumps"
    ]
    assert min(rooms) >= min(pumps["comfort_c_min"])
    assert max(rooms) <= max(pumps["comfort_c_max"]) + 1e-9
    shares: dict[str, float] = {}
    for row in rows(fleet / "devices" / "portfolios.csv"):
        shares[row["portfolio"]] = shares.get(row["portfolio"], 0.0) + float(row["share"])
    assert all(share == pytest.approx(1.0, abs=1e-9) for share in shares.values())
    assert "Every car left with its energy" in (fleet / "devices" / "fleet.html").read_text()


def test_the_same_day_again_gives_the_same_bytes(fleet: Path) -> None:
    again = fleet / "again"
    ran = main(["fleet", "run", str(fleet / "study"), str(fleet / "result"), "--out", str(again)])
    assert ran == 0
    for path in sorted((fleet / "devices").iterdir()):
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_day_that_turns_out_otherwise_is_told_with_reasons_and_money(fleet: Path) -> None:
    out = fleet / "otherwise"
    ran = main(
        ["fleet", "run", str(fleet / "study"), str(fleet / "result"), "--out", str(out),
         "--colder", "8", "--late", "30", "--limit", "1.2", "--shortfall-price", "500"]
    )  # fmt: skip
    assert ran == 0
    shortfalls = rows(out / "shortfalls.csv")
    held = [row for row in shortfalls if row["reason"] == "held back"]
    assert held
    for row in shortfalls:
        owed = 0 if row["payer"] == "nobody" else 500 * int(row["missing_wh"])
        assert int(row["amount_micro_eur"]) == owed
    stated = json.loads((fleet / "study" / "fleet.json").read_text())["cars"]
    drawn: dict[str, int] = {}
    for row in rows(out / "devices.csv"):
        if row["kind"] in ("cars", "pumps"):
            assert int(row["metered_wh"]) >= -300  # 1.2 kW for a quarter of an hour
        if row["kind"] == "cars":
            drawn[row["device"]] = drawn.get(row["device"], 0) - int(row["metered_wh"])
    # What the meter says a car took, with its losses, is what it asked for less what is missing;
    # in a portfolio it may take more.
    for k, name in enumerate(stated["ids"]):
        if stated["departure_h"][k] > 24.0 or stated["discharge_mw_max"][k] > 0.0:
            continue
        missing = sum(int(row["missing_wh"]) for row in shortfalls if row["car"] == name)
        wanted = stated["energy_mwh_departure"][k] - stated["energy_mwh_arrival"][k]
        took = drawn[name] * 0.92 + missing
        assert took >= wanted * 1e6 - 50
        assert not missing or took == pytest.approx(wanted * 1e6, abs=50)
    named = {row["reason"] for row in rows(out / "not_followed.csv")}
    assert {"limit of the grid connection", "must heat to keep comfort"} <= named
    assert json.loads((out / "summary.json").read_text())["cold_kh_max"] > 0.0


def test_wrong_input_is_named_and_nothing_is_written(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["fleet", "offer", str(out), "--date", "2016-01-20", "--weather", str(WEATHER)]
    assert main(words) == 2
    assert "does not cover" in capsys.readouterr().err
    assert main([*words, "--weather-from", "2014-05-07T14:00:00Z", "--car-weeks", "0"]) == 2
    run = ["fleet", "run", str(fleet / "study"), str(fleet / "result"), "--out", str(out)]
    assert main([*run, "--shortfall-price", "nan"]) == 2
    study = tmp_path / "study"
    study.mkdir()
    for path in (fleet / "study").iterdir():
        (study / path.name).write_bytes(path.read_bytes())
    content = json.loads((study / "fleet.json").read_text())
    content["cars"]["energy_mwh_arrival"][0] = 1.0
    content["cars"]["efficiency_charge"][1] = None
    (study / "fleet.json").write_text(json.dumps(content))
    run[2] = str(study)
    capsys.readouterr()
    assert main(run) == 2
    told = capsys.readouterr().err
    assert "2 problems" in told
    assert "efficiency_charge" in told
    assert "energy_mwh_arrival" in told
    assert not out.exists()
