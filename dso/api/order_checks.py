"""What an order must be before it enters a book: its terms, its assets, the right to them.

The terms are checked as `dso clear` checks those of a study, on the same network; what the API
knows from the register (buses, parties, capacities) is not stated by the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import canonical_json
from data.errors import Problem
from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    ShiftOrder,
    StorageOrder,
    kind_of,
)
from data.study.order_fields import OrderContext, context_of
from data.study.order_rules import check_order_rules
from data.study.read_orders import order_from_plain
from dso.api.market import (
    Asset,
    ConnectionPoint,
    Market,
    TradingDay,
    current,
    latest_gate,
    may_act,
)
from dso.api.models import OrderRequest
from dso.settlement.collateral import exposure_micro_eur
from dso.store.book import INTRADAY, BookKey, NewOrder, NoSuchOrder, find_order, latest_order_for

if TYPE_CHECKING:
    from data.records.network import Network
    from dso.api.tokens import Caller
    from dso.store import Connection

Floats = NDArray[np.float64]
# Stated by the API itself, from the register.
OURS: Final = (
    "id", "kind", "participant", "bus", "buses", "asset", "submitted_at", "pay", "bus_to",
    "participant_to",
)  # fmt: skip
ASSET_TO: Final = "asset_to"
# A device that is no element of the grid model: what it does comes on top of the model's profiles.
UNIT: Final = "unit"
INTRADAY_KINDS: Final = ("generation", "demand", "storage")
WATTS_PER_MW: Final = 1_000_000
TOLERANCE_W: Final = 0.5
CONTEXTS_MAX: Final = 64


class _Contexts:
    """What orders are checked against, made once for each network: thousands of orders ask."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], tuple[Network, OrderContext]] = {}

    def of(self, network: Network, period_count: int) -> OrderContext:
        """Return the context of a network; it is kept with the network, whose id stays its own."""
        name = (id(network), period_count)
        if name not in self._kept:
            if len(self._kept) >= CONTEXTS_MAX:
                self._kept.clear()
            self._kept[name] = (network, context_of(network, period_count))
        return self._kept[name][1]


CONTEXTS: Final = _Contexts()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """An asset that an order speaks for, where it is connected, and its share of the order."""

    asset: Asset
    point: ConnectionPoint
    share: float = 1.0

    @property
    def element(self) -> str | None:
        """Name of the element in the grid model; None for a unit that is none."""
        name = self.asset.id.partition("/")[2]
        return None if name.startswith(f"{UNIT}:") else name


# Assets by name that an order of a request named; None: unknown to the caller.
Known = dict[str, _Place | None]


@dataclass(slots=True, kw_only=True)
class _Checked:
    """An order on its way into a book, with what was found wrong."""

    request: OrderRequest
    where: str
    places: tuple[_Place, ...] = ()
    counterparty: _Place | None = None
    problems: list[Problem] = field(default_factory=list)

    def report(self, name: str, what: str, remedy: str = "") -> None:
        self.problems.append(Problem(where=f"{self.where}.{name}", what=what, remedy=remedy))


def check_order(
    connection: Connection,
    market: Market,
    caller: Caller,
    request: OrderRequest,
    *,
    where: str,
    at: datetime,
    known: Known | None = None,
) -> tuple[BookKey, NewOrder] | list[Problem]:
    """Return the book of an order and what enters it, or all problems.

    ``known`` remembers assets from one order of a request to the next.
    """
    checked = _Checked(request=request, where=where)
    _find_places(connection, caller, checked, at, {} if known is None else known)
    if checked.problems:
        return checked.problems
    feeder = checked.places[0].point.feeder
    day = market.calendar.trading_day(feeder, request.delivery_day)
    key = day.book(feeder, request.delivery_day)
    if day.gate > latest_gate(at):
        checked.report("delivery_day", "is too far ahead")
    for name in OURS:
        if name in request.terms:
            checked.report(f"terms.{name}", "is not stated here")
    order = _read_terms(market, caller, checked, day, feeder)
    if order is not None:
        check_order_rules([order], day.order_rules, checked.problems)
        _check_powers(checked, order)
        if isinstance(order, BlockOrder) and order.parent is not None:
            _check_parent(connection, checked, order.parent, caller, key)
    if request.market == INTRADAY:
        _check_intraday(connection, checked, caller, key, at)
    if checked.problems or order is None:
        return checked.problems
    new = NewOrder(
        participant=caller.party,
        actor=caller.client,
        terms=canonical_json(_kept(checked)).decode(),
        market=request.market,
        exposure_micro_eur=(
            None
            if day.collateral is None
            else exposure_micro_eur(order, day.collateral, mtu_minutes=day.periods.mtu_minutes)
        ),
    )
    return key, new


