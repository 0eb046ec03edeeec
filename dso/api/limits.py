"""Limits: size of a request, requests per second of a party or an address."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from data.errors import Problem
from dso.api.problems import Refusal, problem_answer

# As ASGI has them.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]
# Names whose buckets are kept; the one not seen for longest goes first.
BUCKETS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimits:
    """What one caller may do.

    Parameters
    ----------
    body_bytes_max : int
        Size of a request [B].
    requests_per_s, burst : float
        Requests of a party: lasting rate [1/s], and how many at once.
    anonymous_per_s, anonymous_burst : float
        The same for one network address without a token.
    items_max : int
        Orders or readings in one request.
    """

    body_bytes_max: int = 4_000_000
    requests_per_s: float = 50.0
    burst: float = 200.0
    anonymous_per_s: float = 2.0
    anonymous_burst: float = 20.0
    items_max: int = 10_000


class RateLimiter:
    """Token buckets by name, in this process.

    Parameters
    ----------
    per_s, burst : float
        Lasting rate [1/s] and size of a bucket.
    monotonic_s : callable
        Tells a time that only grows [s].

    Examples
    --------
    >>> now = [0.0]
    >>> limiter = RateLimiter(per_s=1.0, burst=2.0, monotonic_s=lambda: now[0])
    >>> [limiter.wait_s("a") for _ in range(3)]
    [0.0, 0.0, 1.0]
    """

    def __init__(
        self, *, per_s: float, burst: float, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._burst, self._monotonic_s = per_s, burst, monotonic_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, name: str) -> float:
        """Take one request; 0 if it may go on, else how long to wait [s]."""
        now = self._monotonic_s()
        with self._lock:
            level, seen = self._buckets.pop(name, (self._burst, now))
            level = min(self._burst, level + (now - seen) * self._per_s)
            allowed = level >= 1.0
            self._buckets[name] = (level - 1.0 if allowed else level, now)
            if len(self._buckets) > BUCKETS_MAX:
                self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - level) / self._per_s

    def admit(self, name: str) -> None:
        """Take one request; raises `Refusal` 429 with the time to wait."""
        wait_s = self.wait_s(name)
        if wait_s > 0.0:
            raise too_many(wait_s)


def too_many(wait_s: float) -> Refusal:
    """Return the answer to who asks too often."""
    after = str(int(wait_s) + 1)
    problem = Problem(
        where="request", what="too many requests", remedy=f"ask again in {after} seconds"
    )
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, [problem], {"Retry-After": after})


class BodyLimit:
    """Answers 413 as soon as a request is larger than allowed, stated or not.

    The body is read here and handed on whole, so that nothing behind this has to look.
    """

    def __init__(self, app: ASGIApp, *, bytes_max: int) -> None:
        self._app, self._bytes_max = app, bytes_max

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        body = bytearray()
        too_large = stated.isdigit() and int(stated) > self._bytes_max
        more = not too_large
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            too_large = len(body) > self._bytes_max
            more = bool(message.get("more_body", False)) and not too_large
        if too_large:
            what = f"is larger than {self._bytes_max} bytes"
            problem = Problem(where="request", what=what, remedy="send it in parts")
            answer = problem_answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, [problem])
            await answer(scope, receive, send)
            return
        handed_on = False

        async def whole() -> Message:
            nonlocal handed_on
            if handed_on:
                return await receive()
            handed_on = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, whole, send)
