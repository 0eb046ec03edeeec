"""Many MQTT 5 connections driven by one caller, without threads.

paho-mqtt offers its sockets to a foreign loop; this is that loop. Nothing happens between two
calls of `ClientLoop.turn`, so a simulated minute can wait until its messages have arrived, and no
callback ever runs beside the code that reads its result.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from data.errors import InputError, Problem

RETRY_FIRST_S: Final = 0.1
RETRY_MAX_S: Final = 15.0
ATTEMPTS_PER_TURN: Final = 16
READS_PER_TURN: Final = 200
HOUSEKEEPING_S: Final = 1.0
QOS: Final = 1
PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: the authority that signed the broker, and one's own certificate and key."""

    authority: Path
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context that checks the broker's name and shows one's own certificate.

        Raises
        ------
        InputError
            If a file is missing or holds no PEM.
        """
        try:
            made = ssl.create_default_context(cafile=str(self.authority))
            if self.certificate is not None:
                made.load_cert_chain(str(self.certificate), None if self.key is None else self.key)
        except OSError as error:
            what = f"TLS files cannot be used: {error}"
            raise InputError([Problem(where=str(self.authority), what=what)]) from error
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """How to reach a broker.

    Parameters
    ----------
    host, port
        Where it listens.
    tls : ssl.SSLContext or None
        For ``mqtts``.
    user, password : str or None
        Where rights follow passwords instead of certificates.
    keepalive_s : int
        Silence after which the broker takes a connection for lost [s].
    session_s : int
        How long the broker keeps messages for a connection that is lost [s].
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    user: str | None = None
    password: str | None = None
    keepalive_s: int = 30
    session_s: int = 3600

    @classmethod
    def of_url(cls, url: str, tls: TlsFiles | None = None, password: str | None = None) -> Broker:
        """Read ``mqtt://host:1883`` or ``mqtts://user@host:8883``.

        Raises
        ------
        InputError
            If it is no such URL, or TLS files and scheme do not go together.
        """
        parts = urlsplit(url)
        what = None
        if parts.scheme not in PORTS or not parts.hostname:
            what = "is not mqtt://host:port or mqtts://host:port"
        elif (parts.scheme == "mqtts") != (tls is not None):
            what = "mqtts needs an authority's certificate, mqtt takes none"
        if what is not None:
            raise InputError(
                [Problem(where=f"broker {parts.scheme}://{parts.hostname}", what=what)]
            )
        return cls(
            host=parts.hostname or "",
            port=parts.port or PORTS[parts.scheme],
            tls=None if tls is None else tls.context(),
            user=parts.username,
            password=password if password is not None else parts.password,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker says in one's name when the connection is lost."""

    topic: str
    payload: bytes


class Connection:
    """One connection that comes back by itself.

    Parameters
    ----------
    loop : ClientLoop
        Drives it.
    broker : Broker
        Where to.
    client_id : str
        Its session at the broker.
    subscriptions : tuple of str
        Topic filters, read with QoS 1.
    on_message : callable
        Takes topic and payload.
    on_up : callable, optional
        Called when the broker has confirmed the subscriptions; takes whether it remembers the
        session.
    will : Will, optional
        The last will, kept by the broker.
    on_receipt : callable, optional
        Called for each publication when the broker has answered; takes its number and the reason
        for which the broker refused it, or None.
    """

    def __init__(
        self,
        loop: ClientLoop,
        broker: Broker,
        client_id: str,
        *,
        subscriptions: tuple[str, ...],
        on_message: Callable[[str, bytes], None],
        on_up: Callable[[bool], None] | None = None,
        will: Will | None = None,
        on_receipt: Callable[[int, str | None], None] | None = None,
    ) -> None:
        self.client_id, self.is_up, self.last_error = client_id, False, ""
        self._loop, self._broker = loop, broker
        self._subscriptions, self._on_message, self._on_up = subscriptions, on_message, on_up
        self._on_receipt, self._messages = on_receipt, 0
        self._remembered, self._attempts, self._retry_at_s = False, 0, float("-inf")
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=QOS, retain=True)
        client.on_connect = lambda _client, _data, flags, reason, _properties: self._connected(
            reason, remembered=flags.session_present
        )
        client.on_disconnect = lambda _client, _data, _flags, reason, _properties: self._lost(
            reason
        )
        client.on_subscribe = lambda _client, _data, _mid, reasons, _properties: self._subscribed(
            reasons
        )
        client.on_message = lambda _client, _data, message: self._received(message)
        client.on_publish = lambda _client, _data, number, reason, _properties: self._published(
            number, reason
        )
        client.on_socket_open = lambda _client, _data, sock: loop.watch(self, sock)
        client.on_socket_close = lambda _client, _data, sock: loop.unwatch(sock)
        client.on_socket_register_write = lambda _client, _data, sock: loop.watch(
            self, sock, write=True
        )
        client.on_socket_unregister_write = lambda _client, _data, sock: loop.watch(self, sock)
        session = _properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = broker.session_s
        client.connect_async(
            broker.host,
            broker.port,
            keepalive=broker.keepalive_s,
            clean_start=False,
            properties=session,
        )
        self._client = client
        loop.add(self)

    def publish(self, topic: str, payload: bytes, *, lasts_s: int, retain: bool = False) -> int:
        """Send with QoS 1; the broker forgets it after ``lasts_s`` [s]. Returns its number."""
        properties = _properties(PacketTypes.PUBLISH)
        properties.MessageExpiryInterval = max(1, lasts_s)
        sent = self._client.publish(topic, payload, qos=QOS, retain=retain, properties=properties)
        return sent.mid

    def close(self) -> None:
        """Leave in order: the broker drops the session and does not publish the will."""
        self._loop.remove(self)
        if self._client.socket() is not None:
            properties = _properties(PacketTypes.DISCONNECT)
            properties.SessionExpiryInterval = 0
            self._client.disconnect(properties=properties)
            for _ in range(3):
                if self._client.socket() is not None:
                    self._client.loop_write()
        self.drop()

    def drop(self) -> None:
        """Cut the connection as a failure would."""
        found = self._client.socket()
        if isinstance(found, socket.socket):
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
            self.read()

    def try_again(self, now_s: float) -> bool:
        """Connect if there is no connection and the pause is over; return whether it tried."""
        if self._client.socket() is not None or now_s < self._retry_at_s:
            return False
        pause = min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(self._attempts, 10))
        # Devices that were lost together do not come back together.
        spread = zlib.crc32(f"{self.client_id}{self._attempts}".encode()) / 2**32
        self._retry_at_s = now_s + pause * (0.5 + spread)
        self._attempts += 1
        try:
            self._client.reconnect()
        except (OSError, ValueError) as error:
            self.last_error = str(error)
        return True

    def read(self) -> None:
        """Take what the socket holds, TLS's own buffer included."""
        for _ in range(READS_PER_TURN):
            before = self._messages
            self._client.loop_read()
            pending = getattr(self._client.socket(), "pending", None)
            if self._messages == before and (pending is None or pending() == 0):
                return

    def write(self) -> None:
        """Write what waits."""
        self._client.loop_write()

    def keep_house(self) -> None:
        """Send pings, notice a broker that is gone."""
        self._client.loop_misc()

    def _connected(self, reason: ReasonCode, *, remembered: bool) -> None:
        if reason.is_failure:
            self.last_error = str(reason)
            return
        self._remembered = remembered
        self._client.subscribe([(each, QOS) for each in self._subscriptions])

    def _subscribed(self, reasons: list[ReasonCode]) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self.last_error = f"subscription refused: {', '.join(refused)}"
        self.is_up, self._attempts = True, 0
        if self._on_up is not None:
            self._on_up(self._remembered)

    def _published(self, number: int, reason: ReasonCode) -> None:
        refusal = str(reason) if reason.is_failure else None
        if refusal is not None:
            self.last_error = f"publication refused: {refusal}"
        if self._on_receipt is not None:
            self._on_receipt(number, refusal)

    def _received(self, message: paho.MQTTMessage) -> None:
        self._messages += 1
        self._on_message(message.topic, bytes(message.payload))

    def _lost(self, reason: ReasonCode) -> None:
        self.is_up, self.last_error = False, str(reason)


