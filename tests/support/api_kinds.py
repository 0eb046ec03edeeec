"""A party that hands in every kind of order over the API, for a day of the market."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

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

DAY = "2016-07-25"
BEFORE_GATE = datetime(2016, 7, 24, 8, 0, tzinfo=UTC)
# Asset, bus, W in, W out. Buses are those of the grid; units are on top of it.
ASSETS = (
    ("sgen:2", 8, 0, 19_000), ("sgen:1", 11, 0, 80_000), ("sgen:3", 13, 0, 23_000),
    ("load:9", 12, 12_000, 0), ("load:23", 11, 22_000, 0),
    ("unit:1", 9, 5_000, 5_000), ("unit:2", 5, 5_000, 5_000), ("unit:3", 14, 8_000, 8_000),
    ("unit:4", 6, 4_000, 4_000), ("unit:5", 10, 6_000, 6_000),
)  # fmt: skip


class Trader:
    """A party that may trade for all of `ASSETS`, and its way into the market."""

    def __init__(self, url: str, out: Path, configs: Path, keys: Path) -> None:
        self.services = open_services(url, out=out, keys=keys)
        site = Site(feeders=("village",), out=out, configs=configs)
        operation = Operation(site, self.services)
        market = operated_market(
            operation, today=date(2016, 7, 25), limits=ApiLimits(requests_per_s=1e6, burst=1e6)
        )
        self.http = TestClient(make_api(market))
        token = market.tokens.sign(Caller(client="c", party="trader", role="aggregator"))
        self.head = {"Authorization": f"Bearer {token}"}

    @classmethod
    @contextmanager
    def opened(cls, url: str, out: Path, configs: Path, keys: Path) -> Iterator[Trader]:
        """Open the market for the trader until the block ends."""
        made = cls(url, out, configs, keys)
        with closing(made.services):
            yield made

    def register(self) -> None:
        """Enter the party and its assets, before the first gate."""
        set_simulated_now(self.services.store, BEFORE_GATE)
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


def hand_in_all(party: Trader) -> dict[str, str]:
    """One order of each kind, and what replaces, excludes and restates others."""
    flat, noon = [0.0] * 40 + [0.006] * 16 + [0.0] * 40, [0.0] * 48 + [0.004] * 8 + [0.0] * 40
    ids = {
        "replaced": party.hand_in("generation", "sgen:2", p_mw_max=0.018, price_eur_per_mwh=500.0),
        "generation": party.hand_in("generation", "sgen:2", p_mw_max=0.004, price_eur_per_mwh=0.0),
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
    ids["storage"] = party.hand_in("storage", "unit:5", charge_mw_max=0.004, discharge_mw_max=0.004,
                                   energy_mwh_max=0.012, energy_mwh_start=0.004,
                                   efficiency_charge=0.95, efficiency_discharge=0.95)  # fmt: skip
    ids["child"] = party.hand_in("block", "unit:1", profile_mw=noon, price_eur_per_mwh=1.0,
                                 parent=ids["parent"])  # fmt: skip
    ids["sold"] = party.hand_in("generation", "sgen:1", p_mw_max=0.01, price_eur_per_mwh=0.0)
    # for the rounds: nothing below 800 EUR/MWh any more; another asset has no day-ahead order
    ids["restated"] = party.hand_in("generation", "sgen:1", market="intraday", p_mw_max=0.01,
                                    price_eur_per_mwh=800.0)  # fmt: skip
    ids["nothing"] = party.hand_in("demand", "load:9", market="intraday", p_mw_max=0.001,
                                   price_eur_per_mwh=5.0)  # fmt: skip
    return ids
