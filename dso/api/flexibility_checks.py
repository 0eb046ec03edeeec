"""Messages of flexibility procurement, checked before they are kept: all problems at once."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import InputError, Problem
from data.periods import format_utc
from data.study.order_fields import OrderContext
from dso.api.market import ConnectionPoint, traded_asset
from dso.api.problems import Refusal, not_found
from dso.api.rights import own_only
from dso.cycles.bought_files import PURCHASE_FOLDER
from dso.flexibility.files import PURCHASE_JSON
from dso.store.flexibility_messages import (
    FlexMessage,
    Sight,
    find_message,
    is_purchase_over,
)
from dso.store.register import Register
from dso.store.register_records import Mandate
from flexibility.procurement.acceptance import Desk, judge_offers
from flexibility.procurement.border import W_PER_MW, LocalIsps
from flexibility.procurement.market_orders import option_id, orders_from_awards
from flexibility.procurement.read_messages import Inbox, message_from_plain
from flexibility.procurement.write_messages import order_to_plain

if TYPE_CHECKING:
    from datetime import date

    from dso.api.flexibility_models import FlexOfferMessage, FlexOrderRequest
    from dso.api.market import Market
    from dso.api.tokens import Caller
    from dso.store import Connection
    from dso.store.book import BookKey
    from flexibility.procurement.records import CongestionPoint, FlexRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A congestion point, its feeder, the ISPs of a local day there and its gates.

    ``purchase_gate`` is None where the market does not buy by itself.
    """

    feeder: str
    point: CongestionPoint
    isps: LocalIsps
    book: BookKey
    purchase_gate: datetime | None

    def read(self, entry: dict[str, Any], problems: list[Problem]) -> Inbox:
        """Read one message about the point and the day."""
        context = OrderContext(
            period_count=len(self.isps.periods), bus_of_asset=None, running_buses=None
        )
        points = {self.point.id: self.point}
        return message_from_plain(entry, context, self.isps, points, problems)


def refuse_if_any(problems: list[Problem]) -> None:
    """Raise `Refusal` 422 with all problems, if there are any."""
    if problems:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, problems)


def ground_of(market: Market, point: str, day: date) -> Ground:
    """Return where a congestion point is on a day; raises `Refusal` 422 for an unknown one."""
    for feeder in market.calendar.feeders():
        try:
            found = market.calendar.trading_day(feeder, day)
        except InputError:
            continue
        for each in found.congestion_points:
            if each.id == point:
                isps = LocalIsps.of(found.periods, found.timezone)
                return Ground(
                    feeder=feeder,
                    point=each,
                    isps=isps,
                    book=found.book(feeder, day),
                    purchase_gate=found.purchase_gate,
                )
    what = f"none of this name on {day.isoformat()}"
    raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [Problem(where="congestion_point", what=what)])


def sight_of(connection: Connection, caller: Caller, at: datetime) -> Sight | None:
    """Return what a caller may see: requests of feeders it may trade on; None: everything."""
    party = own_only(caller)
    if party is None:
        return None
    points = {
        point.id: point
        for point in Register(ConnectionPoint).in_force(connection, at=at, known_at=at)
    }
    feeders = {point.feeder for point in points.values() if point.party == party}
    feeders |= {
        points[each.connection_point].feeder
        for each in Register(Mandate).in_force(connection, at=at, known_at=at)
        if each.agent == party
        and each.scope == "trade"
        and each.connection_point in points
        and points[each.connection_point].party == each.grantor
    }
    return Sight(party=party, feeders=feeders)


def check_request(ground: Ground, entry: dict[str, Any], at: datetime) -> None:
    """Raise `Refusal` with everything that is wrong with a request."""
    problems: list[Problem] = []
    inbox = ground.read(entry, problems)
    if any(request.expires_at <= at for request in inbox.requests):
        problems.append(Problem(where="expiration_date_time", what="is not in the future"))
    refuse_if_any(problems)


def refuse_while_bought(
    connection: Connection, ground: Ground, at: datetime, *, before: bool
) -> None:
    """Raise `Refusal` 409 while the market's purchase decides about the offers of a day.

    ``before``: also before its gate, because it is the purchase that orders then.
    """
    gate = ground.purchase_gate
    if gate is None or (at < gate and not before):
        return
    if not is_purchase_over(connection, feeder=ground.feeder, day=ground.isps.day):
        what = f"is decided about by the purchase of {format_utc(gate)}"
        remedy = "wait for its result"
        raise Refusal(HTTPStatus.CONFLICT, [Problem(where="offer", what=what, remedy=remedy)])


