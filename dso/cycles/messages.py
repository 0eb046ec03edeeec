"""Messages of the parties about a day's flexibility, as far as they were received by an instant.

A feeder's message folder has a folder for each delivery day, and in it files whose names begin with
the instant of receipt, e.g. ``2016-07-25/20160724T1215Z-south.json``. A later one is not looked at.
A file that cannot be read is left out and named: one party's mistake stops nobody's market.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from data.canonical import sha256_hex
from data.errors import InputError
from data.study.order_fields import context_of
from dso.cycles.plan import DayPlan
from flexibility.procurement.read_messages import Inbox, read_messages
from flexibility.procurement.records import ReservationUpdate

STAMP: Final = re.compile(r"(\d{8}T\d{4}Z)(-[A-Za-z0-9._-]+)?\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What was received by an instant.

    Parameters
    ----------
    inbox : Inbox
        The messages, in the order of receipt.
    left_out : tuple of str
        Why files are left out.
    sha256 : str
        Digest of the files with their names; "" where there are none.
    """

    inbox: Inbox = field(default_factory=Inbox)
    left_out: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def updates(self) -> Mapping[str, ReservationUpdate]:
        """The last reservation update of each contract, by contract id."""
        return {update.contract: update for update in self.inbox.updates}


def received_by(plan: DayPlan, at: datetime) -> Received:
    """Read the messages about a day that were received at or before an instant."""
    folder = plan.feeder.message_folder
    if folder is None:
        return Received()
    place = folder / plan.delivery.day.isoformat()
    known, left_out = [], []
    for path in sorted(place.glob("*.json")):
        received = received_at(path)
        if received is None:
            left_out.append(f"{path.name}: its name does not begin with an instant of receipt")
        elif received <= at:
            known.append(path)
    context = context_of(plan.network, len(plan.periods))
    points = {point.id: point for point in plan.feeder.congestion_points}
    inbox = Inbox()
    for path in known:
        try:
            found = read_messages([path], context, plan.periods, plan.delivery.timezone, points)
        except InputError as error:
            left_out += [f"{path.name}: left out, {problem}" for problem in error.problems]
            continue
        inbox.offers += found.offers
        inbox.revocations += found.revocations
        inbox.updates += found.updates
    digests = [f"{path.name} {sha256_hex(path.read_bytes())}" for path in known]
    return Received(
        inbox=inbox,
        left_out=tuple(left_out),
        sha256=sha256_hex("\n".join(digests).encode()) if known else "",
    )


def updates_by(plan: DayPlan, at: datetime) -> Received:
    """Read what a clearing needs: nothing where the feeder has no contracts to update."""
    return received_by(plan, at) if plan.feeder.contract_files else Received()


def received_at(path: Path) -> datetime | None:
    """Return when a file was received, from its name; None where it does not say.

    Examples
    --------
    >>> received_at(Path("20160724T1215Z-south.json")).isoformat()
    '2016-07-24T12:15:00+00:00'
    >>> received_at(Path("offers.json")) is None
    True
    """
    found = STAMP.fullmatch(path.name)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], "%Y%m%dT%H%MZ").replace(tzinfo=UTC)
    except ValueError:
        return None
