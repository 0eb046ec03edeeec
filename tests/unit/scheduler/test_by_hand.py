"""One cycle by hand, alarms to a webhook, and a worker's process that is replaced."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dso.cli.main import main
from dso.scheduler.alarms import Alarms, breached_rules
from dso.scheduler.supervisor import Supervisor
from dso.store import Ending, Fallback, LeasedCycle
from tests.support.small_market import options
from tests.unit.scheduler.conftest import DAY, GATE, Market

AT_GATE = "2016-07-24T13:30:00+02:00"


def where(market: Market) -> list[str]:
    folder = market.operation.site.out.parent
    return options(folder / "out", folder / "configs", folder / "keys", None)


def test_a_cycle_is_run_by_hand_once_and_in_its_order(
    market: Market, capsys: pytest.CaptureFixture[str]
) -> None:
    at_noon = ["run", "intraday", "--at", "2016-07-25T00:10:00+02:00", *where(market)]
    assert main(at_noon) == 2
    assert "waits for day_ahead 2016-07-24T22:00:00Z" in capsys.readouterr().err
    assert main(["run", "day_ahead", "--at", AT_GATE, *where(market)]) == 0
    said = capsys.readouterr().out
    assert "four-rounds/village/day_ahead/2016-07-24T22:00:00Z/0: done, light yellow" in said
    before = (market.day / "clearing/prices.csv").stat().st_mtime_ns
    assert main(["run", "day_ahead", "--at", "2016-07-24T14:30:00+02:00", *where(market)]) == 0
    assert capsys.readouterr().out == said  # done before: nothing is run again
    assert (market.day / "clearing/prices.csv").stat().st_mtime_ns == before
    assert market.row("day_ahead")["attempt"] == 1


def test_what_was_never_due_is_refused(market: Market, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "settlement", "--at", "2015-07-24T13:30:00Z", *where(market)]) == 2
    assert "no settlement was due" in capsys.readouterr().err


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, object]]]]:
    heard: list[dict[str, object]] = []

    class Hear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hear)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/alarm", heard
    server.shutdown()
    thread.join()
    server.server_close()


def test_alarms_are_raised_by_rule(
    market: Market, webhook: tuple[str, list[dict[str, object]]], tmp_path: Path
) -> None:
    market.operation.insert_due(GATE, since=DAY)
    leased = market.operation.queue.lease("w", now=GATE, lease_s=5.0)
    assert isinstance(leased, LeasedCycle)
    url, heard = webhook
    alarms = Alarms(file=tmp_path / "alarms.jsonl", webhook=url, rules=("red", "fallback"))
    alarms.hear(leased, Ending(outcome="done", light="orange"))
    assert heard == []
    fallback = Fallback(name="solver_timeout", text="solver_timeout: over")
    alarms.hear(leased, Ending(outcome="done", light="orange", fallbacks=(fallback,)))
    assert [alarm["rules"] for alarm in heard] == [["fallback"]]
    assert json.loads((tmp_path / "alarms.jsonl").read_text()) == heard[0]
    assert str(heard[0]["cycle"]).startswith("four-rounds/village/day_ahead/")


def test_a_webhook_that_does_not_answer_stops_nobody(market: Market) -> None:
    market.operation.insert_due(GATE, since=DAY)
    leased = market.operation.queue.lease("w", now=GATE, lease_s=5.0)
    assert leased is not None
    alarms = Alarms(webhook="http://127.0.0.1:9/nobody", rules=("red",))
    alarms.hear(leased, Ending(outcome="failed", light="red"))


def test_each_rule_is_breached_by_what_it_names() -> None:
    assert breached_rules(Ending(outcome="held")) == ("held",)
    late = Ending(outcome="skipped", light="orange", remark="late: began 90 s after it was due")
    assert breached_rules(late) == ("orange", "skipped", "late")
    assert breached_rules(Ending(outcome="done", light="green")) == ()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--alarm-on", "red,blue"], "'blue' is unknown"),
        (["--alarm-webhook", "file:///etc/passwd"], "is no HTTP address"),
        (["--days", "0"], "is not positive"),
        (["--anchor", "evm"], "needs --chain FILE and --poster-key FILE"),
    ],
)
def test_wrong_options_are_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    out = tmp_path / "out"
    assert main(["simulate", "--from", "2016-07-25", "--out", str(out), *words]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_process_that_is_killed_is_replaced_and_buried(tmp_path: Path) -> None:
    """The first process kills itself, the second ends well."""
    mark, buried = tmp_path / "mark", []

    def work(number: int) -> None:
        assert number == 0
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    def bury(number: int, process: int) -> None:
        buried.append((number, process))

    handlers = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert Supervisor(work=work, processes=1, bury=bury).run() == 1
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)
    assert len(buried) == 1
    assert buried[0][1] > 0