def check_offer(
    connection: Connection, caller: Caller, ground: Ground, offer: FlexOfferMessage, at: datetime
) -> dict[str, Any]:
    """Return an offer as `dso flexibility buy` reads it; raises `Refusal` with all problems."""
    problems: list[Problem] = []
    place = _connection(connection, caller, ground, offer.connection, at, problems)
    entry: dict[str, Any] = {
        "message": "FlexOffer",
        "participant": caller.party,
        **offer.model_dump(mode="json", exclude_none=True),
        "received_at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "connection": offer.connection.partition("/")[2],
    }
    if place is not None:
        entry["bus"] = place.bus
    inbox = ground.read(entry, problems)
    request = None
    if offer.flex_request_message_id is not None:
        request = _request(connection, caller, ground, offer.flex_request_message_id, at)
    desk = Desk(
        points={ground.point.id: ground.point},
        requests={} if request is None else {request.message_id: request},
        contracts={},
        at=at,
    )
    _, rejections = judge_offers(inbox.offers, (), desk)
    gate = ground.purchase_gate
    # one that is kept is answered as before, whenever it is said again
    if gate is not None and at >= gate and find_message(connection, offer.message_id) is None:
        what = f"comes after the gate of the purchase, {format_utc(gate)}"
        problems.append(Problem(where="offer", what=what))
    problems += [
        Problem(where="offer", what=reason) for each in rejections for reason in each.reasons
    ]
    for each in inbox.offers:
        for option in each.options:
            largest_w = float(np.abs(option.injection_mw).max(initial=0.0)) * W_PER_MW
            if place is not None and largest_w > place.import_w_max + place.export_w_max:
                what = f"moves {largest_w:.0f} W, more than the connection's contract allows"
                problems.append(Problem(where=f"option {option.reference}", what=what))
    refuse_if_any(problems)
    return entry


def _connection(
    connection: Connection, caller: Caller, ground: Ground, name: str, at: datetime,
    problems: list[Problem],
) -> ConnectionPoint | None:  # fmt: skip
    found = traded_asset(connection, name, caller.party, at)
    if found is None:
        remedy = "name an asset that you may trade for"
        problems.append(Problem(where="connection", what="is unknown", remedy=remedy))
        return None
    point = found[1]
    if point.feeder != ground.feeder:
        problems.append(Problem(where="connection", what=f"is not on feeder {ground.feeder}"))
    return point


def _request(
    connection: Connection, caller: Caller, ground: Ground, message_id: str, at: datetime
) -> FlexRequest | None:
    kept = find_message(connection, message_id, sight_of(connection, caller, at))
    if kept is None or kept.kind != "FlexRequest" or kept.day != ground.isps.day.isoformat():
        return None
    return ground.read(json.loads(kept.content), []).requests[0]


def offer_of(connection: Connection, message_id: str, party: str | None) -> FlexMessage:
    """Return an offer, of one party or of any; raises `Refusal` 404."""
    kept = find_message(connection, message_id)
    if kept is None or kept.kind != "FlexOffer" or party not in (None, kept.party):
        raise not_found(f"offer {message_id}")
    return kept


def refuse_rejected(market: Market, ground: Ground, kept: FlexMessage) -> None:
    """Raise `Refusal` 422 with the purchase's reasons where it rejected an offer."""
    folder = market.calendar.day_folder(ground.feeder, ground.isps.periods.start)
    path = folder / PURCHASE_FOLDER / PURCHASE_JSON
    if ground.purchase_gate is None or not path.is_file():
        return
    rejections = json.loads(path.read_text(encoding="utf-8"))["rejections"]
    refuse_if_any(
        [
            Problem(where="offer", what=f"was rejected by the purchase: {reason}")
            for each in rejections
            if each["message_id"] == kept.message_id
            for reason in each["rejection_reasons"]
        ]
    )


def order_message(
    connection: Connection,
    kept: FlexMessage,
    ground: Ground,
    order: FlexOrderRequest,
    at: datetime,
) -> dict[str, Any]:
    """Return the order of an option of an offer; raises `Refusal` with all problems."""
    problems: list[Problem] = []
    offer = ground.read(json.loads(kept.content), problems).offers[0]
    options = [each for each in offer.options if each.reference == order.option_reference]
    if not options:
        problems.append(Problem(where="option_reference", what="is no option of the offer"))
    hundredths = order.activation_factor * 100.0
    if abs(hundredths - round(hundredths)) > 1e-9:
        problems.append(Problem(where="activation_factor", what="is no whole hundredth"))
    if options and order.activation_factor < options[0].factor_min:
        what = f"is below the least of the option, {options[0].factor_min:g}"
        problems.append(Problem(where="activation_factor", what=what))
    if offer.expires_at <= at:
        problems.append(Problem(where="offer", what="has expired"))
    refuse_if_any(problems)
    found = orders_from_awards(
        [replace(offer, options=(options[0],))],
        (),
        {option_id(offer, options[0]): order.activation_factor},
        {},
        ground.isps.periods.mtu_h,
    )
    entry = order_to_plain(found[0], ground.isps)
    begins = ground.isps.periods.starts[int(np.flatnonzero(found[0].ordered_mw)[0])]
    # one that is kept is answered as before, whenever it is said again
    if begins <= at and find_message(connection, str(entry["message_id"])) is None:
        what = f"begins at {format_utc(begins)}; it is too late to order it"
        refuse_if_any([Problem(where="offer", what=what)])
    return entry
