"""Congestion points, contracts and messages from JSON; every problem of a file at once.

A file of messages is a list; each names its kind in ``message``: ``FlexRequest``, ``FlexOffer``,
``FlexOfferRevocation`` or ``FlexReservationUpdate``. Fields are those of UFTP 3.0 in lower case
with their unit: power in whole W, + = consumption, ISPs numbered from 1 within the local day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.study.order_fields import OrderContext
from flexibility.procurement.border import LocalIsps, from_watt, is_entity_address
from flexibility.procurement.fields import ProcurementReader, read_list
from flexibility.procurement.records import (
    DIRECTIONS,
    EVERY_DAY,
    AvailabilityContract,
    CongestionPoint,
    FlexOffer,
    FlexRequest,
    OfferOption,
    OfferRevocation,
    ReservationUpdate,
)

MESSAGES: Final = ("FlexRequest", "FlexOffer", "FlexOfferRevocation", "FlexReservationUpdate")


@dataclass(slots=True, kw_only=True)
class Inbox:
    """The messages of a file, by kind, in the order of the file."""

    requests: list[FlexRequest] = field(default_factory=list)
    offers: list[FlexOffer] = field(default_factory=list)
    revocations: list[OfferRevocation] = field(default_factory=list)
    updates: list[ReservationUpdate] = field(default_factory=list)


def read_points(path: Path, context: OrderContext) -> tuple[CongestionPoint, ...]:
    """Read congestion points.

    Raises
    ------
    InputError
        With every problem of the file.
    """
    problems: list[Problem] = []
    entries = read_list(path, problems)
    found = points_from_plain(entries, context, problems, where=path.name)
    refuse_if_any(problems)
    return found


def points_from_plain(
    entries: Sequence[object], context: OrderContext, problems: list[Problem], *, where: str
) -> tuple[CongestionPoint, ...]:
    """Turn entries into congestion points; ids are unique entity addresses."""
    found: list[CongestionPoint] = []
    for number, entry in enumerate(entries):
        reader = ProcurementReader(f"{where} [{number}]", entry, problems, context)
        point = CongestionPoint(
            id=reader.text("id"),
            name=reader.text("name", ""),
            elements=reader.elements(),
            buses=reader.buses(),
        )
        reader.close()
        if point.id and not is_entity_address(point.id):
            reader.report(
                f"id {point.id[:60]!r} is no entity address",
                "state ea1.YYYY-MM.domain:name or ean. and 12 to 34 digits",
            )
        if point.id in {each.id for each in found}:
            reader.report(f"id {point.id[:60]!r} is stated twice")
        found.append(point)
    return tuple(found)


def read_contracts(path: Path, context: OrderContext) -> tuple[AvailabilityContract, ...]:
    """Read availability contracts, or the bids of a tender for them.

    Raises
    ------
    InputError
        With every problem of the file.
    """
    problems: list[Problem] = []
    found: list[AvailabilityContract] = []
    for number, entry in enumerate(read_list(path, problems)):
        reader = ProcurementReader(f"{path.name} [{number}]", entry, problems, context)
        contract = _contract(reader)
        reader.close()
        if contract is None:
            continue
        if contract.id in {each.id for each in found}:
            reader.report(f"id {contract.id[:60]!r} is stated twice")
        found.append(contract)
    refuse_if_any(problems)
    return tuple(found)


def _contract(reader: ProcurementReader) -> AvailabilityContract | None:
    name, participant = reader.text("id"), reader.text("participant")
    point, connection = reader.text("congestion_point"), reader.text("connection")
    buses = reader.buses()
    asset = reader.asset(buses)
    stated = reader.text("direction")
    direction = next((known for known in DIRECTIONS if known == stated), None)
    if direction is None:
        reader.report(f"direction is {stated[:40]!r}", f"one of {', '.join(DIRECTIONS)}")
    power = reader.number("power_mw", minimum=1e-6, maximum=1e6, required=True)
    first, last = reader.day("first_day"), reader.day("last_day")
    if first is not None and last is not None and last < first:
        reader.report("last_day lies before first_day")
    weekdays = reader.take("weekdays")
    if weekdays is None:
        weekdays = list(EVERY_DAY)
    if not isinstance(weekdays, list) or not set(weekdays) <= set(EVERY_DAY) or not weekdays:
        reader.report("weekdays is no list of 1 (Monday) to 7")
        weekdays = list(EVERY_DAY)
    window = reader.clock("from"), reader.clock("to")
    fee, price = reader.micro("availability_eur_per_mw_h"), reader.micro("utilisation_eur_per_mwh")
    penalty = reader.micro("penalty_eur_per_mwh", default=0.0)
    most = reader.count("activations_max", minimum=1)
    used = reader.count("activations_used", default=0) or 0
    longest = reader.number("duration_h_max", default=1.0, minimum=0.01, maximum=10000.0)
    rule = reader.rule()
    if direction is None or power is None or first is None or last is None:
        return None
    return AvailabilityContract(
        id=name, participant=participant, congestion_point=point, connection=connection,
        buses=buses, asset=asset, direction=direction, power_mw=power, first_day=first,
        last_day=last, from_time=window[0], to_time=window[1], weekdays=tuple(weekdays),
        availability_micro_eur_per_mw_h=fee, utilisation_micro_eur_per_mwh=price,
        penalty_micro_eur_per_mwh=penalty, activations_max=most, activations_used=used,
        duration_h_max=1.0 if longest is None else longest, rule=rule,
    )  # fmt: skip


def read_messages(
    paths: Sequence[Path],
    context: OrderContext,
    periods: Periods,
    timezone: str,
    points: Mapping[str, CongestionPoint],
) -> Inbox:
    """Read files of messages about one horizon.

    Parameters
    ----------
    paths : sequence of Path
        Files, in the order of receipt.
    context : OrderContext
        The network that buses refer to.
    periods : Periods
        The horizon, within one local day.
    timezone : str
        Its zone.
    points : mapping of id to CongestionPoint
        An offer without buses of its own acts at those of its point.

    Raises
    ------
    InputError
        With every problem of every file. Messages that are well formed and do not count for
        another reason are no problem of the file: `flexibility.procurement.acceptance`.
    """
    problems: list[Problem] = []
    isps = LocalIsps.of(periods, timezone)
    inbox = Inbox()
    for path in paths:
        for number, entry in enumerate(read_list(path, problems)):
            where = f"{path.name} [{number}]"
            reader = ProcurementReader(where, entry, problems, context)
            _take(reader, isps, points, inbox)
    refuse_if_any(problems)
    return inbox


def message_from_plain(
    entry: object,
    context: OrderContext,
    isps: LocalIsps,
    points: Mapping[str, CongestionPoint],
    problems: list[Problem],
) -> Inbox:
    """Return an inbox with one message, as an entry of a file states it.

    Parameters
    ----------
    entry : object
        A JSON object.
    context : OrderContext
        The network that buses refer to.
    isps : LocalIsps
        The local day that it must be about.
    points : mapping of id to CongestionPoint
        An offer without buses of its own acts at those of its point.
    problems : list of Problem
        Collects what is wrong; with new ones in it the inbox does not count.
    """
    inbox = Inbox()
    _take(ProcurementReader("message", entry, problems, context), isps, points, inbox)
    return inbox


def _take(
    reader: ProcurementReader,
    isps: LocalIsps,
    points: Mapping[str, CongestionPoint],
    inbox: Inbox,
) -> None:
    kind = reader.text("message")
    if kind not in MESSAGES:
        reader.report(f"message {kind[:40]!r} is unknown", f"one of {', '.join(MESSAGES)}")
        return
    message_id = reader.text("message_id")
    if kind == "FlexOfferRevocation":
        offer = reader.text("flex_offer_message_id")
        inbox.revocations.append(OfferRevocation(message_id=message_id, offer=offer))
        reader.close()
        return
    _check_period(reader, isps)
    point = reader.text("congestion_point")
    if kind == "FlexRequest":
        _take_request(reader, isps, message_id, point, inbox)
    elif kind == "FlexOffer":
        _take_offer(reader, isps, (message_id, point), points, inbox)
    else:
        contract = reader.text("contract_id")
        reader.text("reference", "")
        power = reader.isp_power(reader.take("isps"), isps)
        inbox.updates.append(
            ReservationUpdate(
                contract=contract, congestion_point=point, message_id=message_id,
                reserved_mw=np.abs(power),
            )
        )  # fmt: skip
    reader.close()


def _check_period(reader: ProcurementReader, isps: LocalIsps) -> None:
    day = reader.day("period")
    if day is not None and day != isps.day:
        reader.report(f"Period Out Of Bounds: {day}", f"the horizon is of {isps.day}")
    duration = reader.text("isp_duration", f"PT{isps.periods.mtu_minutes}M")
    if duration != f"PT{isps.periods.mtu_minutes}M":
        reader.report(f"ISP Duration Rejected: {duration[:20]}", f"PT{isps.periods.mtu_minutes}M")
    zone = reader.text("time_zone", isps.timezone)
    if zone != isps.timezone:
        reader.report(f"TimeZone Rejected: {zone[:40]}", f"state {isps.timezone}")


def _take_request(
    reader: ProcurementReader, isps: LocalIsps, message_id: str, point: str, inbox: Inbox
) -> None:
    revision = reader.count("revision", minimum=1, required=True)
    expires = reader.instant("expiration_date_time")
    count = len(isps.periods)
    requested = np.zeros(count, dtype=bool)
    low, high = np.zeros(count), np.zeros(count)
    for first, after, entry in reader.isp_entries(reader.take("isps"), isps):
        disposition = entry.get("disposition")
        if disposition not in ("Requested", "Available"):
            reader.report(f"disposition is {disposition!r}", "Requested or Available")
        powers = [entry.get("min_power_w"), entry.get("max_power_w")]
        if not all(type(power) is int for power in powers):
            reader.report(f"power of ISP {entry.get('start')} is {powers}", "state whole watts")
            continue
        least, most = (int(str(power)) for power in powers)
        if least > most:
            reader.report(f"min_power_w {least} is above max_power_w {most}")
        if disposition == "Requested" and least < 0 < most:
            reader.report(
                "One or more ISPs with a 'Requested' disposition has no direction",
                "state min_power_w < 0 or max_power_w > 0, not both",
            )
        requested[first:after] = disposition == "Requested"
        low[first:after], high[first:after] = from_watt(most), from_watt(least)
    if revision is not None and expires is not None:
        inbox.requests.append(
            FlexRequest(
                message_id=message_id, congestion_point=point, revision=revision,
                expires_at=expires, requested=requested, injection_mw_min=low,
                injection_mw_max=high,
            )
        )  # fmt: skip


def _take_offer(
    reader: ProcurementReader,
    isps: LocalIsps,
    named: tuple[str, str],
    points: Mapping[str, CongestionPoint],
    inbox: Inbox,
) -> None:
    message_id, point = named
    expires = reader.instant("expiration_date_time")
    known = points.get(point)
    offer = {
        "participant": reader.text("participant"),
        "request": reader.text("flex_request_message_id", ""),
        "received_at": reader.instant("received_at", required=False),
        "currency": reader.text("currency", "EUR"),
        "connection": reader.text("connection", ""),
        "buses": reader.buses(known.buses if known else ()),
        "baseline": reader.text("baseline_reference", ""),
        "contract": reader.text("contract_id", "") or None,
        "rule": reader.rule(),
        "penalty_micro_eur_per_mwh": reader.micro("penalty_eur_per_mwh", default=0.0),
    }
    stated = reader.take("options")
    if not isinstance(stated, list) or not stated:
        reader.report("options is not a list with at least one option")
        stated = []
    options = [_option(reader, entry, number, isps) for number, entry in enumerate(stated, start=1)]
    if expires is not None:
        inbox.offers.append(
            FlexOffer(
                message_id=message_id, congestion_point=point, expires_at=expires,
                options=tuple(option for option in options if option is not None), **offer,  # type: ignore[arg-type]
            )
        )  # fmt: skip


def _option(
    reader: ProcurementReader, entry: object, number: int, isps: LocalIsps
) -> OfferOption | None:
    own = ProcurementReader(
        f"{reader.where} option {number}", entry, reader.problems, reader.context
    )
    reference = own.text("option_reference", str(number))
    factor = own.number("min_activation_factor", default=1.0)
    power = own.isp_power(own.take("isps"), isps)
    per_mwh = own.take("price_eur_per_mwh")
    if per_mwh is not None:
        if own.take("price_eur") is not None:
            own.report("states price_eur and price_eur_per_mwh", "state one of the two")
        own.fields["price_eur_per_mwh"] = per_mwh
        energy_mwh = isps.periods.mtu_h * float(np.abs(power).sum())
        price = round(energy_mwh * own.micro("price_eur_per_mwh"))
    else:
        price = own.micro("price_eur")
    own.close()
    return OfferOption(
        reference=reference,
        price_micro_eur=price,
        factor_min=1.0 if factor is None else factor,
        injection_mw=power,
    )
