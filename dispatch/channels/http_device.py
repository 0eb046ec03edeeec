"""A device's end of HTTP callbacks: a small server that takes letters and offers messages."""

from __future__ import annotations

import json
import ssl
from abc import ABC, abstractmethod
from collections import deque
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from dispatch.messages import LETTER_BYTES_MAX, Uplink, write_uplink

KEPT_MAX: Final = 10_000
KEYS_MAX: Final = 4_096


class _Tray:
    """Letters that came and messages that wait, of one asset; handlers run in threads."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.letters: list[bytes] = []
        self.keys: deque[str] = deque(maxlen=KEYS_MAX)
        self.messages: deque[tuple[int, bytes]] = deque(maxlen=KEPT_MAX)
        self.number = 0

    def take(self, letter: bytes, key: str) -> None:
        with self.lock:
            if key not in self.keys:
                self.keys.append(key)
                self.letters.append(letter)

    def offer(self, after: int) -> bytes:
        with self.lock:
            while self.messages and self.messages[0][0] < after:
                self.messages.popleft()
            texts = [json.loads(text) for _, text in self.messages]
            return json.dumps({"next": self.number, "messages": texts}).encode()

    def say(self, text: bytes) -> None:
        with self.lock:
            self.messages.append((self.number, text))
            self.number += 1


class HttpDeviceLink:
    """One asset's letters and messages at a `DeviceServer`."""

    def __init__(self, tray: _Tray) -> None:
        self._tray = tray
        self.is_up = True

    def send(self, message: Uplink) -> None:
        """Offer a message until it was fetched."""
        self._tray.say(write_uplink(message))

    def letters(self) -> tuple[bytes, ...]:
        """Return the letters that came."""
        with self._tray.lock:
            found, self._tray.letters = tuple(self._tray.letters), []
        return found


class DeviceServer:
    """Serves ``/devices/<asset>`` for the assets of one aggregator or device.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one.
    tls : ssl.SSLContext, optional
        With the server's certificate; none: plain HTTP, for this machine only.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._trays: dict[str, _Tray] = {}
        trays = self._trays

        class Handler(_Handler):
            def tray(self) -> _Tray | None:
                path = urlsplit(self.path).path
                return trays.get(unquote(path.removeprefix("/devices/")))

        self._server = ThreadingHTTPServer((host, port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def link(self, asset: str) -> HttpDeviceLink:
        """Serve an asset; return its end."""
        return HttpDeviceLink(self._trays.setdefault(asset, _Tray()))

    def close(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler, ABC):
    """Answers the market's requests."""

    timeout = 10

    @abstractmethod
    def tray(self) -> _Tray | None:
        """Return whose address was asked for."""

    def do_POST(self) -> None:
        """Take a letter."""
        tray, key = self.tray(), self.headers.get("Idempotency-Key", "")
        length = self.headers.get("Content-Length", "")
        if tray is None:
            self._answer(HTTPStatus.NOT_FOUND, b"{}")
        elif not key or not length.isdecimal() or int(length) > LETTER_BYTES_MAX:
            self._answer(HTTPStatus.BAD_REQUEST, b"{}")
        else:
            tray.take(self.rfile.read(int(length)), key)
            self._answer(HTTPStatus.ACCEPTED, b"{}")

    def do_GET(self) -> None:
        """Offer messages."""
        tray = self.tray()
        after = parse_qs(urlsplit(self.path).query).get("after", ["0"])[0]
        if tray is None:
            self._answer(HTTPStatus.NOT_FOUND, b"{}")
        elif not after.isdecimal():
            self._answer(HTTPStatus.BAD_REQUEST, b"{}")
        else:
            self._answer(HTTPStatus.OK, tray.offer(int(after)))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 as the base has it
        """Say nothing: who listens keeps its own log."""

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
