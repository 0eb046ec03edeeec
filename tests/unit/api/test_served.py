"""Over real sockets: the client asks for everything, and no log tells a secret."""

from __future__ import annotations

import logging
from contextlib import ExitStack, closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import structlog

from dso.api.client import MarketClient, MarketRefused
from dso.api.credentials import add_party_client
from dso.api.routes_ledger import post_waiting_actions
from dso.api.study_files import pack, read_folder
from dso.store.study_requests import StudyEnding, end_study, lease_study
from tests.support.api_market import NORTH, NOW, Desk, make_desk
from tests.support.api_run import add_run
from tests.support.api_server import served_app

DAY = date(2026, 11, 23)
HOUR = datetime(2026, 11, 23, 0, tzinfo=UTC)


@pytest.mark.usefixtures("cheap_hashes")
def test_no_secret_in_any_log_at_debug_level(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Uvicorn with its access log, the database driver and our own log, all at DEBUG."""
    lines: list[str] = []

    def keep(_logger: object, _name: str, event: structlog.typing.EventDict) -> str:
        lines.append(repr(event))
        return repr(event)

    names = ("sqlalchemy.engine", "uvicorn", "uvicorn.access", "uvicorn.error", "asyncio", "")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    structlog.reset_defaults()  # commands run before in this process may have set a level
    structlog.configure(processors=[keep])
    desk = make_desk(None, tmp_path)  # after the levels: the driver looks once
    try:
        caplog.set_level(logging.DEBUG)
        with served_app(desk.app, "debug") as url, closing(MarketClient(url)) as market:
            made = market.apply("Sun GmbH", "aggregator", "HRB 1234")
            secret = made["client_secret"]
            room = add_party_client(desk.market.services.store, "room", "operator")
            operator = MarketClient(url, client_id=room.client_id, client_secret=room.client_secret)
            operator.decide(made["registration"], ["identity", "certification"], "seen")
            assert list(market.rows("/orders")) == []
            guess = MarketClient(url, client_id=made["client_id"], client_secret="a-wrong-guess")
            with pytest.raises(MarketRefused, match="401"):
                list(guess.rows("/orders"))
            with pytest.raises(MarketRefused, match="422"):
                market.hand_in(secret, DAY, "generation", {"p_mw_max": 1})
            tokens = [market._token, operator._token]
            operator.close()
            guess.close()
    finally:
        structlog.reset_defaults()
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        desk.market.services.close()
    printed = capsys.readouterr()
    text = "\n".join([*lines, caplog.text, printed.out, printed.err])
    assert "POST /api/v1/token" in text  # the access log was on
    assert "INSERT INTO api_client" in text  # and the driver's
    assert len(lines) >= 6
    seed = desk.ring._path.read_text(encoding="utf-8").split('"seed": "')[1][:64]
    signatures = [token.split(".")[2] for token in tokens]
    for hidden in (secret, room.client_secret, "a-wrong-guess", seed, *tokens, *signatures):
        assert hidden
        assert hidden not in text


def test_the_client_knows_every_endpoint(desk: Desk, cleared: Path) -> None:
    """Each endpoint once, by the client's own methods, against a server of its own."""
    run = add_run(desk, cleared)
    store = desk.market.services.store
    seen: set[tuple[str, str]] = set()

    @desk.app.middleware("http")
    async def note(request, call_next):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        answer = await call_next(request)
        route = request.scope.get("route")
        if route is not None and answer.status_code < 300:
            seen.add((request.method.lower(), route.path.removeprefix("/api/v1")))
        return answer

    said = {name: add_party_client(store, name, role) for name, role in (
        ("op", "operator"), ("aud", "auditor"), ("plan", "planner"), ("meter", "meter_data"),
        ("agg", "aggregator"), ("pro", "prosumer"))}  # fmt: skip
    with served_app(desk.app) as url, ExitStack() as stack:
        clients = {
            name: stack.enter_context(closing(MarketClient(
                url, client_id=each.client_id, client_secret=each.client_secret)))
            for name, each in said.items()
        }  # fmt: skip
        use_everything(clients, desk, run, cleared)
    paths = desk.http.get("/api/v1/openapi.json").json()["paths"]
    here = {(m, path.removeprefix("/api/v1")) for path, found in paths.items() for m in found}
    aliases = {("post", "/trades/offer"), ("post", "/grid/balance"), ("get", "/trades/history"),
               ("get", "/trades/available"), ("post", "/production/forecast")}  # fmt: skip
    assert here - seen - aliases == set()


def use_flexibility(operator: MarketClient, trader: MarketClient) -> None:
    ids = [f"6b1f4c9a-1f5e-4b42-9a0e-00000000000{number}" for number in range(4)]
    about = {"congestion_point": NORTH.id, "period": "2026-11-23",
             "expiration_date_time": "2026-11-22T20:00:00Z"}  # fmt: skip
    isps = [{"disposition": "Requested", "min_power_w": -8000, "max_power_w": 0,
             "start": 49, "duration": 4}]  # fmt: skip
    operator.publish_request({**about, "message_id": ids[0], "revision": 1, "isps": isps})
    option = {"option_reference": "a", "price_eur": 10.0,
              "isps": [{"power_w": -5000, "start": 49, "duration": 4}]}  # fmt: skip
    for own in ids[1:3]:
        trader.offer_flexibility(
            {**about, "message_id": own, "flex_request_message_id": ids[0],
             "connection": "village/sgen:3", "options": [option]}
        )  # fmt: skip
    assert trader.take_back_offer(ids[3], ids[1])["kind"] == "FlexOfferRevocation"
    order = operator.order_flexibility(ids[2], "a", 1.0)
    assert trader.flexibility_message(order["message_id"]) == order
    assert [row["kind"] for row in trader.rows("/flexibility/messages", limit=2)] == [
        "FlexRequest", "FlexOffer", "FlexOffer", "FlexOfferRevocation", "FlexOrder",
    ]  # fmt: skip


def finish_study(desk: Desk, cleared: Path) -> None:
    """End the study that waits with what it was cleared to; a runner of its own is tested apart."""
    store = desk.market.services.store
    leased = lease_study(store, "runner", machine=NOW, lease_s=60.0)
    assert leased is not None
    done = StudyEnding(state="done", exit_code=0, said="", result=pack(read_folder(cleared)))
    assert end_study(store, leased, done, machine=NOW)


def use_everything(clients: dict[str, MarketClient], desk: Desk, run: int, cleared: Path) -> None:
    operator, auditor, planner = clients["op"], clients["aud"], clients["plan"]
    meter, trader, owner = clients["meter"], clients["agg"], clients["pro"]
    anybody = MarketClient(operator.url)
    made = anybody.apply("Sun GmbH", "aggregator", "HRB 1")
    operator.decide(made["registration"], ["identity", "certification"], "seen")
    number = owner.register("mandate", {"agent": "agg", "connection_point": "cp-pro",
                                        "scope": "read"})  # fmt: skip
    assert owner.registration(number)["state"] == "applied"
    assert [row["id"] for row in owner.rows("/registrations")] == [number]
    assert anybody.market(DAY)["feeders"][0]["gate"] == "2026-11-22T12:30:00Z"
    terms = {"p_mw_max": 0.001, "price_eur_per_mwh": 4.0}
    order = trader.hand_in("village/sgen:3", DAY, "generation", terms)
    assert trader.order(order.id)["state"] == "booked"
    said = {"asset": "village/sgen:3", "delivery_day": "2026-11-23", "kind": "generation",
            "terms": terms}  # fmt: skip
    (second,) = trader.hand_in_many([said])
    assert trader.withdraw(second.id, "twice").state == "cancelled"
    assert len(list(trader.rows("/orders"))) == 2
    assert len(list(auditor.rows("/orders/export", day=DAY))) == 2
    operator.deposit("agg", 5_000_000, "account statement 1")
    assert trader.collateral("agg")["free_micro_eur"] == 5_000_000
    taken = meter.hand_in_readings([
        {"connection_point": "cp-pro", "period_start": "2026-11-22T09:00:00Z", "import_wh": 1,
         "export_wh": 2}])  # fmt: skip
    assert taken == {"accepted": 1, "known": 0}
    span = {"from_": NOW.replace(hour=0), "to": NOW.replace(hour=23)}
    for name in ("history", "production", "consumption"):
        assert len(list(owner.rows(f"/meters/cp-pro/{name}", **span))) == 1
    for name in ("history", "current", "analytics"):
        assert len(list(owner.rows(f"/production/{name}", connection_point="cp-pro", **span))) == 1
    assert list(owner.rows("/production/forecast", connection_point="cp-pro", **span)) == []
    values = [{"period_start": "2026-11-23T09:00:00Z", "q50_w": 700}]
    kept = trader.hand_in_forecast("village/sgen:3", "ours", NOW, values)
    assert trader.received_forecast(kept["id"])["values"][0]["q50_w"] == 700
    assert len(list(trader.rows("/forecasts/received"))) == 1
    use_flexibility(operator, trader)
    read_results({**clients, "anybody": anybody}, run)
    post_and_prove({**clients, "anybody": anybody}, desk)
    names = ("study.toml", "orders.json", "profiles.csv", "import_price.csv")
    study = planner.hand_in_study("pv", {name: (cleared / name).read_text() for name in names})
    assert [row["id"] for row in planner.rows("/studies")] == [study["id"]]
    finish_study(desk, cleared)
    assert planner.study(study["id"])["summary"]["status"] == "certified"
    assert "prices.csv" in planner.study_result(study["id"])
    desk.set_now(NOW.replace(hour=13))
    asked = operator.request_cycle("village", "day_ahead", DAY, "rehearsal")
    assert [row["id"] for row in auditor.rows("/cycles")] == [asked["id"]]
    anybody.close()


def read_results(clients: dict[str, MarketClient], run: int) -> None:
    planner, owner, anybody = clients["plan"], clients["pro"], clients["anybody"]
    span = {"from_": NOW.replace(hour=0), "to": NOW.replace(hour=23)}
    for path in ("/grid/demand", "/grid/supply", "/grid/balance", "/public/trades"):
        assert list(owner.rows(path, **span)) == []
    for path in ("/grid/status", "/grid/stability", "/statements"):
        assert list(owner.rows(path)) == []
    assert list(anybody.rows("/public/book", day=DAY)) == []
    assert list(planner.rows("/forecasts")) == []
    assert [row["id"] for row in owner.rows("/runs", kind="day_ahead")] == [run]
    assert len(list(owner.rows("/prices", bus=17))) == 4
    trades = list(owner.rows("/trades"))
    assert owner.explain_order(run, "o-pro")["kind"] == "order"
    assert owner.explain_price(run, 17, HOUR)["kind"] == "price"
    assert planner.explain_run(run)["kind"] == "status"
    assert len(list(planner.rows(f"/runs/{run}/grid", period_start=HOUR))) > 33
    assert next(planner.rows(f"/runs/{run}/limits"))["status"] == "certified"
    assert '"digests"' in owner.disclose_record(run, trades[0]["trade_id"], ["bus"])


def post_and_prove(clients: dict[str, MarketClient], desk: Desk) -> None:
    trader, anybody = clients["agg"], clients["anybody"]
    post_waiting_actions(desk.market)
    action = next(trader.rows("/actions"))
    assert '"digests"' in trader.disclose_action(action["action"], ["verb"])
    for log in ("records", "actions"):
        head = anybody.ledger_head(log)
        assert anybody.ledger_inclusion(log, 0)["size"] == head["size"]
        assert anybody.ledger_consistency(log, 1)["size"] == head["size"]
