"""A sweep killed in the middle goes on with what is missing; its table has the same bytes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dso.cli.main import main
from dso.studies import Variant, parse_settings, run_variants
from dso.studies.processes import Worker, run_parallel
from tests.support.small_study import small_folder, small_study

SPEC = """
name = "prices, sizes and a rating"
base = "base"
[grid]
"import_price.factor" = [0.5, 1.0, 1.5, 2.0]
"order.pv.scale" = [0.4, 0.7, 1.0]
"line.16.max_i_ka" = [0.05, 0.1, 0.2, 0.4]
"""
TABLES = ("sweep.csv", "sweep.json", "index.html")


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """Also where whoever started the tests told their processes to ignore it, as nohup does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sweep")
    small_folder(place / "base", periods=2)
    (place / "sweep.toml").write_text(SPEC)
    return place


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> Path:
    spec, out = str(place / "sweep.toml"), place / "undisturbed"
    assert main(["sweep", spec, "--out", str(out), "--workers", "2", "--quiet"]) == 0
    return out


def begin(place: Path, out: Path) -> subprocess.Popen[str]:
    """Start the sweep as its own process group and wait until a part of it is done."""
    command = [sys.executable, "-m", "dso.cli.main", "sweep", str(place / "sweep.toml")]
    process = subprocess.Popen(
        [*command, "--out", str(out), "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while len(finished(out)) < 15:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the sweep does not get on"
        time.sleep(0.02)
    return process


def finished(out: Path) -> dict[str, int]:
    """Finished variants, and when each was written."""
    return {
        path.parent.name: path.stat().st_mtime_ns
        for path in (out / "variants").glob("[!.]*/variant.json")
    }


def read_rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "sweep.csv").read_text(encoding="utf-8").splitlines()))


