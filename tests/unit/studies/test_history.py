"""A study on disk and its history: changed, taken back to the byte, cut short, edited by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.errors import InputError
from data.study import case_sha256, read_study
from dso.cli.main import main
from dso.studies import load_study, parse_settings
from dso.studies.history import (
    HISTORY_FILE,
    HISTORY_FOLDER,
    change_study,
    read_history,
    undo_change,
)
from dso.studies.sweep_spec import read_sweep
from tests.support.small_study import CLOCK, small_folder

CHANGES = (
    ["line.3.max_i_ka=0.15"],
    ["battery.b2={bus=17, p_mw=1, energy_mwh=2, efficiency=0.9}", "import_price.factor=1.5"],
    ["load.scale=1.1"],
)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def study_files(folder: Path) -> dict[str, bytes]:
    return {
        name: content
        for name, content in files(folder).items()
        if name != HISTORY_FILE and not name.startswith(HISTORY_FOLDER)
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_folder(tmp_path / "study")


def test_changes_are_written_down_and_taken_back_to_the_byte(folder: Path) -> None:
    states = [files(folder)]
    for texts in CHANGES:
        change_study(folder, parse_settings(texts), clock=CLOCK, who="anna")
        states.append(files(folder))
    history = read_history(folder)
    assert [change.number for change in history] == [0, 1, 2, 3]
    assert history[1].what == (("line.3.max_i_ka", 99999.0, 0.15),)
    assert history[2].what[1] == ("import_price.factor", 40.0, 1.5)
    assert {change.when for change in history} == {"2026-06-01T09:30:00Z"}
    assert [change.who for change in history] == ["", "anna", "anna", "anna"]
    assert history[-1].sha256 == case_sha256(read_study(folder))
    for state in reversed(states[:-1]):
        undo_change(folder)
        assert files(folder) == state
    with pytest.raises(InputError, match="no change to take back"):
        undo_change(folder)


def test_a_study_written_by_hand_can_be_changed_and_taken_back(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        '# mine\nname = "by hand"\nstart = 2016-07-24T22:00:00Z\nperiods = 96\n'
        'timezone = "Europe/Berlin"\nnetwork = "simbench:1-LV-rural1--0-sw"\n'
        '[profiles]\nsource = "simbench"\nday = 2016-07-25\n[import_price]\neur_per_mwh = 30\n'
    )
    (tmp_path / "orders.json").write_text("[]")
    before = study_files(tmp_path)
    energy = read_study(tmp_path).load_p_mw.sum()
    change_study(tmp_path, parse_settings(["load.scale=2"]), clock=CLOCK)
    assert read_study(tmp_path).load_p_mw.sum() == pytest.approx(2 * energy, rel=1e-10)
    undo_change(tmp_path)
    assert study_files(tmp_path) == before


def test_bad_settings_change_nothing_and_are_all_listed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(folder)
    wrong = ["line.99.max_i_ka=1", "limits.vm_pu_max=no", "colour=red", "load.scale=1.1"]
    assert main(["study", "set", str(folder), *wrong]) == 2
    said = capsys.readouterr().err
    assert "3 problems; nothing written" in said
    assert all(word in said for word in ("line '99'", "limits.vm_pu_max", "colour"))
    assert files(folder) == before
    assert main(["study", "set", str(folder), "load.scale"]) == 2
    assert main(["study", "set", str(folder), "import_price.file=none.csv"]) == 2
    assert files(folder) == before


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_change_cut_short_is_taken_back_first(folder: Path, written: int) -> None:
    """The files of a change replaced up to some point, and no line in the history."""
    before = study_files(folder)
    settings = parse_settings(CHANGES[1])
    change_study(folder, settings, clock=CLOCK)
    after = study_files(folder)
    lines = (folder / HISTORY_FILE).read_text().splitlines(keepends=True)
    (folder / HISTORY_FILE).write_text("".join(lines[:-1]))
    changed = sorted(name for name in after if after[name] != before.get(name))
    assert len(changed) == 2
    for name in changed[written:]:
        (folder / name).write_bytes(before[name])
    with pytest.raises(InputError):
        undo_change(folder)  # there is no finished change
    assert study_files(folder) == before
    change_study(folder, settings, clock=CLOCK)
    assert study_files(folder) == after
    assert [change.number for change in read_history(folder)] == [0, 1]


def test_what_was_edited_by_hand_is_not_lost_by_undo(folder: Path) -> None:
    change_study(folder, parse_settings(CHANGES[1]), clock=CLOCK)
    orders = json.loads((folder / "orders.json").read_text())
    orders[0]["participant"] = "somebody else"
    (folder / "orders.json").write_text(json.dumps(orders))
    with pytest.raises(InputError, match="edited by hand"):
        undo_change(folder)
    assert "somebody else" in (folder / "orders.json").read_text()
    undo_change(folder, force=True)
    assert "somebody else" not in (folder / "orders.json").read_text()


def test_a_cleared_folder_is_copied_instead_of_changed(folder: Path, tmp_path: Path) -> None:
    cleared = tmp_path / "run" / "clearing"
    assert main(["study", "new", str(cleared), "--from", str(folder)]) == 0
    assert main(["clear", str(cleared), "--out", str(cleared), "--force"]) == 0
    for place in (cleared, tmp_path / "run", tmp_path / "nowhere"):
        assert main(["study", "set", str(place), "load.scale=2"]) == 2
        assert main(["study", "undo", str(place)]) == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["clearing"]
    assert main(["study", "new", str(tmp_path / "what-if"), "--from", str(tmp_path / "run")]) == 0
    assert main(["study", "set", str(tmp_path / "what-if"), "load.scale=2", "--by", "anna"]) == 0
    assert not (tmp_path / "what-if" / "summary.json").exists()
    assert load_study(cleared).sha256 == load_study(folder).sha256


def test_a_new_study_does_not_touch_what_is_there(folder: Path, tmp_path: Path) -> None:
    before = files(folder)
    assert main(["study", "new", str(folder), "--template", "case33bw-pv"]) == 2
    assert files(folder) == before
    bad = ["study", "new", str(tmp_path / "new"), "--network", "pandapower:case33bw"]
    assert main([*bad, "--day", "2026-06-01"]) == 2  # no price, no line limits
    assert main([*bad, "--day", "2026-06-01", "--limit", "vm_pu_mix=3"]) == 2
    assert main(bad) == 2
    assert main(["study", "new", str(tmp_path / "new"), "--template", "none"]) == 2
    assert main(["study", "new", str(tmp_path / "new"), "--template", "case33bw-pv",
                 "--import-price", "3"]) == 2  # fmt: skip
    assert not (tmp_path / "new").exists()


def test_prices_come_from_a_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = read_study(folder).periods.labels()
    rows = "".join(f"{start},{price}\n" for start, price in zip(starts, (9, 8, -7, 6), strict=True))
    (tmp_path / "dear.csv").write_text("period_start,eur_per_mwh\n" + rows)
    (tmp_path / "short.csv").write_text("period_start,eur_per_mwh\n" + rows[:30])
    monkeypatch.chdir(tmp_path)
    assert main(["study", "set", str(folder), "import_price.file=dear.csv"]) == 0
    assert read_study(folder).import_price_eur_per_mwh.tolist() == [9.0, 8.0, -7.0, 6.0]
    assert read_history(folder)[-1].what == (("import_price.file", 40.0, "dear.csv"),)
    assert main(["study", "set", str(folder), "import_price.file=short.csv"]) == 2
    (tmp_path / "sweep.toml").write_text(
        f'base = "{folder}"\n[grid]\n"import_price.file" = ["dear.csv"]\n'
        '"load.scale" = [0.9, 1.0]\n'
    )
    monkeypatch.chdir("/")
    variants = read_sweep(tmp_path / "sweep.toml").variants
    assert [setting.key for setting in variants[0].settings] == [
        "import_price.eur_per_mwh", "load.scale",
    ]  # fmt: skip
    assert variants[0].settings[0].value == [9.0, 8.0, -7.0, 6.0]


def test_show_prints_study_and_history(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_study(folder, parse_settings(CHANGES[0]), clock=CLOCK, who="anna")
    capsys.readouterr()
    assert main(["study", "show", str(folder)]) == 0
    said = capsys.readouterr().out
    for words in (
        "pandapower:case33bw: 33 buses, 37 lines, 0 transformers",
        "line:3 max_i_ka = 0.15",
        "40 to 40 EUR/MWh",
        "1 generation, 1 storage",
        "0  2026-06-01T09:30:00Z  new a test",
        "1  2026-06-01T09:30:00Z anna  line.3.max_i_ka: 99999.0 -> 0.15",
        read_history(folder)[-1].sha256,
    ):
        assert words in said
