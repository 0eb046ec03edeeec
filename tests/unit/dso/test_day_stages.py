"""A stage appears whole and is run once, whatever happens in between."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from data.canonical import write_atomically
from data.errors import InputError
from data.readers.simbench import load_simbench
from data.records.posting import Batch
from dso.bootstrap import open_services
from dso.config import load_feeder, load_market
from dso.cycles.plan import DayPlan, plan_day
from dso.cycles.stages import Desk, working_alone
from dso.progress import SilentProgress
from ledger_adapter.outbox import queued_batches

CODE, DAY = "1-MV-rural--2-sw", date(2016, 7, 25)


@pytest.fixture(scope="module")
def any_plan(tmp_path_factory: pytest.TempPathFactory) -> DayPlan:
    return plan_day(
        day=DAY,
        out=tmp_path_factory.mktemp("plan") / "out",
        feeder=load_feeder(CODE, DAY),
        rules=load_market("local-energy", DAY),
        grid=load_simbench(CODE),
    )


@pytest.fixture
def desk(any_plan: DayPlan, tmp_path: Path) -> Iterator[Desk]:
    made = make_desk(any_plan, tmp_path)
    with closing(made.services):
        yield made


def make_desk(plan: DayPlan, tmp_path: Path) -> Desk:
    own = dataclasses.replace(plan, out=tmp_path / "out")
    services = open_services(None, out=own.out, keys=tmp_path / "keys")
    return Desk(plan=own, services=services, progress=SilentProgress())


def write_greeting(folder: Path) -> None:
    (folder / "words").mkdir()
    (folder / "words/hello.txt").write_text("hello")
    (folder / "words/timings.json").write_text("{}")


def test_files_of_a_stage_are_moved_listed_and_checked(desk: Desk) -> None:
    done = desk.run_stage("forecast", {}, write_greeting)
    assert (desk.out / "words/hello.txt").read_text() == "hello"
    assert (desk.out / "words/timings.json").exists()
    assert not (desk.out / ".partial").exists()
    digest = hashlib.sha256(b"hello").hexdigest()
    expected = f'{{"words/hello.txt":"{digest}"}}'
    assert done == hashlib.sha256(expected.encode()).hexdigest()  # timings are in no digest


def test_a_stage_that_is_done_is_not_run_again(desk: Desk) -> None:
    def never(_: Path) -> None:
        raise AssertionError("ran again")

    first = desk.run_stage("forecast", {}, write_greeting)
    assert desk.run_stage("forecast", {}, never) == first


def test_a_stage_that_failed_leaves_nothing_and_runs_again(desk: Desk) -> None:
    def fail(folder: Path) -> None:
        write_greeting(folder)
        (folder / "words/half.txt").write_text("ha")
        raise RuntimeError("the light went out")

    with pytest.raises(RuntimeError):
        desk.run_stage("forecast", {}, fail)
    assert not (desk.out / "words").exists()
    desk.run_stage("forecast", {}, write_greeting)
    assert not (desk.out / "words/half.txt").exists()


def test_other_input_needs_another_folder(desk: Desk) -> None:
    desk.run_stage("orders", {"forecast": "aa"}, write_greeting)
    with pytest.raises(InputError, match="name another folder"):
        desk.run_stage("orders", {"forecast": "bb"}, write_greeting)


@pytest.mark.parametrize("deed", ["change", "remove"])
def test_a_changed_or_missing_file_is_named(desk: Desk, deed: str) -> None:
    desk.run_stage("forecast", {}, write_greeting)
    path = desk.out / "words/hello.txt"
    if deed == "change":
        path.write_text("hullo")
    else:
        path.unlink()
    with pytest.raises(InputError, match=r"words/hello\.txt"):
        desk.run_stage("forecast", {}, write_greeting)


def test_the_batch_waits_in_the_outbox_once_the_stage_is_done(desk: Desk) -> None:
    batch = Batch(key=bytes(32), leaves=(b"leaf",))

    def work(folder: Path) -> Batch:
        write_greeting(folder)
        assert queued_batches(desk.services.store.engine) == []
        return batch

    desk.run_stage("day_ahead", {}, work)
    desk.run_stage("day_ahead", {}, work)
    assert queued_batches(desk.services.store.engine) == [batch]


def test_two_stages_of_a_kind_differ_by_their_first_period(desk: Desk) -> None:
    first, second = desk.plan.rounds()[:2]
    desk.run_stage("intraday", {}, write_greeting, start=first.periods.start)

    def other(folder: Path) -> None:
        (folder / "second.txt").write_text("2")

    desk.run_stage("intraday", {}, other, start=second.periods.start)
    assert (desk.out / "second.txt").exists()


def test_a_store_remembers_over_processes(any_plan: DayPlan, tmp_path: Path) -> None:
    before = make_desk(any_plan, tmp_path)
    with closing(before.services):
        done = before.run_stage("forecast", {}, write_greeting)
    after = make_desk(any_plan, tmp_path)
    with closing(after.services):
        assert after.run_stage("forecast", {}, write_greeting) == done


def test_a_folder_has_one_run_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with working_alone(out), pytest.raises(InputError, match="another run"), working_alone(out):
        pass
    with working_alone(out):
        pass


def test_what_a_kill_left_half_written_is_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def killed(_self: Path, _target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(out / "about.json", b"{}")
    (left,) = out.iterdir()
    assert left.name.startswith(".about.json.")
    with working_alone(out):
        assert not left.exists()
