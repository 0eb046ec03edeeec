"""The positions that real time starts from: a delivery day, forecast and cleared day-ahead."""

from __future__ import annotations

from data.errors import InputError, Problem
from dso.cycles.case import Book, expected_profiles, make_case
from dso.cycles.clearing_files import is_binding
from dso.cycles.plan import DayPlan
from dso.cycles.stage_forecast import make_day_ahead_forecast
from dso.realtime.fleet import Fleet
from dso.realtime.positions import Positions, positions_of_awards
from flexibility.offers import make_orders
from opf.clearing import clear_case


def positions_of_day(plan: DayPlan, fleet: Fleet) -> Positions:
    """Forecast a day at its day-ahead gate, clear it, and return every device's positions.

    Raises
    ------
    InputError
        Where the clearing has no certificate.
    """
    forecast, gate = make_day_ahead_forecast(plan), plan.day_ahead_gate
    orders = make_orders(
        network=plan.network,
        forecast=forecast,
        periods=plan.periods,
        policy=plan.feeder.offers,
        submitted_at=gate,
    )
    case = make_case(
        plan,
        name=f"{plan.feeder.id} {plan.delivery.day}",
        periods=plan.periods,
        profiles=expected_profiles(plan, forecast, gate),
        book=Book(orders=orders),
    )
    result = clear_case(case)
    if not is_binding(result.status):
        problem = f"the day-ahead clearing is {result.status}: {result.message}"
        raise InputError([Problem(where=case.name, what=problem, remedy="choose another day")])
    return positions_of_awards(case, result.awards, fleet)


def some_quarters(positions: Positions, first: int, count: int) -> Positions:
    """Return the positions of some consecutive quarter-hours of a day.

    Raises
    ------
    InputError
        If the day has not as many.
    """
    if not (first >= 0 and count >= 1 and first + count <= len(positions.periods)):
        problem = f"{count} from {first} on are not among its {len(positions.periods)}"
        raise InputError([Problem(where="quarter-hours", what=problem)])
    here = slice(first, first + count)
    periods = positions.periods
    return Positions(
        periods=type(periods)(
            start=periods.start + first * periods.mtu, count=count, mtu_minutes=periods.mtu_minutes
        ),
        p_mw=positions.p_mw[:, here],
        q_mvar=positions.q_mvar[:, here],
        cap_mw=positions.cap_mw[:, here],
        expected_mw=positions.expected_mw[:, here],
        loads=positions.loads[:, here],
        price_eur_per_mwh=positions.price_eur_per_mwh[here],
    )