def _find_places(
    connection: Connection, caller: Caller, checked: _Checked, at: datetime, known: Known
) -> None:
    """Find the assets that an order names; each must be one that the caller may trade for."""
    request = checked.request
    if (request.asset is None) == (request.portfolio is None):
        checked.report("asset", "states neither or both of asset and portfolio", "state one")
        return
    shares: Mapping[str, float] = request.portfolio or {str(request.asset): 1.0}
    found = []
    for name, share in sorted(shares.items()):
        place = _place(connection, caller, name, share, at, known)
        if place is None:
            path = "asset" if request.portfolio is None else f"portfolio.{name}"
            checked.report(path, "is unknown", "register and prequalify it first")
        else:
            found.append(place)
    checked.places = tuple(found)
    if len({place.point.feeder for place in found}) > 1:
        checked.report("portfolio", "spans several feeders", "hand in one order for each")
    if request.portfolio is not None:
        checked.problems += [
            Problem(where=f"{checked.where}.portfolio", what=f"{place.asset.id} is an element of "
                    "the grid model", remedy="a portfolio is made of units")
            for place in found if place.element is not None
        ]  # fmt: skip
        if request.kind == "bilateral":
            checked.report("portfolio", "does not go with a bilateral order", "state one asset")
    if request.kind != "bilateral":
        return
    wanted = request.terms.get(ASSET_TO)
    other = None
    if isinstance(wanted, str):
        other = _place(connection, caller, wanted, 1.0, at, known)
    if other is None or (found and other.point.feeder != found[0].point.feeder):
        remedy = "name an asset of the same feeder that you may trade for"
        checked.report(f"terms.{ASSET_TO}", "is unknown", remedy)
        return
    if other.element is not None:
        checked.report(f"terms.{ASSET_TO}", "is an element of the grid model", "name a unit")
    checked.counterparty = other


def _place(
    connection: Connection, caller: Caller, name: str, share: float, at: datetime, known: Known
) -> _Place | None:
    if name not in known:
        asset = current(connection, Asset, name, at)
        point = asset and current(connection, ConnectionPoint, asset.connection_point, at)
        sees = point and may_act(connection, caller.party, point, ("trade",), at)
        known[name] = _Place(asset=asset, point=point) if asset and point and sees else None
    place = known[name]
    return None if place is None else replace(place, share=share)


def _kept(checked: _Checked) -> dict[str, Any]:
    """Return what the book keeps: the request, and what the register said at that moment."""
    request, first = checked.request, checked.places[0]
    kept: dict[str, Any] = {"kind": request.kind, "terms": request.terms}
    if request.portfolio is None:
        kept |= {
            "asset": first.asset.id,
            "connection_point": first.point.id,
            "bus": first.point.bus,
        }
        kept["element"] = first.element
    else:
        kept |= {"portfolio": request.portfolio, "buses": _buses(checked.places)}
    if checked.counterparty is not None:
        kept |= _other_end(checked.counterparty)
    return kept


def _buses(places: tuple[_Place, ...]) -> dict[str, float]:
    """Return the share of each bus; units at one bus count together."""
    shares: dict[int, float] = {}
    for place in places:
        shares[place.point.bus] = shares.get(place.point.bus, 0.0) + place.share
    return {str(bus): share for bus, share in sorted(shares.items())}


def _other_end(place: _Place) -> dict[str, Any]:
    return {"bus_to": place.point.bus, "participant_to": place.point.party}