class ClientLoop:
    """Turns when it is told to.

    Parameters
    ----------
    counter : callable
        Seconds that only go forward, e.g. ``time.monotonic`` [s].
    """

    def __init__(self, counter: Callable[[], float]) -> None:
        self.counter = counter
        self._connections: list[Connection] = []
        self._selector = selectors.DefaultSelector()
        self._housekeeping_at_s = counter()

    def add(self, connection: Connection) -> None:
        """Drive a connection from now on."""
        self._connections.append(connection)

    def remove(self, connection: Connection) -> None:
        """Drive it no longer."""
        self._connections.remove(connection)

    def turn(self, wait_s: float = 0.0) -> None:
        """Connect what is not connected, read and write what can be; wait at most ``wait_s``."""
        now_s = self.counter()
        tried = 0
        for connection in self._connections:
            tried += connection.try_again(now_s)
            if tried == ATTEMPTS_PER_TURN:
                break
        if now_s >= self._housekeeping_at_s:
            self._housekeeping_at_s = now_s + HOUSEKEEPING_S
            for connection in list(self._connections):
                connection.keep_house()
        for key, events in self._selector.select(max(0.0, wait_s)):
            connection = key.data
            if events & selectors.EVENT_READ:
                connection.read()
            if events & selectors.EVENT_WRITE:
                connection.write()

    def run_until(
        self, reached: Callable[[], bool], timeout_s: float, *, step_s: float = 0.01
    ) -> bool:
        """Turn until something is reached; return False if it was not within ``timeout_s`` [s]."""
        end_s = self.counter() + timeout_s
        while not reached():
            if self.counter() >= end_s:
                return False
            self.turn(step_s)
        return True

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self._connections):
            connection.close()
        self._selector.close()

    def watch(self, connection: Connection, sock: paho.SocketLike, *, write: bool = False) -> None:
        """Watch a socket for reading, and for writing where something waits."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        try:
            self._selector.modify(sock, events, connection)
        except KeyError:
            self._selector.register(sock, events, connection)

    def unwatch(self, sock: paho.SocketLike) -> None:
        """Watch it no longer."""
        if sock.fileno() >= 0:
            with suppress(KeyError):
                self._selector.unregister(sock)


def _properties(packet: int) -> Properties:
    """Return empty properties for one kind of packet."""
    return Properties(packet)  # type: ignore[no-untyped-call]
