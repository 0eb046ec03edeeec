"""Telemetry on its way into the store: gathered while listening, written once a second."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from data.records.dispatch import Telemetry
from dispatch.messages import Heard
from dso.store import Store
from dso.store.telemetry import HeardTelemetry, add_telemetry, forget_telemetry

WRITE_EVERY: Final = timedelta(seconds=1)
FORGET_EVERY: Final = timedelta(hours=1)


class TelemetryKeeper:
    """Keeps what the devices of a feeder report.

    Reports are kept for ``keep``; what is older is dropped once an hour.

    Parameters
    ----------
    store : Store
        Where the real-time cycle reads them.
    feeder : str
        Where the devices are.
    keep : timedelta
        How long reports stay.
    """

    def __init__(self, store: Store, feeder: str, *, keep: timedelta = timedelta(days=35)) -> None:
        self._store, self._feeder, self._keep = store, feeder, keep
        self._waiting: list[HeardTelemetry] = []
        self._written_at: datetime | None = None
        self._forgot_at: datetime | None = None

    def take(self, messages: Iterable[Heard], now: datetime) -> None:
        """Gather the reports among what was heard; a name that cannot be printed is left out."""
        self._waiting += [
            HeardTelemetry(known_at=now, telemetry=message)
            for message in messages
            if isinstance(message, Telemetry)
            and message.asset.isprintable()
            and (message.active or "").isprintable()
        ]

    def write(self, now: datetime, *, at_once: bool = False) -> int:
        """Write what waits if a second has passed since the last time; return how many rows.

        Parameters
        ----------
        now : datetime
            The market's time, UTC.
        at_once : bool
            Do not wait for the second to pass.
        """
        waited = self._written_at is None or now - self._written_at >= WRITE_EVERY
        if not self._waiting or not (waited or at_once):
            return 0
        with self._store.transaction() as connection:
            count = add_telemetry(connection, self._feeder, self._waiting)
            if self._forgot_at is None or now - self._forgot_at >= FORGET_EVERY:
                forget_telemetry(connection, self._feeder, before=now - self._keep)
                self._forgot_at = now
        self._waiting, self._written_at = [], now
        return count
