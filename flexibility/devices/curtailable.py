"""Loads that can be reduced for a while, must rest afterwards, and draw part of it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods
from data.records.order import CurtailOrder
from data.units import AWARD_TICK_MW
from flexibility.devices.common import (
    POWER_TOLERANCE_MW,
    TIME_TOLERANCE_H,
    Bools,
    Conditions,
    DeviceStep,
    FeasibleRange,
    Floats,
    Instruction,
    Ints,
    Reason,
    check_step,
    column_problems,
    floor_tick,
    needed,
    not_followed,
    pair_problems,
    within_connection,
)

KIND: Final = "curtailable load"
LARGEST: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class CurtailState:
    """Where each load stands; every array has shape (devices,).

    Parameters
    ----------
    on_h : ndarray
        How long the present run has lasted [h]; 0 when off.
    off_h : ndarray
        How long it has been off since its last run [h]; inf before the first.
    runs : ndarray of int
        Runs begun.
    reduced_mwh : ndarray
        Energy reduced in the present run [MWh].
    rebound_mw, rebound_left_h : ndarray
        Power drawn again [MW] and for how long still [h].
    """

    on_h: Floats
    off_h: Floats
    runs: Ints
    reduced_mwh: Floats
    rebound_mw: Floats
    rebound_left_h: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Switch:
    """What the rules of duration leave open in a step; shapes (devices,).

    ``rebound_mw`` is what is drawn on top of the demand when off: of an earlier run, or of the
    present one, which then ends.
    """

    demand_mw: Floats
    rebound_mw: Floats
    least_mw: Floats
    most_mw: Floats
    must_stay: Bools
    may_not: Ints

    @property
    def free(self) -> Bools:
        """Where nothing forbids to be on."""
        return np.asarray(self.may_not == Reason.FOLLOWED, dtype=np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurtailableLoads:
    """Curtailable loads as columns; every array has shape (devices,).

    Parameters
    ----------
    ids : tuple of str
        Device ids.
    buses : tuple of int
        Bus of each.
    reduction_mw_min, reduction_mw_max : ndarray
        While on, the reduction lies between these [MW], and never exceeds what would be drawn.
    duration_h_min, duration_h_max : ndarray
        A run lasts between these [h]; the second may be inf.
    cooldown_h : ndarray
        Rest after a run [h]; at least as long as the rebound.
    activations_max : ndarray
        Runs there may be, whole numbers; inf for any number.
    rebound_share : ndarray
        Share of the energy of a run that is drawn again after it.
    rebound_h : ndarray
        How long that takes, at constant power [h].
    tan_phi : ndarray
        Reactive over active power withdrawn.

    Raises
    ------
    InputError
        With all problems of all devices.
    """

    ids: tuple[str, ...]
    buses: tuple[int, ...]
    reduction_mw_min: Floats
    reduction_mw_max: Floats
    duration_h_min: Floats
    duration_h_max: Floats
    cooldown_h: Floats
    activations_max: Floats
    rebound_share: Floats
    rebound_h: Floats
    tan_phi: Floats

    def __post_init__(self) -> None:
        columns = {
            "reduction_mw_min": (self.reduction_mw_min, 0.0, LARGEST),
            "reduction_mw_max": (self.reduction_mw_max, 0.0, LARGEST),
            "duration_h_min": (self.duration_h_min, 0.0, LARGEST),
            "duration_h_max": (self.duration_h_max, 0.0, np.inf),
            "cooldown_h": (self.cooldown_h, 0.0, LARGEST),
            "activations_max": (self.activations_max, 0.0, np.inf),
            "rebound_share": (self.rebound_share, 0.0, 10.0),
            "rebound_h": (self.rebound_h, 0.0, LARGEST),
            "tan_phi": (self.tan_phi, -10.0, 10.0),
        }
        problems = column_problems(KIND, self.ids, columns)
        for less, more in (
            ("reduction_mw_min", "reduction_mw_max"),
            ("duration_h_min", "duration_h_max"),
            ("rebound_h", "cooldown_h"),
        ):
            low, high = (less, getattr(self, less)), (more, getattr(self, more))
            problems += pair_problems(KIND, self.ids, low, high)
        if self.rebound_share.shape == self.rebound_h.shape:
            problems += [
                Problem(where=f"{KIND} {self.ids[k]}", what="rebound_share without rebound_h")
                for k in np.flatnonzero((self.rebound_share > 0.0) & (self.rebound_h <= 0.0))
            ]
        if len(self.buses) != len(self.ids):
            problems.append(Problem(where=f"{KIND} buses", what="not one per device"))
        refuse_if_any(problems)

    def start(self) -> CurtailState:
        """Return the state at the beginning: off, rested, nothing owed."""
        zero = np.zeros(len(self.ids))
        return CurtailState(
            on_h=zero,
            off_h=zero + np.inf,
            runs=np.zeros(len(self.ids), dtype=np.int64),
            reduced_mwh=zero,
            rebound_mw=zero,
            rebound_left_h=zero,
        )

    def _switch(self, state: CurtailState, conditions: Conditions, dt_h: float) -> _Switch:
        """Return what a step may do; a rebound that ends inside it is spread over it."""
        demand = needed(KIND, "power_mw", conditions.power_mw, len(self.ids))
        if (demand < 0.0).any():
            raise InputError([Problem(where=f"{KIND} conditions", what="power_mw is negative")])
        on = state.on_h > 0.0
        power, left = self._owed(state)
        most = np.minimum(self.reduction_mw_max, demand)
        may_not = np.full(len(self.ids), int(Reason.FOLLOWED))
        too_long = state.on_h + dt_h > self.duration_h_max + TIME_TOLERANCE_H
        for forbidden, reason in (
            (~on & (state.runs >= self.activations_max), Reason.ACTIVATIONS),
            (~on & (state.off_h < self.cooldown_h - TIME_TOLERANCE_H), Reason.COOLDOWN),
            (too_long, Reason.MAX_DURATION),
        ):
            may_not = np.where(forbidden, int(reason), may_not)
        # A step longer than what is left of the longest run ends it, even before its minimum.
        early = on & (state.on_h < self.duration_h_min - TIME_TOLERANCE_H)
        return _Switch(
            demand_mw=demand,
            rebound_mw=np.where(on, power, state.rebound_mw) * np.minimum(left / dt_h, 1.0),
            least_mw=np.minimum(self.reduction_mw_min, most),
            most_mw=most,
            must_stay=early & (may_not == Reason.FOLLOWED),
            may_not=may_not,
        )

    def _owed(self, state: CurtailState) -> tuple[Floats, Floats]:
        """Return power [MW] and time [h] of the rebound if the load is off from now on."""
        on = state.on_h > 0.0
        over = np.where(self.rebound_h > 0.0, self.rebound_h, 1.0)
        power = self.rebound_share * state.reduced_mwh / over
        return (
            np.where(on, power, state.rebound_mw),
            np.where(on, self.rebound_h, state.rebound_left_h),
        )

    def range_now(self, state: CurtailState, conditions: Conditions, dt_h: float) -> FeasibleRange:
        """Return what is possible in a step of ``dt_h`` hours.

        Between no reduction and ``reduction_mw_min`` there is nothing; the range spans it.
        """
        check_step(KIND, len(self.ids), None, dt_h)
        now = self._switch(state, conditions, dt_h)
        off = -(now.demand_mw + now.rebound_mw)
        low, high = within_connection(
            np.where(now.must_stay, now.least_mw - now.demand_mw, off),
            np.where(now.free & (now.most_mw > 0.0), now.most_mw - now.demand_mw, off),
            conditions,
        )
        left, forever = self.duration_h_max - state.on_h, np.full(len(self.ids), np.inf)
        return FeasibleRange(
            injection_mw_min=low,
            injection_mw_max=high,
            injection_mvar_min=high * self.tan_phi,
            injection_mvar_max=high * self.tan_phi,
            hold_min_h=np.where(now.must_stay, left, forever),
            hold_max_h=np.where(now.free, left, forever),
        )

    def unguided(self, state: CurtailState, conditions: Conditions, dt_h: float) -> Instruction:
        """Return what the loads draw by themselves, the rebound included."""
        low = self.range_now(state, conditions, dt_h).injection_mw_min
        return Instruction(injection_mw=low, injection_mvar=low * self.tan_phi)

    def step(
        self, state: CurtailState, told: Instruction, conditions: Conditions, dt_h: float
    ) -> DeviceStep[CurtailState]:
        """Follow an instruction as far as possible for ``dt_h`` hours.

        The instruction is the power at the meter: to reduce a demand by r is told as
        ``injection_mw = r - demand``, to let a load draw its rebound as ``-demand - rebound``.
        Reactive power keeps its ratio to active power. The limit of the connection is kept even
        where the rules of duration would not allow it.

        Raises
        ------
        InputError
            If the step has no length, or the instruction or the demand is not finite.
        """
        check_step(KIND, len(self.ids), told, dt_h)
        now = self._switch(state, conditions, dt_h)
        wanted = told.injection_mw + now.demand_mw
        # Rounding of powers to the tick must not switch a load off.
        asked = wanted >= np.maximum(now.least_mw - AWARD_TICK_MW, POWER_TOLERANCE_MW)
        on = now.free & (now.most_mw > 0.0) & (asked | now.must_stay)
        reduction = np.where(on, np.clip(wanted, now.least_mw, now.most_mw), 0.0)
        own = reduction - now.demand_mw - np.where(on, 0.0, now.rebound_mw)
        p, _ = within_connection(own, own, conditions)
        p = p + 0.0
        reasons = self._reasons(wanted, on, now)
        reasons = np.where(not_followed(own, p), int(Reason.CONNECTION), reasons)
        reasons = np.where(not_followed(told.injection_mw, p), reasons, int(Reason.FOLLOWED))
        reduced = np.where(on, p + now.demand_mw, 0.0)
        return DeviceStep(
            state=self._next(state, on, reduced, dt_h),
            injection_mw=p,
            injection_mvar=p * self.tan_phi,
            reasons=reasons,
        )

    def _reasons(self, wanted: Floats, on: Bools, now: _Switch) -> Ints:
        """Return why a reduction wanted [MW] is not what is done."""
        more = on & (wanted > now.most_mw)
        drawing = ~on & (now.rebound_mw > 0.0) & (wanted <= POWER_TOLERANCE_MW)
        reasons = np.full(len(self.ids), int(Reason.POWER_LIMIT))
        for where, reason in (
            (more & (now.most_mw < self.reduction_mw_max), Reason.LESS_AVAILABLE),
            (~on & now.free & (wanted > POWER_TOLERANCE_MW), Reason.MIN_REDUCTION),
            (on & (wanted < now.least_mw), Reason.MIN_REDUCTION),
            (now.must_stay & (wanted < now.least_mw), Reason.MIN_DURATION),
            (drawing, Reason.REBOUND),
        ):
            reasons = np.where(where, int(reason), reasons)
        return np.where(~now.free & (wanted > POWER_TOLERANCE_MW), now.may_not, reasons)

    def _next(self, state: CurtailState, on: Bools, reduced: Floats, dt_h: float) -> CurtailState:
        power, left = self._owed(state)
        left = np.maximum(left - dt_h, 0.0)
        left = np.where(on | (power <= 0.0) | (left < TIME_TOLERANCE_H), 0.0, left)
        was_on = state.on_h > 0.0
        return CurtailState(
            on_h=np.where(on, state.on_h + dt_h, 0.0),
            off_h=np.where(on, 0.0, state.off_h + dt_h),
            runs=state.runs + (on & ~was_on),
            reduced_mwh=np.where(on, state.reduced_mwh + reduced * dt_h, 0.0),
            rebound_mw=np.where(left > 0.0, power, 0.0),
            rebound_left_h=left,
        )

    def to_orders(
        self,
        forecast_mw: Floats,
        periods: Periods,
        *,
        participant: str,
        price_eur_per_mwh: float,
        assets: tuple[str | None, ...] | None = None,
    ) -> tuple[CurtailOrder, ...]:
        """Return one curtail order per load, its durations in whole periods on the safe side.

        Parameters
        ----------
        forecast_mw : ndarray, shape (devices, periods)
            Expected demand [MW]; no more than that is offered.
        periods : Periods
            Horizon of the order, at whose start the loads are rested.
        participant : str
            Who offers.
        price_eur_per_mwh : float
            Price asked for a reduced MWh [EUR/MWh].
        assets : tuple of (str or None), optional
            Network element of each.

        Raises
        ------
        InputError
            If the forecast has another shape or is not finite, or the longest run of a load is
            shorter than one period.
        """
        count = len(self.ids)
        if forecast_mw.shape != (count, len(periods)) or not np.isfinite(forecast_mw).all():
            what = f"is not {count} x {len(periods)} finite values"
            raise InputError([Problem(where=f"{KIND} forecast", what=what)])
        h = periods.mtu_h
        shortest = np.maximum(np.ceil(self.duration_h_min / h - TIME_TOLERANCE_H), 1.0)
        longest = np.floor(self.duration_h_max / h + TIME_TOLERANCE_H)
        refuse_if_any(
            Problem(
                where=f"{KIND} {self.ids[k]}",
                what=f"no run of whole periods of {periods.mtu_minutes} min fits its durations",
            )
            for k in np.flatnonzero(longest < shortest)
        )
        rest = np.ceil(self.cooldown_h / h - TIME_TOLERANCE_H).astype(int)
        back = np.ceil(self.rebound_h / h - TIME_TOLERANCE_H).astype(int)
        most = floor_tick(np.clip(forecast_mw, 0.0, self.reduction_mw_max[:, None]))
        least = np.minimum(self.reduction_mw_min[:, None], most)
        return tuple(
            CurtailOrder(
                id=self.ids[k],
                participant=participant,
                buses=((self.buses[k], 1.0),),
                asset=None if assets is None else assets[k],
                p_mw_max=most[k],
                p_mw_min_on=least[k],
                price_eur_per_mwh=np.full(len(periods), price_eur_per_mwh),
                duration_periods_min=int(shortest[k]),
                duration_periods_max=int(longest[k]) if np.isfinite(longest[k]) else None,
                cooldown_periods=int(rest[k]),
                activations_max=(
                    int(self.activations_max[k]) if np.isfinite(self.activations_max[k]) else None
                ),
                rebound_share=float(self.rebound_share[k]),
                rebound_periods=int(back[k]) if self.rebound_share[k] > 0.0 else None,
            )
            for k in range(count)
        )
