"""Jobs of a cluster without a cluster: keys, attempts, references, requests, landing."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.errors import InputError
from dso.cli.main import main
from dso.cluster.attempt import ATTEMPTS, run_job
from dso.cluster.forecasts import forecast_question, read_request
from dso.cluster.jobs import Job, content_sha256, read_report
from dso.cluster.kinds import clear_job, forecast_job, settle_job, variant_job
from dso.cluster.memory import refuse_memory, refuse_too_little, worker_limit
from dso.cluster.tally import Tally
from dso.cluster.versions import differences, installed_versions
from dso.store import Artefact, StageConflict, StageKey, Store
from dso.store.landing import land_stages
from dso.studies import Setting, Variant, save_study
from tests.support.small_study import small_study

ROOT = Path(__file__).resolve().parents[3]
FIRST = datetime(2026, 5, 1, 22, tzinfo=UTC)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    save_study(small_study(2), folder)
    return folder


def test_a_job_is_its_content(study: Path, tmp_path: Path) -> None:
    first = clear_job("one", study, tmp_path)
    assert clear_job("one", study, tmp_path) == first
    assert clear_job("two", study, tmp_path).key != first.key
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in study.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert clear_job("one", copy, tmp_path).key == first.key  # wherever it lies
    (copy / "timings.json").write_text("{}")
    assert clear_job("one", copy, tmp_path).key == first.key
    (copy / "orders.json").write_text("[]")
    assert clear_job("one", copy, tmp_path).key != first.key


def test_attempts_at_the_same_time_leave_one_result(study: Path, tmp_path: Path) -> None:
    job = clear_job("one", study, tmp_path)
    ready, reports = threading.Barrier(3), []

    def attempt() -> None:
        ready.wait()
        reports.append(run_job(job))

    threads = [threading.Thread(target=attempt) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(report.status, report.output_sha256) for report in reports} == {
        ("certified", content_sha256(Path(job.folder)))
    }
    assert [path.name for path in tmp_path.iterdir() if path.name != ATTEMPTS] == [
        Path(job.folder).name
    ]
    assert list((tmp_path / ATTEMPTS).iterdir()) == []
    before = read_report(job)
    again = run_job(job)
    assert again == before
    assert not again.ran


def test_an_input_that_changed_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    study = tmp_path / "study"
    save_study(small_study(2), study)
    job = clear_job("one", study, tmp_path / "out")
    (study / "orders.json").write_text("[]")
    report = run_job(job)
    assert report.status == "refused"
    assert "not what it was" in report.reason
    assert not Path(job.folder).exists()
    for path in study.iterdir():
        path.unlink()
    study.rmdir()
    report = run_job(job)
    assert report.status == "refused"
    assert "cannot be read here" in report.reason


def test_bad_input_is_a_result_with_every_problem(tmp_path: Path) -> None:
    study = tmp_path / "study"
    save_study(small_study(2), study)
    settings = (study / "study.toml").read_text()
    (study / "study.toml").write_text(settings + 'colour = "red"\nshape = "round"\n')
    report = run_job(clear_job("one", study, tmp_path / "out"))
    assert report.status == "failed"
    assert "colour" in report.reason
    assert "shape" in report.reason


def test_another_release_refuses(study: Path, tmp_path: Path) -> None:
    job = clear_job("one", study, tmp_path)
    ours = dict(installed_versions())
    report = run_job(job, {**ours, "numpy": "1.0", "engine": "0" * 64})
    assert report.status == "refused"
    assert report.reason.startswith("versions differ: engine is ")
    assert f"numpy is {ours['numpy']} there and 1.0 here" in report.reason
    assert not Path(job.folder).exists()
    assert differences(ours, installed_versions()) == ()


def test_variants_share_one_study_and_one_name_for_equal_settings(tmp_path: Path) -> None:
    study = small_study(2)
    out = tmp_path / "variants"
    for factor in (1.0, 2.0):
        settings = (Setting(key="import_price.factor", value=factor),)
        for name in ("a", "b"):
            variant_job(Variant(name=f"{name}{factor}", study=study, settings=settings), out)
    held = sorted(path.name.partition("-")[0] for path in (tmp_path / ".inputs").iterdir())
    assert held == ["settings", "settings", "study"]


def test_what_the_job_says_fits_a_message(study: Path, tmp_path: Path) -> None:
    assert len(json.dumps({"p": dict(clear_job("one", study, tmp_path).parameters)})) < 1000


def test_the_tally_counts_and_estimates() -> None:
    tally = Tally(total=10, before=2)
    assert tally.seconds_left() is None
    assert "2 of 10 done, 0 failed" in str(tally)
    tally.done, tally.failed = 3, 1
    assert tally.waiting == 4
    left = tally.seconds_left()
    assert left is not None
    assert left >= 0
    tally.connections_lost = 2
    assert "connection lost 2 times" in str(tally)


REQUEST = """
kind = "load"
readings = "readings.csv"
weather = ["weather.csv"]
known_at = "2026-05-01T10:00:00Z"
start = "2026-05-01T22:00:00Z"
end = "2026-05-02T22:00:00Z"
resolution_minutes = 60
"""


def test_a_request_names_its_files_and_periods(tmp_path: Path) -> None:
    for name in ("readings.csv", "weather.csv"):
        (tmp_path / name).write_text("period_start,value_mw\n")
    (tmp_path / "r.toml").write_text(REQUEST)
    files, plain = read_request(tmp_path / "r.toml")
    question, gate, ahead = forecast_question(files, plain)
    assert question.readings == tmp_path / "readings.csv"
    assert question.weather == (tmp_path / "weather.csv",)
    assert question.site is None
    assert gate == datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert (ahead.start, ahead.count, ahead.mtu_minutes) == (FIRST, 24, 60)
    job = forecast_job("r", tmp_path / "r.toml", tmp_path / "out")
    (tmp_path / "weather.csv").write_text("period_start,temperature_c\n")
    assert forecast_job("r", tmp_path / "r.toml", tmp_path / "out").key != job.key


def test_a_bad_request_says_everything(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        REQUEST.replace('"load"', '"coal"')
        .replace("= 60", "= 0")
        .replace("2026-05-02T", "tomorrow ")
        + 'quantiles = 7\nwide = "yes"\ncolour = 1\n'
    )
    with pytest.raises(InputError) as refused:
        read_request(tmp_path / "r.toml")
    said = str(refused.value)
    for words in ("coal", "resolution_minutes", "tomorrow", "quantiles is 7", "wide", "colour",
                  "readings.csv is no file", "weather.csv is no file"):  # fmt: skip
        assert words in said, words


def _stage(kind: str) -> StageKey:
    return StageKey(market="m", feeder="f", kind=kind, first_period=FIRST)


def _day(path: Path, output: str) -> Store:
    store = Store.open(f"sqlite:///{path}")
    artefact = Artefact(name="prices.csv", sha256="a" * 64, byte_count=12)
    rows = {"trade": [("t1", "2026-05-01T22:00:00Z", "o1", "p", 3, -250, 40_000_000)]}
    for kind in ("forecast", "day_ahead"):
        store.begin_stage(_stage(kind), input_sha256="1" * 64)
        store.finish_stage(
            _stage(kind),
            output * 64,
            artefacts=[artefact],
            rows=rows if kind == "day_ahead" else {},
        )
    store.begin_stage(_stage("settlement"), input_sha256="1" * 64)  # begun, killed
    return store


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    url = f"sqlite:///{tmp_path / 'target.sqlite'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    with closing(Store.open(url)) as store:
        yield store


def test_a_day_lands_once_with_its_rows(tmp_path: Path, target: Store) -> None:
    with closing(_day(tmp_path / "day.sqlite", "b")) as source:
        assert land_stages(source, target, folder="f-day") == (2, 2)
        assert land_stages(source, target, folder="f-day") == (0, 2)
    assert target.stage_done(_stage("day_ahead")) == "b" * 64
    assert target.stage_done(_stage("settlement")) is None
    assert [a.name for a in target.artefacts(_stage("day_ahead"))] == ["f-day/prices.csv"]
    with target.transaction() as connection:
        rows = connection.exec_driver_sql("SELECT trade_id, energy_wh FROM trade").all()
    assert [tuple(row) for row in rows] == [("t1", -250)]


def test_a_day_with_another_output_is_no_second_result(tmp_path: Path, target: Store) -> None:
    with closing(_day(tmp_path / "one.sqlite", "b")) as source:
        land_stages(source, target, folder="f-day")
    with (
        closing(_day(tmp_path / "two.sqlite", "c")) as source,
        pytest.raises(StageConflict, match="the same input must give the same bytes"),
    ):
        land_stages(source, target, folder="f-day")
    assert target.stage_done(_stage("day_ahead")) == "b" * 64


def test_no_two_jobs_claim_a_folder(study: Path, tmp_path: Path) -> None:
    from dso.cluster.driver import _refuse_doubles

    job = clear_job("one", study, tmp_path)
    other = Job(kind=job.kind, name="two", key="k", folder=job.folder, parameters={})
    _refuse_doubles([job])
    with pytest.raises(InputError, match="claims the folder of 'one'"):
        _refuse_doubles([job, other])


SETTLEMENT = {
    "settlement.toml": 'mtu_minutes = 60\nimbalance = "single"\nrefund = "retain"\n',
    "positions.csv": (
        "participant,connection,bus,period_start,da_mwh,id_mwh,meter_mwh\n"
        "seller,s1,1,2026-05-01T10:00:00Z,0.4,0.4,0.35\n"
        "buyer,b1,2,2026-05-01T10:00:00Z,-0.6,-0.6,-0.6\n"
    ),
    "prices.csv": (
        "bus,period_start,dlmp_da_eur_per_mwh,dlmp_id_eur_per_mwh,imbalance_eur_per_mwh\n"
        "1,2026-05-01T10:00:00Z,50,50,60\n"
        "2,2026-05-01T10:00:00Z,52,52,60\n"
    ),
    "activations.csv": (
        "participant,connection,period_start,baseline_mw,ordered_mw,meter_mw,"
        "price_eur_per_mwh,penalty_eur_per_mwh,rule\n"
    ),
    "substation.csv": (
        "period_start,import_mwh,import_price_eur_per_mwh\n2026-05-01T10:00:00Z,0.2,50\n"
    ),
}


def test_a_settlement_is_that_of_dso_settle(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, text in SETTLEMENT.items():
        (folder / name).write_text(text)
    job = settle_job("street", folder, tmp_path / "out")
    report = run_job(job)
    assert report.status == "done", report.reason
    assert main(["settle", str(folder), "--out", str(tmp_path / "same")]) == 0
    assert files(Path(job.folder)) == files(tmp_path / "same")


def test_a_forecast_is_that_of_dso_forecast_run(tmp_path: Path) -> None:
    series = ROOT / "data" / "series"
    request = tmp_path / "pv.toml"
    request.write_text(
        f'kind = "pv"\nreadings = "{series}/golden_pv_readings.csv"\n'
        f'weather = ["{series}/golden_pv_weather.csv"]\nsite = "{series}/golden_site.toml"\n'
        'weather_is_forecast = true\nmodel = "like-day"\nresolution_minutes = 60\n'
        'known_at = "2012-07-10T07:00:00Z"\nstart = "2012-07-11T06:00:00Z"\n'
        'end = "2012-07-12T06:00:00Z"\n'
    )
    job = forecast_job("pv", request, tmp_path / "out")
    report = run_job(job)
    assert report.status == "done", report.reason
    words = ["forecast", "run", "--kind", "pv", "--weather-is-forecast", "--model", "like-day",
             "--readings", f"{series}/golden_pv_readings.csv", "--resolution-minutes", "60",
             "--weather", f"{series}/golden_pv_weather.csv", "--site", f"{series}/golden_site.toml",
             "--known-at", "2012-07-10T07:00:00Z", "--start", "2012-07-11T06:00:00Z",
             "--end", "2012-07-12T06:00:00Z"]  # fmt: skip
    out = tmp_path / "same"
    out.mkdir()
    assert main([*words, "--out", str(out / "forecast.csv")]) == 0
    assert files(Path(job.folder)) == files(out)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "job.json"
    }


@pytest.mark.parametrize("made_anew", [False, True])
def test_an_attempt_whose_place_was_cleared_away_leaves_no_result(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_anew: bool
) -> None:
    from dso.cluster import attempt
    from dso.cluster.driver import _remove_attempts

    job = clear_job("one", study, tmp_path)
    perform = attempt._perform

    def cleared_meanwhile(job: Job, scratch: Path) -> Path:
        finished = perform(job, scratch)
        _remove_attempts(tmp_path)
        if made_anew:
            finished.mkdir(parents=True)
            (finished / "late.csv").write_text("late")
        return finished

    monkeypatch.setattr(attempt, "_perform", cleared_meanwhile)
    with pytest.raises(FileNotFoundError):
        run_job(job)
    assert not Path(job.folder).exists()
    _remove_attempts(tmp_path)
    assert list(tmp_path.iterdir()) == []
    _remove_attempts(tmp_path)  # nothing there is no error


@pytest.mark.parametrize("memory", ["much", "", "0", "1000", "-5GiB", "nan", "inf", "1e400GiB"])
def test_a_size_of_memory_that_is_none_is_refused(memory: str) -> None:
    with pytest.raises(InputError, match="--worker-memory"):
        refuse_memory(memory)


def test_no_worker_gets_more_than_the_machine_has() -> None:
    machine = worker_limit("auto", 1)
    assert worker_limit("512MiB", 1000) == 512 * 2**20
    assert worker_limit("1000TiB", 2) == machine
    assert worker_limit("auto", 7) == machine // 7


def test_a_limit_at_which_a_worker_would_be_ended_at_once_is_refused() -> None:
    loaded = 190 * 2**20
    refuse_too_little(221 * 2**20, loaded, memory="221MiB")
    with pytest.raises(InputError, match="takes 190 MiB of it -> at least 221 MiB"):
        refuse_too_little(219 * 2**20, loaded, memory="219MiB")
    with pytest.raises(InputError, match=r"--workers: .*100 MiB each.* -> fewer"):
        refuse_too_little(100 * 2**20, loaded, memory="auto")
