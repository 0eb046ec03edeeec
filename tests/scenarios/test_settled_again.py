"""Readings after the settlement: the day is settled again, by additions, on both databases."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from data.periods import format_utc
from dso.bootstrap import STORE_FILE, open_services
from dso.clock import ReplayClock
from dso.scheduler.alarms import Alarms
from dso.scheduler.operation import Operation, Site
from dso.scheduler.worker import Worker, WorkerRules
from dso.store import Store
from dso.store.backup import restore_backup, write_backup
from dso.store.readings import MeterReading
from dso.store.register import Register
from dso.store.register_records import Asset, ConnectionPoint
from dso.store.results import balances_micro_eur
from dso.store.settle_again import take_in_readings
from tests.support.small_market import FEEDER, write_configs

pytestmark = pytest.mark.slow
DAY = date(2016, 7, 25)
START = datetime(2016, 7, 24, 22, tzinfo=UTC)
SETTLED = datetime(2016, 7, 26, 5, tzinfo=UTC)
LATE = datetime(2016, 7, 27, 9, tzinfo=UTC)
POINT, ELEMENT = "meter-17", "load:3"


@dataclass
class Market:
    """A market worked on at given instants."""

    operation: Operation

    @property
    def store(self) -> Store:
        return self.operation.services.store

    @property
    def day(self) -> Path:
        return self.operation.site.out / FEEDER / DAY.isoformat()

    def work(self, at: datetime) -> int:
        self.operation.insert_due(at, since=DAY, until=DAY)
        clock, rules = ReplayClock(at=at), WorkerRules(name="w")
        worker, count = Worker(self.operation, clock=clock, rules=rules, alarms=Alarms()), 0
        while worker.run_one():
            count += 1
        return count

    def hand_in(self, reading: MeterReading, at: datetime) -> tuple[str, ...]:
        with self.store.transaction() as connection:
            return take_in_readings(connection, [reading], at=at)

    def settlements(self) -> list[tuple[int, str]]:
        rows = self.operation.queue.states()
        return [(row["revision"], row["state"]) for row in rows if row["cycle"] == "settlement"]

    def balances(self) -> dict[str, int]:
        with self.store.transaction() as connection:
            return balances_micro_eur(connection)


@contextmanager
def opened(folder: Path, url: str | None) -> Iterator[Market]:
    keys, out = folder / "keys", folder / "out"
    with closing(open_services(url, out=out, keys=keys)) as services:
        site = Site(feeders=(FEEDER,), out=out, configs=folder / "configs")
        yield Market(Operation(site, services))


def reading(revision: int, import_wh: int, *, period: int = 40, known_at: datetime) -> MeterReading:
    return MeterReading(
        connection_point=POINT, period_start=format_utc(START + period * timedelta(minutes=15)),
        revision=revision, period_minutes=15, import_wh=import_wh, export_wh=0,
        known_at=format_utc(known_at),
    )  # fmt: skip


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day that was settled with one reading in time."""
    folder = tmp_path_factory.mktemp("settled")
    write_configs(folder / "configs")
    with opened(folder, None) as market:
        with market.store.transaction() as connection:
            Register(ConnectionPoint).add(
                connection,
                [ConnectionPoint(id=POINT, feeder=FEEDER, bus=1, party="default-supplier",
                                 import_w_max=30_000, export_w_max=0, valid_from=START,
                       known_at=START)],
            )  # fmt: skip
            Register(Asset).add(
                connection,
                [Asset(id=f"{FEEDER}/{ELEMENT}", connection_point=POINT, technology="load",
                       import_w_max=30_000, export_w_max=0, valid_from=START,
                       known_at=START)],
            )  # fmt: skip
        market.work(SETTLED - timedelta(hours=2))
        early = reading(0, 4321, period=8, known_at=SETTLED - timedelta(hours=1))
        assert market.hand_in(early, SETTLED - timedelta(hours=1)) == ()  # it is read anyway
        market.work(SETTLED)
        assert market.settlements() == [(0, "done")]
    return folder


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def market(request: pytest.FixtureRequest, settled: Path, tmp_path: Path) -> Iterator[Market]:
    """A copy of that market; on PostgreSQL it is the backup, restored."""
    shutil.copytree(settled, tmp_path / "copy")
    url = None
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres_url"))
        with opened(tmp_path / "copy", None) as source, closing(Store.open(url)) as empty:
            keys = source.operation.services.keys
            write_backup(source.store, keys, tmp_path / "backup")
            restore_backup(tmp_path / "backup", empty, keys)
        (tmp_path / "copy/out" / STORE_FILE).unlink()
    with opened(tmp_path / "copy", url) as found:
        yield found


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def meter_mwh(folder: Path, period: int) -> float:
    start = format_utc(START + period * timedelta(minutes=15))
    rows = rows_of(folder / "positions.csv")
    return next(
        float(row["meter_mwh"]) for row in rows
        if row["connection"] == ELEMENT and row["period_start"] == start
    )  # fmt: skip


