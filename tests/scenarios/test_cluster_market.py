"""Whole market days on a cluster: the bytes of `dso simulate` and of `dso day`, kills or not."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from dso.store import DueQueue, Store
from tests.support.small_market import FEEDER, hashed_files, options, start, write_configs

DAY = "2016-07-25"
WAIT_S_MAX = 900
pytestmark = pytest.mark.long


def leased_by(url: str) -> set[int]:
    with closing(Store.open(url)) as store:
        states = DueQueue(store).states()
    return {int(row["worker"].rpartition(":")[2]) for row in states if row["state"] == "leased"}


@pytest.mark.service
def test_a_market_on_a_cluster_leaves_the_bytes_of_one_process_though_a_worker_is_killed(
    tmp_path: Path, postgres_url: str
) -> None:
    configs, keys = write_configs(tmp_path / "configs"), tmp_path / "keys"
    days = ("simulate", "--from", DAY)
    alone = start(*days, *options(tmp_path / "alone", configs, keys, None))
    said, complaints = alone.communicate(timeout=WAIT_S_MAX)
    assert alone.returncode == 0, complaints

    words = [*options(tmp_path / "cluster", configs, keys, postgres_url), "--lease-s", "2"]
    many = start(*days, *words, "--cluster", "local", "--workers", "2")
    deadline, killed = time.monotonic() + WAIT_S_MAX, 0
    while many.poll() is None and killed < 3:
        assert time.monotonic() < deadline
        try:
            for worker in leased_by(postgres_url):
                os.kill(worker, signal.SIGKILL)
                killed += 1
        except (ProcessLookupError, OSError):
            pass
        time.sleep(3.0)
    told, complaints = many.communicate(timeout=WAIT_S_MAX)
    assert many.returncode == 0, complaints
    assert killed >= 1
    assert told.replace("/cluster", "/alone") == said
    assert hashed_files(tmp_path / "cluster") == hashed_files(tmp_path / "alone")
    with closing(Store.open(postgres_url)) as store:
        queue = DueQueue(store)
        assert {row["state"] for row in queue.states()} == {"done"}
        assert sum(row["outcome"] == "lost" for row in queue.attempts()) >= 1


def test_days_of_feeders_are_those_of_dso_day_and_land_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dso.cli.main import main

    configs, keys = write_configs(tmp_path / "configs"), tmp_path / "keys"
    out = tmp_path / "out"
    words = ["cluster", "run", FEEDER, "--date", DAY, "--out", str(out), "--keys", str(keys)]
    words += ["--configs", str(configs), "--workers", "1", "--quiet"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "1 tasks, 1 done now" in said
    assert ", 0 there before" in said
    (result,) = (out / "results").glob("[!.]*")

    from datetime import date

    from dso.config import load_feeder, load_market
    from dso.cycles.day import run_day
    from dso.progress import SilentProgress

    day = date.fromisoformat(DAY)
    feeder = load_feeder(FEEDER, day, folder=configs)
    run_day(
        day=day, out=tmp_path / "day", keys=keys, store_url=None, feeder=feeder,
        rules=load_market(feeder.market, day, folder=configs), progress=SilentProgress(),
    )  # fmt: skip
    done = hashed_files(result)
    assert done.pop("job.json")
    assert done == hashed_files(tmp_path / "day")
    table = (out / "jobs.csv").read_bytes()
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "1 tasks, 0 done now, 1 before" in said
    assert "store: 0 stages new" in said
    assert (out / "jobs.csv").read_bytes() == table
