"""Every kind of order through the API into a day of the market: cleared, told, settled to zero."""

from __future__ import annotations

import csv
import json
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from dso.api.app import make_api
from dso.api.credentials import add_party_client
from dso.api.limits import ApiLimits
from dso.api.serving import operated_market
from dso.api.tokens import Caller
from dso.bootstrap import open_services
from dso.scheduler.operation import Operation, Site
from dso.store.due import set_simulated_now
from dso.store.register import Register
from dso.store.register_records import Asset, ConnectionPoint
from tests.support.api_market import TestClient
from tests.support.small_market import options, start, write_configs

pytestmark = [pytest.mark.slow]
DAY = "2016-07-25"
BEFORE_GATE = datetime(2016, 7, 24, 8, 0, tzinfo=UTC)
PERIODS = 96
# Asset, bus, W in, W out. Buses are those of the grid; units are on top of it.
ASSETS = (
    ("sgen:0", 7, 0, 40_000), ("sgen:1", 11, 0, 80_000), ("sgen:3", 13, 0, 23_000),
    ("load:9", 12, 12_000, 0), ("load:23", 11, 22_000, 0),
    ("unit:1", 9, 5_000, 5_000), ("unit:2", 5, 5_000, 5_000), ("unit:3", 14, 8_000, 8_000),
    ("unit:4", 6, 4_000, 4_000),
)  # fmt: skip


