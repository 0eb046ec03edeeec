"""`dso cluster` where one settlement needs more memory than a worker may have."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from distributed.system import MEMORY_LIMIT

from dso.cli.main import main
from dso.cluster import open_cluster
from dso.cluster.memory import ENDED_ABOVE
from tests.support.cluster_processes import ROOT

MIB = 2**20
# Named as a person at work in their folder names them. The scheduler sees in such names tasks that
# have nothing to do with each other.
STREETS = ("street-a", "street-b", "street-c", "street-d")
# A street takes 8 MiB beside the loaded engine, the town of 500 connections 60 MiB (measured).
BETWEEN_MIB = 30
ACTIVATIONS = (
    "participant,connection,period_start,baseline_mw,ordered_mw,meter_mw,price_eur_per_mwh,"
    "penalty_eur_per_mwh,rule"
)
START = datetime(2026, 5, 1, tzinfo=UTC)
pytestmark = pytest.mark.filterwarnings("default::ResourceWarning")


def write_settlement(folder: Path, connections: int, periods: int) -> None:
    """Consumers who bought 0.6 MWh an hour and took a little more."""
    times = [f"{START + timedelta(hours=k):%Y-%m-%dT%H:%M:%SZ}" for k in range(periods)]
    positions = [
        f"p{number},c{number},1,{each},-0.6,-0.6,-0.61"
        for number in range(connections)
        for each in times
    ]
    files = {
        "settlement.toml": ['mtu_minutes = 60\nimbalance = "single"\nrefund = "retain"'],
        "positions.csv": [
            "participant,connection,bus,period_start,da_mwh,id_mwh,meter_mwh", *positions,
        ],
        "prices.csv": [
            "bus,period_start,dlmp_da_eur_per_mwh,dlmp_id_eur_per_mwh,imbalance_eur_per_mwh",
            *(f"1,{each},50,50,60" for each in times),
        ],
        "activations.csv": [ACTIVATIONS],
        "substation.csv": [
            "period_start,import_mwh,import_price_eur_per_mwh",
            *(f"{each},{0.61 * connections:.2f},50" for each in times),
        ],
    }  # fmt: skip
    folder.mkdir()
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The town first, so that the streets wait while it takes its worker with it."""
    place = tmp_path / "settlements"
    place.mkdir()
    write_settlement(place / "town", connections=500, periods=96)
    for number, name in enumerate(STREETS):
        write_settlement(place / name, connections=3 + number, periods=24)
    monkeypatch.chdir(place)
    return ("town", *STREETS)


# `dso` in a process of its own, with a limit that suffices for the streets alone.
BOUNDED = f"""
import math, sys
from dso.cli.main import main
from dso.cluster.fork_server import start_fork_server
limit = math.ceil((start_fork_server() / 2**20 + {BETWEEN_MIB}) / {ENDED_ABOVE})
print(limit, flush=True)
sys.exit(main([*sys.argv[1:], "--workers", "1", "--worker-memory", f"{{limit}}MiB"]))
"""


def bounded(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BOUNDED, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def nobody_left_in(group: int) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_a_task_too_large_for_the_workers_is_named_and_costs_nobody_else_anything(
    folders: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    words = ["cluster", "settle", *folders, "--quiet", "--attempts", "2", "--out"]
    process = bounded(*words, str(out))
    # Meanwhile the same without a limit: what every result must be.
    assert main([*words, str(whole), "--workers", "1"]) == 0
    first, said = process.communicate(timeout=300)[0].split("\n", 1)
    limit = int(first)
    assert process.returncode == 3
    assert nobody_left_in(process.pid)

    assert "5 tasks, 4 done now, 0 before, 1 left undone" in said
    town, *streets = list(csv.DictReader((out / "jobs.csv").read_text().splitlines()))
    assert town["status"] == "poisoned"
    assert town["reason"] == (
        "2 workers were lost at work on it, the last because it took more than 95 % of its limit "
        f"of {limit} MiB; not tried again in this run: give workers more memory "
        "(--worker-memory) and run the same command again"
    )
    assert f"town: poisoned: {town['reason']}" in said
    assert town["output_sha256"] == ""
    rows = list(csv.DictReader((whole / "jobs.csv").read_text().splitlines()))
    assert streets == rows[1:]
    assert [row["status"] for row in rows] == ["done"] * 5

    done = {out / row["folder"] for row in streets}
    assert set((out / "results").iterdir()) == done  # nothing of the town, no attempt
    for folder in done:
        assert contents(folder) == contents(whole / "results" / folder.name)
    written = {folder: (folder / "job.json").stat().st_mtime_ns for folder in done}

    capsys.readouterr()
    assert main([*words, str(out), "--workers", "2", "--worker-memory", f"{limit + 600}MiB"]) == 0
    assert "5 tasks, 1 done now, 4 before\n" in capsys.readouterr().out
    assert {folder: (folder / "job.json").stat().st_mtime_ns for folder in done} == written
    assert contents(out) == contents(whole)


@pytest.mark.slow
def test_what_waits_behind_a_task_that_ends_its_worker_loses_no_attempt(
    folders: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["cluster", "settle", *folders, "--quiet", "--attempts", "1", "--out", str(out)]
    process = bounded(*words)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 3
    town, *streets = list(csv.DictReader((out / "jobs.csv").read_text().splitlines()))
    assert town["reason"].startswith("1 worker was lost at work on it, because it took more than")
    assert [row["status"] for row in streets] == ["done"] * len(STREETS)
    assert "5 tasks, 4 done now, 0 before, 1 left undone" in said


@pytest.mark.slow
def test_memory_that_is_too_little_for_any_task_is_refused_and_changes_nothing(
    folders: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settle = ["cluster", "settle", *folders[1:], "--quiet", "--out", str(out)]
    assert main([*settle, "--worker-memory", "50MiB"]) == 2
    said = capsys.readouterr().err
    assert "--worker-memory: is 50MiB, and the engine alone takes" in said
    assert "at least" in said
    assert main([*settle, "--workers", f"{MEMORY_LIMIT // (50 * MIB)}"]) == 2
    assert "--workers: share out the machine's memory, " in capsys.readouterr().err
    worker = ["cluster", "worker", "tcp://127.0.0.1:1", "--worker-memory", "50MiB"]
    assert main(worker) == 2
    assert "the engine alone takes" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_workers_share_out_the_memory_of_the_machine_however_many_they_are() -> None:
    count = 3
    with open_cluster("local", workers=count) as cluster:
        found = cluster.client().scheduler_info(n_workers=-1)["workers"].values()
        assert [each["memory_limit"] for each in found] == [MEMORY_LIMIT // count] * count
