"""HTTP callbacks: letters are posted to an address of the device or its aggregator.

A post carries the signed text and the letter's id as ``Idempotency-Key``, so a repeated post is
harmless. A post that fails is repeated with growing pauses until the letter has outlived itself;
an answer that says "never" (4xx but 408, 425 and 429) ends it at once. What devices have to say is
fetched from the same address: ``GET ?after=N`` returns the messages from number N on, and lets the
other side forget those before, so a lost answer loses no message.
"""

from __future__ import annotations

import json
import ssl
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

from data.errors import Problem, refuse_if_any
from dispatch.messages import Heard, Letter, Undelivered, Unreadable, read_uplink

PAUSE_FIRST_S: Final = 0.5
PAUSE_MAX_S: Final = 60.0
ANSWER_BYTES_MAX: Final = 1_000_000
WORTH_REPEATING: Final = frozenset({408, 425, 429})
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(slots=True)
class _Delivery:
    letter: Letter
    ends_s: float
    due_s: float
    attempts: int = 0


@dataclass(slots=True)
class _Address:
    host: str
    port: int | None
    path: str
    secure: bool
    after: int = 0
    fetch_due_s: float = float("-inf")
    waiting: dict[str, _Delivery] = field(default_factory=dict)
    under_way: Future[Callable[[], list[Heard]]] | None = None


