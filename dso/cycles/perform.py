"""Perform one cycle of a delivery day: the same path for `dso day`, `dso run` and every worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from data.errors import InputError, Problem
from dso.cycles.plan import Round
from dso.cycles.stage_clearing import last_clearing, run_day_ahead, run_round
from dso.cycles.stage_dispatch import run_dispatch
from dso.cycles.stage_droops import run_droops
from dso.cycles.stage_forecast import run_forecast, run_forecast_update
from dso.cycles.stage_orders import run_orders
from dso.cycles.stage_posting import run_posting
from dso.cycles.stage_purchase import run_purchase
from dso.cycles.stage_report import run_report
from dso.cycles.stage_request import run_request
from dso.cycles.stage_settlement import run_settlement
from dso.cycles.stages import Desk
from dso.cycles.timetable import (
    CLEARINGS,
    DISPATCH,
    DROOPS,
    FLEXIBILITY_PURCHASE,
    FLEXIBILITY_REQUEST,
    FORECAST,
    FORECAST_UPDATE,
    INTRADAY,
    POSTING,
    REPORT,
    SETTLEMENT,
)
from dso.cycles.traffic_light import read_fallbacks, read_light
from dso.store import DueCycle, Fallback, Light


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleResult:
    """What a cycle says of itself: the feeder's state, and the fallbacks its result rests on.

    ``notes`` are sentences on steps that were taken, with the rules they follow.
    """

    light: Light
    fallbacks: tuple[Fallback, ...]
    notes: tuple[str, ...] = ()


def perform_cycle(desk: Desk, due: DueCycle, *, withheld: str = "") -> CycleResult:
    """Run the stages of a cycle, each unless it is done.

    Parameters
    ----------
    desk : Desk
        Where the day of the cycle is run.
    due : DueCycle
        The cycle.
    withheld : str
        Why a clearing is not made, as ``name: sentence``; its result then says so and binds
        nobody.

    Raises
    ------
    NeedsRelease
        If a clearing waits for signatures.
    InputError
        If the cycles before it have not been run, or a file is not as its stage left it.
    """
    if due.cycle in CLEARINGS:
        _clear(desk, due, withheld)
    elif due.cycle == FORECAST_UPDATE:
        run_forecast_update(desk, due.first_period)
    elif due.cycle == FLEXIBILITY_REQUEST:
        run_request(desk, due)
    elif due.cycle == FLEXIBILITY_PURCHASE:
        run_purchase(desk, due)
    elif due.cycle == SETTLEMENT:
        run_settlement(desk, desk.output_of("dispatch"), revision=due.revision)
    elif due.cycle == DROOPS:
        return _droops(desk, due)
    elif due.cycle in _STAGES:
        _STAGES[due.cycle](desk)
    else:
        what = f"{due.cycle!r} is no cycle that leaves files"
        raise InputError([Problem(where=str(due), what=what)])
    return CycleResult(light=read_light(desk.plan, due), fallbacks=read_fallbacks(desk.plan, due))


def _droops(desk: Desk, due: DueCycle) -> CycleResult:
    """Keep the droops of a day; where they do not hold every limit, more than green is at stake."""
    found = run_droops(desk, due)
    texts = found["fallbacks"]
    return CycleResult(
        light="yellow" if texts else "green",
        fallbacks=tuple(Fallback(name=text.partition(":")[0], text=text) for text in texts),
    )


def round_of(desk: Desk, due: DueCycle) -> Round:
    """Return the intraday round that begins with a cycle's first period.

    Raises
    ------
    InputError
        If the day has no such round.
    """
    found = [at for at in desk.plan.rounds() if at.periods.start == due.first_period]
    if not found:
        raise InputError([Problem(where=str(due), what="no round of the day begins then")])
    return found[0]


def _clear(desk: Desk, due: DueCycle, withheld: str) -> None:
    if due.cycle == INTRADAY:
        run_round(desk, round_of(desk, due), withheld=withheld)
        return
    run_orders(desk, desk.output_of("forecast"))
    run_day_ahead(desk, withheld=withheld)


_STAGES: Final[Mapping[str, Callable[[Desk], object]]] = {
    FORECAST: run_forecast,
    DISPATCH: lambda desk: run_dispatch(desk, last_clearing(desk)),
    POSTING: lambda desk: run_posting(desk, desk.output_of("settlement")),
    REPORT: lambda desk: run_report(desk, desk.output_of("posting")),
}
