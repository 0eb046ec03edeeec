"""Heat pumps with a thermal store in front of a building that keeps warm by itself for a while.

The building is one temperature with a resistance to outdoors and a capacity (1R1C), solved exactly
over a step of constant powers; cf. Bacher and Madsen (2011), "Identifying suitable models for the
heat dynamics of buildings", Energy and Buildings 43(7), https://doi.org/10.1016/j.enbuild.2011.02.005:

    T' = T_eq + (T - T_eq) exp(-dt / (R C)),  T_eq = T_out + R (gain + heat)

The heat pump fills the store; the radiators take from it what holds the set temperature. What the
store cannot take warms the building up to the upper comfort bound; when the store is empty the
building cools to the lower one and no further: then the heat pump runs whatever it is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from data.errors import Problem, refuse_if_any
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
    hold_h,
    needed,
    not_followed,
    pair_problems,
    within_connection,
)
from flexibility.devices.cop import coefficient_of_performance, flow_temperature_c

KIND: Final = "heat pump"
LARGEST: Final = 1e6
# A comfort bound is kept to this; exponentials of floats are no better [K].
COMFORT_TOLERANCE_K: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatState:
    """Indoor temperature [degC], heat in the store [MWh], cold so far [K h]; shapes (devices,).

    ``cold_kh`` adds up by how much and how long a building was below its lower comfort bound.
    """

    indoor_c: Floats
    store_mwh: Floats
    cold_kh: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatStep:
    """What one step is made of; shapes (devices,), heat in MW.

    Parameters
    ----------
    cop : ndarray
        Heat over electric power.
    idle_c : ndarray
        Indoor temperature at the end of the step without any heating [degC].
    warming_k_per_mw : ndarray
        By how much one MW of heat raises it [K/MW].
    kept_mwh : ndarray
        Heat in the store at the end of the step if none goes in or out [MWh].
    set_mw, least_mw, most_mw : ndarray
        Heat that ends the step at the set temperature, the lower and the upper comfort bound.
    """

    cop: Floats
    idle_c: Floats
    warming_k_per_mw: Floats
    kept_mwh: Floats
    set_mw: Floats
    least_mw: Floats
    most_mw: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatPumps:
    """Heat pumps, their stores and buildings as columns; every array has shape (devices,).

    Parameters
    ----------
    ids : tuple of str
        Device ids.
    buses : tuple of int
        Bus of each.
    p_mw_max : ndarray
        Largest electric power [MW].
    floor_heating : ndarray
        1 where the floor is heated, 0 for radiators: it sets the flow temperature.
    resistance_k_per_mw, capacity_mwh_per_k : ndarray
        Of the building [K/MW, MWh/K].
    emission_mw_max : ndarray
        Largest heat that radiators or floor give off [MW].
    comfort_c_min, set_c, comfort_c_max : ndarray
        Comfort band and set temperature [degC].
    indoor_c_start : ndarray
        Indoor temperature at the beginning [degC].
    store_mwh_max, store_mwh_start : ndarray
        Heat that the store can hold, and holds at the beginning [MWh].
    store_loss_per_day : ndarray
        Share of the stored heat lost in a day, in [0, 1).

    Raises
    ------
    InputError
        With all problems of all devices.
    """

    ids: tuple[str, ...]
    buses: tuple[int, ...]
    p_mw_max: Floats
    floor_heating: Floats
    resistance_k_per_mw: Floats
    capacity_mwh_per_k: Floats
    emission_mw_max: Floats
    comfort_c_min: Floats
    set_c: Floats
    comfort_c_max: Floats
    indoor_c_start: Floats
    store_mwh_max: Floats
    store_mwh_start: Floats
    store_loss_per_day: Floats

    def __post_init__(self) -> None:
        columns = {
            "p_mw_max": (self.p_mw_max, 0.0, LARGEST),
            "floor_heating": (self.floor_heating, 0.0, 1.0),
            "resistance_k_per_mw": (self.resistance_k_per_mw, 1e-6, 1e9),
            "capacity_mwh_per_k": (self.capacity_mwh_per_k, 1e-9, LARGEST),
            "emission_mw_max": (self.emission_mw_max, 0.0, LARGEST),
            "comfort_c_min": (self.comfort_c_min, -50.0, 100.0),
            "set_c": (self.set_c, -50.0, 100.0),
            "comfort_c_max": (self.comfort_c_max, -50.0, 100.0),
            "indoor_c_start": (self.indoor_c_start, -50.0, 100.0),
            "store_mwh_max": (self.store_mwh_max, 0.0, LARGEST),
            "store_mwh_start": (self.store_mwh_start, 0.0, LARGEST),
            "store_loss_per_day": (self.store_loss_per_day, 0.0, 0.999999),
        }
        problems = column_problems(KIND, self.ids, columns)
        for less, more in (
            ("comfort_c_min", "set_c"),
            ("set_c", "comfort_c_max"),
            ("store_mwh_start", "store_mwh_max"),
        ):
            low, high = (less, getattr(self, less)), (more, getattr(self, more))
            problems += pair_problems(KIND, self.ids, low, high)
        if len(self.buses) != len(self.ids):
            problems.append(Problem(where=f"{KIND} buses", what="not one per device"))
        refuse_if_any(problems)

    def start(self) -> HeatState:
        """Return the state at the beginning."""
        return HeatState(
            indoor_c=self.indoor_c_start,
            store_mwh=self.store_mwh_start,
            cold_kh=np.zeros(len(self.ids)),
        )

    def cop(self, outdoor_c: Floats) -> Floats:
        """Return heat over electric power of these air-source heat pumps, shape (devices,)."""
        flow = np.where(
            self.floor_heating > 0.0,
            flow_temperature_c(outdoor_c, "floor"),
            flow_temperature_c(outdoor_c, "radiator"),
        )
        return coefficient_of_performance(outdoor_c, flow, "air")

    def heat_step(self, state: HeatState, conditions: Conditions, dt_h: float) -> HeatStep:
        """Return what a step of ``dt_h`` hours is made of.

        Raises
        ------
        InputError
            If the outdoor temperature is missing or not finite.
        """
        count = len(self.ids)
        outdoor = needed(KIND, "outdoor_c", conditions.outdoor_c, count)
        gain = (
            np.zeros(count)
            if conditions.heat_gain_mw is None
            else needed(KIND, "heat_gain_mw", conditions.heat_gain_mw, count)
        )
        decay = np.exp(-dt_h / (self.resistance_k_per_mw * self.capacity_mwh_per_k))
        settled = outdoor + self.resistance_k_per_mw * gain
        idle = settled + (state.indoor_c - settled) * decay
        warming = self.resistance_k_per_mw * (1.0 - decay)

        def heat_to(goal_c: Floats) -> Floats:
            return np.clip((goal_c - idle) / warming, 0.0, self.emission_mw_max)

        return HeatStep(
            cop=self.cop(outdoor),
            idle_c=idle,
            warming_k_per_mw=warming,
            kept_mwh=state.store_mwh * (1.0 - self.store_loss_per_day) ** (dt_h / 24.0),
            set_mw=heat_to(self.set_c),
            least_mw=heat_to(self.comfort_c_min),
            most_mw=heat_to(self.comfort_c_max),
        )

    def _bounds_mw(self, parts: HeatStep, dt_h: float) -> tuple[Floats, Floats]:
        """Return the least electric power that comfort needs and the most that finds a place."""
        least = np.clip((parts.least_mw - parts.kept_mwh / dt_h) / parts.cop, 0.0, self.p_mw_max)
        room = np.maximum(self.store_mwh_max - parts.kept_mwh, 0.0) / dt_h
        most = np.minimum((parts.most_mw + room) / parts.cop, self.p_mw_max)
        return least, np.maximum(most, least)

    def range_now(self, state: HeatState, conditions: Conditions, dt_h: float) -> FeasibleRange:
        """Return what is possible in a step of ``dt_h`` hours."""
        check_step(KIND, len(self.ids), None, dt_h)
        parts = self.heat_step(state, conditions, dt_h)
        least, most = self._bounds_mw(parts, dt_h)
        low, high = within_connection(-most, -least, conditions)
        zero = np.zeros(len(self.ids))
        # Heat in store and walls against what the set temperature takes.
        walls = self.capacity_mwh_per_k * (self.comfort_c_max - state.indoor_c)
        room = np.maximum(self.store_mwh_max - state.store_mwh, 0.0) + np.maximum(walls, 0.0)
        walls = self.capacity_mwh_per_k * (state.indoor_c - self.comfort_c_min)
        content = state.store_mwh + np.maximum(walls, 0.0)
        return FeasibleRange(
            injection_mw_min=low,
            injection_mw_max=high,
            injection_mvar_min=zero,
            injection_mvar_max=zero,
            hold_min_h=hold_h(room, -low * parts.cop - parts.set_mw),
            hold_max_h=hold_h(content, parts.set_mw + high * parts.cop),
        )

    def unguided(self, state: HeatState, conditions: Conditions, dt_h: float) -> Instruction:
        """Return what the thermostat asks for: the set temperature, and the store as at first."""
        parts = self.heat_step(state, conditions, dt_h)
        least, most = self._bounds_mw(parts, dt_h)
        refill = (self.store_mwh_start - parts.kept_mwh) / dt_h
        p = np.clip((parts.set_mw + refill) / parts.cop, least, most)
        low, _ = within_connection(-p, -p, conditions)
        return Instruction.active(low + 0.0)

    def step(
        self, state: HeatState, told: Instruction, conditions: Conditions, dt_h: float
    ) -> DeviceStep[HeatState]:
        """Follow an instruction as far as comfort and store allow, for ``dt_h`` hours.

        Raises
        ------
        InputError
            If the step has no length, or the instruction or the weather is not finite.
        """
        check_step(KIND, len(self.ids), told, dt_h)
        parts = self.heat_step(state, conditions, dt_h)
        least, most = self._bounds_mw(parts, dt_h)
        low, high = within_connection(-most, -least, conditions)
        p = np.clip(told.injection_mw, low, high) + 0.0
        made = -p * parts.cop
        given = np.minimum(parts.set_mw, made + parts.kept_mwh / dt_h)
        store = parts.kept_mwh + (made - given) * dt_h
        over = np.maximum(store - self.store_mwh_max, 0.0)
        given, store = given + over / dt_h, np.clip(store, 0.0, self.store_mwh_max)
        indoor = parts.idle_c + parts.warming_k_per_mw * given
        cold = np.maximum(self.comfort_c_min - COMFORT_TOLERANCE_K - indoor, 0.0)
        return DeviceStep(
            state=HeatState(indoor_c=indoor, store_mwh=store, cold_kh=state.cold_kh + cold * dt_h),
            injection_mw=p,
            injection_mvar=np.zeros(len(self.ids)),
            reasons=self._reasons(told, p, least, most),
        )

    def _reasons(self, told: Instruction, p: Floats, least: Floats, most: Floats) -> Ints:
        more, less = p < told.injection_mw, p > told.injection_mw
        full = most < self.p_mw_max - POWER_TOLERANCE_MW
        reasons = np.where(less & full, int(Reason.TOO_WARM), int(Reason.POWER_LIMIT))
        reasons = np.where(more & (least > 0.0), int(Reason.COMFORT), reasons)
        own = np.where(less, -most, -least)
        reasons = np.where(not_followed(own, p), int(Reason.CONNECTION), reasons)
        changed = not_followed(told.injection_mw, p)
        turned = ~changed & not_followed(told.injection_mvar, np.zeros(len(p)))
        reasons = np.where(changed, reasons, int(Reason.FOLLOWED))
        return np.where(turned, int(Reason.POWER_FACTOR), reasons)


def carries_comfort(pumps: HeatPumps, outdoor_c: Floats) -> Floats:
    """Return the heat [MW] that each heat pump has to spare at the lower comfort bound.

    Where it is not negative for the coldest outdoor temperature, no instruction can take the
    building below the bound; where it is, the heat pump or its radiators are too small.
    """
    need = (pumps.comfort_c_min - outdoor_c) / pumps.resistance_k_per_mw
    most = np.minimum(pumps.cop(outdoor_c) * pumps.p_mw_max, pumps.emission_mw_max)
    return np.asarray(most - need)