def test_late_readings_settle_the_day_again_by_additions(market: Market) -> None:
    first = market.day / "settlement"
    assert meter_mwh(first, 8) == pytest.approx(-0.004321, abs=1e-12)
    before, balances = (first / "lines.csv").read_bytes(), market.balances()
    leaves = market.operation.services.ledger.head().size
    assert market.hand_in(reading(0, 9000, known_at=LATE), LATE) == (f"{FEEDER}/{DAY}",)
    assert market.hand_in(reading(1, 9500, known_at=LATE), LATE) == ()  # one revision for both
    assert market.settlements() == [(0, "done"), (1, "due")]
    assert market.work(LATE) == 1
    assert market.settlements() == [(0, "done"), (1, "done")]
    second = market.day / "settlement-revisions/1"
    assert meter_mwh(second, 40) == pytest.approx(-0.0095, abs=1e-12)
    assert (first / "lines.csv").read_bytes() == before
    added = rows_of(second / "deltas.csv")
    assert {row["period_start"] for row in added} == {"2016-07-25T08:00:00Z"}
    assert sum(int(row["amount_micro_eur"]) for row in added) == 0
    expected = Counter(balances)
    for row in added:
        expected[row["participant"]] += int(row["amount_micro_eur"])
    assert market.balances() == dict(expected)
    assert market.balances()["default-supplier"] != balances["default-supplier"]
    assert market.operation.services.ledger.head().size > leaves


def test_the_same_work_twice_leaves_one_revision(market: Market) -> None:
    market.hand_in(reading(0, 9000, known_at=LATE), LATE)
    market.work(LATE)
    files = {p: p.read_bytes() for p in market.day.rglob("*") if p.is_file()}
    head, balances = market.operation.services.ledger.head(), market.balances()
    assert market.work(LATE + timedelta(hours=1)) == 0
    row = next(r for r in market.operation.queue.states() if r["revision"] == 1)
    with market.store.transaction() as connection:  # its worker died before it could say so
        connection.exec_driver_sql("UPDATE due_cycle SET state = 'due' WHERE revision = 1")
    # what arrives now is the next one's, for nobody knows what that worker had read
    again = reading(1, 8000, known_at=LATE + timedelta(hours=1))
    assert market.hand_in(again, LATE + timedelta(hours=1)) == (f"{FEEDER}/{DAY}",)
    assert market.work(LATE) == 1
    assert {p: p.read_bytes() for p in files} == files
    assert (market.operation.services.ledger.head(), market.balances()) == (head, balances)
    assert row["state"] == "done"
    market.work(LATE + timedelta(hours=2))
    assert market.settlements() == [(0, "done"), (1, "done"), (2, "done")]
    assert meter_mwh(market.day / "settlement-revisions/2", 40) == pytest.approx(-0.008, abs=1e-12)


def test_readings_of_no_settled_day_and_of_unknown_meters_settle_nothing(market: Market) -> None:
    outside = reading(0, 1, period=96, known_at=LATE)
    assert market.hand_in(outside, LATE) == ()
    assert market.hand_in(replace(outside, connection_point="stranger"), LATE) == ()
    assert market.settlements() == [(0, "done")]


def test_a_meter_of_two_assets_is_named_and_left_out(market: Market) -> None:
    with market.store.transaction() as connection:
        Register(Asset).add(
            connection,
            [Asset(id=f"{FEEDER}/load:4", connection_point=POINT, technology="load",
                   import_w_max=30_000, export_w_max=0, valid_from=START,
                       known_at=START)],
        )  # fmt: skip
    market.hand_in(reading(0, 9000, known_at=LATE), LATE)
    market.work(LATE)
    assert market.operation.queue.fallbacks()["settlement", "readings_unassigned"] == 1
    second = market.day / "settlement-revisions/1"
    assert "is the meter of 2 assets" in (second / "readings.json").read_text(encoding="utf-8")
    assert meter_mwh(second, 40) == meter_mwh(market.day / "settlement", 40)
