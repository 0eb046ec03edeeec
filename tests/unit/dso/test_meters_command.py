"""`dso meters` on plain files: validation, the sum check and Green Button import."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from data.periods import Periods
from data.readers.meter_csv import read_meter_folder
from dso.cli.main import main
from dso.metering.files import write_meter_folder
from tests.support.green_button_feed import Register, feed
from tests.support.metered_street import START, batch_of, files_of, street


def test_validate_writes_every_value_with_its_mark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    periods = Periods(start=START, count=192)
    wh = np.full((192, 1), 100)
    wh[50, 0] = -3
    files = files_of(["house"], wh, periods, {"house": "A"})
    gaps = batch_of("house", wh[:, 0], periods, missing=[10, 11])
    write_meter_folder(type(files)(points=files.points, batches=(gaps,)), tmp_path / "meters")
    assert read_meter_folder(tmp_path / "meters").batches[0].sha256 == gaps.sha256
    words = ["meters", "validate", str(tmp_path / "meters"), "--out", str(tmp_path / "out")]
    assert main([*words, "--timezone", "UTC"]) == 0
    said = capsys.readouterr().out
    assert "values below zero in 1 periods" in said
    assert "3 values substituted, 0 open" in said
    with (tmp_path / "out/values/house.import.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [rows[k]["method"] for k in (9, 10, 11, 50)] == ["as_read", *["interpolated"] * 3]
    assert rows[10]["flags"] == "gap"
    assert rows[50]["energy_wh"] == "100"
    summary = json.loads((tmp_path / "out/meters.json").read_text())
    assert summary[0]["substituted"] == 3


def test_check_names_thief_and_swap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = street(0, days=15)
    wh, thief = at.metered(), at.place(at.biggest("A", 2))
    wh[:, thief] = np.rint(0.4 * wh[:, thief])
    pair = (at.biggest("A", 7), at.biggest("B", 12))
    mapping = {**at.feeder, pair[0]: "B", pair[1]: "A"}
    folder = tmp_path / "meters"
    write_meter_folder(files_of(at.names, wh, at.periods, mapping), folder)
    lines = [
        f"{series.feeder},{label},{value}"
        for series in at.feeders()
        for label, value in zip(at.periods.labels(), series.energy_wh, strict=True)
    ]
    (folder / "feeders.csv").write_text("feeder,period_start,energy_wh\n" + "\n".join(lines) + "\n")
    words = ["meters", "check", str(folder), "--out", str(tmp_path / "out"), "--timezone", "UTC"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"theft: {at.names[thief]}" in said
    assert f"swapped: {pair[1]} (mapped to A) and {pair[0]} (mapped to B)" in said
    with (tmp_path / "out/findings.csv").open() as stream:
        kinds = [row["kind"] for row in csv.DictReader(stream)]
    assert sorted(kinds) == ["swapped", "swapped", "theft"]  # a swap shows on both feeders


def test_import_makes_a_folder_that_validates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = feed(
        Register(number=1, blocks=[[(5, 0), (6, 8)]]),
        Register(number=2, blocks=[[(1, 0)]], flow=19),
    )
    (tmp_path / "feed.xml").write_bytes(content)
    words = ["meters", "import", str(tmp_path / "feed.xml"), "--meter", "M7", "--connection",
             "house-7", "--feeder", "A", "--limit-kw", "17.25", "--mtu-minutes", "60", "--out",
             str(tmp_path / "m7")]  # fmt: skip
    assert main(words) == 0
    assert "2 blocks and 0 register readings" in capsys.readouterr().out
    found = read_meter_folder(tmp_path / "m7", 60)
    assert [b.value_wh.tolist() for b in found.batches] == [[5, 6], [1]]
    assert main(["meters", "validate", str(tmp_path / "m7"), "--mtu-minutes", "60", "--out",
                 str(tmp_path / "out")]) == 0  # fmt: skip


def test_bad_input_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", str(tmp_path / "out"))
    assert main(["meters", "validate", str(tmp_path / "none"), *out]) == 2
    assert "points.csv: cannot be read" in capsys.readouterr().err
    assert main(["meters", "validate", str(tmp_path), "--known-at", "noon", *out]) == 2
    (tmp_path / "feed.xml").write_text("<feed><!-- half")
    words = ["meters", "import", str(tmp_path / "feed.xml"), "--meter", "M", "--connection", "c",
             "--feeder", "A", "--limit-kw", "17"]  # fmt: skip
    assert main([*words, *out]) == 2
    assert "is no XML" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
