"""The port between the market and whatever carries its letters."""

from __future__ import annotations

from typing import Protocol

from dispatch.messages import Heard, Letter, Uplink


class Channel(Protocol):
    """The market's end: letters go out, what devices say comes in.

    * ``send`` MUST accept a letter while the way to the device is broken, and MUST deliver it later
      unless it has outlived ``lasts_s`` by then. It MAY deliver twice and out of order: devices
      cope. It MUST NOT deliver to anybody but the device of ``letter.asset``.
    * ``events`` MUST return what came in since the last call, each from the asset it is attributed
      to, and MUST NOT raise because of what one device said.
    * Neither changes what a letter says: the signature covers its text.
    """

    def send(self, letter: Letter) -> None:
        """Take a letter for delivery."""
        ...

    def events(self, wait_s: float = 0.0) -> tuple[Heard, ...]:
        """Return what was heard; wait at most ``wait_s`` for the first of it [s]."""
        ...

    def close(self) -> None:
        """End in order; letters not delivered yet may be lost."""
        ...


class DeviceLink(Protocol):
    """A device's end of a channel."""

    @property
    def is_up(self) -> bool:
        """Whether a message that is sent now leaves now."""
        ...

    def send(self, message: Uplink) -> None:
        """Take a message to the market; one that cannot leave now leaves later."""
        ...

    def letters(self) -> tuple[bytes, ...]:
        """Return the signed texts that came in since the last call."""
        ...
