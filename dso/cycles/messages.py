"""Messages of flexibility procurement: what was received by a gate, and what the market tells.

Parties send over the API, which keeps messages in the store; a message counts at a gate if its
commit preceded it. Files take the same part: a feeder's message folder has a folder for each
delivery day, and in it files whose names begin with the instant of receipt, e.g.
``2016-07-25/20160724T1215Z-south.json``, counted up to the gate. Reservation updates come as files
alone. What cannot be read is left out and named: one party's mistake stops nobody's market.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from data.canonical import sha256_hex
from data.errors import InputError, Problem
from data.study.order_fields import context_of
from dso.cycles.booked_orders import book_of
from dso.cycles.plan import DayPlan
from dso.cycles.stages import Desk
from dso.store import Connection
from dso.store.book import market_now, pass_gate
from dso.store.flexibility_messages import (
    FlexMessage,
    add_message,
    messages_before,
    new_message,
)
from flexibility.procurement.border import LocalIsps
from flexibility.procurement.read_messages import Inbox, message_from_plain, read_messages
from flexibility.procurement.records import ReservationUpdate
from flexibility.procurement.write_messages import message_uuid

STAMP: Final = re.compile(r"(\d{8}T\d{4}Z)(-[A-Za-z0-9._-]+)?\.json")
READ: Final = ("FlexRequest", "FlexOffer", "FlexOfferRevocation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What was received by an instant.

    Parameters
    ----------
    inbox : Inbox
        The messages, those of files before those of the store, each in the order of receipt.
    left_out : tuple of str
        Why files and messages are left out.
    sha256 : str
        Digest of the files with their names and of the store's messages; "" where there are none.
    kept : tuple of dict
        The store's messages, as entries of a file.
    """

    inbox: Inbox = field(default_factory=Inbox)
    left_out: tuple[str, ...] = ()
    sha256: str = ""
    kept: tuple[dict[str, Any], ...] = ()

    @property
    def updates(self) -> Mapping[str, ReservationUpdate]:
        """The last reservation update of each contract, by contract id."""
        return {update.contract: update for update in self.inbox.updates}


def rows_by(desk: Desk, gate: datetime) -> tuple[FlexMessage, ...]:
    """Return the messages about a day that the store held by a gate, which is passed with it.

    Raises
    ------
    InputError
        If the gate is still to come.
    """
    plan = desk.plan
    try:
        with desk.services.store.transaction() as connection:
            pass_gate(connection, book_of(plan), gate)
            found = messages_before(
                connection, feeder=plan.feeder.id, day=plan.delivery.day, gate=gate
            )
    except ValueError as error:
        remedy = "run the cycle once its gate is passed"
        raise InputError([Problem(where="messages", what=str(error), remedy=remedy)]) from error
    return tuple(found)


def received_by(desk: Desk, gate: datetime) -> Received:
    """Read the messages about a day that were received by a gate, which is passed with it.

    Raises
    ------
    InputError
        If the gate is still to come.
    """
    plan = desk.plan
    files = read_files(plan, gate)
    rows = rows_by(desk, gate)
    if not rows:
        return files
    inbox, left_out = _read_rows(plan, rows, files.inbox)
    digests = [f"{row.message_id} {sha256_hex(row.content.encode())}" for row in rows]
    return Received(
        inbox=inbox,
        left_out=(*files.left_out, *left_out),
        sha256=sha256_hex("\n".join([files.sha256, *digests]).encode()),
        kept=tuple(json.loads(row.content) for row in rows if row.kind in READ),
    )


def _read_rows(
    plan: DayPlan, rows: Iterable[FlexMessage], before: Inbox
) -> tuple[Inbox, list[str]]:
    """Return an inbox with the store's messages behind those of files; and what is left out."""
    context = context_of(plan.network, len(plan.periods))
    isps = LocalIsps.of(plan.periods, plan.delivery.timezone)
    points = {point.id: point for point in plan.feeder.congestion_points}
    found = Inbox(
        requests=[*before.requests], offers=[*before.offers],
        revocations=[*before.revocations], updates=[*before.updates],
    )  # fmt: skip
    left_out = []
    for row in rows:
        problems: list[Problem] = []
        if row.kind not in READ:
            left_out.append(f"offer {row.settles}: was ordered by hand before the gate")
            found.offers = [offer for offer in found.offers if offer.message_id != row.settles]
            continue
        one = message_from_plain(json.loads(row.content), context, isps, points, problems)
        if problems:
            left_out += [f"{row.message_id}: left out, {problem}" for problem in problems]
            continue
        found.requests += one.requests
        found.offers += one.offers
        found.revocations += one.revocations
    return found, left_out


def tell_parties(
    connection: Connection, plan: DayPlan, entries: Iterable[Mapping[str, Any]]
) -> None:
    """Keep what the market says to parties, for whoever may read it over the API.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    plan : DayPlan
        The feeder's operator is the sender.
    entries : iterable of mapping
        Requests and orders; a request that is there by another way stays as it is.

    Raises
    ------
    InputError
        If an offer was ordered or taken back by another message.
    """
    at = market_now(connection)
    for entry in entries:
        is_order = entry["message"] == "FlexOrder"
        kept = add_message(
            connection,
            new_message(
                entry,
                party=plan.feeder.operator,
                feeder=plan.feeder.id,
                at=at,
                settles=settled_by(entry, plan) if is_order else None,
            ),
        )
        if kept is None:
            what = "is ordered or taken back already"
            raise InputError([Problem(where=f"offer {entry['flex_offer_message_id']}", what=what)])


def settled_by(entry: Mapping[str, Any], plan: DayPlan) -> str:
    """Return what an order settles: an offer of the API by its id, else one id for each day.

    Files name offers as they like, and a contract is called on many days.
    """
    offer = entry.get("flex_offer_message_id", "")
    if is_message_id(offer):
        return str(offer)
    called = entry.get("contract_id", "")
    return message_uuid(plan.feeder.id, plan.delivery.day, offer or f"contract {called}")


def is_message_id(text: str) -> bool:
    """Tell whether a text is a UUID, as the API asks of messages.

    Examples
    --------
    >>> is_message_id("0d5e8f6a-3c3b-5d1e-9a55-0f5c2a7f9b10"), is_message_id("noon")
    (True, False)
    """
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None


def read_files(plan: DayPlan, at: datetime) -> Received:
    """Read the message files about a day that were received at or before an instant."""
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
    return read_files(plan, at) if plan.feeder.contract_files else Received()


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
