"""`dso explain` on results as commands leave them: words, numbers, JSON, refusals."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from dso.cli.main import main
from tests.support.clearing_folder import write_clearing

PRICE_KEYS = {
    "schema", "kind", "run", "sentences", "notes", "bus", "bus_name", "period", "period_start",
    "dlmp_p_eur_per_mwh", "dlmp_q_eur_per_mvarh", "import_price_eur_per_mwh", "parts",
    "price_range", "shortages",
}  # fmt: skip
ORDER_KEYS = {
    "schema", "kind", "run", "sentences", "notes", "order", "order_kind", "status", "reason",
    "surplus_eur", "offered_mwh", "awarded_mwh", "deciding_period_start",
    "order_price_eur_per_mwh", "market_price_eur_per_mwh", "parts", "binding_element",
    "other_order", "threshold", "size", "best_use", "periods",
}  # fmt: skip
LIMIT_KEYS = {
    "voltage": {"limit_pu", "sensitivity_pu_per_mw", "shadow_price_eur_per_pu_h"},
    "line": {"limit_mva", "sensitivity_mva_per_mw", "shadow_price_eur_per_mva_h"},
}
COMMON_KEYS = {"cause", "part_eur_per_mwh", "element_kind", "element", "side", "name"}


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds study and result, as a clearing of `dso day` does."""
    folder = tmp_path_factory.mktemp("run") / "clearing"
    write_clearing(folder)
    return folder


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    write_clearing(folder, vm_pu_min=0.93)
    return folder


@pytest.fixture(scope="module")
def line_result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """V4 of reference case33bw, cleared by the command; the study is gone afterwards."""
    import pandapower
    import pandapower.networks

    folder = tmp_path_factory.mktemp("v4")
    net = pandapower.networks.case33bw()
    net.ext_grid["vm_pu"] = 1.0
    net.line.loc[5, "max_i_ka"] = 0.035
    net.line["max_loading_percent"] = 1e6
    net.line.loc[5, "max_loading_percent"] = 100.0
    net.bus["max_vm_pu"], net.bus["min_vm_pu"] = 1.5, 0.5
    folder.joinpath("study").mkdir()
    pandapower.to_json(net, str(folder / "study" / "network.json"))
    orders = [
        {"id": name, "kind": "generation", "participant": "A", "bus": bus, "p_mw_max": 2.0,
         "price_eur_per_mwh": 30.0}
        for name, bus in (("dg18", 17), ("dg33", 32))
    ]  # fmt: skip
    (folder / "study" / "orders.json").write_text(json.dumps(orders))
    (folder / "study" / "study.toml").write_text(
        'name = "v4"\nstart = 2026-06-01T00:00:00Z\nperiods = 1\nmtu_minutes = 60\n'
        'timezone = "Europe/Berlin"\nnetwork = "network.json"\nformulation = "ac"\n'
        "[import_price]\neur_per_mwh = 20.0\n"
    )
    assert main(["clear", str(folder / "study"), "--out", str(folder / "out")]) == 0
    shutil.rmtree(folder / "study")
    return folder / "out"


def explained(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    capsys.readouterr()
    assert main(["explain", *map(str, words)]) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, object]:
    found = json.loads(explained(capsys, *words, "--json"))
    assert isinstance(found, dict)
    return found


