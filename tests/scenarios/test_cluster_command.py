"""`dso cluster` and `dso sweep --cluster` as a person runs them, stopped and continued."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dso.cli.main import main
from dso.cluster import JobReport, Rules, open_cluster, run_jobs
from dso.cluster.attempt import ATTEMPTS
from dso.cluster.kinds import clear_job
from dso.studies import save_study
from tests.support.cluster_processes import ROOT
from tests.support.small_study import small_study

DAYS = 8
TABLES = ("sweep.csv", "sweep.json", "index.html")
pytestmark = pytest.mark.filterwarnings("default::ResourceWarning")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Sample days: one small study each, of different length."""
    place = tmp_path_factory.mktemp("studies")
    for number in range(DAYS):
        save_study(small_study(2 + number % 4), place / f"day{number}")
    return [place / f"day{number}" for number in range(DAYS)]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def session(leader: int) -> Iterator[int]:
    """Yield the processes of a session that are not dead."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            yield int(status.parent.name)


@pytest.mark.long
def test_a_sweep_of_sample_days_is_stopped_and_goes_on(
    studies: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "days.toml"
    lines = ['name = "sample days"', f'base = "{studies[0]}"']
    for number, study in enumerate(studies * 2):
        lines += ["[[variant]]", f'name = "day {number}"', f'base = "{study}"']
        lines += [f'settings = {{"load.scale" = {1 + number / 100}}}']
    spec.write_text("\n".join(lines) + "\n")
    one, out = tmp_path / "one", tmp_path / "cluster"
    assert main(["sweep", str(spec), "--out", str(one), "--workers", "1", "--quiet"]) == 0
    words = ["sweep", str(spec), "--out", str(out), "--workers", "2", "--cluster", "local"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dso.cli.main", *words, "--quiet"], cwd=ROOT, start_new_session=True
    )
    deadline = time.monotonic() + 300
    while len(list(out.glob("variants/[!.]*/variant.json"))) < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    while list(session(process.pid)):
        assert time.monotonic() < deadline, "workers outlive their client"
        time.sleep(0.05)
    done = {path.parent.name: path.stat().st_mtime_ns
            for path in out.glob("variants/[!.]*/variant.json")}  # fmt: skip
    assert 5 <= len(done) < 2 * DAYS
    assert not (out / "sweep.csv").exists()

    capsys.readouterr()
    assert main([*words, "--quiet"]) == 0
    said = capsys.readouterr().out
    assert f"{2 * DAYS} variants, {2 * DAYS - len(done)} cleared now, {len(done)} before" in said
    for name, written in done.items():
        assert (out / "variants" / name / "variant.json").stat().st_mtime_ns == written
    assert contents(out / "variants") == contents(one / "variants")
    for name in TABLES:
        assert (out / name).read_bytes() == (one / name).read_bytes(), name


@pytest.mark.slow
def test_studies_are_cleared_as_dso_clear_does_and_the_bad_one_is_a_row(
    studies: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad"
    save_study(small_study(2), bad)
    (bad / "orders.json").write_text('{"orders": [{"kind": "wish"}]}')
    out = tmp_path / "out"
    words = ["cluster", "clear", str(studies[0]), str(bad), str(studies[1]), "--out", str(out)]
    assert main([*words, "--workers", "2", "--worker-memory", "1GiB", "--quiet"]) == 3
    said = capsys.readouterr().out
    assert "3 tasks, 3 done now, 0 before" in said
    assert f"{bad}: failed: " in said
    rows = list(csv.DictReader((out / "jobs.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["certified", "failed", "certified"]
    assert main(["clear", str(studies[0]), "--out", str(tmp_path / "same")]) == 0
    cleared, same = contents(out / rows[0]["folder"]), contents(tmp_path / "same")
    assert {name: content for name, content in cleared.items() if name != "job.json"} == {
        name: content for name, content in same.items() if name != "timings.json"
    }
    table = (out / "jobs.csv").read_bytes()
    capsys.readouterr()
    assert main([*words, "--workers", "1", "--quiet"]) == 3
    assert "3 tasks, 0 done now, 3 before" in capsys.readouterr().out
    assert (out / "jobs.csv").read_bytes() == table


@pytest.mark.slow
def test_a_task_that_ends_every_worker_is_named_and_stops_nobody(
    studies: list[Path], tmp_path: Path
) -> None:
    poison = tmp_path / "poison"
    save_study(small_study(24), poison)
    jobs = [clear_job("poison", poison, tmp_path / "out"), clear_job("fine", studies[0], tmp_path)]
    ended = threading.Event()
    killed = []

    def end_workers_at_work_on_it() -> None:
        seen: set[str] = set()
        while not ended.wait(0.005):
            if not (tmp_path / "out" / ATTEMPTS).is_dir():
                continue  # the run is over and has cleared it away
            for attempt in set(os.listdir(tmp_path / "out" / ATTEMPTS)) - seen:  # noqa: PTH208
                seen.add(attempt)
                (worker,) = asking.run(os.getpid).values()
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

    (tmp_path / "out" / ATTEMPTS).mkdir(parents=True)
    with open_cluster("local", workers=1, attempts_max=2) as cluster:
        asking = cluster.client()
        killer = threading.Thread(target=end_workers_at_work_on_it)
        killer.start()
        reports: tuple[JobReport, ...] = ()
        try:
            reports = run_jobs(jobs, cluster, rules=Rules(attempts_max=2))
        finally:
            ended.set()
            killer.join()
    assert len(set(killed)) == 2
    assert [report.status for report in reports] == ["poisoned", "certified"]
    assert reports[0].reason.startswith("2 workers were lost at work on it, the last by a")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bad_call_starts_nothing_and_says_everything(
    studies: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    nobody = ["--cluster", "tcp://127.0.0.1:1", "--out", str(out), "--quiet"]
    assert main(["cluster", "clear", str(studies[0]), *nobody]) == 2
    assert "no scheduler answers" in capsys.readouterr().err
    assert main(["cluster", "clear", str(studies[0]), *nobody, "--attempts", "0",
                 "--patience-s", "nan"]) == 2  # fmt: skip
    said = capsys.readouterr().err
    assert "--attempts" in said
    assert "--patience-s" in said
    assert main(["cluster", "clear", str(studies[0]), *nobody, "--workers", "2"]) == 2
    assert "the cluster is not local" in capsys.readouterr().err
    assert main(["cluster", "settle", str(tmp_path / "a"), str(tmp_path / "b"), *nobody]) == 2
    said = capsys.readouterr().err
    assert said.count("is no folder") == 2
    words = ["cluster", "run", "nowhere", "--date", "2016-07-35", "--days", "0"]
    assert main([*words, "--keys", str(tmp_path / "keys"), *nobody]) == 2
    said = capsys.readouterr().err
    assert "is no day" in said
    assert "--days" in said
    assert main(["cluster", "run", "nowhere", "--date", "2016-07-25", *nobody]) == 2
    assert "nowhere" in capsys.readouterr().err
    local = ["--cluster", "local", "--out", str(out), "--quiet"]
    assert main(["cluster", "clear", str(studies[0]), *local, "--worker-memory", "much"]) == 2
    assert "--worker-memory" in capsys.readouterr().err
    assert not out.exists()
    assert not (tmp_path / "keys").exists()
