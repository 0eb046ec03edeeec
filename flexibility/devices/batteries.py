"""Batteries behind an inverter: energy window, losses, self-discharge, power by state of charge.

Above the state of charge ``soc_charge_full_power`` the charging limit falls in a straight line to
``charge_share_when_full`` of its value at full, as cells are charged at constant voltage; below
``soc_discharge_full_power`` the discharging limit falls likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods
from data.records.order import StorageOrder
from flexibility.devices.common import (
    POWER_TOLERANCE_MW,
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

KIND: Final = "battery"
LARGEST: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryState:
    """Energy in each battery [MWh], shape (devices,)."""

    energy_mwh: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    """Powers [MW] that one step admits, and what limits them; shapes (devices,)."""

    kept_mwh: Floats
    charge_mw: Floats
    discharge_mw: Floats
    charge_reason: Ints
    discharge_reason: Ints
    trickle_mw: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Batteries:
    """Batteries as columns; every array has shape (devices,).

    Parameters
    ----------
    ids : tuple of str
        Device ids.
    buses : tuple of int
        Bus of each.
    charge_mw_max, discharge_mw_max : ndarray
        Power limits at the grid connection [MW].
    energy_mwh_min, energy_mwh_max : ndarray
        Energy window [MWh]; the state of charge is the energy over ``energy_mwh_max``.
    energy_mwh_start : ndarray
        Energy at the beginning [MWh].
    efficiency_charge, efficiency_discharge : ndarray
        Shares in (0, 1].
    self_discharge_per_day : ndarray
        Share of the energy lost in a day, in [0, 1).
    s_mva_max : ndarray
        Apparent power of the inverter [MVA]: p^2 + q^2 <= s^2.
    soc_charge_full_power, charge_share_when_full : ndarray
        Where the charging limit begins to fall, and its share at full; 1 and 1: it never falls.
    soc_discharge_full_power, discharge_share_when_empty : ndarray
        Where the discharging limit has its full value, and its share at empty; 0 and 1: always.

    Raises
    ------
    InputError
        With all problems of all devices.
    """

    ids: tuple[str, ...]
    buses: tuple[int, ...]
    charge_mw_max: Floats
    discharge_mw_max: Floats
    energy_mwh_min: Floats
    energy_mwh_max: Floats
    energy_mwh_start: Floats
    efficiency_charge: Floats
    efficiency_discharge: Floats
    self_discharge_per_day: Floats
    s_mva_max: Floats
    soc_charge_full_power: Floats
    charge_share_when_full: Floats
    soc_discharge_full_power: Floats
    discharge_share_when_empty: Floats

    def __post_init__(self) -> None:
        columns = {
            "charge_mw_max": (self.charge_mw_max, 0.0, LARGEST),
            "discharge_mw_max": (self.discharge_mw_max, 0.0, LARGEST),
            "energy_mwh_min": (self.energy_mwh_min, 0.0, LARGEST),
            "energy_mwh_max": (self.energy_mwh_max, 1e-9, LARGEST),
            "energy_mwh_start": (self.energy_mwh_start, 0.0, LARGEST),
            "efficiency_charge": (self.efficiency_charge, 1e-6, 1.0),
            "efficiency_discharge": (self.efficiency_discharge, 1e-6, 1.0),
            "self_discharge_per_day": (self.self_discharge_per_day, 0.0, 0.999999),
            "s_mva_max": (self.s_mva_max, 0.0, LARGEST),
            "soc_charge_full_power": (self.soc_charge_full_power, 0.0, 1.0),
            "charge_share_when_full": (self.charge_share_when_full, 0.0, 1.0),
            "soc_discharge_full_power": (self.soc_discharge_full_power, 0.0, 1.0),
            "discharge_share_when_empty": (self.discharge_share_when_empty, 0.0, 1.0),
        }
        problems = column_problems(KIND, self.ids, columns)
        low = ("energy_mwh_min", self.energy_mwh_min)
        start = ("energy_mwh_start", self.energy_mwh_start)
        high = ("energy_mwh_max", self.energy_mwh_max)
        apparent = ("s_mva_max", self.s_mva_max)
        for less, more in (
            (low, high), (low, start), (start, high),
            (("charge_mw_max", self.charge_mw_max), apparent),
            (("discharge_mw_max", self.discharge_mw_max), apparent),
        ):  # fmt: skip
            problems += pair_problems(KIND, self.ids, less, more)
        if len(self.buses) != len(self.ids):
            problems.append(Problem(where=f"{KIND} buses", what="not one per device"))
        refuse_if_any(problems)

    @classmethod
    def plain(
        cls,
        *,
        ids: tuple[str, ...],
        buses: tuple[int, ...],
        power_mw: Floats,
        energy_mwh_max: Floats,
        energy_mwh_start: Floats,
        efficiency: float = 0.95,
    ) -> Batteries:
        """Return batteries with equal power both ways, usable to empty, without taper."""
        one = np.ones(len(ids))
        return cls(
            ids=ids,
            buses=buses,
            charge_mw_max=power_mw,
            discharge_mw_max=power_mw,
            energy_mwh_min=0.0 * one,
            energy_mwh_max=energy_mwh_max,
            energy_mwh_start=energy_mwh_start,
            efficiency_charge=efficiency * one,
            efficiency_discharge=efficiency * one,
            self_discharge_per_day=0.0 * one,
            s_mva_max=power_mw,
            soc_charge_full_power=one,
            charge_share_when_full=one,
            soc_discharge_full_power=0.0 * one,
            discharge_share_when_empty=one,
        )

    def start(self) -> BatteryState:
        """Return the state at the beginning."""
        return BatteryState(energy_mwh=self.energy_mwh_start)

    def charge_limit_mw(self, energy_mwh: Floats) -> Floats:
        """Return the charging limit at an energy [MW]."""
        share, knee = self.charge_share_when_full, self.soc_charge_full_power
        slope = np.where(knee < 1.0, (1.0 - share) / np.where(knee < 1.0, 1.0 - knee, 1.0), 0.0)
        above = np.maximum(energy_mwh / self.energy_mwh_max - knee, 0.0)
        return self.charge_mw_max * np.clip(1.0 - slope * above, 0.0, 1.0)

    def discharge_limit_mw(self, energy_mwh: Floats) -> Floats:
        """Return the discharging limit at an energy [MW]."""
        share, knee = self.discharge_share_when_empty, self.soc_discharge_full_power
        slope = np.where(knee > 0.0, (1.0 - share) / np.where(knee > 0.0, knee, 1.0), 0.0)
        below = np.maximum(knee - energy_mwh / self.energy_mwh_max, 0.0)
        return self.discharge_mw_max * np.clip(1.0 - slope * below, 0.0, 1.0)

    def reactive_limit_mvar(self, injection_mw: Floats) -> Floats:
        """Return the largest |q| beside an active power: sqrt(s^2 - p^2) [Mvar]."""
        return np.sqrt(np.maximum(self.s_mva_max**2 - injection_mw**2, 0.0))

    def _limits(self, state: BatteryState, dt_h: float) -> _Limits:
        """Return the powers that keep every instant of a step inside all limits.

        The limits fall with the energy moved, so a constant power holds throughout the step if it
        holds at its end: p <= P (1 - k (soc_end(p) - knee)), which is linear in p.
        """
        kept = state.energy_mwh * (1.0 - self.self_discharge_per_day) ** (dt_h / 24.0)
        room = np.maximum(self.energy_mwh_max - kept, 0.0) / (self.efficiency_charge * dt_h)
        content = np.maximum(kept - self.energy_mwh_min, 0.0) * self.efficiency_discharge / dt_h
        knee, low_knee = self.soc_charge_full_power, self.soc_discharge_full_power
        slope = np.where(
            knee < 1.0,
            (1.0 - self.charge_share_when_full) / np.where(knee < 1.0, 1.0 - knee, 1.0),
            0.0,
        )
        gain = self.charge_mw_max * slope * self.efficiency_charge * dt_h / self.energy_mwh_max
        over = slope * (kept / self.energy_mwh_max - knee)
        tapered = np.maximum(self.charge_mw_max * (1.0 - over) / (1.0 + gain), 0.0)
        falling = np.where(
            low_knee > 0.0,
            (1.0 - self.discharge_share_when_empty) / np.where(low_knee > 0.0, low_knee, 1.0),
            0.0,
        )
        drain = self.discharge_mw_max * falling * dt_h
        drain = drain / (self.efficiency_discharge * self.energy_mwh_max)
        under = falling * (low_knee - kept / self.energy_mwh_max)
        weak = np.maximum(self.discharge_mw_max * (1.0 - under) / (1.0 + drain), 0.0)
        charges = np.stack([self.charge_mw_max, tapered, room])
        discharges = np.stack([self.discharge_mw_max, weak, content])
        why_charge = np.array([Reason.POWER_LIMIT, Reason.TAPER, Reason.FULL])
        why_discharge = np.array([Reason.POWER_LIMIT, Reason.TAPER, Reason.EMPTY])
        short = np.maximum(self.energy_mwh_min - kept, 0.0) / (self.efficiency_charge * dt_h)
        return _Limits(
            kept_mwh=kept,
            charge_mw=charges.min(axis=0),
            discharge_mw=discharges.min(axis=0),
            charge_reason=why_charge[charges.argmin(axis=0)],
            discharge_reason=why_discharge[discharges.argmin(axis=0)],
            trickle_mw=np.minimum(short, charges.min(axis=0)),
        )

    def _bounds_mw(self, limits: _Limits, conditions: Conditions) -> tuple[Floats, Floats]:
        """Return the lowest and highest injection of a step [MW]."""
        highest = np.where(limits.trickle_mw > 0.0, -limits.trickle_mw, limits.discharge_mw)
        return within_connection(-limits.charge_mw, highest, conditions)

    def range_now(self, state: BatteryState, conditions: Conditions, dt_h: float) -> FeasibleRange:
        """Return what is possible in a step of ``dt_h`` hours."""
        check_step(KIND, len(self.ids), None, dt_h)
        low, high = self._bounds_mw(self._limits(state, dt_h), conditions)
        q = self.reactive_limit_mvar(high)
        room = (self.energy_mwh_max - state.energy_mwh) / self.efficiency_charge
        content = (state.energy_mwh - self.energy_mwh_min) * self.efficiency_discharge
        return FeasibleRange(
            injection_mw_min=low,
            injection_mw_max=high,
            injection_mvar_min=-q,
            injection_mvar_max=q,
            hold_min_h=hold_h(room, -low),
            hold_max_h=hold_h(content, high),
        )

    def unguided(
        self,
        state: BatteryState,
        conditions: Conditions,  # noqa: ARG002 - a battery at rest does not ask
        dt_h: float,  # noqa: ARG002
    ) -> Instruction:
        """Return rest: nobody has said what to do."""
        return Instruction.active(np.zeros_like(state.energy_mwh))

    def step(
        self, state: BatteryState, told: Instruction, conditions: Conditions, dt_h: float
    ) -> DeviceStep[BatteryState]:
        """Follow an instruction as far as possible for ``dt_h`` hours.

        e' = e (1 - self)^(dt / 24) + eff_c dt c - dt d / eff_d, with p = d - c. Active power comes
        before reactive power on the inverter.

        Raises
        ------
        InputError
            If the step has no length or the instruction is not finite.
        """
        check_step(KIND, len(self.ids), told, dt_h)
        limits = self._limits(state, dt_h)
        p = np.clip(told.injection_mw, *self._bounds_mw(limits, conditions)) + 0.0
        q_most = self.reactive_limit_mvar(p)
        q = np.clip(told.injection_mvar, -q_most, q_most) + 0.0
        charge, discharge = np.maximum(-p, 0.0), np.maximum(p, 0.0)
        energy = limits.kept_mwh + dt_h * (
            self.efficiency_charge * charge - discharge / self.efficiency_discharge
        )
        # The powers were limited by the energies: only the last bit of a float can be outside.
        energy = np.minimum(energy, self.energy_mwh_max)
        floor = np.minimum(self.energy_mwh_min, limits.kept_mwh)
        energy = np.maximum(energy, floor)
        return DeviceStep(
            state=BatteryState(energy_mwh=energy),
            injection_mw=p,
            injection_mvar=q,
            reasons=self._reasons(told, p, q, limits),
        )

    def _reasons(self, told: Instruction, p: Floats, q: Floats, limits: _Limits) -> Ints:
        reasons = np.full(len(self.ids), int(Reason.FOLLOWED))
        cut = not_followed(told.injection_mw, p)
        less_charge, less_discharge = cut & (p > told.injection_mw), cut & (p < told.injection_mw)
        reasons = np.where(less_charge, limits.charge_reason, reasons)
        reasons = np.where(less_discharge, limits.discharge_reason, reasons)
        own = np.where(less_charge, -limits.charge_mw, limits.discharge_mw)
        own = np.where(less_discharge & (limits.trickle_mw > 0.0), -limits.trickle_mw, own)
        reasons = np.where(cut & not_followed(own, p), int(Reason.CONNECTION), reasons)
        idle = ~cut & not_followed(told.injection_mvar, q)
        return np.where(idle, int(Reason.INVERTER), reasons)

    def to_orders(
        self,
        state: BatteryState,
        periods: Periods,
        *,
        participant: str,
        price_charge_eur_per_mwh: float = 0.0,
        price_discharge_eur_per_mwh: float = 0.0,
        energy_mwh_end_min: Floats | None = None,
        assets: tuple[str | None, ...] | None = None,
    ) -> tuple[StorageOrder, ...]:
        """Return one storage order per battery that it can follow wherever it is awarded.

        An order knows no power by state of charge. It therefore offers the energies between which
        power is full (widened to the energy there is), at the power that holds in all of them.

        Parameters
        ----------
        state : BatteryState
            Energies at the start of ``periods``.
        periods : Periods
            Horizon of the order.
        participant : str
            Who offers.
        price_charge_eur_per_mwh, price_discharge_eur_per_mwh : float
            Cost of a grid-side MWh, e.g. wear [EUR/MWh].
        energy_mwh_end_min : ndarray, optional
            Energy asked for at the end [MWh]; None: what there is at the start, less what is lost
            by itself, cut to what the order can hold.
        assets : tuple of (str or None), optional
            Network element of each.

        Raises
        ------
        InputError
            If an energy asked for lies outside the battery's window.
        """
        count, ones = len(self.ids), np.ones(len(periods))
        energy = state.energy_mwh
        high = np.maximum(self.soc_charge_full_power * self.energy_mwh_max, energy)
        low = np.maximum(
            self.energy_mwh_min,
            np.minimum(self.soc_discharge_full_power * self.energy_mwh_max, energy),
        )
        charge = floor_tick(self.charge_limit_mw(high))
        discharge = floor_tick(self.discharge_limit_mw(low))
        kept = energy * (1.0 - self.self_discharge_per_day) ** (periods.mtu_h * len(periods) / 24)
        end = np.clip(kept, low, high) if energy_mwh_end_min is None else energy_mwh_end_min
        outside = ~((end >= low) & (end <= high))
        if outside.any():
            raise InputError(
                [
                    Problem(
                        where=f"{KIND} {self.ids[k]}",
                        what=f"end energy {end[k]:g} outside {low[k]:g} to {high[k]:g} MWh",
                    )
                    for k in np.flatnonzero(outside)
                ]
            )
        return tuple(
            StorageOrder(
                id=self.ids[k],
                participant=participant,
                buses=((self.buses[k], 1.0),),
                asset=None if assets is None else assets[k],
                charge_mw_max=float(charge[k]) * ones,
                discharge_mw_max=float(discharge[k]) * ones,
                energy_mwh_min=float(low[k]),
                energy_mwh_max=float(high[k]),
                energy_mwh_start=float(energy[k]),
                energy_mwh_end_min=float(end[k]),
                efficiency_charge=float(self.efficiency_charge[k]),
                efficiency_discharge=float(self.efficiency_discharge[k]),
                price_charge_eur_per_mwh=price_charge_eur_per_mwh * ones,
                price_discharge_eur_per_mwh=price_discharge_eur_per_mwh * ones,
                self_discharge_per_day=float(self.self_discharge_per_day[k]),
                availability=ones,
            )
            for k in range(count)
        )


def soc(batteries: Batteries, state: BatteryState) -> Floats:
    """Return the state of charge, energy over the largest energy (0..1), shape (devices,)."""
    return state.energy_mwh / np.maximum(batteries.energy_mwh_max, POWER_TOLERANCE_MW)
