"""Processes that run once inside a window and cannot be interrupted: a wash, a kiln, a pump run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.order import BlockOrder
from data.units import quantise_mw
from flexibility.devices.common import (
    POWER_TOLERANCE_MW,
    TIME_TOLERANCE_H,
    Bools,
    Conditions,
    DeviceStep,
    FeasibleRange,
    Floats,
    Instruction,
    Reason,
    check_step,
    column_problems,
    not_followed,
    pair_problems,
    within_connection,
)

KIND: Final = "process"
LARGEST: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """Time since the start of the horizon [h]; start of each process [h], inf before it runs."""

    elapsed_h: float
    started_h: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftableProcesses:
    """Processes as columns; every array has shape (devices,) unless said otherwise.

    Parameters
    ----------
    ids : tuple of str
        Device ids.
    buses : tuple of int
        Bus of each.
    profile_mw : ndarray, shape (devices, profile steps)
        Power withdrawn from the start on, one value per ``profile_step_h`` [MW]; shorter profiles
        end in zeros.
    profile_step_h : float
        Length of a profile step [h].
    earliest_h, latest_h : ndarray
        It may start from the first and must start by the second [h since start of the horizon].

    Raises
    ------
    InputError
        With all problems of all devices.
    """

    ids: tuple[str, ...]
    buses: tuple[int, ...]
    profile_mw: Floats
    profile_step_h: float
    earliest_h: Floats
    latest_h: Floats

    def __post_init__(self) -> None:
        columns = {
            "earliest_h": (self.earliest_h, 0.0, LARGEST),
            "latest_h": (self.latest_h, 0.0, LARGEST),
        }
        problems = column_problems(KIND, self.ids, columns)
        early, late = ("earliest_h", self.earliest_h), ("latest_h", self.latest_h)
        problems += pair_problems(KIND, self.ids, early, late)
        shape = self.profile_mw.shape
        if self.profile_mw.ndim != 2 or shape[0] != len(self.ids) or not shape[1]:
            problems.append(Problem(where=f"{KIND} profile_mw", what=f"has shape {shape}"))
        elif not ((self.profile_mw >= 0.0) & (self.profile_mw < np.inf)).all():
            problems.append(Problem(where=f"{KIND} profile_mw", what="is not finite or negative"))
        elif not (self.profile_mw[:, 0] > 0.0).all():
            what = "begins with 0 MW: nobody could see it start"
            problems.append(Problem(where=f"{KIND} profile_mw", what=what))
        if not 0.0 < self.profile_step_h < np.inf:
            problems.append(Problem(where=f"{KIND} profile_step_h", what=f"{self.profile_step_h}"))
        if len(self.buses) != len(self.ids):
            problems.append(Problem(where=f"{KIND} buses", what="not one per device"))
        refuse_if_any(problems)

    def start(self) -> ProcessState:
        """Return the state at the start of the horizon: nothing runs."""
        return ProcessState(elapsed_h=0.0, started_h=np.full(len(self.ids), np.inf))

    def length_h(self) -> float:
        """Return the length of the longest profile [h]."""
        return float(self.profile_mw.shape[1] * self.profile_step_h)

    def _mean_mw(self, started_h: Floats, from_h: float, dt_h: float) -> Floats:
        """Return the mean power of processes with these starts over a step [MW]."""
        steps = self.profile_mw.shape[1]
        edges = (
            np.arange(steps) * self.profile_step_h
            + np.where(np.isfinite(started_h), started_h, 1e9)[:, None]
        )
        begin = np.maximum(edges, from_h)
        end = np.minimum(edges + self.profile_step_h, from_h + dt_h)
        return np.asarray((self.profile_mw * np.maximum(end - begin, 0.0)).sum(axis=1) / dt_h)

    def _waiting(self, state: ProcessState, dt_h: float) -> tuple[Bools, Bools]:
        """Return which processes may start now and which must."""
        waits = np.isinf(state.started_h)
        may = waits & (state.elapsed_h >= self.earliest_h - TIME_TOLERANCE_H)
        must = waits & (state.elapsed_h + dt_h > self.latest_h + TIME_TOLERANCE_H)
        return np.asarray(may | must, dtype=np.bool_), np.asarray(must, dtype=np.bool_)

    def range_now(self, state: ProcessState, conditions: Conditions, dt_h: float) -> FeasibleRange:
        """Return what is possible in a step: running or not, nothing between."""
        check_step(KIND, len(self.ids), None, dt_h)
        may, must = self._waiting(state, dt_h)
        begun = np.where(may, state.elapsed_h, state.started_h)
        running = self._mean_mw(state.started_h, state.elapsed_h, dt_h)
        started = self._mean_mw(begun, state.elapsed_h, dt_h)
        low, high = within_connection(-started, np.where(must, -started, -running), conditions)
        zero = np.zeros(len(self.ids))
        forever = np.full(len(self.ids), np.inf)
        wait = np.where(may, np.maximum(self.latest_h - state.elapsed_h, 0.0), forever)
        return FeasibleRange(
            injection_mw_min=low,
            injection_mw_max=high,
            injection_mvar_min=zero,
            injection_mvar_max=zero,
            hold_min_h=np.where(low < 0.0, self.profile_step_h, forever),
            hold_max_h=wait,
        )

    def unguided(self, state: ProcessState, conditions: Conditions, dt_h: float) -> Instruction:
        """Return starting as soon as the window opens."""
        return Instruction.active(self.range_now(state, conditions, dt_h).injection_mw_min)

    def step(
        self, state: ProcessState, told: Instruction, conditions: Conditions, dt_h: float
    ) -> DeviceStep[ProcessState]:
        """Start where at least half of the first power is told; then run to the end.

        At the last moment a process starts by itself. A limit of the connection below its power
        is reported and not kept: the process cannot run on less, and is not begun where it would
        be above the limit, unless it must.

        Raises
        ------
        InputError
            If the step has no length or the instruction is not finite.
        """
        check_step(KIND, len(self.ids), told, dt_h)
        may, must = self._waiting(state, dt_h)
        begun = self._mean_mw(np.full(len(self.ids), state.elapsed_h), state.elapsed_h, dt_h)
        limit, _ = within_connection(-begun, -begun, conditions)
        fits = ~not_followed(limit, -begun)
        asked = -told.injection_mw >= 0.5 * begun
        starts = may & ((asked & fits) | must)
        started = np.where(starts, state.elapsed_h, state.started_h)
        p = 0.0 - self._mean_mw(started, state.elapsed_h, dt_h)
        running = np.isfinite(started) & ~starts
        wanted = -told.injection_mw > POWER_TOLERANCE_MW
        reasons = np.full(len(self.ids), int(Reason.POWER_LIMIT))
        for where, reason in (
            (~may & np.isinf(started) & wanted, Reason.WINDOW),
            (may & ~starts & wanted & ~fits, Reason.CONNECTION),
            (running, Reason.RUNNING),
            (starts & ~asked, Reason.WINDOW),
        ):
            reasons = np.where(where, int(reason), reasons)
        same = ~not_followed(told.injection_mw, p)
        return DeviceStep(
            state=ProcessState(elapsed_h=state.elapsed_h + dt_h, started_h=started),
            injection_mw=p,
            injection_mvar=np.zeros(len(self.ids)),
            reasons=np.where(same, int(Reason.FOLLOWED), reasons),
        )

    def to_orders(
        self,
        periods: Periods,
        *,
        participant: str,
        price_eur_per_mwh: float,
        every_periods: int = 1,
    ) -> tuple[BlockOrder, ...]:
        """Return one block order per possible start; those of a process exclude each other.

        A process that no block of it bought starts at its last moment all the same, so the price
        is what running it is worth.

        Parameters
        ----------
        periods : Periods
            Horizon; the processes' hours count from its start.
        participant : str
            Who buys.
        price_eur_per_mwh : float
            What its energy is worth to the owner [EUR/MWh].
        every_periods : int
            Offer every so manieth start only; the last one always.

        Raises
        ------
        InputError
            If a process has no start in whole periods with its whole run inside the horizon.
        """
        h, count = periods.mtu_h, len(periods)
        first = np.ceil(self.earliest_h / h - TIME_TOLERANCE_H).astype(int)
        run = np.array([_run_periods(row, self.profile_step_h, h) for row in self.profile_mw])
        last = np.floor(self.latest_h / h + TIME_TOLERANCE_H).astype(int)
        last = np.minimum(last, count - run)
        refuse_if_any(
            Problem(
                where=f"{KIND} {self.ids[k]}",
                what="no start in whole periods lets it run inside the horizon",
                remedy="widen its window or the horizon",
            )
            for k in np.flatnonzero(last < first).tolist()
        )
        orders = []
        for k in range(len(self.ids)):
            starts = sorted({*range(first[k], last[k] + 1, every_periods), int(last[k])})
            for begin in starts:
                row = np.array(
                    [
                        self._mean_mw(np.full(len(self.ids), begin * h), t * h, h)[k]
                        for t in range(begin, begin + run[k])
                    ]
                )
                profile = np.zeros(count)
                profile[begin : begin + run[k]] = -quantise_mw(row)
                orders.append(
                    BlockOrder(
                        id=f"{self.ids[k]}-{begin:03d}",
                        participant=participant,
                        buses=((self.buses[k], 1.0),),
                        profile_mw=profile + 0.0,
                        price_eur_per_mwh=np.full(count, price_eur_per_mwh),
                        exclusive_group=self.ids[k],
                    )
                )
        return tuple(orders)


def _run_periods(profile_mw: Floats, step_h: float, mtu_h: float) -> int:
    """Return how many periods a profile touches that begins with one."""
    used = int(np.flatnonzero(profile_mw > 0.0)[-1]) + 1
    return int(np.ceil(used * step_h / mtu_h - TIME_TOLERANCE_H))
