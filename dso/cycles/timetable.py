"""The timetable of a delivery day: which cycle is due when, late from when, and skipped from when.

Gates are local clock times of the market's zone, so the day of 23 and of 25 hours have theirs. A
cycle is known by (market, feeder, cycle, first period, revision); the scheduler only inserts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Final

from data.periods import DeliveryDay
from dso.config import MarketRules
from dso.cycles.plan import intraday_rounds
from dso.store import DueCycle

FORECAST: Final = "forecast"
FORECAST_UPDATE: Final = "forecast_update"
FLEXIBILITY_REQUEST: Final = "flexibility_request"
FLEXIBILITY_PURCHASE: Final = "flexibility_purchase"
DAY_AHEAD: Final = "day_ahead"
INTRADAY: Final = "intraday"
DROOPS: Final = "droops"
REAL_TIME: Final = "real_time"
DISPATCH: Final = "dispatch"
SETTLEMENT: Final = "settlement"
POSTING: Final = "posting"
REPORT: Final = "report"
CYCLES: Final = (
    FORECAST, FORECAST_UPDATE, FLEXIBILITY_REQUEST, DAY_AHEAD, FLEXIBILITY_PURCHASE, INTRADAY,
    DROOPS, REAL_TIME, DISPATCH, SETTLEMENT, POSTING, REPORT,
)  # fmt: skip
CLEARINGS: Final = (DAY_AHEAD, INTRADAY)
# Cycles of one lane of a feeder run one after the other, so that the ledger has one order; what
# devices are told does not wait for a clearing.
MARKET_LANE: Final = "market"
REAL_TIME_LANE: Final = "real_time"
# A cycle that starts later than this says so. A round has its gate lead to end in.
LATE_AFTER: Final = timedelta(minutes=1)


def day_timetable(
    rules: MarketRules,
    feeder: str,
    day: date,
    *,
    real_time: bool = True,
    requests: bool = False,
    purchase_at: time | None = None,
) -> tuple[DueCycle, ...]:
    """Return the cycles of a delivery day, in the order in which they are due.

    A clearing that has not begun when its delivery begins is skipped, for nothing could be traded
    any more; setpoints of a period that is over are skipped, too. Everything else runs however
    late it is.

    Parameters
    ----------
    rules : MarketRules
        In force on the day.
    feeder : str
        Id of the feeder.
    day : date
        Local delivery day.
    real_time : bool
        Whether setpoints are told by the clock, with droops ahead of them, and the forecast is made
        anew every hour; without it, setpoints are told as the day's dispatch and forecasts made at
        gates alone.
    requests : bool
        Whether the feeder has congestion points, so that each forecast is followed by a request for
        flexibility.
    purchase_at : time, optional
        When flexibility is bought, local clock time of the day-ahead gate's day, but not before the
        result of the day-ahead clearing; None: not at all.
    """
    found = [*_market_lane(rules, feeder, day)]
    if real_time:
        # At one instant the forecast comes before the round, settlement after both.
        found = [*_updates(rules, feeder, day), *found, *_real_time_lane(rules, feeder, day)]
    if requests:
        found = [each for due in found for each in (due, *_request_after(due))]
    if purchase_at is not None:
        found.append(_purchase(rules, feeder, day, purchase_at))
    return tuple(sorted(found, key=lambda due: due.due_at))


def _request_after(due: DueCycle) -> Iterator[DueCycle]:
    """Yield the request that follows a forecast; it is known by the instant of the forecast."""
    if due.cycle in (FORECAST, FORECAST_UPDATE):
        yield replace(due, cycle=FLEXIBILITY_REQUEST, first_period=due.due_at)


def _purchase(rules: MarketRules, feeder: str, day: date, at: time) -> DueCycle:
    """Return the purchase; one that has not begun when delivery begins is skipped."""
    delivery = DeliveryDay(day=day, timezone=rules.timezone, mtu_minutes=rules.mtu_minutes)
    due_at = purchase_gate(rules, day, at)
    return DueCycle(
        market=rules.id,
        feeder=feeder,
        cycle=FLEXIBILITY_PURCHASE,
        first_period=delivery.periods.start,
        lane=MARKET_LANE,
        day=day,
        due_at=due_at,
        late_after=due_at + LATE_AFTER,
        skip_after=delivery.periods.start,
    )


def purchase_gate(rules: MarketRules, day: date, at: time) -> datetime:
    """Return when a day's flexibility is bought; offers and revocations are received before.

    ``at`` is local clock time of the day-ahead gate's day; not before the day-ahead result.
    """
    delivery = DeliveryDay(day=day, timezone=rules.timezone, mtu_minutes=rules.mtu_minutes)
    return max(
        delivery.instant(clock, days_before=rules.day_ahead_days_before)
        for clock in (at, rules.day_ahead_result_by)
    )


def _market_lane(rules: MarketRules, feeder: str, day: date) -> Iterator[DueCycle]:
    delivery = DeliveryDay(day=day, timezone=rules.timezone, mtu_minutes=rules.mtu_minutes)
    start, end = delivery.periods.start, delivery.periods.end
    before = rules.day_ahead_days_before

    def due(
        cycle: str,
        first_period: datetime,
        due_at: datetime,
        late_after: datetime | None = None,
        skip_after: datetime | None = None,
    ) -> DueCycle:
        return DueCycle(
            market=rules.id,
            feeder=feeder,
            cycle=cycle,
            first_period=first_period,
            lane=MARKET_LANE,
            day=day,
            due_at=due_at,
            late_after=late_after or due_at + LATE_AFTER,
            skip_after=skip_after,
        )

    gate = delivery.instant(rules.day_ahead_gate, days_before=before)
    result_by = delivery.instant(rules.day_ahead_result_by, days_before=before)
    yield due(FORECAST, start, gate)
    yield due(DAY_AHEAD, start, gate, result_by, start)
    for at in intraday_rounds(rules, delivery.periods):
        yield due(INTRADAY, at.periods.start, at.gate, skip_after=at.periods.start)
    yield due(DISPATCH, start, end)
    settled: time = rules.cycles.settlement_at
    settle_at = delivery.instant(settled, days_before=-rules.cycles.settlement_days_after)
    for cycle in (SETTLEMENT, POSTING, REPORT):
        yield due(cycle, start, settle_at)


def _updates(rules: MarketRules, feeder: str, day: date) -> Iterator[DueCycle]:
    """Yield the forecasts after the day-ahead one: by the clock, and at every gate.

    One that has not begun when the next is due is skipped, for that one knows more.
    """
    delivery = DeliveryDay(day=day, timezone=rules.timezone, mtu_minutes=rules.mtu_minutes)
    first, end = first_due(rules, day), delivery.periods.end
    every = timedelta(minutes=rules.cycles.forecast_every_minutes)
    instants = {first + k * every for k in range(1, -(-(end - first) // every))}
    instants |= {at.gate for at in intraday_rounds(rules, delivery.periods)}
    ordered = sorted(at for at in instants if first < at)
    for at, following in zip(ordered, [*ordered[1:], end], strict=True):
        yield DueCycle(
            market=rules.id,
            feeder=feeder,
            cycle=FORECAST_UPDATE,
            first_period=at,
            lane=MARKET_LANE,
            day=day,
            due_at=at,
            late_after=at + LATE_AFTER,
            skip_after=following,
        )


def _real_time_lane(rules: MarketRules, feeder: str, day: date) -> Iterator[DueCycle]:
    """Yield when droops are told, and setpoints: once a period, or as often as the rules say."""
    delivery = DeliveryDay(day=day, timezone=rules.timezone, mtu_minutes=rules.mtu_minutes)
    periods = delivery.periods
    result_by = delivery.instant(rules.day_ahead_result_by, days_before=rules.day_ahead_days_before)
    ahead = periods.start - timedelta(minutes=rules.real_time.droops_ahead_minutes)
    yield DueCycle(
        market=rules.id,
        feeder=feeder,
        cycle=DROOPS,
        first_period=periods.start,
        lane=REAL_TIME_LANE,
        day=day,
        due_at=max(ahead, result_by),
        late_after=max(ahead, result_by) + LATE_AFTER,
        skip_after=periods.end,
    )
    every = timedelta(minutes=rules.cycles.real_time_every_minutes or rules.mtu_minutes)
    for number in range((periods.end - periods.start) // every):
        at = periods.start + number * every
        yield DueCycle(
            market=rules.id,
            feeder=feeder,
            cycle=REAL_TIME,
            first_period=at,
            lane=REAL_TIME_LANE,
            day=day,
            due_at=at,
            late_after=at + min(LATE_AFTER, every),
            skip_after=at + every,
        )


def first_due(rules: MarketRules, day: date) -> datetime:
    """Return when the first cycle of a delivery day is due."""
    delivery = DeliveryDay(day=day, timezone=rules.timezone, mtu_minutes=rules.mtu_minutes)
    return delivery.instant(rules.day_ahead_gate, days_before=rules.day_ahead_days_before)
