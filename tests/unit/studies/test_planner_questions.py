"""What planners' commands refuse, each with every problem at once and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dso.cli.main import main
from tests.support.small_study import small_folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_folder(tmp_path_factory.mktemp("planner") / "base")


def refused(words: list[str], capsys: pytest.CaptureFixture[str], out: Path) -> str:
    capsys.readouterr()
    assert main([*words, "--out", str(out)]) == 2
    assert not out.exists()
    return capsys.readouterr().err


def test_samples_and_costs_are_refused_together(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(["reinforce", str(base), "x=-3", "y=many"], capsys, tmp_path / "out")
    assert said.count("is not STUDY=DAYS") == 3
    costs = tmp_path / "costs.csv"
    costs.write_text(
        "element_kind,element,added_mva,cost_eur\nbus,1,1,1\nline,x,0,-1\nline,3,nan,1\n"
    )
    words = ["reinforce", f"{base}=365", "--costs", str(costs)]
    said = refused(words, capsys, tmp_path / "out")
    for fault in ("element_kind is 'bus'", "element is 'x'", "added_mva is 0", "cost_eur is -1",
                  "added_mva is 'nan'"):  # fmt: skip
        assert fault in said
    costs.write_text("element_kind,element,added_mva,cost_eur\nline,99,1,1\ntrafo,0,1,1\n")
    said = refused(words, capsys, tmp_path / "out")
    assert "line 99: is not in service" in said
    assert "trafo 0: is not in service" in said


def test_profiles_buses_and_ticks_are_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["hosting", str(base), "--technology", "pv", "--quiet"]
    out = tmp_path / "out"
    said = refused([*words, "--profile", "PV5", "--tick-mw", "0.1"], capsys, out)
    assert "has no recorded profiles" in said
    profile = tmp_path / "p.csv"
    profile.write_text("period_start,share\n2016-07-24T22:00:00Z,0.5\nnoon,1\n")
    said = refused([*words, "--profile", str(profile), "--tick-mw", "0.1"], capsys, out)
    assert "noon" in said
    profile.write_text("period_start,share\n2016-07-24T22:00:00Z,0.5\n")
    said = refused([*words, "--profile", str(profile), "--tick-mw", "0.1"], capsys, out)
    assert said.count("has no row for") == 3
    starts = [f"2016-07-24T{hour}:00:00Z" for hour in ("22", "23")]
    starts += [f"2016-07-25T0{hour}:00:00Z" for hour in (0, 1)]
    profile.write_text("period_start,share\n" + "".join(f"{s},1.5\n" for s in starts))
    said = refused([*words, "--profile", str(profile), "--tick-mw", "0.1"], capsys, out)
    assert said.count("is 1.5") == 4
    profile.write_text("period_start,share\n" + "".join(f"{s},0\n" for s in starts))
    said = refused([*words, "--profile", str(profile), "--tick-mw", "0.1"], capsys, out)
    assert "is 0 in all periods" in said
    said = refused(
        [*words, "--profile", str(profile), "--tick-mw", "0", "--power-factor", "2"], capsys, out
    )
    assert "tick: is 0 MW" in said
    assert "power factor: is 2" in said
    said = refused(
        [*words, "--profile", str(profile), "--tick-mw", "1", "--bus", "0", "--bus", "no"],
        capsys, out,
    )  # fmt: skip
    assert "bus 0: is no bus" in said
    assert "bus no: is no bus" in said


def test_outages_and_ties_are_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["contingency", str(base), "--outage", "line:99", "--outage", "line:33"]
    said = refused(words, capsys, tmp_path / "out")
    assert "line:99: names nothing" in said
    assert "line:33: is open now" in said
    said = refused(["contingency", str(base), "--tie", "line:3", "--tie", "switch:1-99"],
                   capsys, tmp_path / "out")  # fmt: skip
    assert "line:3: is closed now" in said
    assert "switch:1-99: names nothing" in said


def test_a_bus_bus_switch_restores_what_a_line_left_dark(base: Path, tmp_path: Path) -> None:
    words = ["contingency", str(base), "--outage", "line:16", "--tie", "switch:17-32"]
    assert main([*words, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    header, row = (tmp_path / "out/outages.csv").read_text().splitlines()
    found = dict(zip(header.split(","), row.split(","), strict=True))
    assert (found["tie"], found["dark_buses"]) == ("switch:17-32", "")
    # joined to bus 32 by a switch, bus 17 has its voltage: the far end of the other branch
    assert found["verdict"] in ("holds", "exceeded")


def test_nothing_to_move_is_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(["taps", str(base)], capsys, tmp_path / "out")
    assert "has no tap changer that works" in said
    said = refused(["taps", str(base), "--bank", "0:-0.3:4", "--bank", "much"], capsys,
                   tmp_path / "out")  # fmt: skip
    assert "shunt 0: is not in the network" in said
    assert "bank much: is no bank" in said


def test_only_ac_studies_have_taps_and_hosting_with_market(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linear = tmp_path / "linear"
    assert main(["study", "new", str(linear), "--from", str(base)]) == 0
    assert main(["study", "set", str(linear), "formulation=lindistflow"]) == 0
    profile = tmp_path / "p.csv"
    profile.write_text("period_start,share\n")
    for words in (
        ["taps", str(linear)],
        ["reinforce", f"{linear}=365"],
        ["hosting", str(linear), "--technology", "pv", "--profile", str(profile), "--tick-mw", "1",
         "--with-market"],
    ):  # fmt: skip
        assert "formulation is lindistflow" in refused(words, capsys, tmp_path / "out")


def test_equal_studies_give_equal_bytes(base: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert main(["contingency", str(base), "--out", str(tmp_path / name), "--quiet"]) == 0
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    summary = json.loads((tmp_path / "one/contingency.json").read_text())
    assert summary["outages"] == 32
    assert sum(summary["verdicts"].values()) == 32
