"""Orders per second over real sockets, single and bulk, and the last minute before a gate.

    make bench-api

One server process (`uvicorn`), senders in this process, SQLite in a temporary file and PostgreSQL
from DSO_TEST_POSTGRES_URL. Half-way through the single orders the gate passes and the book is
closed: the book then holds exactly the orders whose answers said so, or the run ends in an error.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from benchmarks.machine import describe_machine
from data.periods import DeliveryDay
from dso.api.app import make_api
from dso.api.limits import ApiLimits
from dso.api.market import Market, TradingDay
from dso.api.tokens import Caller, TokenRing
from dso.bootstrap import Services, open_services
from dso.clock import SystemClock
from dso.store import DueCycle
from dso.store.book import BookKey, close_book
from dso.store.due import set_simulated_now
from dso.store.register import Register
from dso.store.register_records import Asset, ConnectionPoint, Party

ORDERS = int(os.environ.get("ORDERS", "10000"))
SENDERS = 8
BULK_SIZE, BULK_REQUESTS = 1_000, 10
DAY, BULK_DAY = date(2026, 11, 23), date(2026, 11, 24)
GATE = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
HEADERS = {"Content-Type": "application/json"}
UNLIMITED = ApiLimits(requests_per_s=1e9, burst=1e9, anonymous_per_s=1e9, anonymous_burst=1e9)


class OneFeeder:
    """One feeder with its gate at 13:30 of the day before."""

    def feeders(self) -> tuple[str, ...]:
        """Return the feeder."""
        return ("village",)

    def trading_day(self, feeder: str, day: date) -> TradingDay:
        """Return gate and periods."""
        delivery = DeliveryDay(day=day)
        assert feeder == "village"
        gate = delivery.instant(clock_time(13, 30), days_before=1)
        return TradingDay(gate=gate, periods=delivery.periods)

    def network(self, feeder: str, day: date) -> None:
        """Places are those of the register."""

    def timetable(self, feeder: str, day: date) -> tuple[DueCycle, ...]:  # noqa: ARG002
        """Nothing is run here."""
        return ()

    def day_folder(self, feeder: str, first_period: datetime) -> Path:  # noqa: ARG002
        """Nothing is written here."""
        return Path(feeder)


def open_market(url: str, folder: Path) -> Market:
    """Open what the API stands on."""
    services = open_services(url, out=folder, keys=folder / "keys")
    machine = SystemClock()
    ring = TokenRing(folder / "keys", issuer="bench", clock=machine)
    return Market(
        services=services, calendar=OneFeeder(), tokens=ring, machine=machine, limits=UNLIMITED
    )


def serve(url: str, folder: Path, port: int) -> None:
    """Serve until told to end."""
    import structlog
    import uvicorn

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    app = make_api(open_market(url, folder))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def fill(services: Services) -> None:
    """Enter a party with one asset, a minute before the gate."""
    since = {"valid_from": GATE - timedelta(days=1), "known_at": GATE - timedelta(days=1)}
    with services.store.transaction() as connection:
        Register(Party).add(connection, [Party(id="agg", name="agg", role="aggregator", **since)])
        point = ConnectionPoint(
            id="cp", feeder="village", bus=3, party="agg", import_w_max=0, export_w_max=30_000,
            **since,
        )  # fmt: skip
        Register(ConnectionPoint).add(connection, [point])
        asset = Asset(
            id="village/sgen:3", connection_point="cp", technology="pv", import_w_max=0,
            export_w_max=30_000, **since,
        )  # fmt: skip
        Register(Asset).add(connection, [asset])
    set_simulated_now(services.store, GATE - timedelta(minutes=1))


def order(day: date, number: int) -> dict[str, Any]:
    """Return an order."""
    terms = {"p_mw_max": 0.02, "price_eur_per_mwh": number % 100}
    return {
        "asset": "village/sgen:3", "delivery_day": day.isoformat(), "kind": "generation",
        "terms": terms,
    }  # fmt: skip


class Sender(threading.local):
    """A connection of each thread."""

    connection: HTTPConnection | None = None

    def post(self, port: int, path: str, said: object, token: str) -> tuple[float, Any]:
        """Return how long an answer took [s], and the answer."""
        if self.connection is None:
            self.connection = HTTPConnection("127.0.0.1", port, timeout=120)
        began_s = time.perf_counter()
        headers = {**HEADERS, "Authorization": f"Bearer {token}"}
        self.connection.request("POST", f"/api/v1{path}", json.dumps(said), headers)
        answer = self.connection.getresponse()
        found = json.loads(answer.read())
        assert answer.status == 201, found
        return time.perf_counter() - began_s, found


def measure(name: str, url: str, folder: Path) -> None:
    """Print the rows of one database."""
    market = open_market(url, folder)
    with closing(market.services) as services, served(url, folder) as port:
        fill(services)
        sender, lock = Sender(), threading.Lock()
        state = {"answered": 0}
        closed: list[str] = []

        def token() -> str:
            return market.tokens.sign(Caller(client="c", party="agg", role="aggregator"))

        def bulk() -> float:
            orders = [order(BULK_DAY, k) for k in range(BULK_SIZE)]
            return sender.post(port, "/orders/bulk", {"orders": orders}, token())[0]

        def single(number: int) -> tuple[float, Any]:
            found = sender.post(port, "/orders", order(DAY, number), token())
            with lock:
                state["answered"] += 1
                passes = state["answered"] == ORDERS // 2
            if passes:
                set_simulated_now(services.store, GATE)
                with services.store.transaction() as connection:
                    key = BookKey(feeder="village", day=DAY.isoformat(), gate=GATE)
                    closed.extend(each.id for each in close_book(connection, key))
            return found

        with ThreadPoolExecutor(SENDERS) as pool:
            began_s = time.perf_counter()
            show(name, "bulk of 1,000, one sender", [bulk() for _ in range(BULK_REQUESTS)],
                 BULK_SIZE * BULK_REQUESTS, began_s)  # fmt: skip
            began_s = time.perf_counter()
            answers = list(pool.map(single, range(ORDERS)))
            show(name, f"single, {SENDERS} senders", [s for s, _ in answers], ORDERS, began_s)
        told = {said["id"] for _, said in answers if said["in_book"]}
        if told != set(closed):
            raise SystemExit(f"{name}: the book holds {len(closed)}, told {len(told)}")
        say(f"{name}: gate passed half-way: {len(told)} in the book, {ORDERS - len(told)} late,")
        say("  every order answered, the book and the answers agree")


def show(name: str, what: str, seconds: list[float], orders: int, began_s: float) -> None:
    """Print one row."""
    rate = orders / (time.perf_counter() - began_s)
    p50, p99 = (1000 * float(np.quantile(seconds, level)) for level in (0.5, 0.99))
    say(f"| {name} | {what} | {rate:,.0f} | {p50:,.0f} | {p99:,.0f} |")


@contextmanager
def served(url: str, folder: Path) -> Iterator[int]:
    """Run the server in a process of its own; gives its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    words = [sys.executable, "-m", "benchmarks.api", "serve", url, str(folder), str(port)]
    process = subprocess.Popen(words)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit("the server ended") from None
                time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure each database there is."""
    say(describe_machine())
    say("\n| database | request | orders/s | p50 [ms] | p99 [ms] |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "sqlite"
        measure("SQLite", f"sqlite:///{folder / 'store.sqlite'}", folder)
        server = os.environ.get("DSO_TEST_POSTGRES_URL")
        if not server:
            say("PostgreSQL not run: set DSO_TEST_POSTGRES_URL")
            return
        schema = f"bench_api_{uuid.uuid4().hex}"
        engine = create_engine(server)
        with engine.begin() as connection:
            connection.execute(text(f'CREATE SCHEMA "{schema}"'))
        own = make_url(server).update_query_dict({"options": f"-csearch_path={schema}"})
        try:
            url = own.render_as_string(hide_password=False)
            measure("PostgreSQL", url, Path(made) / "postgres")
        finally:
            with engine.begin() as connection:
                connection.execute(text(f'DROP SCHEMA "{schema}" CASCADE'))
            engine.dispose()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
