"""A comparison: its numbers computed once more from the CSV files, with pandas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dso.cli.main import main
from dso.studies import parse_settings
from dso.studies.history import change_study
from tests.support.small_study import CLOCK, small_folder

H = 1.0
PRICE = 40.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base (overvoltage), a battery that takes it, and a rating and cap that bind."""
    place = tmp_path_factory.mktemp("compare")
    small_folder(place / "base")
    for name, settings in (
        ("battery", ["battery.big={bus=17, p_mw=3, energy_mwh=12, efficiency=0.9}"]),
        ("narrow", ["line.16.max_i_ka=0.05", "import_mw_max=1.2",
                    "generation.gas={bus=1, p_mw=2, price_eur_per_mwh=90}"]),
    ):  # fmt: skip
        assert main(["study", "new", str(place / name), "--from", str(place / "base")]) == 0
        change_study(place / name, parse_settings(settings), clock=CLOCK)
    words = [str(place / name) for name in ("base", "battery", "narrow")]
    assert main(["compare", *words, "--out", str(place / "out"), "--quiet"]) == 0
    return place


NAMES = ("base", "battery", "narrow")


def figures(place: Path) -> pd.DataFrame:
    table = pd.read_csv(place / "out" / "figures.csv")
    return table.pivot(index="study", columns="figure", values="value")


@pytest.mark.parametrize("name", NAMES)
def test_key_figures_are_those_of_the_tables(place: Path, name: str) -> None:
    result = place / name / "result"
    found = figures(place).loc[name]
    prices = pd.read_csv(result / "prices.csv").dlmp_p_eur_per_mwh
    assert found.price_eur_per_mwh_mean == pytest.approx(prices.mean(), rel=1e-10)
    assert found.price_eur_per_mwh_min == pytest.approx(prices.min(), abs=1e-9)
    assert found.price_eur_per_mwh_max == pytest.approx(prices.max(), rel=1e-10)
    exchange = pd.read_csv(result / "substation.csv").import_mw
    assert found.import_mwh == pytest.approx(exchange.clip(lower=0).sum() * H)
    assert found.export_mwh == pytest.approx(-exchange.clip(upper=0).sum() * H)
    assert found.import_mw_peak == pytest.approx(max(exchange.max(), 0))
    assert found.export_mw_peak == pytest.approx(max(-exchange.min(), 0))
    awards = pd.read_csv(result / "awards.csv")
    profiles = pd.read_csv(place / name / "profiles.csv")
    losses = exchange.sum() * H + awards.energy_mwh.sum() - profiles.p_mw.sum() * H
    assert found.losses_mwh == pytest.approx(losses, abs=1e-9)
    assert losses > 0
    summary = json.loads((result / "summary.json").read_text())
    assert found.objective_eur == pytest.approx(summary["objective_eur"])
    voltages = pd.read_csv(result / "buses.csv").query("bus != 0").vm_pu
    assert found.vm_pu_min == pytest.approx(voltages.min())
    assert found.vm_pu_max == pytest.approx(voltages.max())
    loadings = pd.read_csv(result / "branches.csv").loading_percent
    assert found.loading_percent_max == pytest.approx(loadings.max())


@pytest.mark.parametrize("name", NAMES)
def test_curtailed_is_what_was_cheap_and_not_taken(place: Path, name: str) -> None:
    orders = json.loads((place / name / "orders.json").read_text())
    cheap = {
        order["id"]: order["p_mw_max"]
        for order in orders
        if order["kind"] == "generation" and order["price_eur_per_mwh"] < PRICE
    }
    awards = pd.read_csv(place / name / "result" / "awards.csv")
    taken = awards[awards.order.isin(cheap)].energy_mwh.sum()
    expected = sum(np.sum(np.broadcast_to(p, 4)) for p in cheap.values()) * H - taken
    assert figures(place).loc[name].curtailed_mwh == pytest.approx(expected, abs=1e-9)
    assert set(cheap) == {"pv"}
    if name != "battery":
        assert expected > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_each_binding_limit_has_its_periods_and_shadow_price(place: Path, name: str) -> None:
    result = place / name / "result"
    parts = pd.read_csv(result / "price_parts.csv")
    parts.loc[parts.element_kind.isin(["line", "trafo"]), "side"] = ""
    limits = pd.read_csv(place / "out" / "limits.csv", keep_default_na=False)
    limits = limits[limits.study == name].set_index(["element_kind", "element", "side"])
    found = parts.groupby(["element_kind", "element", "side"])
    assert set(limits.index) == set(found.groups)
    branches, buses = pd.read_csv(result / "branches.csv"), pd.read_csv(result / "buses.csv")
    for key, own in found:
        row = limits.loc[key]
        kind, element, side = key
        assert row.periods == own.period_start.nunique()
        assert row.first_period_start == own.period_start.min()
        assert row.last_period_start == own.period_start.max()
        summed = own.groupby(["bus", "period_start"]).p_eur_per_mwh.sum()
        largest = summed.loc[summed.abs().idxmax()]
        assert row.largest_price_part_eur_per_mwh == pytest.approx(largest)
        if kind == "bus":
            column = f"shadow_price_{side}_eur_per_pu_h"
            shadow = buses[buses.bus == element][column].sum() * H
        elif kind == "ext_grid":
            shadow = summed.loc[0].abs().sum() * H
        else:
            mine = branches[(branches.element_kind == kind) & (branches.element == element)]
            shadow = mine.shadow_price_eur_per_mva_h.sum() * H
        assert row.shadow_price_sum == pytest.approx(shadow)
        assert shadow > 0
    if name == "narrow":
        assert {kind for kind, _, _ in found.groups} == {"line", "ext_grid"}


