"""Every command and program on the page of grid questions runs, and its answers hold together."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.walk_through import pictures_of, run_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "planner-grid.md"


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walk")
    assert run_page(PAGE, folder) == 16
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def json_of(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_its_pictures_are_there() -> None:
    pictures = pictures_of(PAGE)
    assert len(pictures) == 4
    assert all(picture.is_file() for picture in pictures)


@pytest.mark.slow
def test_an_option_saves_less_than_its_shadow_price_says(walked: Path) -> None:
    branches = {
        (r["element_kind"], r["element"]): r for r in rows_of(walked / "value/branches.csv")
    }
    options = rows_of(walked / "value/options.csv")
    assert [r["element"] for r in options] == ["33", "34", "0"]  # by payback
    for option in options:
        branch = branches[option["element_kind"], option["element"]]
        marginal = float(branch["eur_per_mva_year"]) * float(option["added_mva"])
        assert float(option["saving_marginal_eur_year"]) == pytest.approx(marginal, rel=1e-9)
        assert -1e-6 <= float(option["saving_eur_year"]) <= marginal + 1e-6
        if option["payback_years"]:
            years = float(option["cost_eur"]) / float(option["saving_eur_year"])
            assert float(option["payback_years"]) == pytest.approx(years, rel=1e-9)
    assert options[-1]["payback_years"] == ""
    summary = json_of(walked / "value/reinforce.json")
    assert [sample["days"] for sample in summary["samples"]] == [150, 215]
    assert summary["branches_with_value"] == 2


@pytest.mark.slow
def test_market_hosts_more_and_two_studies_host_no_more_than_one(walked: Path) -> None:
    pv = rows_of(walked / "pv/hosting.csv")
    assert len(pv) == 43
    assert all(float(row["capacity_mw"]) > 0 for row in pv)
    # one more tick exceeds the limit that is named
    for row in pv:
        beyond = float(row["value"]) - float(row["limit"])
        assert (beyond < 0) == (row["limit_side"] == "lower")
    heat = rows_of(walked / "heat/hosting.csv")
    assert {row["study"] for row in heat} == {"winter"}, "no heat pump runs in July"
    # the battery must end as full as it began, so it helps less where charging hurts most
    gains = {
        row["bus"]: float(row["capacity_with_market_mw"]) - float(row["capacity_mw"])
        for row in rows_of(walked / "cars/hosting.csv")
    }
    assert set(gains) == {"17", "24"}
    assert all(gain > 0.02 for gain in gains.values())


@pytest.mark.slow
def test_prices_are_those_of_the_fixed_taps(walked: Path) -> None:
    taps = json_of(walked / "taps/taps.json")
    cleared = json_of(walked / "ring-result/summary.json")
    assert cleared["input_sha256"] == taps["fixed_input_sha256"]
    assert cleared["objective_eur"] == pytest.approx(taps["best"]["objective_eur"], abs=1e-9)
    assert taps["settings"] == {"trafo.0.tap_pos": 2}
    trials = rows_of(walked / "taps/trials.csv")
    swept = [row for row in trials if row["method"] == "sweep"]
    assert len(swept) == 19
    cheapest = min(
        float(row["objective_eur"]) + float(row["penalty_eur"])
        for row in swept
        if row["status"].startswith("certified")
    )
    assert cheapest == pytest.approx(cleared["objective_eur"], rel=1e-12)
    assert taps["relaxation_clearings"] < taps["sweep_clearings"]


@pytest.mark.slow
def test_one_row_of_each_outage_is_marked_best(walked: Path) -> None:
    rows = rows_of(walked / "outages/outages.csv")
    outages = {row["outage"] for row in rows}
    assert len(outages) == 32
    assert sum(row["best"] == "true" for row in rows) == 32
    for row in rows:
        assert (row["verdict"] == "dark") == bool(row["dark_buses"])
    one_tie = rows_of(walked / "one-tie/outages.csv")
    assert {row["outage"] for row in one_tie} == {"line:5", "line:17"}
    assert {row["tie"] for row in one_tie} <= {"line:35", ""}
