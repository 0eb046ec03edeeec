"""Meter folders and load tables: what is read, what is refused, always all of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.periods import Periods
from data.readers.meter_csv import read_feeders, read_load_table, read_meter_folder
from data.records.metering import NO_VALUE_WH

START = datetime(2026, 7, 1, tzinfo=UTC)
FILES = {
    "points.csv": "connection,feeder,limit_kw,resolution_wh,register_modulus_wh\n"
    "house,A,17.25,,\nbarn,A,34.5,10,100000000\n",
    "readings.csv": "meter,connection,direction,period_start,energy_wh,quality,received_at\n"
    "M1,house,import,2026-07-01T00:00:00Z,120,measured,2026-07-02T00:00:00Z\n"
    "M1,house,import,2026-07-01T02:15:00+02:00,,measured,2026-07-02T00:00:00Z\n"
    "M1,house,import,2026-07-01T00:30:00Z,80,estimated,2026-07-02T00:00:00Z\n"
    "M1,house,export,2026-07-01T00:00:00Z,5,raw,2026-07-02T00:00:00Z\n"
    "M1,house,import,2026-07-01T00:15:00Z,101,edited,2026-07-03T00:00:00Z\n",
    "registers.csv": "meter,direction,at,register_wh,received_at\n"
    "M1,import,2026-07-01T00:00:00Z,5000,2026-07-02T00:00:00Z\n",
    "exchanges.csv": "connection,direction,at,removed_meter,final_wh,installed_meter,initial_wh,"
    "received_at\nbarn,import,2026-07-05T10:07:00Z,M8,99,M9,0,2026-07-05T12:00:00Z\n",
    "tampers.csv": "meter,kind,start,end,received_at\n"
    "M1,cover_open,2026-07-01T00:00:00Z,,2026-07-02T00:00:00Z\n",
}


def write(folder: Path, **changed: str) -> Path:
    for name, text in FILES.items():
        (folder / name).write_text(changed.get(name.split(".")[0], text))
    return folder


def test_a_meter_folder_keeps_messages_and_revisions(tmp_path: Path) -> None:
    found = read_meter_folder(write(tmp_path))
    assert [point.limit_w for point in found.points] == [17_250, 34_500]
    assert [point.resolution_wh for point in found.points] == [1, 10]
    first, export, revision = found.batches
    assert first.value_wh.tolist() == [120, NO_VALUE_WH, 80]
    assert first.received_at == START + timedelta(days=1)
    assert export.direction == "export"
    assert (revision.value_wh.tolist(), revision.periods.start) == (
        [101],
        START + timedelta(minutes=15),
    )
    assert found.registers[0].register_wh == 5000
    assert found.exchanges[0].installed_meter == "M9"
    assert found.tampers[0].end is None


def test_only_points_and_readings_are_needed(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("registers.csv", "exchanges.csv", "tampers.csv"):
        (tmp_path / name).unlink()
    assert len(read_meter_folder(tmp_path).batches) == 3
    (tmp_path / "points.csv").unlink()
    with pytest.raises(InputError, match=r"points\.csv: cannot be read"):
        read_meter_folder(tmp_path)


def test_every_problem_of_every_file_is_named(tmp_path: Path) -> None:
    readings = FILES["readings.csv"]
    bad = (
        readings
        + "M2,shed,sideways,2026-07-01T00:00:00Z,1.5,guessed,2026-07-02T00:00:00Z\n"
        + "M1,house,export,2026-07-01T00:00:00Z,5,raw,2026-07-02T00:00:00Z\n"
        + "M1,house,export,2026-07-01T00:07:00Z,5,raw,2026-07-02T00:00:00Z\n"
        + "M1,house,export,2026-07-01 00:45,5,raw,2026-07-02T00:00:00Z\n"
    )
    write(tmp_path, readings=bad, points=FILES["points.csv"] + "house,B,many,,\n")
    with pytest.raises(InputError) as refused:
        read_meter_folder(tmp_path)
    text = str(refused.value)
    for words in (
        "limit_kw is 'many'", "'house' stands there twice", "direction is 'sideways'",
        "energy_wh is '1.5'", "quality is 'guessed'", "not in points.csv", "00:00:00Z twice",
        "not on the grid", "period_start is '2026-07-01 00:45'",
    ):  # fmt: skip
        assert words in text, words


def test_feeders_need_every_period(tmp_path: Path) -> None:
    periods = Periods(start=START, count=2)
    path = tmp_path / "feeders.csv"
    head = "feeder,period_start,energy_wh\nA,2026-07-01T00:00:00Z,500\n"
    path.write_text(head + "A,2026-07-01T00:15:00Z,-20\n")
    assert read_feeders(path, periods)["A"].tolist() == [500, -20]
    path.write_text(head)
    with pytest.raises(InputError, match="1 periods lack"):
        read_feeders(path, periods)


def test_a_load_table_takes_its_period_length_from_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text(
        "period_start,a,b\n2026-07-01T00:00:00Z,1,2\n2026-07-01T00:30:00Z,,4.5\n"
        "2026-07-01T01:00:00Z,3,0\n"
    )
    found = read_load_table(path)
    assert (found.names, found.periods.mtu_minutes) == (("a", "b"), 30)
    assert np.isnan(found.energy_wh[1, 0])
    assert found.energy_wh[:, 1].tolist() == [2, 4.5, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("start,a\n", "first column is not period_start"),
        ("period_start,a\n2026-07-01T00:00:00Z,1\n", "has 1 periods"),
        ("period_start,a\n2026-07-01T00:00:00Z,x\n2026-07-01T00:15:00Z,1\n", "a is 'x'"),
        ("period_start,a\n2026-07-01T00:00:00Z,1\n2026-07-01T00:15:00Z,1\n2026-07-01T01:15:00Z,1\n",
         "1 rows do not follow"),
        ("period_start,a\n2026-07-01T00:15:00Z,1\n2026-07-01T00:00:00Z,1\n", "do not follow"),
    ],
)  # fmt: skip
def test_bad_load_tables_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "load.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_load_table(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_load_table(tmp_path / "none.csv")
