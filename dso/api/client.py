"""A thin client of the API, on the standard library alone.

    market = MarketClient("http://127.0.0.1:8080", client_id="c-...", client_secret="...")
    order = market.hand_in("village/sgen:17", date(2026, 11, 23), "generation",
                           {"p_mw_max": 0.02, "price_eur_per_mwh": 5.0})

Tokens are asked for when they are needed. A write carries an idempotency key, so that asking again
after a broken connection never does a thing twice.
"""

from __future__ import annotations

import json
import secrets
import time
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
    """

    def __init__(self, url: str, *, client_id: str = "", client_secret: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a market")
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
        self, asset: str, day: date, kind: str, terms: Mapping[str, Any], *, key: str = ""
    ) -> HandedIn:
        """Hand in an order for a delivery day."""
        said = {
            "asset": asset, "delivery_day": day.isoformat(), "kind": kind, "terms": dict(terms),
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

    def rows(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """Return all rows of a list such as ``/trades``, page by page, in their order.

        Instants become UTC text; ``from_`` is the query's ``from``.
        """
        asked = {
            name.rstrip("_"): format_utc(value) if isinstance(value, datetime) else str(value)
            for name, value in query.items()
        }
        while True:
            page = self._send("GET", f"{path}?{urlencode(asked)}")
            yield from page["items"]
            if page["next"] is None:
                return
            asked["cursor"] = page["next"]

    def _write(self, path: str, said: Mapping[str, Any], key: str) -> dict[str, Any]:
        drawn = key or secrets.token_hex(16)
        return self._send("POST", path, body=json.dumps(said), key=drawn)

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
        left = TRIES if again else 1
        while True:
            left -= 1
            try:
                self._connection.request(method, f"{PREFIX}{path}", body, dict(headers))
                answer = self._connection.getresponse()
                text = answer.read()
            except (OSError, HTTPException):
                self._connection.close()  # the next request opens it anew
                if not left:
                    raise
                continue
            said: dict[str, Any] = json.loads(text)
            if answer.status >= HTTPStatus.BAD_REQUEST:
                raise MarketRefused(answer.status, [Problem(**each) for each in said["problems"]])
            return said
