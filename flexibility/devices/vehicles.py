"""Electric cars at charging points: one entry per plugged session, with or without V2G.

Instants are hours since the start of the horizon. A car charges and discharges while it is plugged
for the whole step. Three rules stand above every instruction:

* the energy at departure: once only full power from now on still reaches it, the car charges; a
  limit of the connection that is in force is taken to stay;
* the reserve: discharging never takes the energy below it;
* the limit of the grid connection, which wins over both; what is missed for it is counted.

Charging on alternating current stays far below what the cells take, so that power does not depend
on the state of charge here; for direct current use `Batteries`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.order import StorageOrder
from flexibility.devices.common import (
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
    hold_h,
    not_followed,
    pair_problems,
    within_connection,
)

KIND: Final = "car"
LARGEST: Final = 1e6
# An order asks for this much less than what full power reaches, so that rounding cannot spoil it.
REACH_MARGIN_MWH: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class CarState:
    """Where the cars stand.

    Parameters
    ----------
    elapsed_h : float
        Time since the start of the horizon [h].
    energy_mwh : ndarray, shape (sessions,)
        Energy in the car; that of its arrival before, that of its departure afterwards [MWh].
    held_back_mwh : ndarray, shape (sessions,)
        Energy that the limit of the connection kept from cars that had to charge [MWh].
    """

    elapsed_h: float
    energy_mwh: Floats
    held_back_mwh: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    """Powers of one step [MW] and their reasons, before the limit of the connection.

    ``must_mw`` is the charging that departure needs if a limit of the connection stays as it is,
    ``at_full_power_mw`` what it needs even if the limit ended now.
    """

    plugged: Bools
    charge_mw: Floats
    must_mw: Floats
    at_full_power_mw: Floats
    discharge_mw: Floats
    charge_reason: Ints
    discharge_reason: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class CarSessions:
    """Plugged sessions as columns; every array has shape (sessions,).

    Parameters
    ----------
    ids : tuple of str
        Session ids.
    buses : tuple of int
        Bus of each charging point.
    arrival_h, departure_h : ndarray
        Plugged from and to [h since the start of the horizon]; the first may be negative.
    energy_mwh_arrival : ndarray
        Energy at arrival, at the start of the horizon where that is later [MWh].
    energy_mwh_departure : ndarray
        Energy asked for at departure [MWh].
    energy_mwh_reserve : ndarray
        Discharging never goes below it [MWh].
    energy_mwh_max : ndarray
        Usable capacity [MWh].
    charge_mw_max, discharge_mw_max : ndarray
        Power limits at the grid connection [MW]; no discharge: no V2G.
    efficiency_charge, efficiency_discharge : ndarray
        Shares in (0, 1].

    Raises
    ------
    InputError
        With all problems of all sessions.
    """

    ids: tuple[str, ...]
    buses: tuple[int, ...]
    arrival_h: Floats
    departure_h: Floats
    energy_mwh_arrival: Floats
    energy_mwh_departure: Floats
    energy_mwh_reserve: Floats
    energy_mwh_max: Floats
    charge_mw_max: Floats
    discharge_mw_max: Floats
    efficiency_charge: Floats
    efficiency_discharge: Floats

    def __post_init__(self) -> None:
        columns = {
            "arrival_h": (self.arrival_h, -LARGEST, LARGEST),
            "departure_h": (self.departure_h, -LARGEST, LARGEST),
            "energy_mwh_arrival": (self.energy_mwh_arrival, 0.0, LARGEST),
            "energy_mwh_departure": (self.energy_mwh_departure, 0.0, LARGEST),
            "energy_mwh_reserve": (self.energy_mwh_reserve, 0.0, LARGEST),
            "energy_mwh_max": (self.energy_mwh_max, 0.0, LARGEST),
            "charge_mw_max": (self.charge_mw_max, 0.0, LARGEST),
            "discharge_mw_max": (self.discharge_mw_max, 0.0, LARGEST),
            "efficiency_charge": (self.efficiency_charge, 1e-6, 1.0),
            "efficiency_discharge": (self.efficiency_discharge, 1e-6, 1.0),
        }
        problems = column_problems(KIND, self.ids, columns)
        for less, more in (
            ("arrival_h", "departure_h"),
            ("energy_mwh_arrival", "energy_mwh_max"),
            ("energy_mwh_departure", "energy_mwh_max"),
            ("energy_mwh_reserve", "energy_mwh_max"),
        ):
            low, high = (less, getattr(self, less)), (more, getattr(self, more))
            problems += pair_problems(KIND, self.ids, low, high)
        if len(self.buses) != len(self.ids):
            problems.append(Problem(where=f"{KIND} buses", what="not one per session"))
        refuse_if_any(problems)

    def start(self) -> CarState:
        """Return the state at the start of the horizon."""
        return CarState(
            elapsed_h=0.0,
            energy_mwh=self.energy_mwh_arrival,
            held_back_mwh=np.zeros(len(self.ids)),
        )

    def plugged(self, elapsed_h: float, dt_h: float) -> Bools:
        """Return which cars are plugged for a whole step from ``elapsed_h`` on."""
        here = self.arrival_h <= elapsed_h + TIME_TOLERANCE_H
        stays = elapsed_h + dt_h <= self.departure_h + TIME_TOLERANCE_H
        return np.asarray(here & stays, dtype=np.bool_)

    def reachable_mwh(self, dt_h: float) -> Floats:
        """Return the energy at departure when charging all the time, in whole steps [MWh].

        Steps begin at the start of the horizon; only those within the session count.
        """
        first = np.ceil(np.maximum(self.arrival_h, 0.0) / dt_h - TIME_TOLERANCE_H)
        last = np.floor(self.departure_h / dt_h + TIME_TOLERANCE_H)
        hours = np.maximum(last - first, 0.0) * dt_h
        gained = self.efficiency_charge * self.charge_mw_max * hours
        return np.asarray(np.minimum(self.energy_mwh_arrival + gained, self.energy_mwh_max))

    def _limits(self, state: CarState, conditions: Conditions, dt_h: float) -> _Limits:
        plugged = self.plugged(state.elapsed_h, dt_h)
        energy, eff = state.energy_mwh, self.efficiency_charge
        room = np.maximum(self.energy_mwh_max - energy, 0.0) / (eff * dt_h)
        charge = np.where(plugged, np.minimum(self.charge_mw_max, room), 0.0)
        left = np.floor((self.departure_h - state.elapsed_h) / dt_h - 1.0 + TIME_TOLERANCE_H)
        lasting, _ = within_connection(-self.charge_mw_max, -self.charge_mw_max, conditions)
        needed_mwh = self.energy_mwh_departure + eff * lasting * left * dt_h
        at_least_mwh = self.energy_mwh_departure - eff * self.charge_mw_max * left * dt_h

        def must(goal_mwh: Floats) -> Floats:
            power = np.maximum(goal_mwh - energy, 0.0) / (eff * dt_h)
            # A rounding of floats is no need: powers below a thousandth of a watt are none.
            return np.where(plugged & (power > 1e-9), np.minimum(power, charge), 0.0)

        must_mw = must(needed_mwh)
        to_power = self.efficiency_discharge / dt_h
        bounds = np.stack(
            [
                self.discharge_mw_max,
                np.maximum(energy - self.energy_mwh_reserve, 0.0) * to_power,
                np.maximum(energy - needed_mwh, 0.0) * to_power,
            ]
        )
        why = np.array([Reason.POWER_LIMIT, Reason.RESERVE, Reason.DEPARTURE])
        away = int(Reason.NOT_PLUGGED)
        full = np.where(room < self.charge_mw_max, int(Reason.FULL), int(Reason.POWER_LIMIT))
        return _Limits(
            plugged=plugged,
            charge_mw=charge,
            must_mw=must_mw,
            at_full_power_mw=must(at_least_mwh),
            discharge_mw=np.where(plugged & (must_mw <= 0.0), bounds.min(axis=0), 0.0),
            charge_reason=np.where(plugged, full, away),
            discharge_reason=np.where(plugged, why[bounds.argmin(axis=0)], away),
        )

    def range_now(self, state: CarState, conditions: Conditions, dt_h: float) -> FeasibleRange:
        """Return what is possible in a step of ``dt_h`` hours."""
        check_step(KIND, len(self.ids), None, dt_h)
        low, high = _bounds_mw(self._limits(state, conditions, dt_h), conditions)
        room = (self.energy_mwh_max - state.energy_mwh) / self.efficiency_charge
        content = (state.energy_mwh - self.energy_mwh_reserve) * self.efficiency_discharge
        stay = np.maximum(self.departure_h - state.elapsed_h, 0.0)
        zero = np.zeros(len(self.ids))
        return FeasibleRange(
            injection_mw_min=low,
            injection_mw_max=high,
            injection_mvar_min=zero,
            injection_mvar_max=zero,
            hold_min_h=np.minimum(hold_h(room, -low), stay),
            hold_max_h=np.minimum(hold_h(content, high), stay),
        )

    def unguided(self, state: CarState, conditions: Conditions, dt_h: float) -> Instruction:
        """Return charging at full power from arrival until the departure energy is reached."""
        limits = self._limits(state, conditions, dt_h)
        lacking = np.maximum(self.energy_mwh_departure - state.energy_mwh, 0.0)
        charge = np.minimum(limits.charge_mw, lacking / (self.efficiency_charge * dt_h))
        low, _ = within_connection(-charge, -charge, conditions)
        return Instruction.active(low + 0.0)

    def step(
        self, state: CarState, told: Instruction, conditions: Conditions, dt_h: float
    ) -> DeviceStep[CarState]:
        """Follow an instruction as far as the three rules allow, for ``dt_h`` hours.

        e' = e + eff_c dt c - dt d / eff_d with p = d - c; no reactive power.

        Raises
        ------
        InputError
            If the step has no length or the instruction is not finite.
        """
        check_step(KIND, len(self.ids), told, dt_h)
        limits = self._limits(state, conditions, dt_h)
        p = np.clip(told.injection_mw, *_bounds_mw(limits, conditions)) + 0.0
        charge, discharge = np.maximum(-p, 0.0), np.maximum(p, 0.0)
        energy = state.energy_mwh + dt_h * (
            self.efficiency_charge * charge - discharge / self.efficiency_discharge
        )
        energy = np.minimum(energy, self.energy_mwh_max)
        floor = np.minimum(self.energy_mwh_reserve, state.energy_mwh)
        energy = np.where(discharge > 0.0, np.maximum(energy, floor), energy)
        missed = np.maximum(limits.at_full_power_mw - charge, 0.0)
        return DeviceStep(
            state=CarState(
                elapsed_h=state.elapsed_h + dt_h,
                energy_mwh=energy,
                held_back_mwh=state.held_back_mwh + missed * self.efficiency_charge * dt_h,
            ),
            injection_mw=p,
            injection_mvar=np.zeros(len(self.ids)),
            reasons=self._reasons(told, p, limits),
        )

    def _reasons(self, told: Instruction, p: Floats, limits: _Limits) -> Ints:
        more, less = p < told.injection_mw, p > told.injection_mw
        reasons = np.where(less, limits.charge_reason, limits.discharge_reason)
        forced = more & (limits.must_mw > 0.0)
        reasons = np.where(forced, int(Reason.DEPARTURE), reasons)
        own = np.where(less, -limits.charge_mw, limits.discharge_mw)
        own = np.where(forced, -limits.must_mw, own)
        reasons = np.where(not_followed(own, p), int(Reason.CONNECTION), reasons)
        changed = not_followed(told.injection_mw, p)
        turned = ~changed & not_followed(told.injection_mvar, np.zeros(len(p)))
        reasons = np.where(changed, reasons, int(Reason.FOLLOWED))
        return np.where(turned, int(Reason.POWER_FACTOR), reasons)

    def to_orders(
        self,
        periods: Periods,
        *,
        participant: str,
        price_charge_eur_per_mwh: float = 0.0,
        price_discharge_eur_per_mwh: float = 0.0,
        every_periods: int = 1,
    ) -> tuple[StorageOrder, ...]:
        """Return one storage order per session of at least one whole period of the horizon.

        The car can follow any award. Where full power does not reach the departure energy the
        order asks for what it reaches. A session that goes on after the horizon must end it with
        what full power needs to finish, and with no less than it came with; one that arrives
        below its reserve does not discharge.

        Parameters
        ----------
        periods : Periods
            Horizon; the sessions' hours count from its start.
        participant : str
            Who offers.
        price_charge_eur_per_mwh, price_discharge_eur_per_mwh : float
            Cost of a grid-side MWh, e.g. wear of the battery [EUR/MWh].
        every_periods : int
            Offer only from one multiple of so many periods to another, where that is enough for
            the departure energy: cars that are plugged for nearly the same time then offer the
            same window, and fit into one portfolio.
        """
        h, count = periods.mtu_h, len(periods)
        charge = floor_tick(self.charge_mw_max)
        first = np.ceil(np.maximum(self.arrival_h, 0.0) / h - TIME_TOLERANCE_H).astype(int)
        whole = np.floor(self.departure_h / h + TIME_TOLERANCE_H).astype(int)
        later, sooner = -(-first // every_periods) * every_periods, whole // every_periods
        sooner = np.where(whole > count, whole, sooner * every_periods)
        enough = self.energy_mwh_departure - self.energy_mwh_arrival + REACH_MARGIN_MWH
        fits = self.efficiency_charge * charge * h * (sooner - later) >= enough
        fits &= np.minimum(sooner, count) > later
        first, whole = np.where(fits, later, first), np.where(fits, sooner, whole)
        last = np.minimum(whole, count)
        below = self.energy_mwh_arrival < self.energy_mwh_reserve
        discharge = np.where(below, 0.0, floor_tick(self.discharge_mw_max))
        lowest = np.minimum(self.energy_mwh_arrival, self.energy_mwh_reserve)
        gain = self.efficiency_charge * charge * h
        after = np.maximum(whole - count, 0) * gain
        reach = self.energy_mwh_arrival + np.maximum(last - first, 0) * gain - REACH_MARGIN_MWH
        asked = np.minimum(self.energy_mwh_departure - after, reach)
        # What lies beyond the horizon has no price in it: it would look like energy to give away.
        brought = np.minimum(self.energy_mwh_arrival, self.energy_mwh_departure)
        asked = np.where(whole > count, np.maximum(asked, np.minimum(brought, reach)), asked)
        asked = np.clip(asked, lowest, self.energy_mwh_max)
        at = np.arange(count)
        ones = np.ones(count)
        return tuple(
            StorageOrder(
                id=self.ids[k],
                participant=participant,
                buses=((self.buses[k], 1.0),),
                charge_mw_max=float(charge[k]) * ones,
                discharge_mw_max=float(discharge[k]) * ones,
                energy_mwh_min=float(lowest[k]),
                energy_mwh_max=float(self.energy_mwh_max[k]),
                energy_mwh_start=float(self.energy_mwh_arrival[k]),
                energy_mwh_end_min=float(lowest[k]),
                efficiency_charge=float(self.efficiency_charge[k]),
                efficiency_discharge=float(self.efficiency_discharge[k]),
                price_charge_eur_per_mwh=price_charge_eur_per_mwh * ones,
                price_discharge_eur_per_mwh=price_discharge_eur_per_mwh * ones,
                self_discharge_per_day=0.0,
                availability=((at >= first[k]) & (at < last[k])).astype(float),
                energy_mwh_departure_min=float(asked[k]),
            )
            for k in range(len(self.ids))
            if last[k] > first[k]
        )


def _bounds_mw(limits: _Limits, conditions: Conditions) -> tuple[Floats, Floats]:
    """Return the lowest and highest injection of a step [MW]."""
    highest = np.where(limits.must_mw > 0.0, -limits.must_mw, limits.discharge_mw)
    return within_connection(-limits.charge_mw, highest, conditions)


def hours_since(start: datetime, instants: Sequence[datetime]) -> Floats:
    """Return instants as hours since ``start`` [h]; across a clock change, real hours.

    Raises
    ------
    InputError
        If an instant has no offset.
    """
    refuse_if_any(
        Problem(where=f"instant {instant}", what="has no UTC offset")
        for instant in (start, *instants)
        if instant.tzinfo is None
    )
    return np.array([(instant - start).total_seconds() / 3600.0 for instant in instants])