def refusal(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    capsys.readouterr()
    assert main(["explain", *map(str, words)]) == 2
    return capsys.readouterr().err


def published_price(folder: Path, bus: int, start: str) -> float:
    with (folder / "prices.csv").open() as stream:
        for row in csv.DictReader(stream):
            if row["bus"] == str(bus) and row["period_start"] == start:
                return float(row["dlmp_p_eur_per_mwh"])
    raise AssertionError(start)


def test_a_result_keeps_its_study_and_names_the_right_line(
    line_result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = explained(capsys, line_result, "--order", "dg18")
    assert "line 5" in text
    assert "0.562 MW would have been accepted in full" in text
    found = document(capsys, line_result, "--order", "dg33")
    assert found["reason"] == "price"
    threshold = found["threshold"]
    assert isinstance(threshold, dict)
    assert threshold["price_eur_per_mwh"] == pytest.approx(22.25674, abs=1e-4)


def test_parts_of_the_document_add_up_to_the_price_in_the_file(
    day: Path, line_result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, start in ((day, "2026-06-01T01:00:00Z"), (line_result, "2026-06-01T00:00:00Z")):
        for bus in (5, 17, 32):
            found = document(capsys, folder, "--bus", str(bus), "--period", start)
            parts = found["parts"]
            assert isinstance(parts, list)
            total = sum(round(1e6 * part["part_eur_per_mwh"]) for part in parts)
            assert total == round(1e6 * published_price(folder, bus, start))
            for part in parts:
                if part["cause"] != "limit":
                    continue
                unit = next(key for key in part if key.startswith("limit_")).split("_")[1]
                product = (
                    part[f"sensitivity_{unit}_per_mw"] * part[f"shadow_price_eur_per_{unit}_h"]
                )
                assert product == pytest.approx(part["part_eur_per_mwh"], abs=1e-6)


def test_the_fields_of_the_documents_are_these(
    day: Path, line_result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    price = document(capsys, day, "--bus", "17", "--period", "1")
    assert set(price) == PRICE_KEYS
    assert price["schema"] == "gridclear explanation 1"
    for folder, order in ((day, "pv"), (day, "battery"), (line_result, "dg33")):
        assert set(document(capsys, folder, "--order", order)) == ORDER_KEYS
    status = document(capsys, day)
    assert set(status) == {"schema", "kind", "run", "sentences", "notes", "message", "shortages",
                           "collapse"}  # fmt: skip
    for folder, kind, period in ((day, "voltage", "1"), (line_result, "line", "0")):
        parts = document(capsys, folder, "--bus", "17", "--period", period)["parts"]
        assert isinstance(parts, list)
        limit = next(part for part in parts if part["cause"] == "limit")
        assert set(limit) == COMMON_KEYS | LIMIT_KEYS[kind]


def test_two_sentences_and_a_table(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = explained(capsys, day, "--bus", "17", "--period", "03:00")
    sentences, table = text.strip().split("\n\n")
    first, second = sentences.split("\n")
    assert "DLMP at bus 17 in 2026-06-01 03:00–04:00 CEST" in first
    assert "upper voltage limit of bus 17 (1.0500 pu)" in first
    assert "would save" in second
    assert first.endswith(".")
    assert second.endswith(".")
    assert table.splitlines()[0].split() == ["part", "sensitivity", "shadow", "price", "EUR/MWh"]
    assert all(len(line) <= 120 for line in table.splitlines())


@pytest.mark.parametrize("period", ["1", "03:00", "2026-06-01 03:00", "2026-06-01T01:00:00Z",
                                    "2026-06-01T03:00:00+02:00"])  # fmt: skip
def test_a_period_has_many_names(
    day: Path, period: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, day, "--bus", "17", "--period", period)
    assert found["period_start"] == "2026-06-01T01:00:00Z"


def test_a_run_is_found_from_above_and_a_study_elsewhere(
    day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = explained(capsys, day, "--order", "pv")
    assert explained(capsys, day.parent, "--order", "pv") == here
    apart = tmp_path / "apart"
    shutil.copytree(day, apart)
    for name in ("study.toml", "orders.json"):
        (apart / name).unlink()
    assert "name the study folder with --study" in refusal(capsys, apart, "--order", "pv")
    assert explained(capsys, apart, "--study", day, "--order", "pv") == here


def test_a_shortage_is_told_without_asking_for_an_order(
    short: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = json.loads((short / "summary.json").read_text())
    worst = max(summary["violations"], key=lambda violation: violation["mw_short"])
    text = explained(capsys, short)
    assert f"The lower voltage limit of bus {worst['element']} could not hold" in text
    assert f"{worst['mw_short']:.3f} MW short" in text
    assert "What could have helped there most: pv" in text
    found = document(capsys, short)["shortages"]
    assert isinstance(found, list)
    assert sum(len(each["periods"]) for each in found) == len(summary["violations"])


def test_unknown_names_are_answered_with_near_ones(
    day: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "did you mean battery" in refusal(capsys, day, "--order", "batery")
    text = refusal(capsys, day, "--bus", "99", "--period", "26:00")
    assert "2 problems" in text
    assert "is no bus in service" in text
    assert "a number from 0 to 3" in text
    near = refusal(capsys, day, "--bus", "3", "--period", "2026-06-02T03:00:00Z")
    assert "2026-06-01T03:00:00Z" in near


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--order", "pv", "--bus", "3"], "two questions"),
        (["--bus", "3"], "add --period"),
        (["--period", "3"], "add --bus"),
    ],
)
def test_questions_that_are_none(
    day: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refusal(capsys, day, *words)


def test_a_folder_without_a_clearing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "holds no clearing" in refusal(capsys, tmp_path, "--order", "pv")


def test_a_changed_study_is_refused(
    day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(day, folder)
    text = (folder / "study.toml").read_text()
    (folder / "study.toml").write_text(text.replace("1.05", "1.06"))
    assert "input_sha256 differs" in refusal(capsys, folder, "--order", "pv")


def test_clearing_into_the_study_does_not_copy_it(
    day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "mine"
    shutil.copytree(day, study)
    assert main(["clear", str(study), "--out", str(study)]) == 0
    assert not (study / "study").exists()
    assert main(["clear", str(study), "--out", str(tmp_path / "out")]) == 0
    copied = {path.name for path in (tmp_path / "out" / "study").iterdir()}
    assert copied == {"study.toml", "orders.json", "profiles.csv", "import_price.csv"}
    assert "accepted in part" in explained(capsys, tmp_path / "out", "--order", "pv")