def children_of(process: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            found.append(int(status.parent.name))
    return found


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_same_tables(out: Path, undisturbed: Path) -> None:
    for name in TABLES:
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name


@pytest.mark.slow
def test_killed_in_the_middle_only_what_is_missing_runs_again(
    place: Path, undisturbed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = place / "killed"
    process = begin(place, out)
    server = children_of(process.pid)
    workers = [worker for parent in server for worker in children_of(parent)]
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while any(running(each) for each in (*server, *workers)):
        assert time.monotonic() < deadline, "workers outlive the sweep"
        time.sleep(0.05)
    before = finished(out)
    assert len(server) >= 1
    assert len(workers) >= 1
    assert 15 <= len(before) < 48
    assert not any((out / name).exists() for name in TABLES)

    again = ["sweep", str(place / "sweep.toml"), "--out", str(out), "--workers", "2", "--quiet"]
    capfd.readouterr()
    assert main(again) == 0
    said = capfd.readouterr().out
    assert f"48 variants, {48 - len(before)} cleared now, {len(before)} before" in said
    after = finished(out)
    assert len(after) == 48
    assert {name: after[name] for name in before} == before
    assert not list((out / "variants").glob(".*"))
    assert_same_tables(out, undisturbed)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished(place: Path, undisturbed: Path) -> None:
    out = place / "interrupted"
    process = begin(place, out)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    kept = finished(out)
    assert 15 <= len(kept) < 48
    again = ["sweep", str(place / "sweep.toml"), "--out", str(out), "--quiet"]
    assert main(again) == 0
    assert {name: finished(out)[name] for name in kept} == kept
    assert_same_tables(out, undisturbed)


@pytest.mark.slow
def test_the_table_is_that_of_the_folders(undisturbed: Path) -> None:
    rows = read_rows(undisturbed)
    assert len(rows) == 48
    assert [row["variant"] for row in rows[:2]] == [
        "import_price.factor=0.5 order.pv.scale=0.4 line.16.max_i_ka=0.05",
        "import_price.factor=0.5 order.pv.scale=0.4 line.16.max_i_ka=0.1",
    ]
    for row in rows:
        summary = json.loads((undisturbed / row["folder"] / "summary.json").read_text())
        assert float(row["objective_eur"]) == pytest.approx(summary["objective_eur"], rel=1e-11)
        assert row["status"] == summary["status"]
    objective = {
        tuple(row[key] for key in ("import_price.factor", "order.pv.scale", "line.16.max_i_ka")):
        float(row["objective_eur"])
        for row in rows
    }  # fmt: skip
    # dearer import costs more; more sun, or a wider line, costs no more
    assert objective["2.0", "1.0", "0.4"] > objective["1.0", "1.0", "0.4"] > 0
    assert objective["1.0", "1.0", "0.4"] < objective["1.0", "0.4", "0.4"]
    assert objective["1.0", "1.0", "0.05"] > objective["1.0", "1.0", "0.4"]


def test_one_that_fails_is_a_row_and_stops_nobody(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = place / "mixed.toml"
    spec.write_text(
        'base = "base"\n'
        '[[variant]]\nname = "good"\n'
        '[[variant]]\nname = "no such line"\nsettings = {"line.99.max_i_ka" = 1, "x" = 2}\n'
        '[[variant]]\nname = "cannot be carried"\nsettings = {"load.scale" = 12}\n'
        '[[variant]]\nname = "not modelled"\n'
        'settings = {"formulation" = "copper_plate", "order.c" = {kind="curtail", '
        'participant="p", bus=5, p_mw_max=0.1, price_eur_per_mwh=1}}\n'
        '[[variant]]\nname = "also good"\nsettings = {"import_price.factor" = 2}\n'
    )
    out = place / "mixed"
    assert main(["sweep", str(spec), "--out", str(out), "--quiet"]) == 3
    said = capsys.readouterr().out
    rows = {row["variant"]: row for row in read_rows(out)}
    assert [rows[name]["status"] for name in ("good", "also good")] == ["certified"] * 2
    assert rows["no such line"]["status"] == "failed"
    for words in ("the network has no line '99'", "setting x: is no setting"):
        assert words in rows["no such line"]["reason"]
        assert words in said
    assert rows["cannot be carried"]["status"] == "infeasible"
    assert rows["cannot be carried"]["objective_eur"] == ""
    assert rows["not modelled"]["status"] == "failed"
    table = (out / "sweep.csv").read_bytes()
    assert main(["sweep", str(spec), "--out", str(out), "--quiet"]) == 3
    assert "0 cleared now, 5 before" in capsys.readouterr().out
    assert main(["sweep", str(spec), "--out", str(out), "--quiet", "--retry-failed"]) == 3
    assert "2 cleared now, 3 before" in capsys.readouterr().out
    assert (out / "sweep.csv").read_bytes() == table


def test_a_process_that_dies_takes_nobody_with_it() -> None:
    jobs = [
        Worker(target=os.abort, arguments=()),
        Worker(target=os._exit, arguments=(7,)),
        Worker(target=print, arguments=()),
    ]
    assert dict(run_parallel(jobs, workers=2)) == {0: -signal.SIGABRT, 1: 7, 2: 0}


def test_a_variant_with_other_settings_is_another_variant(tmp_path: Path) -> None:
    study = small_study(2)
    first = Variant(name="one", study=study, settings=parse_settings(["load.scale=1.1"]))
    other = Variant(name="one", study=study, settings=parse_settings(["load.scale=1.2"]))
    (a,) = run_variants([first], tmp_path)
    (b,) = run_variants([other], tmp_path)
    (c,) = run_variants([first], tmp_path)
    assert a.ran
    assert b.ran
    assert not c.ran
    assert a.figures == c.figures != b.figures


def test_a_bad_sweep_clears_nothing_and_says_everything(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "bad.toml"
    spec.write_text(
        f'base = "{tmp_path / "nowhere"}"\ncolour = "red"\n[grid]\n"load.scale" = 1\n'
        '[[variant]]\n[[variant]]\nname = "x"\nwhat = 1\n'
    )
    out = tmp_path / "out"
    assert main(["sweep", str(spec), "--out", str(out), "--quiet"]) == 2
    said = capsys.readouterr().err
    for words in ("nowhere", "colour", "load.scale is no list", "name is missing", "'what'"):
        assert words in said
    assert not out.exists()
    spec.write_text(f'base = "{place / "base"}"\n')
    assert main(["sweep", str(spec), "--out", str(out), "--quiet"]) == 2
    assert "states no variants" in capsys.readouterr().err
    spec.write_text(f'base = "{place / "base"}"\n[grid]\n"load.scale" = [1.0, 1.0]\n')
    assert main(["sweep", str(spec), "--out", str(out), "--quiet"]) == 2
    assert "2 variants are named 'load.scale=1.0'" in capsys.readouterr().err
    assert main(["sweep", str(spec), "--out", str(out), "--workers", "0"]) == 2
    assert main(["sweep", str(tmp_path / "none.toml"), "--out", str(out)]) == 2
    assert not out.exists()


@pytest.mark.slow
def test_a_variants_folder_is_a_study_with_its_own_result(
    undisturbed: Path, tmp_path: Path
) -> None:
    folder = undisturbed / read_rows(undisturbed)[17]["folder"]
    assert main(["clear", str(folder), "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.glob("*.csv")} | {"summary.json"}
    assert len(names) == 9
    for path in map(tmp_path.joinpath, names):
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


@pytest.mark.slow
def test_two_sweeps_do_not_share_a_folder(place: Path, undisturbed: Path, tmp_path: Path) -> None:
    import fcntl

    with (undisturbed / ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        spec = str(place / "sweep.toml")
        assert main(["sweep", spec, "--out", str(undisturbed), "--quiet"]) == 2
        assert (undisturbed / "sweep.csv").exists()
    (tmp_path / "letter.txt").write_text("dear")
    assert main(["sweep", str(place / "sweep.toml"), "--out", str(tmp_path), "--quiet"]) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_inside_a_finalizer_is_heard_too() -> None:
    """Python drops the exception there; the work must end all the same."""

    class Dropped:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    before = signal.getsignal(signal.SIGINT)
    work = run_parallel([Worker(target=os._exit, arguments=(0,)) for _ in range(4)], workers=1)
    assert next(work) == (0, 0)
    gone = Dropped()
    del gone
    with pytest.raises(KeyboardInterrupt):
        next(work)
    assert signal.getsignal(signal.SIGINT) == before
