"""A channel inside one process: letters pass from list to list, in order and at once."""

from __future__ import annotations

from collections import defaultdict

from dispatch.messages import Heard, Letter, Uplink, read_uplink, write_uplink


class InProcessChannel:
    """Connects a market with devices of the same process, through the same texts as elsewhere.

    Examples
    --------
    >>> from dispatch.messages import TimeRequest
    >>> channel = InProcessChannel()
    >>> channel.link("sgen:1").send(TimeRequest(asset="sgen:1", nonce="n"))
    >>> channel.events()
    (TimeRequest(asset='sgen:1', nonce='n'),)
    """

    def __init__(self) -> None:
        self._down: defaultdict[str, list[bytes]] = defaultdict(list)
        self._up: list[Heard] = []

    def send(self, letter: Letter) -> None:
        """Put a letter into the device's tray."""
        self._down[letter.asset].append(letter.text)

    def events(self, wait_s: float = 0.0) -> tuple[Heard, ...]:  # noqa: ARG002 nothing to wait for
        """Return what devices said."""
        heard, self._up = tuple(self._up), []
        return heard

    def link(self, asset: str) -> InProcessLink:
        """Return the device's end."""
        return InProcessLink(self, asset)

    def close(self) -> None:
        """Forget what is left."""
        self._down.clear()
        self._up.clear()

    def take_letters(self, asset: str) -> tuple[bytes, ...]:
        """Empty a device's tray."""
        return tuple(self._down.pop(asset, ()))

    def say(self, message: Uplink, sender: str) -> None:
        """Take a device's message, written and read again as on any other channel."""
        self._up.append(read_uplink(write_uplink(message), sender))


class InProcessLink:
    """A device's end of an `InProcessChannel`."""

    def __init__(self, channel: InProcessChannel, asset: str) -> None:
        self._channel, self._asset = channel, asset
        self.is_up = True

    def send(self, message: Uplink) -> None:
        """Hand a message to the market."""
        self._channel.say(message, self._asset)

    def letters(self) -> tuple[bytes, ...]:
        """Return the letters in the tray."""
        return self._channel.take_letters(self._asset)
