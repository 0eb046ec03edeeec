"""The scheduler inserts, the elected one alone; its health and metrics answer over HTTP."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen
from zoneinfo import ZoneInfo

import pytest

from data.errors import InputError
from data.periods import parse_utc
from dso.clock import ReplayClock
from dso.cycles.perform import CycleResult
from dso.cycles.stages import Desk
from dso.scheduler import simulate as simulate_module
from dso.scheduler import worker as worker_module
from dso.scheduler.alarms import Alarms
from dso.scheduler.operation import Operation, Site
from dso.scheduler.serve import insert_on_time
from dso.scheduler.simulate import simulate
from dso.scheduler.worker import Worker, WorkerRules
from dso.store import DueCycle, DueQueue, Store
from dso.store.due import StoreClock, set_simulated_now
from dso.store.leader import Election
from tests.support.small_market import options, start, write_configs
from tests.unit.scheduler.conftest import DAY, GATE, Market, open_market

ZONE = ZoneInfo("Europe/Berlin")


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    with open_market(tmp_path, write_configs(tmp_path / "configs")) as opened:
        yield opened


@pytest.mark.parametrize(("day", "count"), [("2016-03-27", 92), ("2016-10-30", 100)])
def test_every_cycle_of_a_day_runs_once_at_its_local_time(
    market: Market, monkeypatch: pytest.MonkeyPatch, day: str, count: int
) -> None:
    """The cycles themselves are left out: what counts is when each is performed."""
    performed: list[tuple[str, datetime, datetime]] = []
    clock = StoreClock(market.operation.services.store)

    def note(_desk: Desk, due: DueCycle, **_: Any) -> CycleResult:
        performed.append((due.cycle, due.first_period, clock.now()))
        return CycleResult(light="green", fallbacks=())

    monkeypatch.setattr(worker_module, "perform_cycle", note)
    monkeypatch.setattr(worker_module, "tell_setpoints", note)
    done = simulate(
        market.operation,
        first=date.fromisoformat(day),
        days=1,
        worker=Worker(market.operation, clock=clock, rules=WorkerRules(name="w"), alarms=Alarms()),
    )
    rounds = -(-count // 24)
    updates = [at for name, _, at in performed if name == "forecast_update"]
    assert len(updates) == rounds + 2  # at each gate, and every twelve hours
    assert {at for name, _, at in performed if name == "intraday"} <= set(updates)
    assert done.outcomes == {"done": 7 + rounds + len(updates) + count}
    assert len(performed) == len({entry[:2] for entry in performed}) == done.cycles

    def local(cycle: str) -> list[str]:
        return [f"{at.astimezone(ZONE):%m-%d %H:%M}" for name, _, at in performed if name == cycle]

    before, after = (date.fromisoformat(day) + timedelta(days=k) for k in (-1, 1))
    assert local("day_ahead") == [f"{before:%m-%d} 13:30"]
    assert local("settlement") == [f"{after:%m-%d} 06:00"]
    assert local("droops") == [f"{before:%m-%d} 23:00"]
    assert local("dispatch") == [f"{after:%m-%d} 00:00"]
    told = [first for name, first, _ in performed if name == "real_time"]
    assert told == [told[0] + k * timedelta(minutes=15) for k in range(count)]
    assert all(first - at == timedelta(minutes=30) for name, first, at in performed
               if name == "intraday")  # fmt: skip


def test_a_simulation_goes_on_where_it_was_stopped(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0

    def stop_after_ten(_desk: Desk, _due: DueCycle, **_: Any) -> CycleResult:
        nonlocal count
        count += 1
        if count == 10:
            raise KeyboardInterrupt
        return CycleResult(light="green", fallbacks=())

    monkeypatch.setattr(worker_module, "perform_cycle", stop_after_ten)
    monkeypatch.setattr(worker_module, "tell_setpoints", stop_after_ten)
    worker = Worker(
        market.operation, clock=StoreClock(market.operation.services.store),
        rules=WorkerRules(name="w"), alarms=Alarms(),
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        simulate(market.operation, first=DAY, days=1, worker=worker)
    done = simulate(market.operation, first=DAY, days=1, worker=worker)
    assert done.outcomes == {"done": 113}
    assert count == 114  # the one that was interrupted ran again, no other


def test_a_scheduler_beside_a_simulation_inserts_nothing(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `dso serve` on the store of `dso simulate`: the simulation is the elected one."""

    def nothing(*_: Any, **__: Any) -> CycleResult:
        return CycleResult(light="green", fallbacks=())

    monkeypatch.setattr(worker_module, "perform_cycle", nothing)
    monkeypatch.setattr(worker_module, "tell_setpoints", nothing)
    store = market.operation.services.store
    beside = Operation(market.operation.site, market.operation.services)
    election = Election(store, role="scheduler", holder="served")
    clock, added = StoreClock(store), []
    worker = Worker(market.operation, clock=clock, rules=WorkerRules(name="w"), alarms=Alarms())

    def look(_: datetime) -> None:
        added.append(insert_on_time(beside, election, clock, since=DAY))

    done = simulate(market.operation, first=DAY, days=1, worker=worker, progress=look)
    assert done.outcomes == {"done": 113}
    assert set(added) == {0}
    assert insert_on_time(beside, election, clock, since=DAY) > 0  # it goes on with the next day


