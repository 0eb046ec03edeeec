"""A rehearsal of real time: some hours of a delivery day, without the correction and with it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import time
from functools import partial
from multiprocessing import get_context
from uuid import uuid4

from data.errors import InputError, Problem
from data.readers.simbench import SimbenchGrid
from dso.bootstrap import carry_in_process, carry_over_mqtt
from dso.cycles.plan import DayPlan
from dso.realtime.closed_loop import Carrier
from dso.realtime.desk import DeskRules
from dso.realtime.fleet import fleet_of_network
from dso.realtime.market_day import positions_of_day, some_quarters
from dso.realtime.simulation import Run, Scene, prepare_scene, run_scene

WITHOUT, WITH = "without correction", "with correction"


def open_carrier(broker: str | None) -> Carrier:
    """Open the way to the devices: over a broker, or through lists in this process."""
    if broker is None:
        return carry_in_process()
    return carry_over_mqtt(broker, f"gridclear-rehearsal/{uuid4().hex}")


def run_once(scene: Scene, broker: str | None, rules: DeskRules) -> Run:
    """Run a scene over a broker, or without one."""
    return run_scene(scene, partial(open_carrier, broker), rules)


def rehearse(
    plan: DayPlan,
    grid: SimbenchGrid,
    *,
    begin: str = "00:00",
    hours: float | None = None,
    seed: int = 0,
    broker: str | None = None,
    told: Callable[[str], object] = lambda _: None,
) -> tuple[Scene, dict[str, Run]]:
    """Run some hours of a day twice, side by side.

    Parameters
    ----------
    plan : DayPlan
        The delivery day.
    grid : SimbenchGrid
        Its network and records.
    begin : str
        Local start, ``HH:MM``, on a quarter-hour.
    hours : float, optional
        Length, whole quarter-hours; to the day's end when absent.
    seed : int
        Of faults and variation.
    broker : str, optional
        URL of the MQTT broker that carries the letters.
    told : callable
        Hears what goes on.

    Raises
    ------
    InputError
        A start or length off the quarter-hours or outside the day, a clearing without certificate.
    """
    first, count = _quarters(plan, begin, hours)
    positions = positions_of_day(plan, fleet_of_network(grid.network))
    chosen = some_quarters(positions, first, count)
    scene = prepare_scene(grid, plan.limits, chosen, seed=seed)
    told("2/2 both runs")
    # Two processes of their own: neither run waits for the other.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        waiting = {
            name: pool.submit(run_once, scene, broker, DeskRules(correcting=correcting))
            for name, correcting in ((WITHOUT, False), (WITH, True))
        }
        return scene, {name: each.result() for name, each in waiting.items()}


def _quarters(plan: DayPlan, begin: str, hours: float | None) -> tuple[int, int]:
    """Return the first quarter-hour of a local start and how many follow."""
    try:
        start = plan.delivery.instant(time.fromisoformat(begin))
    except ValueError as error:
        raise InputError([Problem(where="--from", what=f"{begin!r} is no HH:MM")]) from error
    first, rest = divmod(start - plan.periods.start, plan.periods.mtu)
    left = len(plan.periods) - first
    count = left if hours is None else hours * 60.0 / plan.periods.mtu_minutes
    problems = []
    if rest or not 0 <= first < len(plan.periods):
        problems.append(Problem(where="--from", what=f"{begin} starts no quarter-hour of the day"))
    if not (count == int(count) and 1 <= count <= left):
        what = f"{hours} h are no whole quarter-hours before the day's end"
        problems.append(Problem(where="--hours", what=what))
    if problems:
        raise InputError(problems)
    return first, int(count)
