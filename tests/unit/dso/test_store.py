"""The store: one result per key, on both databases, whoever is killed when."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from dso.clock import ReplayClock
from dso.store import Artefact, StageConflict, StageKey, Store

FIRST = datetime(2016, 7, 24, 22, tzinfo=UTC)
KEY = StageKey(market="local-energy", feeder="f", kind="day_ahead", first_period=FIRST)
IN, OTHER_IN, OUT, OTHER_OUT = ("1" * 64, "2" * 64, "a" * 64, "b" * 64)
FILES = (
    Artefact(name="clearing/prices.csv", sha256="c" * 64, byte_count=5_000_000_000),
    Artefact(name="clearing/awards.csv", sha256="d" * 64, byte_count=0),
)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'deep' / 'store.sqlite'}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store.open(url, clock=ReplayClock(at=FIRST))
    yield opened
    opened.close()


def test_a_stage_goes_from_unknown_to_running_to_done(store: Store) -> None:
    assert store.stage_done(KEY) is None
    begun = store.begin_stage(KEY, input_sha256=IN)
    assert (begun.state, begun.attempt, begun.output_sha256) == ("running", 1, None)
    assert store.stage_done(KEY) is None
    assert store.artefacts(KEY) == ()
    done = store.finish_stage(KEY, OUT, artefacts=FILES)
    assert (done.state, done.output_sha256) == ("done", OUT)
    assert store.stage_done(KEY) == OUT
    assert store.artefacts(KEY) == tuple(sorted(FILES, key=lambda artefact: artefact.name))


def test_a_stage_that_is_done_is_not_run_again(store: Store) -> None:
    store.begin_stage(KEY, input_sha256=IN)
    store.finish_stage(KEY, OUT, artefacts=FILES)
    again = store.begin_stage(KEY, input_sha256=IN)
    assert (again.state, again.attempt, again.output_sha256) == ("done", 1, OUT)
    assert store.finish_stage(KEY, OUT) == again
    assert len(store.artefacts(KEY)) == 2


def test_a_stage_that_died_begins_again_and_says_so(store: Store) -> None:
    store.begin_stage(KEY, input_sha256=IN)
    again = store.begin_stage(KEY, input_sha256=OTHER_IN)
    assert (again.state, again.attempt, again.input_sha256) == ("running", 2, OTHER_IN)


def test_other_input_under_a_done_key_is_a_conflict(store: Store) -> None:
    store.begin_stage(KEY, input_sha256=IN)
    store.finish_stage(KEY, OUT)
    with pytest.raises(StageConflict, match="new revision"):
        store.begin_stage(KEY, input_sha256=OTHER_IN)
    assert store.stage_done(KEY) == OUT


def test_another_output_under_a_done_key_is_a_conflict(store: Store) -> None:
    store.begin_stage(KEY, input_sha256=IN)
    store.finish_stage(KEY, OUT)
    with pytest.raises(StageConflict, match="same bytes"):
        store.finish_stage(KEY, OTHER_OUT)
    assert store.stage_done(KEY) == OUT


def test_finishing_what_never_began_is_a_conflict(store: Store) -> None:
    with pytest.raises(StageConflict, match="never begun"):
        store.finish_stage(KEY, OUT)


@pytest.mark.parametrize(
    "other",
    [
        {"market": "m2"}, {"feeder": "f2"}, {"kind": "intraday"}, {"revision": 1},
        {"first_period": FIRST + timedelta(minutes=15)},
    ],
)  # fmt: skip
def test_every_part_of_the_key_counts(store: Store, other: dict[str, object]) -> None:
    parts: dict[str, object] = {
        "market": KEY.market, "feeder": KEY.feeder, "kind": KEY.kind,
        "first_period": KEY.first_period, "revision": KEY.revision, **other,
    }  # fmt: skip
    store.begin_stage(KEY, input_sha256=IN)
    store.finish_stage(KEY, OUT)
    assert store.stage_done(StageKey(**parts)) is None  # type: ignore[arg-type]  # mixed values


def test_a_key_is_the_instant_not_its_offset(store: Store) -> None:
    local = FIRST.astimezone(timezone(timedelta(hours=2)))
    store.begin_stage(KEY, input_sha256=IN)
    store.finish_stage(KEY, OUT)
    same = StageKey(market="local-energy", feeder="f", kind="day_ahead", first_period=local)
    assert store.stage_done(same) == OUT


def test_the_callers_transaction_is_kept_or_undone_as_a_whole(store: Store) -> None:
    store.begin_stage(KEY, input_sha256=IN)

    def fail() -> None:
        with store.transaction() as connection:
            store.finish_stage(KEY, OUT, artefacts=FILES, connection=connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.stage_done(KEY) is None
    assert store.artefacts(KEY) == ()


def test_the_database_itself_refuses_done_without_output(store: Store) -> None:
    store.begin_stage(KEY, input_sha256=IN)
    with pytest.raises(IntegrityError), store.transaction() as connection:
        connection.execute(text("UPDATE cycle_run SET state = 'done'"))
    with pytest.raises(IntegrityError), store.transaction() as connection:
        connection.execute(text("UPDATE cycle_run SET state = 'perhaps'"))


def test_opening_twice_keeps_what_is_there(store: Store, url: str) -> None:
    store.begin_stage(KEY, input_sha256=IN)
    store.finish_stage(KEY, OUT)
    second = Store.open(url)
    assert second.stage_done(KEY) == OUT
    second.close()


def test_many_at_once_open_and_begin_and_only_one_is_first(url: str) -> None:
    def begin(_: int) -> int:
        opened = Store.open(url)
        attempt = opened.begin_stage(KEY, input_sha256=IN).attempt
        opened.close()
        return attempt

    with ThreadPoolExecutor(4) as pool:
        attempts = sorted(pool.map(begin, range(8)))
    assert attempts == list(range(1, 9))


def test_sqlite_writes_ahead_and_fully(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}")
    with store.transaction() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    store.close()


@pytest.mark.parametrize("moment", ["after begin", "inside finish", "after finish"])
def test_a_kill_leaves_the_stage_running_or_done(url: str, moment: str) -> None:
    script = textwrap.dedent(
        f"""
        import os, signal, sys
        from datetime import datetime
        from dso.store import Artefact, StageKey, Store

        url, moment = sys.argv[1:]
        first = datetime.fromisoformat("{FIRST.isoformat()}")
        key = StageKey(market="local-energy", feeder="f", kind="day_ahead", first_period=first)
        store = Store.open(url)
        store.begin_stage(key, input_sha256="{IN}")
        files = [Artefact(name="a", sha256="{OUT}", byte_count=1)]
        if moment == "inside finish":
            with store.transaction() as connection:
                store.finish_stage(key, "{OUT}", artefacts=files, connection=connection)
                os.kill(os.getpid(), signal.SIGKILL)
        if moment == "after finish":
            store.finish_stage(key, "{OUT}", artefacts=files)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    killed = subprocess.run([sys.executable, "-c", script, url, moment])
    assert killed.returncode == -signal.SIGKILL
    store = Store.open(url)
    expected = OUT if moment == "after finish" else None
    assert store.stage_done(KEY) == expected
    assert len(store.artefacts(KEY)) == (expected is not None)
    again = store.begin_stage(KEY, input_sha256=IN)
    assert (again.state, again.attempt) == (("done", 1) if expected else ("running", 2))
    store.finish_stage(KEY, OUT)
    assert store.stage_done(KEY) == OUT
    store.close()


def test_a_key_needs_an_aware_instant() -> None:
    with pytest.raises(ValueError, match="aware"):
        StageKey(market="m", feeder="f", kind="k", first_period=FIRST.replace(tzinfo=None))
