"""A thin client of the API, on the standard library alone.

    market = MarketClient("http://127.0.0.1:8080", client_id="c-...", client_secret="...")
    order = market.hand_in("village/sgen:17", date(2026, 11, 23), "generation",
                           {"p_mw_max": 0.02, "price_eur_per_mwh": 5.0})

Tokens are asked for when they are needed. A write carries an idempotency key, so that asking again
after a broken connection never does a thing twice.
"""

from __future__ import annotations

import io
import json
import secrets
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from data.errors import Problem
from data.periods import format_utc

PREFIX: Final = "/api/v1"
JSON: Final = "application/json"
TIMEOUT_S: Final = 30.0
TRIES: Final = 3
# A token is renewed this long before its end [s].
RENEW_S: Final = 30.0


class MarketRefused(Exception):
    """The market said no; carries the status and all problems.

    Examples
    --------
    >>> print(MarketRefused(422, [Problem(where="order.terms", what="p_mw_max is missing")]))
    422: order.terms: p_mw_max is missing
    """

    def __init__(self, status: int, problems: Sequence[Problem]) -> None:
        self.status, self.problems = status, tuple(problems)
        super().__init__(f"{status}: " + "; ".join(str(problem) for problem in problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedIn:
    """What became of an order: in the book, late or withdrawn.

    Examples
    --------
    >>> said = {"id": "o-1", "state": "late", "in_book": False, "received_at": "t", "more": 1}
    >>> HandedIn.read(said).in_book
    False
    """

    id: str
    state: str
    in_book: bool
    received_at: str

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> HandedIn:
        """Take it out of an answer."""
        return cls(**{name: said[name] for name in cls.__dataclass_fields__})


class MarketClient:
    """Asks one market as one client; for one thread at a time.

    Parameters
    ----------
    url : str
        Where the market is, ``http://`` or ``https://``.
    client_id, client_secret : str
        Credentials; without them only what is open to everybody can be asked.

    Examples
    --------
    >>> MarketClient("ftp://market")
    Traceback (most recent call last):
    ...
    ValueError: 'ftp://market' is no address of a market
    >>> market = MarketClient("http://127.0.0.1:8080", client_id="c-1", client_secret="s")
    >>> market.url
    'http://127.0.0.1:8080'
    >>> market.close()
    """

    def __init__(self, url: str, *, client_id: str = "", client_secret: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a market")
        self.url = url
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._credentials = (client_id, client_secret)
        self._token, self._renew_at_s = "", 0.0

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def apply(self, name: str, role: str, certification: str) -> dict[str, Any]:
        """Apply to take part; the answer holds credentials, shown this once."""
        said = {"name": name, "role": role, "certification": certification}
        found = self._send("POST", "/registrations/parties", body=json.dumps(said), token=False)
        self._credentials = (found["client_id"], found["client_secret"])
        return found

    def register(self, kind: str, content: Mapping[str, Any]) -> int:
        """Apply for a connection point, an asset or a mandate; return the application's number."""
        said = {"kind": kind, **content}
        return int(self._send("POST", "/registrations", body=json.dumps(said))["id"])

    def decide(self, number: int, checks: Sequence[str], reason: str) -> str:
        """Approve an application as the operator, naming the checks that were made."""
        said = {"approve": True, "checks": dict.fromkeys(checks, True), "reason": reason}
        path = f"/registrations/{number}/decision"
        return str(self._send("POST", path, body=json.dumps(said))["state"])

    def hand_in(
        self, asset: str, day: date, kind: str, terms: Mapping[str, Any],
        *, market: str = "day_ahead", key: str = "",
    ) -> HandedIn:  # fmt: skip
        """Hand in an order for a day; ``market="intraday"`` restates one for the rounds."""
        said = {
            "asset": asset, "delivery_day": day.isoformat(), "kind": kind, "terms": dict(terms),
            "market": market,
        }  # fmt: skip
        return HandedIn.read(self._write("/orders", said, key))

    def hand_in_portfolio(
        self, shares: Mapping[str, float], day: date, kind: str, terms: Mapping[str, Any],
        *, key: str = "",
    ) -> HandedIn:  # fmt: skip
        """Hand in one order of several units; shares sum to 1."""
        said = {
            "portfolio": dict(shares), "delivery_day": day.isoformat(), "kind": kind,
            "terms": dict(terms),
        }  # fmt: skip
        return HandedIn.read(self._write("/orders", said, key))

    def hand_in_many(
        self, orders: Sequence[Mapping[str, Any]], *, key: str = ""
    ) -> tuple[HandedIn, ...]:
        """Hand in many orders; all are taken or none."""
        found = self._write("/orders/bulk", {"orders": [dict(order) for order in orders]}, key)
        return tuple(HandedIn.read(each) for each in found["orders"])

    def withdraw(self, order_id: str, reason: str, *, key: str = "") -> HandedIn:
        """Withdraw an order before the gate."""
        path = f"/orders/{quote(order_id)}/cancel"
        return HandedIn.read(self._write(path, {"reason": reason}, key))

    def order(self, order_id: str) -> dict[str, Any]:
        """Return an order with what it was awarded."""
        return self._send("GET", f"/orders/{quote(order_id)}")

    def registration(self, number: int) -> dict[str, Any]:
        """Return an application and where it stands."""
        return self._send("GET", f"/registrations/{number}")

    def market(self, day: date) -> dict[str, Any]:
        """Return the market's time, and gates and rules of a delivery day; open to everybody."""
        return self._send("GET", f"/market?day={day.isoformat()}", token=False)

    def deposit(
        self, party: str, amount_micro_eur: int, reason: str, *, key: str = ""
    ) -> dict[str, Any]:
        """Enter collateral of a party as the operator; negative: given back [micro-EUR]."""
        said = {"party": party, "amount_micro_eur": amount_micro_eur, "reason": reason}
        return self._write("/deposits", said, key)

    def collateral(self, party: str) -> dict[str, Any]:
        """Return what a party left, owes and has booked, and what is free [micro-EUR]."""
        return self._send("GET", f"/collateral/{quote(party)}")

    def hand_in_readings(
        self, readings: Sequence[Mapping[str, Any]], *, key: str = ""
    ) -> dict[str, Any]:
        """Hand in readings; all are taken or none."""
        said = {"readings": [dict(reading) for reading in readings]}
        return self._write("/meters/reading", said, key)

    def hand_in_forecast(
        self, asset: str, source: str, issued_at: datetime, values: Sequence[Mapping[str, Any]],
        *, key: str = "",
    ) -> dict[str, Any]:  # fmt: skip
        """Hand in a forecast; values have ``period_start``, ``q50_w``, ``q10_w``, ``q90_w`` [W]."""
        said = {
            "asset": asset, "source": source, "issued_at": format_utc(issued_at),
            "values": [dict(value) for value in values],
        }  # fmt: skip
        return self._write("/forecasts", said, key)

    def received_forecast(self, number: int) -> dict[str, Any]:
        """Return a forecast that was handed in, and how it compares with the market's own."""
        return self._send("GET", f"/forecasts/received/{number}")

    def request_cycle(
        self, feeder: str, cycle: str, day: date, reason: str,
        *, first_period: datetime | None = None, key: str = "",
    ) -> dict[str, Any]:  # fmt: skip
        """Ask for a cycle as the operator; it goes through the queue."""
        said = {
            "feeder": feeder, "cycle": cycle, "delivery_day": day.isoformat(), "reason": reason,
        }  # fmt: skip
        if first_period is not None:
            said["first_period"] = format_utc(first_period)
        return self._write("/runs", said, key)

    def publish_request(self, message: Mapping[str, Any], *, key: str = "") -> dict[str, Any]:
        """Publish a `FlexRequest` as the operator, as `dso flexibility request` writes it."""
        return self._write("/grid/demand", message, key, method="PUT")

    def offer_flexibility(self, offer: Mapping[str, Any], *, key: str = "") -> dict[str, Any]:
        """Hand in a `FlexOffer`; power in whole W, + = consumption, ISPs from 1."""
        return self._write("/flexibility/offers", offer, key)

    def take_back_offer(self, message_id: str, offer: str, *, key: str = "") -> dict[str, Any]:
        """Take back an offer of one's own that was not ordered; both ids are UUIDs."""
        said = {"message_id": message_id, "flex_offer_message_id": offer}
        return self._write("/flexibility/revocations", said, key)

    def order_flexibility(
        self, offer: str, option: str, factor: float, *, key: str = ""
    ) -> dict[str, Any]:
        """Order an option of an offer as the operator; the factor is a whole hundredth."""
        said = {
            "flex_offer_message_id": offer, "option_reference": option, "activation_factor": factor,
        }  # fmt: skip
        return self._write("/flexibility/orders", said, key)

    def flexibility_message(self, message_id: str) -> dict[str, Any]:
        """Return a request, offer, revocation or order that one may see."""
        return self._send("GET", f"/flexibility/messages/{quote(message_id)}")

    def explain_order(self, run: int, order_id: str) -> dict[str, Any]:
        """Return why an order of one's own was accepted or not."""
        return self._send("GET", f"/runs/{run}/orders/{quote(order_id)}/explanation")

    def explain_price(self, run: int, bus: int, period_start: datetime) -> dict[str, Any]:
        """Return why a price is what it is."""
        query = urlencode({"bus": bus, "period_start": format_utc(period_start)})
        return self._send("GET", f"/runs/{run}/prices/explanation?{query}")

    def explain_run(self, run: int) -> dict[str, Any]:
        """Return what a clearing could not do, for operators, planners and auditors."""
        return self._send("GET", f"/runs/{run}/explanation")

    def disclose_record(self, run: int, record: str, fields: Sequence[str]) -> str:
        """Return a disclosure of a trade of a clearing, or of a statement of a settlement."""
        said = json.dumps({"record": record, "fields": list(fields)})
        return str(self._send("POST", f"/runs/{run}/disclosure", body=said)["text"])

    def disclose_action(self, action: str, fields: Sequence[str]) -> str:
        """Return a disclosure of something that one did."""
        said = json.dumps({"fields": list(fields)})
        return str(self._send("POST", f"/actions/{quote(action)}/disclosure", body=said)["text"])

    def ledger_head(self, log: str) -> dict[str, Any]:
        """Return the newest signed head of a log, ``records`` or ``actions``."""
        return self._send("GET", f"/ledger/{quote(log)}/head", token=False)

    def ledger_inclusion(self, log: str, leaf: int) -> dict[str, Any]:
        """Return a leaf of a log and the proof that it is in it."""
        return self._send("GET", f"/ledger/{quote(log)}/inclusion/{leaf}", token=False)

    def ledger_consistency(self, log: str, old: int) -> dict[str, Any]:
        """Return the proof that a head of ``old`` leaves is a prefix of the newest."""
        return self._send("GET", f"/ledger/{quote(log)}/consistency?old={old}", token=False)

    def hand_in_study(
        self, name: str, files: Mapping[str, str], *, key: str = ""
    ) -> dict[str, Any]:
        """Hand in a study folder as a planner: the text of each file by name."""
        return self._write("/studies", {"name": name, "files": dict(files)}, key)

    def study(self, number: int) -> dict[str, Any]:
        """Return where a study stands: its problems, or its summary."""
        return self._send("GET", f"/studies/{number}")

    def study_result(self, number: int) -> dict[str, bytes]:
        """Return the files of a study's result by name."""
        headers = {"Authorization": f"Bearer {self._fresh_token()}"}
        content = self._read("GET", f"/studies/{number}/result", None, headers, again=True)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def rows(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """Return all rows of a list such as ``/trades``, page by page, in their order.

        Lists: ``/registrations``, ``/orders``, ``/orders/export``, ``/trades``, ``/prices``,
        ``/statements``, ``/forecasts``, ``/forecasts/received``, ``/runs``, ``/cycles``,
        ``/actions``, ``/studies``, ``/grid/...``, ``/runs/{run}/grid``, ``/runs/{run}/limits``,
        ``/meters/{connection}/...``, ``/production/...``, ``/public/trades``, ``/public/book``,
        ``/flexibility/messages``.
        Instants become UTC text; ``from_`` is the query's ``from``.
        """
        token = not path.startswith("/public/")
        asked = {
            name.rstrip("_"): format_utc(value) if isinstance(value, datetime) else str(value)
            for name, value in query.items()
        }
        while True:
            page = self._send("GET", f"{path}?{urlencode(asked)}", token=token)
            yield from page["items"]
            if page["next"] is None:
                return
            asked["cursor"] = page["next"]

    def _write(
        self, path: str, said: Mapping[str, Any], key: str, method: str = "POST"
    ) -> dict[str, Any]:
        drawn = key or secrets.token_hex(16)
        return self._send(method, path, body=json.dumps(said), key=drawn)

    def _send(
        self, method: str, path: str, *, body: str | None = None, key: str = "", token: bool = True
    ) -> dict[str, Any]:
        headers = {"Accept": JSON}
        if body is not None:
            headers["Content-Type"] = JSON
        if key:
            headers["Idempotency-Key"] = key
        if token:
            headers["Authorization"] = f"Bearer {self._fresh_token()}"
        return self._exchange(method, path, body, headers, again=method == "GET" or bool(key))

    def _fresh_token(self) -> str:
        if time.monotonic() >= self._renew_at_s:
            name, secret = self._credentials
            form = {
                "grant_type": "client_credentials", "client_id": name, "client_secret": secret,
            }  # fmt: skip
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            found = self._exchange("POST", "/token", urlencode(form), headers, again=True)
            self._token = found["access_token"]
            self._renew_at_s = time.monotonic() + found["expires_in"] - RENEW_S
        return self._token

    def _exchange(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str], *, again: bool
    ) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._read(method, path, body, headers, again=again))
        return said

    def _read(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str], *, again: bool
    ) -> bytes:
        left = TRIES if again else 1
        while True:
            left -= 1
            try:
                self._connection.request(method, f"{PREFIX}{path}", body, dict(headers))
                answer = self._connection.getresponse()
                content = answer.read()
            except (OSError, HTTPException):
                self._connection.close()  # the next request opens it anew
                if not left:
                    raise
                continue
            if answer.status >= HTTPStatus.BAD_REQUEST:
                problems = json.loads(content)["problems"]
                raise MarketRefused(answer.status, [Problem(**each) for each in problems])
            return content
