"""The market by itself: the README's day on both databases, killed, with its database stopped."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from dso.store import DueQueue, Store
from dso.store.backup import StoreState, create_all, read_state
from ledger_adapter.keys import load_or_create_keys
from tests.support.own_postgres import OwnPostgres, find_programs, own_postgres
from tests.support.small_market import hashed_files, readme_commands, start, write_configs

pytestmark = pytest.mark.slow
DAY, FEEDER = "2016-07-25", "case33bw"
KILLS = 20
SHARED = ("--feeder", "--out", "--store", "--configs", "--keys")
WAIT_S_MAX = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    configs: Path
    keys: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("market")
    # Four intraday rounds instead of the README's twenty-four; else the market that is shipped.
    configs = write_configs(folder / "configs", source=FEEDER, feeder=FEEDER)
    return Place(configs=configs, keys=folder / "keys")


def command(number: int, place: Place, url: str | None = None) -> list[str]:
    """Return one of the README's two commands; of what stands there only the URL is replaced."""
    words = readme_commands("The market by itself")[number]
    assert ("--store" in words) == (url is not None)
    if url is not None:
        assert words[words.index("--store") + 1].startswith("postgresql+psycopg://")
        words[words.index("--store") + 1] = url
    return [*words, "--configs", str(place.configs), "--keys", str(place.keys), "--quiet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedMarket:
    files: dict[str, bytes]
    said: str
    state: StoreState


@pytest.fixture(scope="module")
def undisturbed(place: Place, tmp_path_factory: pytest.TempPathFactory) -> FinishedMarket:
    """The day on SQLite, by the first command of the README."""
    folder = tmp_path_factory.mktemp("undisturbed")
    out = folder / "out/market"
    done = start(*command(0, place), cwd=folder)
    said, complaints = done.communicate(timeout=WAIT_S_MAX)
    assert done.returncode == 0, complaints
    return FinishedMarket(
        files=hashed_files(out), said=said, state=look(f"sqlite:///{out / 'store.sqlite'}", place)
    )


def look(url: str, place: Place) -> StoreState:
    with closing(Store.open(url)) as store:
        create_all(store, load_or_create_keys(place.keys))
        with store.transaction() as connection:
            return read_state(connection)


def test_the_day_is_done_by_cycles(undisturbed: FinishedMarket) -> None:
    assert "1 days: 113 cycles; 113 done" in undisturbed.said
    assert undisturbed.state.rows["due_cycle"] == 113
    assert undisturbed.state.rows["cycle_attempt"] == 113
    assert undisturbed.state.rows["ledger_outbox"] == 6  # day-ahead, four rounds, settlement
    assert sum(undisturbed.state.balances_micro_eur.values()) == 0
    for table in ("forecast", "market_order", "award", "price", "trade", "delivery", "setpoint"):
        assert undisturbed.state.rows[table] > 0, table


def assert_equal(ours: FinishedMarket, theirs: FinishedMarket) -> None:
    assert ours.files.keys() == theirs.files.keys()
    assert [name for name in ours.files if ours.files[name] != theirs.files[name]] == []
    assert ours.state.heads == theirs.state.heads
    assert ours.state.balances_micro_eur == theirs.state.balances_micro_eur
    different = {"cycle_attempt"}  # attempts that were lost are told
    assert {name: rows for name, rows in ours.state.rows.items() if name not in different} == {
        name: rows for name, rows in theirs.state.rows.items() if name not in different
    }


@pytest.fixture
def server() -> Iterator[OwnPostgres]:
    """A database server that can be stopped; its folder can be entered by its own user."""
    programs = find_programs()
    if programs is None:
        pytest.skip("a server of its own not run: PostgreSQL's initdb and pg_ctl are missing")
    with tempfile.TemporaryDirectory(prefix="dso-postgres-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with own_postgres(Path(folder), programs) as running:
            yield running


@pytest.mark.service
def test_twenty_kills_and_a_stopped_database_change_no_byte(
    undisturbed: FinishedMarket, place: Place, tmp_path: Path, server: OwnPostgres
) -> None:
    """Two workers on PostgreSQL: killed twenty times, their database crashed in the middle.

    The clock is turned by the second command of the README, told to leave the work to them; given
    again as it stands it finds the day done and says the same.
    """
    out, words = tmp_path / "out/market-2", command(1, place, server.url)
    with closing(Store.open(server.url)):
        pass  # the tables are there before anybody is killed
    driver = start(*words, "--no-work", cwd=tmp_path)
    where = [word for name in SHARED for word in words[words.index(name) :][:2]]
    workers = start("worker", "--processes", "2", "--preload", DAY, *where, "--quiet", cwd=tmp_path)
    try:
        kills = disturb(workers.pid, driver.poll, server)
        said, complaints = driver.communicate(timeout=WAIT_S_MAX)
    finally:
        workers.terminate()
        workers.communicate(timeout=60)
        driver.kill()
    assert driver.returncode == 0, complaints
    assert kills == KILLS
    with closing(Store.open(server.url)) as store:
        lost = [row for row in DueQueue(store).attempts() if row["outcome"] == "lost"]
    assert len(lost) >= KILLS // 2  # the others hit a worker between two cycles
    finished = FinishedMarket(files=hashed_files(out), said=said, state=look(server.url, place))
    assert_equal(finished, undisturbed)
    assert said.splitlines()[:3] == undisturbed.said.splitlines()[:3]
    again = start(*words, cwd=tmp_path)
    assert again.communicate(timeout=WAIT_S_MAX) == (said, "")
    assert hashed_files(out) == finished.files


def disturb(parent: int, ended: Callable[[], int | None], server: OwnPostgres) -> int:
    """Send SIGKILL to the worker at work at seeded moments; crash the database half-way."""
    chance, kills = random.Random(20), 0
    with closing(Store.open(server.url)) as store:
        queue = DueQueue(store)
        while kills < KILLS and ended() is None:
            time.sleep(chance.uniform(0.05, 0.4))
            working = [row for row in queue.states() if row["state"] == "leased"]
            children = children_of(parent)
            if not working or len(children) < 2:
                continue
            victim = int(str(working[0]["worker"]).rpartition(":")[2])
            if victim not in children:
                continue
            os.kill(victim, signal.SIGKILL)
            kills += 1
            if kills == KILLS // 2:
                server.stop()
                time.sleep(0.5)
                server.start()
                store.engine.dispose()
    return kills


def children_of(parent: int) -> list[int]:
    try:
        text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]
