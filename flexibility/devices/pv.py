"""PV plants: what the sun gives, curtailed on instruction, and reactive power of the inverter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods
from data.records.order import GenerationOrder, PriceStep, ReactiveRange
from flexibility.devices.common import (
    Conditions,
    DeviceStep,
    FeasibleRange,
    Floats,
    Instruction,
    Reason,
    check_step,
    column_problems,
    floor_tick,
    needed,
    not_followed,
    within_connection,
)
from flexibility.devices.volt_var import VoltVarCurve

KIND: Final = "PV plant"
LARGEST: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class PvState:
    """A PV plant has no memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PvPlants:
    """PV plants as columns; every array has shape (devices,).

    Their reactive power keeps |q| <= p tan(acos(power_factor_min)) and p^2 + q^2 <= s^2. Where the
    circle binds, active power gives way to reactive power, as VDE-AR-N 4105:2018-11 asks.

    Parameters
    ----------
    ids : tuple of str
        Device ids.
    buses : tuple of int
        Bus of each.
    s_mva_max : ndarray
        Apparent power of the inverter [MVA].
    power_factor_min : ndarray
        Smallest power factor, in (0, 1]; `power_factor_required` gives the standard's.

    Raises
    ------
    InputError
        With all problems of all devices.
    """

    ids: tuple[str, ...]
    buses: tuple[int, ...]
    s_mva_max: Floats
    power_factor_min: Floats

    def __post_init__(self) -> None:
        columns = {
            "s_mva_max": (self.s_mva_max, 0.0, LARGEST),
            "power_factor_min": (self.power_factor_min, 1e-6, 1.0),
        }
        problems = column_problems(KIND, self.ids, columns)
        if len(self.buses) != len(self.ids):
            problems.append(Problem(where=f"{KIND} buses", what="not one per device"))
        refuse_if_any(problems)

    def start(self) -> PvState:
        """Return the state at the beginning."""
        return PvState()

    def reactive_limit_mvar(self, injection_mw: Floats) -> Floats:
        """Return the largest |q| beside an active power [Mvar]; shape (devices,)."""
        by_factor = np.maximum(injection_mw, 0.0) * np.tan(np.arccos(self.power_factor_min))
        by_circle = np.sqrt(np.maximum(self.s_mva_max**2 - injection_mw**2, 0.0))
        return np.asarray(np.minimum(by_factor, by_circle))

    def volt_var(self, curve: VoltVarCurve, vm_pu: Floats, available_mw: Floats) -> Instruction:
        """Return what the plants do on their own with a Q(U) droop: all the sun gives, and the
        droop's share of the largest reactive power beside it.

        Raises
        ------
        InputError
            If a voltage or a power is missing or not finite.
        """
        count = len(self.ids)
        voltage = needed(KIND, "vm_pu", vm_pu, count)
        p = np.minimum(needed(KIND, "power_mw", available_mw, count), self.s_mva_max)
        largest = p * np.tan(np.arccos(self.power_factor_min))
        largest = np.minimum(largest, self.s_mva_max * np.sin(np.arccos(self.power_factor_min)))
        return Instruction(injection_mw=p, injection_mvar=curve.share(voltage) * largest)

    def _available_mw(self, conditions: Conditions) -> Floats:
        power = needed(KIND, "power_mw", conditions.power_mw, len(self.ids))
        # At night the inverter draws a little: nothing that an instruction could change.
        return np.minimum(power, self.s_mva_max)

    def range_now(
        self,
        state: PvState,  # noqa: ARG002 - no memory
        conditions: Conditions,
        dt_h: float,
    ) -> FeasibleRange:
        """Return what is possible in a step of ``dt_h`` hours."""
        check_step(KIND, len(self.ids), None, dt_h)
        available = self._available_mw(conditions)
        low, high = within_connection(np.minimum(available, 0.0), available, conditions)
        q, forever = self.reactive_limit_mvar(high), np.full(len(self.ids), np.inf)
        return FeasibleRange(
            injection_mw_min=low,
            injection_mw_max=high,
            injection_mvar_min=-q,
            injection_mvar_max=q,
            hold_min_h=forever,
            hold_max_h=forever,
        )

    def unguided(self, state: PvState, conditions: Conditions, dt_h: float) -> Instruction:
        """Return all that the sun gives, without reactive power."""
        return Instruction.active(self.range_now(state, conditions, dt_h).injection_mw_max)

    def step(
        self, state: PvState, told: Instruction, conditions: Conditions, dt_h: float
    ) -> DeviceStep[PvState]:
        """Follow an instruction as far as possible for ``dt_h`` hours.

        Raises
        ------
        InputError
            If the step has no length, the instruction or the available power is not finite.
        """
        check_step(KIND, len(self.ids), told, dt_h)
        possible = self.range_now(state, conditions, dt_h)
        available = self._available_mw(conditions)
        p_wanted = np.clip(told.injection_mw, possible.injection_mw_min, possible.injection_mw_max)
        tangent = np.tan(np.arccos(self.power_factor_min))
        q_most = np.maximum(p_wanted, 0.0) * tangent
        q = np.clip(told.injection_mvar, -q_most, q_most)
        # On the circle p gives way, but not so far that the power factor is left: at the corner
        # both bounds meet.
        corner = self.s_mva_max * np.sin(np.arccos(self.power_factor_min))
        q = np.clip(q, -corner, corner) + 0.0
        p = np.minimum(p_wanted, np.sqrt(np.maximum(self.s_mva_max**2 - q**2, 0.0))) + 0.0
        reasons = np.full(len(self.ids), int(Reason.FOLLOWED))
        for where, reason in (
            (not_followed(told.injection_mvar, q), Reason.POWER_FACTOR),
            (not_followed(told.injection_mw, p_wanted), Reason.CONNECTION),
            (told.injection_mw - available > 0.0, Reason.LESS_AVAILABLE),
            (not_followed(p_wanted, p), Reason.INVERTER),
        ):
            reasons = np.where(where, int(reason), reasons)
        same = ~not_followed(told.injection_mw, p) & ~not_followed(told.injection_mvar, q)
        reasons = np.where(same, int(Reason.FOLLOWED), reasons)
        return DeviceStep(state=state, injection_mw=p, injection_mvar=q, reasons=reasons)

    def to_orders(
        self,
        forecast_mw: Floats,
        periods: Periods,
        *,
        participant: str,
        price_eur_per_mwh: float = 0.0,
        assets: tuple[str | None, ...] | None = None,
    ) -> tuple[GenerationOrder, ...]:
        """Return one generation order per plant, with its reactive range.

        Power offered is cut to s x power_factor_min: there any award of active and reactive power
        that keeps the power factor lies inside the inverter's circle.

        Parameters
        ----------
        forecast_mw : ndarray, shape (devices, periods)
            Expected available power [MW]; a negative one is offered as 0.
        periods : Periods
            Horizon of the order.
        participant : str
            Who offers.
        price_eur_per_mwh : float
            Price asked [EUR/MWh].
        assets : tuple of (str or None), optional
            Network element of each.

        Raises
        ------
        InputError
            If the forecast has another shape or is not finite.
        """
        count = len(self.ids)
        if forecast_mw.shape != (count, len(periods)) or not np.isfinite(forecast_mw).all():
            what = f"is not {count} x {len(periods)} finite values"
            raise InputError([Problem(where=f"{KIND} forecast", what=what)])
        most = (self.s_mva_max * self.power_factor_min)[:, None]
        offered = floor_tick(np.clip(forecast_mw, 0.0, most))
        ones = np.ones(len(periods))
        return tuple(
            GenerationOrder(
                id=self.ids[k],
                participant=participant,
                buses=((self.buses[k], 1.0),),
                asset=None if assets is None else assets[k],
                reactive=(
                    None
                    if self.power_factor_min[k] >= 1.0
                    else ReactiveRange(power_factor_min=float(self.power_factor_min[k]))
                ),
                steps=(PriceStep(p_mw=offered[k], price_eur_per_mwh=price_eur_per_mwh * ones),),
                p_mw_min=0.0 * ones,
            )
            for k in range(count)
        )
