"""A day of a market on PostgreSQL that is used through the API alone.

The code blocks of docs/aggregator.md run as they stand against `dso serve`; another party hands in
every kind of order for the same day: cleared, told to devices, settled to zero.
"""

from __future__ import annotations

import csv
import json
import re
import signal
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from dso.api.client import MarketClient
from dso.store import Store
from dso.store.due import set_simulated_now
from ledger_adapter.keys import load_or_create_keys
from ledger_adapter.verify.disclosure import verify_disclosure
from ledger_adapter.verify.receipt import TrustPolicy
from tests.support.api_kinds import DAY, Trader, hand_in_all
from tests.support.postgres_schema import own_schema
from tests.support.small_market import options, start, write_configs

pytestmark = [pytest.mark.slow, pytest.mark.service]
PAGE = Path(__file__).parents[2] / "docs/aggregator.md"
WAIT_S = 240


def said(process: subprocess.Popen[str]) -> str:
    out, complaints = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, complaints
    return out


@contextmanager
def served(url: str, where: list[str]) -> Iterator[None]:
    """Run `dso serve` until the block ends."""
    port = url.rpartition(":")[2]
    server = start("serve", "--since", "2016-07-25", "--port", port, *where)
    try:
        for _ in range(600):
            try:
                with urlopen(f"{url}/api/v1/openapi.json", timeout=5):
                    break
            except OSError:
                assert server.poll() is None, server.communicate()
                time.sleep(0.1)
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedDay:
    """What is left of the day.

    ``names`` are the variables of the page, ``ids`` the orders of the other party by what they are
    for, ``keys`` the folder of the operator's keys.
    """

    folder: Path
    keys: Path
    names: dict[str, Any]
    ids: dict[str, str]
    late: Any
    trader_trades: list[dict[str, Any]]
    trader_lines: list[dict[str, Any]]


@pytest.fixture(scope="module")
def used(postgres_server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UsedDay]:
    """The market stands still before the first gate, has its day, and is asked again."""
    with own_schema(postgres_server_url) as url:
        yield use_a_day(url, tmp_path_factory.mktemp("market"))


def use_a_day(store_url: str, folder: Path) -> UsedDay:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 8
    configs, out, keys = write_configs(folder / "configs"), folder / "out", folder / "keys"
    where = options(out, configs, keys, store_url)
    out.mkdir()
    with Trader.opened(store_url, out, configs, keys) as trader:
        trader.register()
        ids = hand_in_all(trader)
    with closing(Store.open(store_url)) as store:
        set_simulated_now(store, datetime(2016, 7, 24, 10, 0, tzinfo=UTC))
    made = said(start("access", "add", "--party", "room", "--role", "operator", *where[:-1]))
    credentials = dict(line.split() for line in made.splitlines())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    names: dict[str, Any] = {"URL": url, "operator": MarketClient(url, **credentials)}
    with served(url, where):
        for block in blocks[:6]:
            exec(compile(block, str(PAGE), "exec"), names)
    assert names["order"].in_book
    # the server is away meanwhile: it would insert the days after as the clock moves on
    said(start("simulate", "--from", DAY, "--days", "1", *where))
    with served(url, where):
        for block in blocks[6:]:
            exec(compile(block, str(PAGE), "exec"), names)
        market = names["market"]
        late = market.hand_in(names["ASSET"], names["DAY"], "generation", names["TERMS"])
        market.close()
        names["operator"].close()
    with Trader.opened(store_url, out, configs, keys) as trader:
        trades, lines = trader.rows("/trades"), trader.rows("/statements")
    return UsedDay(
        folder=out / "village" / DAY, keys=keys, names=names, ids=ids, late=late,
        trader_trades=trades, trader_lines=lines,
    )  # fmt: skip