class Trader:
    """A party that may trade for all of `ASSETS`, and its way into the market."""

    def __init__(self, out: Path, configs: Path, keys: Path) -> None:
        self.services = open_services(None, out=out, keys=keys)
        site = Site(feeders=("village",), out=out, configs=configs)
        operation = Operation(site, self.services)
        set_simulated_now(self.services.store, BEFORE_GATE)
        market = operated_market(
            operation, today=date(2016, 7, 25), limits=ApiLimits(requests_per_s=1e6, burst=1e6)
        )
        self.http = TestClient(make_api(market))
        add_party_client(self.services.store, "trader", "aggregator")
        since: dict[str, Any] = {"valid_from": BEFORE_GATE, "known_at": BEFORE_GATE}
        with self.services.store.transaction() as connection:
            for name, bus, import_w, export_w in ASSETS:
                watts: dict[str, Any] = {
                    "import_w_max": import_w,
                    "export_w_max": export_w,
                    **since,
                }
                point = ConnectionPoint(
                    id=f"cp-{name}", feeder="village", bus=bus, party="trader", **watts
                )
                asset = Asset(
                    id=f"village/{name}", connection_point=point.id, technology="any", **watts
                )
                Register(ConnectionPoint).add(connection, [point])
                Register(Asset).add(connection, [asset])
        token = market.tokens.sign(Caller(client="c", party="trader", role="aggregator"))
        self.head = {"Authorization": f"Bearer {token}"}

    def hand_in(self, kind: str, asset: str | None, *, market: str = "day_ahead",
                portfolio: dict[str, float] | None = None, **terms: Any) -> str:  # fmt: skip
        said = {"delivery_day": DAY, "kind": kind, "market": market, "terms": terms}
        if asset is not None:
            said["asset"] = f"village/{asset}"
        if portfolio is not None:
            said["portfolio"] = {f"village/{unit}": share for unit, share in portfolio.items()}
        answer = self.http.post("/api/v1/orders", json=said, headers=self.head)
        assert answer.status_code == 201, answer.text
        assert answer.json()["in_book"]
        return str(answer.json()["id"])

    def rows(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        query: dict[str, Any] = {"limit": 1000}
        while True:
            page = self.http.get(f"/api/v1{path}", params=query, headers=self.head).json()
            found += page["items"]
            if page["next"] is None:
                return found
            query["cursor"] = page["next"]


@contextmanager
def trader(out: Path, configs: Path, keys: Path) -> Iterator[Trader]:
    made = Trader(out, configs, keys)
    with closing(made.services):
        yield made


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def hand_in_all(party: Trader) -> dict[str, str]:
    """One order of each kind, and what replaces, excludes and restates others."""
    flat, noon = [0.0] * 40 + [0.006] * 16 + [0.0] * 40, [0.0] * 48 + [0.004] * 8 + [0.0] * 40
    ids = {
        "replaced": party.hand_in("generation", "sgen:0", p_mw_max=0.03, price_eur_per_mwh=500.0),
        "generation": party.hand_in("generation", "sgen:0", p_mw_max=0.004, price_eur_per_mwh=0.0),
        "shift": party.hand_in("shift", "load:9", baseline_mw=0.004, p_mw_max=0.012,
                               window_periods=24, price_eur_per_mwh=0.5),
        "curtail": party.hand_in("curtail", "load:23", p_mw_max=0.001, price_eur_per_mwh=1.0,
                                 duration_periods_min=2, duration_periods_max=8,
                                 activations_max=2, cooldown_periods=2),
        "block": party.hand_in("block", "sgen:3", profile_mw=flat, price_eur_per_mwh=1.0),
        "parent": party.hand_in("block", "unit:1", profile_mw=noon, price_eur_per_mwh=1.0),
        "one": party.hand_in("block", "unit:2", profile_mw=noon, price_eur_per_mwh=2.0,
                             exclusive_group="either"),
        "other": party.hand_in("block", "unit:2", profile_mw=noon[8:] + [0.0] * 8,
                               price_eur_per_mwh=2.0, exclusive_group="either"),
        "bilateral": party.hand_in("bilateral", "unit:3", asset_to="village/unit:4", p_mw=0.002,
                                   price_eur_per_mwh=30.0),
        "portfolio": party.hand_in("demand", None, portfolio={"unit:3": 0.5, "unit:4": 0.5},
                                   p_mw_max=0.002, price_eur_per_mwh=300.0),
    }  # fmt: skip
    ids["child"] = party.hand_in("block", "unit:1", profile_mw=noon, price_eur_per_mwh=1.0,
                                 parent=ids["parent"])  # fmt: skip
    ids["sold"] = party.hand_in("generation", "sgen:1", p_mw_max=0.01, price_eur_per_mwh=0.0)
    # for the rounds: nothing below 800 EUR/MWh any more; another asset has no day-ahead order
    ids["restated"] = party.hand_in("generation", "sgen:1", market="intraday", p_mw_max=0.01,
                                    price_eur_per_mwh=800.0)  # fmt: skip
    ids["nothing"] = party.hand_in("demand", "load:9", market="intraday", p_mw_max=0.001,
                                   price_eur_per_mwh=5.0)  # fmt: skip
    return ids


def test_a_day_with_every_kind(tmp_path: Path) -> None:
    configs = write_configs(tmp_path / "configs")
    out, keys = tmp_path / "out", tmp_path / "keys"
    out.mkdir()
    with trader(out, configs, keys) as party:
        ids = hand_in_all(party)
    process = start("simulate", "--from", DAY, "--days", "1", *options(out, configs, keys, None))
    said, complaints = process.communicate(timeout=400)
    assert process.returncode == 0, (said, complaints)
    assert process.returncode != -signal.SIGKILL
    day = out / "village" / DAY
    book = json.loads((day / "forecast/book.json").read_text())
    cleared = set(book["cleared"])
    assert {ids[name] for name in ids} - cleared == {
        ids["replaced"], ids["restated"], ids["nothing"]
    }  # fmt: skip
    assert book["left_out"] == {ids["replaced"]: f"replaced by {ids['generation']}"}
    states = {row["order"]: row["status"] for row in read_csv(day / "clearing/orders.csv")}
    for name in ("block", "parent", "child", "bilateral", "portfolio", "shift"):
        assert states[ids[name]] == "accepted", name
    assert sorted(states[ids[name]] for name in ("one", "other")).count("accepted") == 1

    # what was decided once stands as it is in every round; what was restated is sold back
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

    # devices were told it, and every market and period sums to zero
    told = {row["order"] for row in read_csv(day / "dispatch/delivery.csv")}
    assert {f"{ids['shift']}@12", f"{ids['curtail']}@11", f"{ids['portfolio']}@14"} <= told
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for row in read_csv(day / "settlement/lines.csv"):
        sums[row["market"], row["period_start"]] += int(row["amount_micro_eur"])
    assert sums
    assert set(sums.values()) == {0}
    with trader(out, configs, keys) as party:
        mine = party.rows("/trades")
        assert {ids["block"], ids["bilateral"], ids["shift"]} <= {row["order_id"] for row in mine}
        lines = party.rows("/statements")
        assert {line["connection"] for line in lines} >= {"sgen:3", "load:9", "load:23"}