def test_bus_prices_and_differences(place: Path) -> None:
    table = pd.read_csv(place / "out" / "buses.csv").set_index(["study", "bus"])
    means = {}
    for name in NAMES:
        prices = pd.read_csv(place / name / "result" / "prices.csv")
        means[name] = prices.groupby("bus").dlmp_p_eur_per_mwh.mean()
        own = table.loc[name]
        assert np.allclose(own.price_eur_per_mwh_mean, means[name], rtol=1e-10)
        difference = means[name] - means["base"]
        assert np.allclose(own.difference_of_means_eur_per_mwh, difference, atol=1e-9)
    assert (means["battery"] - means["base"]).abs().max() > 1


def test_json_and_csv_say_the_same(place: Path) -> None:
    stored = json.loads((place / "out" / "compare.json").read_text())
    table = pd.read_csv(place / "out" / "figures.csv").set_index(["figure", "study"])
    for study in stored["studies"]:
        for name, change in study["difference"].items():
            row = table.loc[(name, study["name"])]
            assert row.value == pytest.approx(study["figures"][name])
            assert row.difference == pytest.approx(change)


def test_what_is_cleared_is_not_cleared_again_unless_the_study_changed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = place / "base" / "result" / "summary.json"
    before = kept.stat().st_mtime_ns
    words = [str(place / "base"), str(place / "battery")]
    assert main(["compare", *words, "--quiet"]) == 0
    assert kept.stat().st_mtime_ns == before
    again = place / "again"
    assert main(["compare", *words, str(place / "narrow"), "--out", str(again), "--quiet"]) == 0
    for path in sorted((place / "out").iterdir()):
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name
    copy = place / "copy"
    assert main(["study", "new", str(copy), "--from", str(place / "base")]) == 0
    assert main(["compare", words[0], str(copy), "--quiet"]) == 0
    first = json.loads((copy / "result" / "summary.json").read_text())
    change_study(copy, parse_settings(["import_price.factor=2"]), clock=CLOCK)
    assert main(["compare", words[0], str(copy), "--quiet"]) == 0
    second = json.loads((copy / "result" / "summary.json").read_text())
    assert second["input_sha256"] != first["input_sha256"]
    # an output that carries its study, and a result in its study, say which study they are of
    kept = json.loads((copy / "result" / "summary.json").read_text())
    assert main(["clear", str(copy), "--out", str(place / "cleared")]) == 0
    both = [str(place / "cleared"), str(copy / "result")]
    assert main(["compare", *both, "--out", str(place / "both"), "--quiet"]) == 0
    stored = json.loads((place / "both" / "compare.json").read_text())["studies"]
    assert [study["input_sha256"] for study in stored] == [kept["input_sha256"]] * 2
    assert set(stored[1]["difference"].values()) == {0}
    assert not (place / "cleared" / "study" / "result").exists()
    # an output that is named must be the study's own
    capsys.readouterr()
    assert main(["compare", words[0], f"{copy}={place / 'base' / 'result'}"]) == 2
    assert "input_sha256 differs" in capsys.readouterr().err


def test_an_infeasible_study_is_compared_and_said(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = tmp_path / "worse"
    assert main(["study", "new", str(worse), "--from", str(place / "base")]) == 0
    change_study(worse, parse_settings(["load.scale=12"]), clock=CLOCK)
    words = [str(place / "base"), str(worse)]
    assert main(["compare", *words, "--out", str(tmp_path / "out"), "--quiet"]) == 3
    assert "infeasible" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "figures.csv").set_index(["figure", "study"])
    assert np.isnan(table.loc[("objective_eur", "worse")].value)
    assert b"infeasible" in (tmp_path / "out" / "index.html").read_bytes()


def test_bad_input_is_all_listed_and_nothing_cleared(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = tmp_path / "fresh"
    assert main(["study", "new", str(fresh), "--from", str(place / "base")]) == 0
    capsys.readouterr()
    assert main(["compare", str(fresh), "nowhere", "nothing"]) == 2
    assert "2 problems" in capsys.readouterr().err
    assert not (fresh / "result").exists()
    assert main(["compare", str(fresh)]) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert main(["compare", str(fresh), str(fresh), "--out", str(tmp_path / "mine")]) == 2
    assert not (fresh / "result").exists()