def test_the_page_runs(used: UsedDay) -> None:
    names = used.names
    assert (used.late.state, used.late.in_book) == ("late", False)
    assert {row["participant"] for row in names["trades"]} == {names["me"]["party"]}
    assert {row["order_id"] for row in names["trades"]} == {names["order"].id}
    assert len({row["period_start"] for row in names["trades"]}) == 96
    assert len(names["awards"]) >= 96
    assert names["paid_eur"] > 0
    assert names["gate"] == "2016-07-24T11:30:00Z"
    assert names["forecast"]["periods"] == 1
    assert names["why"]["details"]["order"] == names["order"].id
    assert names["price"]["details"]["bus"] == 7
    policy = TrustPolicy(key=load_or_create_keys(used.keys).signer.key)
    opened, _ = verify_disclosure(names["receipt"].encode(), policy)
    assert opened.fields["participant"][1] == names["me"]["party"]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_kind_is_cleared(used: UsedDay) -> None:
    day, ids = used.folder, used.ids
    book = json.loads((day / "forecast/book.json").read_text())
    cleared = set(book["cleared"])
    assert {ids[name] for name in ids} - cleared == {
        ids["replaced"], ids["restated"], ids["nothing"]
    }  # fmt: skip
    assert book["left_out"] == {ids["replaced"]: f"replaced by {ids['generation']}"}
    states = {row["order"]: row["status"] for row in read_csv(day / "clearing/orders.csv")}
    for name in ("block", "parent", "child", "bilateral", "portfolio", "shift", "storage"):
        assert states[ids[name]] == "accepted", name
    assert sorted(states[ids[name]] for name in ("one", "other")).count("accepted") == 1


def test_the_storage_follows_its_terms(used: UsedDay) -> None:
    """It buys cheap hours and sells dear ones; its energy is what was charged and discharged."""
    rows = [
        row
        for row in read_csv(used.folder / "clearing/awards.csv")
        if row["order"] == used.ids["storage"]
    ]
    assert len(rows) == 96
    energy_mwh, charged, discharged = 0.004, 0.0, 0.0
    for row in rows:
        charge, discharge = float(row["charge_mw"]), float(row["discharge_mw"])
        assert float(row["injection_mw"]) == pytest.approx(discharge - charge, abs=1e-9)
        assert max(charge, discharge) <= 0.004 + 1e-9
        energy_mwh += 0.25 * (0.95 * charge - discharge / 0.95)
        assert float(row["soc_mwh"]) == pytest.approx(energy_mwh, abs=2e-6)
        assert -2e-6 <= energy_mwh <= 0.012 + 2e-6
        charged, discharged = charged + charge, discharged + discharge
    assert energy_mwh >= 0.004 - 2e-6
    assert min(charged, discharged) * 0.25 > 0.004
    trades = [row for row in used.trader_trades if row["order_id"] == used.ids["storage"]]
    assert {row["energy_wh"] > 0 for row in trades} == {True, False}


def test_the_rounds_keep_what_stands_and_sell_back_what_was_restated(used: UsedDay) -> None:
    day, ids = used.folder, used.ids
    rounds = sorted(path for path in (day / "clearing/intraday").iterdir() if path.is_dir())
    assert len(rounds) == 4
    for folder in rounds:
        held = {o["id"] for o in json.loads((folder / "orders.json").read_text())}
        assert {f"{ids['block']}@13", f"{ids['bilateral']}@14", f"{ids['bilateral']}@6"} <= held
        notes = json.loads((day / f"forecast/intraday/{folder.name}.json").read_text())
        assert len(notes["book"]["cleared"]) == 1
        assert ids["nothing"] in notes["book"]["left_out"]
    day_ahead: dict[tuple[str, str], float] = defaultdict(float)
    last: dict[tuple[str, str], float] = defaultdict(float)
    for row in read_csv(day / "clearing/awards.csv"):
        day_ahead[row["order"], row["period_start"]] += float(row["injection_mw"])
    for row in read_csv(rounds[1] / "awards.csv"):
        last[row["order"], row["period_start"]] += float(row["injection_mw"])
    noon = "2016-07-25T11:00:00Z"
    assert day_ahead[ids["block"], noon] == pytest.approx(0.006)
    assert last[f"{ids['block']}@13", noon] == pytest.approx(0.006)
    assert day_ahead[ids["sold"], noon] == pytest.approx(0.01)
    assert last[ids["sold"], noon] == 0.0


def test_devices_are_told_and_every_period_sums_to_zero(used: UsedDay) -> None:
    day, ids = used.folder, used.ids
    told = {row["order"] for row in read_csv(day / "dispatch/delivery.csv")}
    assert {f"{ids['shift']}@12", f"{ids['curtail']}@11", f"{ids['portfolio']}@14"} <= told
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for row in read_csv(day / "settlement/lines.csv"):
        sums[row["market"], row["period_start"]] += int(row["amount_micro_eur"])
    assert sums
    assert set(sums.values()) == {0}
    assert {ids["block"], ids["bilateral"], ids["shift"], ids["storage"]} <= {
        row["order_id"] for row in used.trader_trades
    }
    assert {line["connection"] for line in used.trader_lines} >= {"sgen:3", "load:9", "load:23"}