def test_a_simulation_on_a_store_that_is_served_is_refused(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate_module, "ELECTION_WAIT_S", 0.2)
    store = market.operation.services.store
    served = Election(store, role="scheduler", holder="served")
    assert served.lead()
    with pytest.raises(InputError, match="another scheduler leads it"):
        simulate(market.operation, first=DAY, days=1, worker=None)
    assert market.operation.queue.states() == ()
    served.resign()


def test_only_the_elected_scheduler_inserts(market: Market) -> None:
    store, clock = market.operation.services.store, ReplayClock(at=GATE)
    one = Election(store, role="scheduler", holder="one")
    two = Election(store, role="scheduler", holder="two")
    assert insert_on_time(market.operation, one, clock, since=DAY) == 113
    other = Operation(market.operation.site, market.operation.services)
    assert insert_on_time(other, two, clock, since=DAY) == 0
    one.resign()
    assert insert_on_time(other, two, clock, since=DAY) == 0  # they are there already
    assert len(market.operation.queue.states()) == 113


def test_a_day_is_inserted_when_its_first_cycle_is_due(market: Market) -> None:
    early = GATE - timedelta(seconds=1)
    assert market.operation.insert_due(early, since=DAY) == 0
    assert market.operation.insert_due(GATE + timedelta(days=1), since=DAY) == 226


def test_an_unknown_feeder_is_refused(tmp_path: Path) -> None:
    from data.errors import InputError

    configs = write_configs(tmp_path / "configs")
    with open_market(tmp_path, configs) as opened:
        site = Site(feeders=("nowhere",), out=tmp_path, configs=configs)
        with pytest.raises(InputError, match="no 'nowhere'"):
            Operation(site, opened.operation.services).insert_due(GATE, since=DAY)


def test_the_serve_command_inserts_and_answers(tmp_path: Path) -> None:
    out, configs, keys = tmp_path / "out", write_configs(tmp_path / "configs"), tmp_path / "keys"
    url = f"sqlite:///{out / 'store.sqlite'}"
    with closing(Store.open(url)) as store:
        set_simulated_now(store, GATE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", "--since", "2016-07-25", "--port", str(port), "--tick-s", "0.2"]
    served = start(*words, *options(out, configs, keys, url))
    try:
        health = json.loads(_ask(f"http://127.0.0.1:{port}/health"))
        with closing(Store.open(url)) as store:
            while len(DueQueue(store).states()) < 113:
                time.sleep(0.05)
            due = DueQueue(store).states()
        assert parse_utc(due[0]["due_at"]) == GATE
        assert health["status"] == "ok"
        text = _ask(f"http://127.0.0.1:{port}/metrics")
        assert 'gridclear_cycles{cycle="forecast",light="none",state="due"} 1.0' in text
        assert "gridclear_up 1.0" in text
        assert "gridclear_cycle_lag_seconds 0.0" in text
        # an hour later nobody has worked: that is a problem, and said
        with closing(Store.open(url)) as store:
            set_simulated_now(store, GATE + timedelta(hours=1))
        with pytest.raises(HTTPError) as caught:
            urlopen(f"http://127.0.0.1:{port}/health", timeout=10)
        assert caught.value.code == 503
        assert "do workers run?" in caught.value.read().decode()
        caught.value.close()
    finally:
        served.send_signal(signal.SIGTERM)
        _, complaints = served.communicate(timeout=30)
    assert served.returncode in (0, -signal.SIGTERM), complaints


def _ask(url: str) -> str:
    for _ in range(600):
        try:
            with urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except URLError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")
