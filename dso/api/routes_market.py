"""What the market is: feeders, gates, periods and rules of a day, for everybody."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Query

from data.errors import InputError
from data.periods import format_utc
from data.records.order import ORDER_KINDS
from dso.api.models import Day, MarketAnswer, Page
from dso.api.order_checks import INTRADAY_KINDS
from dso.api.problems import problem_responses
from dso.api.rights import InMarket, anonymous
from dso.api.routes_results import PARTICIPANTS_MIN
from dso.store.book import market_now
from dso.store.market_reads import public_book

if TYPE_CHECKING:
    from dso.api.market import Market

router: Final = APIRouter(tags=["market"], dependencies=[Depends(anonymous)])
OfDay = Annotated[Day, Query(examples=["2026-11-23"])]


@router.get(
    "/market",
    responses=problem_responses(422, 429),
    summary="Gates, periods and rules of a delivery day, and the market's time",
)
def read_market(market: InMarket, day: OfDay) -> MarketAnswer:
    """Return what anybody needs to know before an order."""
    with market.services.store.transaction() as connection:
        now = market_now(connection)
    feeders = [_feeder(market, feeder, day) for feeder in market.calendar.feeders()]
    return MarketAnswer(
        now=format_utc(now),
        kinds=list(ORDER_KINDS),
        intraday_kinds=list(INTRADAY_KINDS),
        feeders=[feeder for feeder in feeders if feeder is not None],
    )


def _feeder(market: Market, feeder: str, day: date) -> dict[str, Any] | None:
    """Return a feeder's gates and rules, or None where no rules are in force on the day."""
    try:
        found = market.calendar.trading_day(feeder, day)
    except InputError:
        return None
    last, bought = found.last_round_gate, found.purchase_gate
    return {
        "feeder": feeder,
        "gate": format_utc(found.gate),
        "last_round_gate": None if last is None else format_utc(last),
        "purchase_gate": None if bought is None else format_utc(bought),
        "first_period": format_utc(found.periods.start),
        "periods": len(found.periods),
        "period_minutes": found.periods.mtu_minutes,
        "order_rules": asdict(found.order_rules),
        "collateral": None if found.collateral is None else asdict(found.collateral),
    }


@router.get(
    "/public/book",
    responses=problem_responses(422, 429),
    summary="How many orders and parties a closed book holds, for everybody",
)
def read_public_book(market: InMarket, day: OfDay) -> Page:
    """Return closed day-ahead books in which at least three parties have orders."""
    with market.services.store.transaction() as connection:
        rows = public_book(connection, day.isoformat(), participants_min=PARTICIPANTS_MIN)
    return Page(items=list(rows), next=None)
