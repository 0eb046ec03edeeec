"""What a run broke, by an engine that is not ours: MWh, episodes, and who was behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.readers.simbench import NetworkProfiles
from data.records.clearing import Limits, Violation
from dso.cycles.grid_replay import AssetPower, broken_limits, replay
from dso.realtime.closed_loop import LoopRecord, World
from dso.realtime.fleet import Fleet
from opf.limits import CURRENT_FROM, CURRENT_TO, limit_gradients
from opf.problems.monitored_grid import MonitoredGrid
from opf.replay import ReplayReport

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
HOUR_MINUTES: Final = 60.0
# A device that is off by less than this share of its rating is not behind a violation.
OFF_SHARE: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """A device behind a violation: what is wrong with it and how much it is off [MW].

    ``state`` is ``silent``, ``late``, ``lying``, ``off`` (it does not do what it was told) or
    ``new`` (it moved within the minute).
    """

    asset: str
    state: str
    off_mw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A limit broken for some consecutive minutes; ``first`` counts from the run's start.

    ``value`` is the worst, in pu or percent like ``limit``; ``mw_short`` its MW-equivalent.
    """

    element_kind: str
    element: int
    side: str
    first: int
    minutes: int
    value: float
    limit: float
    mw_short: float
    culprits: tuple[Culprit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """What a run broke.

    Parameters
    ----------
    engine : str
        Which engine replayed it.
    violated_mwh : float
        Sum over minutes of the MW that the worst limit of each family (voltages, loadings) was
        short of, MW-equivalent at the bus that relieves it most [MWh].
    violated_element_mwh : float
        The same summed over all broken limits.
    minutes : int
        Minutes in which some limit was broken.
    short_mw : ndarray, shape (minutes,)
        The MW behind ``violated_mwh``.
    over_upper_pu, under_lower_pu : ndarray, shape (minutes,)
        Voltage of the worst bus less its upper limit, and lower limit less that of the worst bus;
        below 0: the limit holds [pu].
    fed_in_mwh : float
        Energy that plants fed in.
    losses_mwh : float
    episodes : tuple of Episode
        Every violation, oldest first.
    """

    engine: str
    violated_mwh: float
    violated_element_mwh: float
    minutes: int
    short_mw: Floats
    over_upper_pu: Floats
    under_lower_pu: Floats
    fed_in_mwh: float
    losses_mwh: float
    episodes: tuple[Episode, ...]

    @property
    def longest_minutes(self) -> int:
        """Length of the longest episode [min]."""
        return max((each.minutes for each in self.episodes), default=0)


def measure_run(
    at: MonitoredGrid,
    fleet: Fleet,
    world: World,
    record: LoopRecord,
    truth: NetworkProfiles,
    limits: Limits,
    *,
    lead: int = 0,
) -> RunFigures:
    """Replay what devices did in power-grid-model and add up what it broke.

    Parameters
    ----------
    at, fleet, world, record
        The run.
    truth : NetworkProfiles
        Powers of loads and generators minute by minute.
    limits : Limits
        Limits in force.
    lead : int
        Minutes at the start that are not counted: the desk takes over.
    """
    report = replay_run(at, fleet, record, truth, limits)
    broken = [each for each in broken_limits(report) if each.period >= lead]
    numbers = [_limit_number(at, each) for each in broken]
    short = _short_mw(at, fleet, world, record, broken, numbers)
    family = np.isin(at.limits.family, (CURRENT_FROM, CURRENT_TO))
    worst = np.zeros((2, world.minutes))
    for each, number, mw in zip(broken, numbers, short.tolist(), strict=True):
        row = int(family[number])
        worst[row, each.period] = max(worst[row, each.period], mw)
    limited = np.isfinite(report.vm_pu).all(axis=1)
    limited &= at.network.buses.index != at.network.slack_bus
    vm = report.vm_pu[limited]
    count = fleet.plant_count
    return RunFigures(
        engine=report.engine,
        violated_mwh=float(worst.sum() / HOUR_MINUTES),
        violated_element_mwh=float(short.sum() / HOUR_MINUTES),
        minutes=int((worst.sum(axis=0) > 0.0).sum()),
        short_mw=worst.sum(axis=0),
        over_upper_pu=(vm - limits.vm_pu_max[limited, None]).max(axis=0),
        under_lower_pu=(limits.vm_pu_min[limited, None] - vm).max(axis=0),
        fed_in_mwh=float(np.maximum(record.p_mw[:count, lead:], 0.0).sum() / HOUR_MINUTES),
        losses_mwh=float(report.losses_mw[lead:].sum() / HOUR_MINUTES),
        episodes=_episodes(at, fleet, world, record, broken, numbers, short),
    )


def replay_run(
    at: MonitoredGrid, fleet: Fleet, record: LoopRecord, truth: NetworkProfiles, limits: Limits
) -> ReplayReport:
    """Replay a run minute by minute in power-grid-model."""
    done = [
        AssetPower(
            asset=asset,
            bus=int(fleet.buses[row]),
            injection_mw=record.p_mw[row],
            injection_mvar=record.q_mvar[row],
        )
        for row, asset in enumerate(fleet.assets)
    ]
    return replay(at.network, limits, truth, done)


def _limit_number(at: MonitoredGrid, broken: Violation) -> int:
    """Return the number of the monitored limit that a replay found broken."""
    limits, grid = at.limits, at.grid
    if broken.element_kind == "bus":
        row = int(np.flatnonzero(at.network.buses.index == broken.element)[0])
        node = grid.bus_node[row]
        for number in np.flatnonzero(limits.place == node).tolist():
            if limits.element_kind[number] == "bus" and limits.side[number] == broken.side:
                return number
    for number, (kind, element) in enumerate(
        zip(limits.element_kind, limits.element.tolist(), strict=True)
    ):
        if kind == broken.element_kind and element == broken.element:
            return number
    raise AssertionError(f"{broken.element_kind} {broken.element} has no limit")


def _short_mw(
    at: MonitoredGrid,
    fleet: Fleet,
    world: World,
    record: LoopRecord,
    broken: Sequence[Violation],
    numbers: Sequence[int],
) -> Floats:
    """MW-equivalent of every violation, shape (violations,)."""
    if not broken:
        return np.zeros(0)
    gradient = _gradients(at, fleet, world, record, broken, numbers)
    over = np.array([abs(each.value - each.limit) for each in broken])
    over = over / np.abs(at.per_unit[np.array(numbers)])
    return np.asarray(over / np.maximum(np.abs(gradient).max(axis=0), 1e-9))


def _gradients(
    at: MonitoredGrid,
    fleet: Fleet,
    world: World,
    record: LoopRecord,
    broken: Sequence[Violation],
    numbers: Sequence[int],
) -> Floats:
    """Gradient of each broken limit by active node injections, shape (nodes, violations)."""
    minutes = sorted({each.period for each in broken})
    column = {minute: k for k, minute in enumerate(minutes)}
    injection = at.by_node(world.loads[:, minutes])
    node = at.nodes_of(fleet.buses)
    np.add.at(injection, node, (record.p_mw + 1j * record.q_mvar)[:, minutes])
    state = at.state(injection)
    where = np.array([column[each.period] for each in broken], dtype=np.int64)
    found, _ = limit_gradients(at.solver, state, at.limits, np.array(numbers), where)
    return found


def _episodes(
    at: MonitoredGrid,
    fleet: Fleet,
    world: World,
    record: LoopRecord,
    broken: Sequence[Violation],
    numbers: Sequence[int],
    short: Floats,
) -> tuple[Episode, ...]:
    """Join consecutive minutes of one limit, and name who was behind each."""
    by_limit: dict[int, list[int]] = {}
    for place, number in enumerate(numbers):
        by_limit.setdefault(number, []).append(place)
    runs: list[list[int]] = []
    for places in by_limit.values():
        places.sort(key=lambda place: broken[place].period)
        for place in places:
            last = runs[-1] if runs else []
            follows = (
                last
                and numbers[last[-1]] == numbers[place]
                and broken[place].period == broken[last[-1]].period + 1
            )
            if follows:
                last.append(place)
            elif not (last and broken[last[-1]].period == broken[place].period
                      and numbers[last[-1]] == numbers[place]):  # fmt: skip
                runs.append([place])
    found = []
    for run in runs:
        worst = max(run, key=lambda place: float(short[place]))
        one = broken[worst]
        found.append(
            Episode(
                element_kind=one.element_kind,
                element=one.element,
                side=one.side,
                first=broken[run[0]].period,
                minutes=len(run),
                value=one.value,
                limit=one.limit,
                mw_short=float(short[worst]),
                culprits=_culprits(at, fleet, world, record, one, numbers[worst]),
            )
        )
    return tuple(sorted(found, key=lambda each: (each.first, each.element_kind, each.element)))


def _culprits(
    at: MonitoredGrid,
    fleet: Fleet,
    world: World,
    record: LoopRecord,
    broken: Violation,
    number: int,
) -> tuple[Culprit, ...]:
    """Return the three devices whose deviation drove a limit most, with what is wrong with them.

    Off is what a device did beyond what the desk told it; where it did as told, what it did beyond
    the minute before.
    """
    minute = broken.period
    slope = _gradients(at, fleet, world, record, [broken], [number])[at.nodes_of(fleet.buses), 0]
    done = record.p_mw[:, minute]
    off = done - np.where(np.isfinite(record.told_mw[:, minute]), record.told_mw[:, minute], done)
    plants = np.arange(len(done)) < fleet.plant_count
    off = np.where(plants, np.maximum(off, 0.0), off)
    moved = done - record.p_mw[:, minute - 1] if minute else np.zeros_like(done)
    large = np.abs(off) > OFF_SHARE * fleet.rating_mw
    drive = slope * np.where(large, off, moved)
    found = []
    for row in np.argsort(-drive)[:3].tolist():
        if drive[row] <= 0.0:
            continue
        state = world.faults.state_of(fleet.assets[row], minute)
        shown = float(off[row] if large[row] else moved[row])
        found.append(
            Culprit(
                asset=fleet.assets[row],
                state=state or ("off" if large[row] else "new"),
                off_mw=round(shown, 6),
            )
        )
    return tuple(found)