class HttpChannel:
    """The market's end: one address per asset, one request to it at a time.

    Parameters
    ----------
    callbacks : mapping of asset to URL
        ``https://...``; plain ``http`` only on this machine.
    counter : callable
        Seconds that only go forward, e.g. ``time.monotonic`` [s].
    tls : ssl.SSLContext, optional
        Whom to trust; default: the authorities of the system.
    timeout_s : float
        Longest wait for one answer [s].
    fetch_every_s : float
        How often messages are fetched [s].
    workers : int
        Requests at the same time.

    Raises
    ------
    InputError
        With every address that is no ``https`` URL.
    """

    def __init__(
        self,
        callbacks: Mapping[str, str],
        counter: Callable[[], float],
        *,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 5.0,
        fetch_every_s: float = 5.0,
        workers: int = 16,
    ) -> None:
        refuse_if_any(_address_problems(callbacks))
        self._counter, self._tls, self._timeout_s = counter, tls, timeout_s
        self._fetch_every_s = fetch_every_s
        self._addresses = {asset: _read_address(url) for asset, url in callbacks.items()}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="http-channel")
        self._heard: list[Heard] = []

    def send(self, letter: Letter) -> None:
        """Keep a letter for delivery; `events` makes the requests."""
        address = self._addresses.get(letter.asset)
        if address is None:
            reason = "the asset has no address"
            self._heard.append(
                Undelivered(asset=letter.asset, instruction=letter.id, reason=reason)
            )
            return
        now_s = self._counter()
        address.waiting[letter.id] = _Delivery(letter, now_s + letter.lasts_s, now_s)

    def events(self, wait_s: float = 0.0) -> tuple[Heard, ...]:
        """Make the requests that are due, and return what finished ones brought."""
        self._collect()
        self._begin()
        running = [each.under_way for each in self._addresses.values() if each.under_way]
        if wait_s > 0.0 and running and not self._heard:
            wait(running, timeout=wait_s, return_when="FIRST_COMPLETED")
            self._collect()
            self._begin()
        heard, self._heard = tuple(self._heard), []
        return heard

    def close(self) -> None:
        """End; requests under way are waited for."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self) -> None:
        """Begin a request at every address that has none under way and something due."""
        now_s = self._counter()
        for asset, address in self._addresses.items():
            if address.under_way is not None:
                continue
            self._give_up(asset, address, now_s)
            due = [each for each in address.waiting.values() if each.due_s <= now_s]
            if due:
                first = min(due, key=lambda each: each.due_s)
                address.under_way = self._pool.submit(self._post, asset, address, first)
            elif address.fetch_due_s <= now_s:
                address.fetch_due_s = now_s + self._fetch_every_s
                address.under_way = self._pool.submit(self._fetch, asset, address)

    def _collect(self) -> None:
        for address in self._addresses.values():
            if address.under_way is not None and address.under_way.done():
                # What a request brought is taken in here, in the caller's thread.
                self._heard += address.under_way.result()()
                address.under_way = None

    def _give_up(self, asset: str, address: _Address, now_s: float) -> None:
        for name, each in list(address.waiting.items()):
            if each.ends_s <= now_s:
                del address.waiting[name]
                reason = f"not delivered in its time, {each.attempts} attempts"
                self._heard.append(Undelivered(asset=asset, instruction=name, reason=reason))

    def _post(self, asset: str, address: _Address, due: _Delivery) -> Callable[[], list[Heard]]:
        name = due.letter.id
        headers = {"Content-Type": "application/json", "Idempotency-Key": name}
        status, _ = self._request(address, "POST", address.path, due.letter.text, headers)

        def take() -> list[Heard]:
            due.attempts += 1
            if 200 <= status < 300:
                address.waiting.pop(name, None)
                address.fetch_due_s = float("-inf")  # its answer may be there
                return []
            if 400 <= status < 500 and status not in WORTH_REPEATING:
                address.waiting.pop(name, None)
                reason = f"refused with status {status}"
                return [Undelivered(asset=asset, instruction=name, reason=reason)]
            pause = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** min(due.attempts - 1, 10))
            # Letters that failed together are not repeated together.
            spread = zlib.crc32(f"{name}{due.attempts}".encode()) / 2**32
            due.due_s = self._counter() + pause * (0.5 + spread)
            return []

        return take

    def _fetch(self, asset: str, address: _Address) -> Callable[[], list[Heard]]:
        path = f"{address.path}?after={address.after}"
        status, body = self._request(address, "GET", path, None, {"Accept": "application/json"})

        def take() -> list[Heard]:
            if status != 200:
                return []
            try:
                after, texts = _read_answer(body, address.after)
            except ValueError as error:
                return [Unreadable(sender=asset, reason=f"answer to GET: {error}")]
            address.after = after
            return [read_uplink(text, asset) for text in texts]

        return take

    def _request(
        self,
        address: _Address,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> tuple[int, bytes]:
        """Return status and body; 0 where there was no answer. Redirections are not followed."""
        if address.secure:
            context = self._tls or ssl.create_default_context()
            connection: HTTPConnection = HTTPSConnection(
                address.host, address.port, timeout=self._timeout_s, context=context
            )
        else:
            connection = HTTPConnection(address.host, address.port, timeout=self._timeout_s)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(ANSWER_BYTES_MAX)
        except (OSError, HTTPException):
            return 0, b""
        finally:
            connection.close()


def _read_answer(body: bytes, after: int) -> tuple[int, list[bytes]]:
    """Return the number to go on from and the messages, each as its JSON text."""
    found: Any = json.loads(body)
    following = found.get("next") if isinstance(found, dict) else None
    messages = found.get("messages") if isinstance(found, dict) else None
    if type(following) is not int or not isinstance(messages, list):
        raise ValueError("not an object with next and messages")
    if following < after:
        raise ValueError(f"next {following} lies before {after}")
    return following, [json.dumps(each).encode() for each in messages]


def _read_address(url: str) -> _Address:
    parts = urlsplit(url)
    return _Address(
        host=parts.hostname or "",
        port=parts.port,
        path=parts.path or "/",
        secure=parts.scheme == "https",
    )


def _address_problems(callbacks: Mapping[str, str]) -> list[Problem]:
    problems = []
    for asset, url in callbacks.items():
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018 refuses what is no number
        except ValueError as error:
            problems.append(Problem(where=f"callback of {asset}", what=str(error)))
            continue
        local = parts.scheme == "http" and parts.hostname in LOOPBACK
        if not parts.hostname or not (parts.scheme == "https" or local):
            what = "is no https address (plain http only on this machine)"
            problems.append(Problem(where=f"callback of {asset}", what=f"{url!r} {what}"))
        elif parts.query or parts.fragment or parts.username:
            what = "carries a query, a fragment or a user"
            problems.append(Problem(where=f"callback of {asset}", what=f"{url!r} {what}"))
    return problems
