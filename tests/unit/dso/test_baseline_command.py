"""`dso baseline compare` on plain files: tables, page, same bytes, and what is refused."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from dso.cli.main import main

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
DAYS, HOUSES = 70, 4
QUICK = ("--timezone", "UTC", "--repeats", "1", "--methods", "mid-8-of-10,rolling-5,nominated")


def write_readings(path: Path, *, gamer_kw: float = 0.0, days: int = DAYS) -> list[datetime]:
    """Write hourly households with noise; one raises its load before every third working day."""
    generator = np.random.default_rng(4)
    shape = 400 + 300 * np.sin(np.arange(days * 24) * 2 * np.pi / 24)
    wh = shape[:, None] * generator.uniform(0.7, 1.3, (days * 24, HOUSES))
    rows = [d for d in range(29, days - 1) if d % 7 < 5][::3]
    for row in rows:
        wh[row * 24 + 14 : row * 24 + 17, 0] += gamer_kw * 1e3
    lines = ["period_start," + ",".join(f"house-{k}" for k in range(HOUSES))]
    for hour, values in enumerate(wh):
        start = MONDAY + timedelta(hours=hour)
        lines.append(f"{start:%Y-%m-%dT%H:%M:%SZ}," + ",".join(f"{v:.0f}" for v in values))
    path.write_text("\n".join(lines) + "\n")
    return [MONDAY + timedelta(days=row, hours=17) for row in rows]


def test_tables_page_and_judgement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    starts = write_readings(tmp_path / "load.csv", gamer_kw=0.5)
    events = "connection,start\n" + "".join(f",{s:%Y-%m-%dT%H:%M:%SZ}\n" for s in starts)
    (tmp_path / "events.csv").write_text(events)
    words = ["baseline", "compare", str(tmp_path / "load.csv"), *QUICK]
    words += ["--events", str(tmp_path / "events.csv")]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert "flagged: house-0 (raised before" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "b")]) == 0
    names = {"methods.csv", "detection.csv", "gaming.csv", "delivery.csv", "index.html",
             "laboratory.json"}  # fmt: skip
    assert {entry.name for entry in (tmp_path / "a").iterdir()} == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    with (tmp_path / "a/methods.csv").open() as stream:
        methods = {row["method"]: row for row in csv.DictReader(stream)}
    assert set(methods) == {"mid-8-of-10", "rolling-5", "nominated"}
    with (tmp_path / "a/gaming.csv").open() as stream:
        judged = {row["connection"]: row for row in csv.DictReader(stream)}
    assert float(judged["house-0"]["before_kw"]) == pytest.approx(0.5, abs=0.1)
    assert judged["house-0"]["raised_before"] == "true"
    summary = json.loads((tmp_path / "a/laboratory.json").read_text())
    assert "house-0" in summary["flagged"]
    assert summary["flagged_among_all"] == ["house-0"]
    assert summary["trials"] == HOUSES


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--methods", "best-of-all"), "'best-of-all' is unknown"),
        (("--false-alarm", "0"), "--false-alarm: 0.0 is not in"),
        (("--start", "evening"), "'evening' is no time"),
        (("--timezone", "Mars/Olympus"), "'Mars/Olympus' is unknown"),
        (("--country", "XX"), "--country"),
        (("--hours", "40", "--repeats", "0"), "2 problems"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: tuple[str, ...], message: str
) -> None:
    write_readings(tmp_path / "load.csv", days=60)
    words = ["baseline", "compare", str(tmp_path / "load.csv"), *QUICK, *extra]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_too_few_days_and_strange_events_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_readings(tmp_path / "load.csv", days=45)
    out = ("--out", str(tmp_path / "out"))
    assert main(["baseline", "compare", str(tmp_path / "load.csv"), *QUICK, *out]) == 2
    assert "working days after 28 days of warm-up" in capsys.readouterr().err
    write_readings(tmp_path / "load.csv")
    (tmp_path / "events.csv").write_text("connection,start\nbarn,2026-02-10T17:00:00Z\n,noon\n")
    words = ["baseline", "compare", str(tmp_path / "load.csv"), *QUICK, *out]
    assert main([*words, "--events", str(tmp_path / "events.csv")]) == 2
    said = capsys.readouterr().err
    assert "'barn' has no readings" in said
    assert "start is 'noon'" in said
