"""`dso forecast` on real series: the walk-through runs, and later data never gets in."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from dso.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "forecasting.md"
SERIES = ROOT / "data" / "series"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[[^\]]+\]\(([^)]+)\)")


@pytest.fixture
def at_root(tmp_path: Path) -> Path:
    """A folder with the repository's data in it, as the page's commands expect."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "series").symlink_to(SERIES)
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def lines_of_page() -> list[str]:
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.slow
def test_the_walk_through_runs(at_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = 0
    for line in lines_of_page():
        words = shlex.split(line)
        assert words[0] == "dso"
        assert main(words[1:]) == 0, line
        commands += 1
    assert commands == 5
    said = capsys.readouterr().out
    assert re.search(r"^yes +pv +\w{16} +physical-pv", said, re.MULTILINE)
    load = re.search(r"^(yes|no) +load .* (\d\.\d{3}) +\d\.\d{3}$", said, re.MULTILINE)
    assert load is not None
    assert (load[1] == "yes") == (float(load[2]) < 1.0)
    train = next(w for w in map(shlex.split, lines_of_page()) if w[2] == "train")
    assert main([*train[1:], "--if-needed"]) == 0
    assert "no reason to train again" in capsys.readouterr().out
    assert len(list((at_root / "out" / "models" / "models").iterdir())) == 2
    held = json.loads((at_root / "out" / "pv.json").read_text())
    assert {source["role"] for source in held["inputs"]} == {"readings", "weather", "site"}
    assert all(len(source["sha256"]) == 64 for source in held["inputs"])
    assert held["known_at"] == "2012-07-10T07:00:00Z"
    listed = set(re.findall(r"^\| `([\w.]+\.\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert listed == {path.name for path in (at_root / "out" / "backtest").iterdir()}
    value = quantiles(at_root / "out" / "pv.csv")
    assert value.shape == (24, 9)
    assert (np.diff(value, axis=1) >= 0.0).all()
    assert (value[:5] == 0.0).all()  # midnight to five, local
    assert value[:, 4].max() > 0.001


def test_its_pictures_are_there() -> None:
    pictures = PICTURE.findall(PAGE.read_text(encoding="utf-8"))
    assert pictures
    for picture in pictures:
        assert (PAGE.parent / picture).is_file(), picture


def quantiles(path: Path) -> np.ndarray:
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = [name for name in rows[0] if name.startswith("q")]
    return np.array([[float(row[name]) for name in names] for row in rows])


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def victoria(tmp_path: Path, until: str) -> Path:
    """Readings that had ended at an instant."""
    lines = (SERIES / "victoria_readings.csv").read_text().splitlines()
    return written(tmp_path / "readings.csv", [lines[0]] + [x for x in lines[1:] if x < until])


HORIZON = (
    "--known-at", "2014-05-20T00:00:00Z", "--start", "2014-05-20T14:00:00Z",
    "--end", "2014-05-21T14:00:00Z", "--resolution-minutes", "60",
)  # fmt: skip


def run(tmp_path: Path, *words: str) -> int:
    site = str(SERIES / "victoria_site.toml")
    return main(["forecast", "run", "--kind", "load", "--site", site, *words, *HORIZON,
                 "--model", "like-day", "--out", str(tmp_path / "out.csv")])  # fmt: skip


def test_readings_after_the_gate_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readings = victoria(tmp_path, "2014-05-20T03")
    assert run(tmp_path, "--readings", str(readings)) == 2
    said = capsys.readouterr().err
    assert "3 rows end after the gate" in said
    assert "nothing written" in said
    assert not (tmp_path / "out.csv").exists()


def test_weather_after_the_gate_needs_an_issue_time_or_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readings = victoria(tmp_path, "2014-05-20T00")
    words = ("--readings", str(readings), "--weather", str(SERIES / "victoria_weather.csv"))
    assert run(tmp_path, *words) == 2
    assert "--weather-is-forecast" in capsys.readouterr().err
    assert run(tmp_path, *words, "--weather-is-forecast") == 0
    assert "would flatter the result" in capsys.readouterr().out


def test_weather_issued_before_the_gate_is_taken_and_later_issues_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readings = victoria(tmp_path, "2014-05-20T00")
    lines = (SERIES / "victoria_weather.csv").read_text().splitlines()[1:]
    for issue, code in (("2014-05-19T18:00:00Z", 0), ("2014-05-20T06:00:00Z", 2)):
        rows = []
        for line in lines:
            start, temperature = line.split(",")
            if start < "2014-05-22":
                known = issue if start >= "2014-05-19T18" else ""
                rows.append(f"{start},{known},{temperature}")
        weather = written(tmp_path / "weather.csv", ["period_start,known_at,temperature_c", *rows])
        words = ("--readings", str(readings), "--weather", str(weather))
        assert run(tmp_path, *words) == code
    assert "were not known at the gate" in capsys.readouterr().err


def test_the_same_input_gives_the_same_bytes_and_later_rows_change_nothing(tmp_path: Path) -> None:
    readings = victoria(tmp_path, "2014-05-20T00")
    contents = []
    for _ in range(2):
        assert run(tmp_path, "--readings", str(readings)) == 0
        contents.append((tmp_path / "out.csv").read_bytes() + (tmp_path / "out.json").read_bytes())
    assert contents[0] == contents[1]


def test_a_dead_meter_is_said_and_the_band_is_wider(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readings = victoria(tmp_path, "2014-05-20T00")
    assert run(tmp_path, "--readings", str(readings)) == 0
    clean = quantiles(tmp_path / "out.csv")
    lines = readings.read_text().splitlines()
    frozen = [f"{line.split(',')[0]},4321.5" for line in lines[-48:]]
    written(readings, lines[:-48] + frozen)
    assert run(tmp_path, "--readings", str(readings)) == 0
    said = capsys.readouterr().out
    assert "flatline from 2014-05-18T00:00:00Z until now" in said
    assert "readings dead since 2014-05-18T00:00:00Z; last good model like-day/1" in said
    faulty = quantiles(tmp_path / "out.csv")
    assert (faulty[:, 8] - faulty[:, 0]).mean() > 1.05 * (clean[:, 8] - clean[:, 0]).mean()
    held = json.loads((tmp_path / "out.json").read_text())
    assert held["faults"][0]["kind"] == "flatline"
    assert held["fallbacks"]


def test_many_series_stand_below_each_other(tmp_path: Path) -> None:
    lines = victoria(tmp_path, "2014-05-20T00").read_text().splitlines()[1:]
    rows = []
    for line in lines:
        start, value = line.split(",")
        rows.append(f"{start},{float(value):g},{float(value) / 2:g}")
    wide = written(tmp_path / "wide.csv", ["period_start,north,south", *rows])
    assert run(tmp_path, "--readings", str(wide), "--wide") == 0
    with (tmp_path / "out.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [row["series"] for row in found] == ["north"] * 24 + ["south"] * 24
    assert float(found[0]["q50"]) == pytest.approx(2 * float(found[24]["q50"]))
    assert run(tmp_path, "--readings", str(wide)) == 2


def test_percentiles(tmp_path: Path) -> None:
    readings = victoria(tmp_path, "2014-05-20T00")
    assert run(tmp_path, "--readings", str(readings), "--quantiles", "99") == 0
    value = quantiles(tmp_path / "out.csv")
    assert value.shape == (24, 99)
    assert (np.diff(value, axis=1) >= 0.0).all()
    assert run(tmp_path, "--readings", str(readings), "--quantiles", "7") == 2


def test_a_third_party_s_forecast_is_compared_and_ours_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readings = victoria(tmp_path, "2014-05-20T00")
    assert run(tmp_path, "--readings", str(readings)) == 0
    ours = (tmp_path / "out.csv").read_bytes()
    rows = [
        f"2014-05-{20 + (14 + k) // 24:02d}T{(14 + k) % 24:02d}:00:00Z,2014-05-19T20:00:00Z,6900"
        for k in range(24)
    ]
    other = written(tmp_path / "vendor.csv", ["period_start,known_at,q50", *rows])
    words = ("--readings", str(readings), "--third-party", str(other))
    assert run(tmp_path, *words) == 0
    assert (tmp_path / "out.csv").read_bytes() == ours
    assert "of its medians lie outside our 10-90 % band; ours is served" in capsys.readouterr().out
    held = json.loads((tmp_path / "out.json").read_text())["third_party"][0]
    assert held["apart_share"] > 0.8
    assert held["covered"] == 24
    assert held["source"]["issued_at"] == "2014-05-19T20:00:00Z"
    written(
        other, ["period_start,q50", *(row.replace(",2014-05-19T20:00:00Z", "") for row in rows)]
    )
    assert run(tmp_path, *words) == 2


def test_all_problems_are_listed_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readings = written(
        tmp_path / "readings.csv",
        ["period_start,value_mw", "2014-05-01T00:00:00Z,1", "2014-05-01T00:00:00Z,2",
         "2014-05-01T01:30:00Z,3"],
    )  # fmt: skip
    weather = written(tmp_path / "weather.csv", ["period_start,x_c", "yesterday,1", "2014,nan"])
    site = written(tmp_path / "site.toml", ["latitude = 99.0", 'roof = "red"'])
    words = ("--readings", str(readings), "--weather", str(weather), "--site", str(site))
    assert run(tmp_path, *words) == 2
    said = capsys.readouterr().err
    for part in ("comes twice", "off the raster", "'yesterday'", "x_c is 'nan'", "latitude",
                 "roof: is no setting"):  # fmt: skip
        assert part in said, part
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--known-at", "2014-05-20T00:00:00"),
        ("--end", "2014-05-20T14:30:00Z"),
        ("--start", "2014-05-19T14:00:00Z"),
        ("--model", "crystal-ball"),
        ("--model", "physical-pv"),
    ],
)
def test_a_wrong_word_ends_with_2(tmp_path: Path, words: tuple[str, str]) -> None:
    readings = victoria(tmp_path, "2014-05-20T00")
    line = ["forecast", "run", "--kind", "load", "--readings", str(readings), *HORIZON,
            "--model", "like-day", "--out", str(tmp_path / "out.csv"), *words]  # fmt: skip
    assert main(line) == 2


def test_a_net_load_with_plants_is_forecast_by_its_parts(at_root: Path) -> None:
    """Forty days of hours: a village whose PV plants stand in the site's file."""
    from datetime import UTC, datetime

    from data.periods import Periods
    from forecasting.disaggregation import solar_yield

    start, count, gate = datetime(2021, 5, 1, tzinfo=UTC), 42 * 24, 41 * 24
    periods = Periods(start=start, count=count, mtu_minutes=60)
    draw, hour = np.random.default_rng(2), np.arange(count) % 24
    cloud = np.repeat(draw.uniform(0.1, 1.0, 42), 24)
    ghi = 900.0 * np.maximum(np.sin(np.pi * (hour - 4) / 16), 0.0) * cloud
    net = 6.0 + np.sin(hour / 4.0) - 8.0 * solar_yield(ghi, periods, 52.0, 5.5)
    net += draw.normal(0.0, 0.2, count)
    for name, column, series in (("net", "value_mw", net[:gate]), ("sun", "ghi_w_per_m2", ghi)):
        rows = [f"{label},{value:.5f}" for label, value in zip(periods.labels(), series)]  # noqa: B905 - readings end at the gate
        Path(f"{name}.csv").write_text("\n".join([f"period_start,{column}", *rows]) + "\n")
    Path("site.toml").write_text(
        'latitude = 52.0\nlongitude = 5.5\nsolar_mw = 10.0\ntimezone = "Europe/Amsterdam"\n'
    )
    words = ["forecast", "run", "--kind", "net", "--readings", "net.csv", "--weather", "sun.csv"]
    words += ["--weather-is-forecast", "--site", "site.toml", "--resolution-minutes", "60"]
    words += ["--known-at", periods.labels()[gate], "--start", periods.labels()[gate]]
    words += ["--end", "2021-06-12T00:00:00Z", "--out", "out/net.csv"]
    assert main(words) == 0
    said = json.loads(Path("out/net.json").read_text())
    assert said["model"]["id"] == "net-parts/1", said["model"]
    found = quantiles(Path("out/net.csv"))
    assert np.abs(found[:, 4] - net[gate:]).mean() < 0.5
    assert main([*words[:-1], "out/again.csv"]) == 0
    assert Path("out/again.csv").read_bytes() == Path("out/net.csv").read_bytes()
