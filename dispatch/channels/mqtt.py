"""MQTT: the market's channel and a device's link over a broker.

Letters go out with QoS 1, kept by the broker as the last of their subject (a device that comes
back finds them) and forgotten by it when they end. Presence is a kept message that the broker
itself takes back when a connection is lost. What the broker did or did not do is never trusted:
devices check signature, asset, sequence number and time of everything that arrives.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from math import ceil
from typing import Final

from data.records.dispatch import Presence, Telemetry
from dispatch.channels.mqtt_loop import Broker, ClientLoop, Connection, Will
from dispatch.channels.topics import DEFAULT_ROOT, down_topic, sender_of, up_topic
from dispatch.messages import (
    Heard,
    Letter,
    TimeRequest,
    Undelivered,
    Unreadable,
    Uplink,
    read_uplink,
    write_uplink,
)

TELEMETRY_LASTS_S: Final = 60
REQUEST_LASTS_S: Final = 30
WORD_LASTS_S: Final = 86_400
UNSENT_MAX: Final = 1000


class MqttChannel:
    """The market's end.

    Parameters
    ----------
    loop : ClientLoop
        Drives the connection; ``events`` turns it.
    broker : Broker
        Where to.
    client_id : str
        The market's session; one process at a time.
    root : str
        First part of all topics.

    Attributes
    ----------
    sent, heard_of : Counter
        Letters published to, and messages heard of, each asset.
    """

    def __init__(
        self,
        loop: ClientLoop,
        broker: Broker,
        *,
        client_id: str = "gridclear-market",
        root: str = DEFAULT_ROOT,
    ) -> None:
        self.sent: Counter[str] = Counter()
        self.heard_of: Counter[str] = Counter()
        self._loop, self._root = loop, root
        self._heard: list[Heard] = []
        self._published: dict[int, Letter] = {}
        # The last letter of each topic with the counter at which it ends: a broker that has lost
        # its memory gets them again. While the way is broken, letters wait here and not in paho,
        # which would send an ended one with a fresh time to live.
        self._standing: dict[str, tuple[Letter, float]] = {}
        self._waiting: dict[tuple[str, str], tuple[Letter, float]] = {}
        self.connection = Connection(
            loop,
            broker,
            client_id,
            subscriptions=(f"{root}/+/up/+",),
            on_message=self._received,
            on_up=self._up,
            on_receipt=self._receipt,
        )

    def send(self, letter: Letter) -> None:
        """Publish a letter, or keep it until the broker is back."""
        ends_s = self._loop.counter() + letter.lasts_s
        topic = down_topic(self._root, letter.asset, letter.subject)
        if letter.subject != "time":
            self._standing[topic] = letter, ends_s
        if self.connection.is_up:
            self._publish(topic, letter, ends_s)
        else:
            self._waiting[topic, letter.id] = letter, ends_s

    def events(self, wait_s: float = 0.0) -> tuple[Heard, ...]:
        """Turn the loop and return what devices said."""
        self._loop.turn(0.0)
        if wait_s > 0.0 and not self._heard:
            self._loop.run_until(lambda: bool(self._heard), wait_s)
        heard, self._heard = tuple(self._heard), []
        return heard

    def close(self) -> None:
        """Leave the broker."""
        self.connection.close()

    def _publish(self, topic: str, letter: Letter, ends_s: float) -> None:
        left_s = ends_s - self._loop.counter()
        if left_s > 0.0:
            kept = letter.subject != "time"
            number = self.connection.publish(topic, letter.text, lasts_s=ceil(left_s), retain=kept)
            self._published[number] = letter
            self.sent[letter.asset] += 1

    def _receipt(self, number: int, refusal: str | None) -> None:
        letter = self._published.pop(number, None)
        if refusal is not None and letter is not None:
            reason = f"refused by the broker: {refusal}"
            self._heard.append(
                Undelivered(asset=letter.asset, instruction=letter.id, reason=reason)
            )

    def _up(self, remembered: bool) -> None:  # noqa: FBT001 called by the connection
        waiting, self._waiting = self._waiting, {}
        for (topic, _), (letter, ends_s) in waiting.items():
            self._publish(topic, letter, ends_s)
        if remembered:
            return
        now_s = self._loop.counter()
        self._standing = {topic: each for topic, each in self._standing.items() if each[1] > now_s}
        for topic, (letter, ends_s) in self._standing.items():
            if (topic, letter.id) not in waiting:
                self._publish(topic, letter, ends_s)

    def _received(self, topic: str, payload: bytes) -> None:
        sender = sender_of(self._root, topic)
        if sender is None:
            self._heard.append(Unreadable(sender=topic, reason="not a device's topic"))
        else:
            self.heard_of[sender] += 1
            self._heard.append(read_uplink(payload, sender))


def wait_for_delivery(
    loop: ClientLoop,
    channel: MqttChannel,
    links: Iterable[MqttDeviceLink],
    *,
    timeout_s: float = 10.0,
) -> bool:
    """Turn until everything published has arrived at the other end.

    For a simulated clock that waits for the messages of its minute. The topics must have been
    empty when both ends connected.

    Returns
    -------
    bool
        False if something is still under way after ``timeout_s`` [s], e.g. without a broker.
    """
    waiting = list(links)

    def arrived() -> bool:
        waiting[:] = [
            link
            for link in waiting
            if not link.connection.is_up
            or link.received < channel.sent[link.asset]
            or channel.heard_of[link.asset] < link.sent
        ]
        return channel.connection.is_up and not waiting

    return loop.run_until(arrived, timeout_s)


class MqttDeviceLink:
    """A device's end: a connection of its own, with its own rights.

    Parameters
    ----------
    loop : ClientLoop
        Drives the connection.
    broker : Broker
        Where to, with the device's own certificate or password.
    asset : str
        Who it is.
    root : str
        First part of all topics.
    client_id : str, optional
        Its session; root and asset by default.

    Attributes
    ----------
    sent, received : int
        Messages published and letters taken.
    """

    def __init__(
        self,
        loop: ClientLoop,
        broker: Broker,
        asset: str,
        *,
        root: str = DEFAULT_ROOT,
        client_id: str | None = None,
    ) -> None:
        self.asset = asset
        self.sent = self.received = 0
        self._root = root
        self._letters: list[bytes] = []
        self._unsent: deque[Uplink] = deque(maxlen=UNSENT_MAX)
        gone = Presence(asset=asset, online=False)
        self.connection = Connection(
            loop,
            broker,
            client_id or f"{root}/{asset}",
            subscriptions=(down_topic(root, asset, "+"),),
            on_message=self._received,
            on_up=self._up,
            will=Will(topic=up_topic(root, gone), payload=write_uplink(gone)),
        )

    @property
    def is_up(self) -> bool:
        """Whether the broker is there."""
        return self.connection.is_up

    def send(self, message: Uplink) -> None:
        """Publish a message, or keep it until the broker is back; a stale question is not kept."""
        if self.connection.is_up:
            self._publish(message)
        elif not isinstance(message, TimeRequest):
            self._unsent.append(message)

    def letters(self) -> tuple[bytes, ...]:
        """Return the letters that came."""
        letters, self._letters = tuple(self._letters), []
        return letters

    def close(self) -> None:
        """Leave the broker, and say so."""
        if self.connection.is_up:
            self._publish(Presence(asset=self.asset, online=False))
        self.connection.close()

    def _publish(self, message: Uplink) -> None:
        lasts_s = WORD_LASTS_S
        if isinstance(message, Telemetry):
            lasts_s = TELEMETRY_LASTS_S
        elif isinstance(message, TimeRequest):
            lasts_s = REQUEST_LASTS_S
        self.sent += 1
        self.connection.publish(
            up_topic(self._root, message),
            write_uplink(message),
            lasts_s=lasts_s,
            retain=isinstance(message, Presence),
        )

    def _up(self, _remembered: bool) -> None:  # noqa: FBT001 called by the connection
        self._publish(Presence(asset=self.asset, online=True))
        unsent, self._unsent = self._unsent, deque(maxlen=UNSENT_MAX)
        for message in unsent:
            # A measurement that waited is no measurement of now.
            if not isinstance(message, Telemetry):
                self._publish(message)

    def _received(self, _topic: str, payload: bytes) -> None:
        self.received += 1
        self._letters.append(payload)
