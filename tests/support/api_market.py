"""A market behind the API: two aggregators, a prosumer, an operator, an auditor, a meter reader."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import warnings
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from anyio.from_thread import BlockingPortal

from data.periods import DeliveryDay
from data.records.network import Network
from dso.api.app import make_api
from dso.api.limits import ApiLimits
from dso.api.market import Market, TradingDay, mandate_id
from dso.api.tokens import Caller, TokenRing
from dso.bootstrap import Services, open_services
from dso.config import load_market
from dso.cycles.timetable import day_timetable
from dso.settlement.collateral import CollateralRules
from dso.store import DueCycle
from dso.store.due import set_simulated_now
from dso.store.register import Register
from dso.store.register_records import Asset, ConnectionPoint, Mandate, Party
from flexibility.procurement.records import CongestionPoint

with warnings.catch_warnings():  # it asks for a successor of httpx that nothing here needs
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
GATE = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
DAY = "2026-11-23"
GENEROUS = ApiLimits(requests_per_s=1e6, burst=1e6, anonymous_per_s=1e6, anonymous_burst=1e6)
ROLES = {
    "op": "operator", "aud": "auditor", "plan": "planner", "meter": "meter_data",
    "agg": "aggregator", "rival": "aggregator", "pro": "prosumer", "sup": "supplier",
}  # fmt: skip
NORTH = CongestionPoint(
    id="ea1.2026-01.grid.example:north", name="North", elements=(("trafo", 0),), buses=((3, 1.0),)
)


class OneFeeder:
    """The calendar of one feeder, gate 13:30 local on the day before, a round every six hours."""

    def __init__(self, folder: Path = Path()) -> None:
        self.folder = folder
        self.collateral: CollateralRules | None = None
        self.purchase_gate: datetime | None = None
        self.networks: dict[str, Network] = {}

    def feeders(self) -> tuple[str, ...]:
        return ("village",)

    def trading_day(self, feeder: str, day: date) -> TradingDay:
        assert feeder == "village"
        delivery = DeliveryDay(day=day)
        gate = delivery.instant(datetime(2000, 1, 1, 13, 30).time(), days_before=1)  # noqa: DTZ001
        return TradingDay(
            gate=gate,
            periods=delivery.periods,
            last_round_gate=delivery.periods.end - timedelta(hours=6, minutes=30),
            collateral=self.collateral,
            congestion_points=(NORTH,),
            purchase_gate=self.purchase_gate,
        )

    def network(self, feeder: str, day: date) -> Network | None:  # noqa: ARG002
        return self.networks.get(feeder)

    def timetable(self, feeder: str, day: date) -> tuple[DueCycle, ...]:
        rules = load_market("local-energy", day)
        return day_timetable(rules, feeder, day)

    def day_folder(self, feeder: str, first_period: datetime) -> Path:
        day = first_period.astimezone(ZoneInfo("Europe/Berlin")).date()
        return self.folder / feeder / day.isoformat()


class MovingClock:
    """The machine's time, moved by tests."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at


def fill_register(services: Services) -> None:
    """Parties, two connections, an asset at each, and the prosumer's mandate to `agg`."""
    since = {"valid_from": NOW - timedelta(days=1), "known_at": NOW - timedelta(days=1)}
    with services.store.transaction() as connection:
        Register(Party).add(
            connection,
            [Party(id=name, name=name, role=role, **since) for name, role in ROLES.items()],  # type: ignore[arg-type]
        )
        Register(ConnectionPoint).add(
            connection,
            [
                ConnectionPoint(id=f"cp-{owner}", feeder="village", bus=bus, party=owner,
                                import_w_max=30_000, export_w_max=30_000, **since)
                for bus, owner in ((3, "pro"), (4, "rival"))
            ],
        )  # fmt: skip
        Register(Asset).add(
            connection,
            [
                Asset(id=f"village/sgen:{bus}", connection_point=f"cp-{owner}", technology="pv",
                      import_w_max=10_000, export_w_max=20_000, **since)
                for bus, owner in ((3, "pro"), (4, "rival"))
            ],
        )  # fmt: skip
        Register(Mandate).add(
            connection,
            [Mandate(id=mandate_id("pro", "agg", "cp-pro", "trade"), grantor="pro", agent="agg",
                     connection_point="cp-pro", scope="trade", **since)],
        )  # fmt: skip


class Desk:
    """A market, its application and tokens for every party.

    ``portal`` is an event loop in a thread that serves all requests of a session; without it each
    request starts one of its own.
    """

    portal: ClassVar[BlockingPortal | None] = None

    # What tests furnish it with: a trade, a run, the files of the run.
    trade: str = ""
    run: int = 0
    files: Path = Path()

    def __init__(self, services: Services, folder: Path, limits: ApiLimits) -> None:
        self.clock = MovingClock()
        self.ring = TokenRing(folder / "keys", issuer="test", clock=self.clock)
        self.calendar = OneFeeder(folder)
        self.market = Market(
            services=services, calendar=self.calendar, tokens=self.ring, machine=self.clock,
            limits=limits,
        )  # fmt: skip
        self.app = make_api(self.market)
        self.http = TestClient(self.app, raise_server_exceptions=True)
        self.http.portal = self.portal

    def headers(self, party: str) -> dict[str, str]:
        token = self.ring.sign(Caller(client=f"c-{party}", party=party, role=ROLES[party]))
        return {"Authorization": f"Bearer {token}"}

    def ask(self, party: str | None, method: str, path: str, **more: Any) -> Any:
        headers = {**({} if party is None else self.headers(party)), **more.pop("headers", {})}
        return self.http.request(method, f"/api/v1{path}", headers=headers, **more)

    def set_now(self, at: datetime) -> None:
        set_simulated_now(self.market.services.store, at)

    def order(self, **more: Any) -> dict[str, Any]:
        terms = {"p_mw_max": 0.02, "price_eur_per_mwh": 5.0}
        return {
            "asset": "village/sgen:3",
            "delivery_day": DAY,
            "kind": "generation",
            "terms": terms,
            **more,
        }


@cache
def _furnished() -> Path:
    """Return a folder with keys and a store that has all tables and the register, made once."""
    folder = Path(tempfile.mkdtemp(prefix="gridclear-desk-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    services = open_services(None, out=folder, keys=folder / "keys")
    fill_register(services)
    set_simulated_now(services.store, NOW)
    services.close()
    return folder


def make_desk(url: str | None, folder: Path, limits: ApiLimits = GENEROUS) -> Desk:
    if url is None:
        shutil.copytree(_furnished(), folder, dirs_exist_ok=True)
        services = open_services(None, out=folder, keys=folder / "keys")
    else:
        services = open_services(url, out=folder, keys=folder / "keys")
        fill_register(services)
        set_simulated_now(services.store, NOW)
    return Desk(services, folder, limits)