def _read_terms(
    market: Market, caller: Caller, checked: _Checked, day: TradingDay, feeder: str
) -> Order | None:
    """Read the terms as a study's, with the places of the register in them."""
    request, first = checked.request, checked.places[0]
    unsaid = (*OURS, ASSET_TO) if request.kind == "bilateral" else OURS
    fields: dict[str, Any] = {
        **{name: value for name, value in request.terms.items() if name not in unsaid},
        "id": checked.where, "kind": request.kind, "participant": caller.party,
    }  # fmt: skip
    if request.portfolio is None:
        fields["bus"] = first.point.bus
        if first.element is not None:
            fields["asset"] = first.element
    else:
        fields["buses"] = _buses(checked.places)
    if checked.counterparty is not None:
        fields |= _other_end(checked.counterparty)
    network = market.calendar.network(feeder, request.delivery_day)
    if network is not None:
        context = CONTEXTS.of(network, len(day.periods))
    else:
        places = [*checked.places, *([checked.counterparty] if checked.counterparty else [])]
        context = OrderContext(
            period_count=len(day.periods),
            bus_of_asset={place.element: place.point.bus for place in places if place.element},
            running_buses=frozenset(place.point.bus for place in places),
        )
    if first.element is not None and request.kind == "block" and "storage" in first.element:
        checked.report("kind", "does not go with a storage", "hand in a storage order")
    return order_from_plain(fields, 0, context, checked.problems)


def _check_powers(checked: _Checked, order: Order) -> None:
    """Report where an order offers more than its assets were prequalified for."""
    withdrawn, injected = largest_mw(order)
    for place in checked.places:
        _report_beyond(checked, place, "import", withdrawn * place.share)
        _report_beyond(checked, place, "export", injected * place.share)
    if checked.counterparty is not None:
        _report_beyond(checked, checked.counterparty, "import", injected)


def _report_beyond(checked: _Checked, place: _Place, direction: str, offered_mw: float) -> None:
    allowed_w = getattr(place.asset, f"{direction}_w_max")
    if offered_mw * WATTS_PER_MW <= allowed_w + TOLERANCE_W:
        return
    whose = "" if checked.request.portfolio is None else f" {place.asset.id} is"
    what = f"{direction} up to {offered_mw:g} MW,{whose} prequalified for {allowed_w} W"
    checked.report("terms", what)


def largest_mw(order: Order) -> tuple[float, float]:
    """Return the most an order may withdraw and inject [MW].

    A curtailment's reduction counts as withdrawal: it can be no larger than what its load draws.
    """
    match order:
        case GenerationOrder():
            return 0.0, _peak(np.sum([step.p_mw for step in order.steps], axis=0))
        case DemandOrder():
            return _peak(np.sum([step.p_mw for step in order.steps], axis=0)), 0.0
        case StorageOrder():
            return _peak(order.charge_mw_max), _peak(order.discharge_mw_max)
        case ShiftOrder():
            return _peak(order.p_mw_max), 0.0
        case CurtailOrder():
            return _peak(order.p_mw_max), 0.0
        case BlockOrder():
            return _peak(-order.profile_mw), _peak(order.profile_mw)
        case BilateralOrder():
            return 0.0, _peak(order.p_mw)
    raise TypeError(f"no largest power is known for a {kind_of(order)} order")


def _peak(series: Floats) -> float:
    return max(0.0, float(np.max(series)))


def _check_parent(
    connection: Connection, checked: _Checked, parent: str, caller: Caller, key: BookKey
) -> None:
    """Report a parent that is no block of the caller in the same book."""
    try:
        found = find_order(connection, parent)
    except NoSuchOrder:
        found = None
    fits = found is not None and (
        (found.participant, found.feeder, found.day, found.state, found.market)
        == (caller.party, key.feeder, key.day, "booked", checked.request.market)
    )
    if not fits or found is None or '"kind":"block"' not in found.terms:
        what = "is no block of yours in this book"
        checked.report("terms.parent", what, "hand in the parent first and state its id")


def _check_intraday(
    connection: Connection, checked: _Checked, caller: Caller, key: BookKey, at: datetime
) -> None:
    """Report what cannot restate a day-ahead order."""
    request = checked.request
    if key.last_round_gate is None:
        checked.report("market", "has no intraday rounds")
    if request.kind not in INTRADAY_KINDS or checked.places[0].element is None:
        what = f"takes {', '.join(INTRADAY_KINDS)} orders of elements of the grid model"
        checked.report("market", what, "the day-ahead position of others holds")
    elif at >= key.gate:
        asset = f'"asset":"{request.asset}"'
        stood = latest_order_for(connection, key.feeder, key.day, caller.party, asset)
        if stood is None or f'"kind":"{request.kind}"' not in stood.terms:
            what = f"has no {request.kind} order of yours in the day-ahead book to restate"
            checked.report("asset", what, "hand one in before the day-ahead gate")
