"""What all device models share: instructions, conditions, ranges, steps and reasons.

A record holds devices of one kind as columns: every array has shape (devices,). Powers are at the
grid connection, ``injection_*`` positive into the grid; a step is as long as the caller says, one
minute or a quarter-hour, with constant powers inside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem, refuse_if_any
from data.units import AWARD_TICK_MW, quantise_mw

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
StateT = TypeVar("StateT")
# Powers that differ by less are the same order carried out [MW].
POWER_TOLERANCE_MW: Final = 1e-9
# Instants that differ by less are the same [h]: far below a second.
TIME_TOLERANCE_H: Final = 1e-6


class Reason(IntEnum):
    """Why a device did not do what it was told; `REASON_TEXT` says it in words."""

    FOLLOWED = 0
    POWER_LIMIT = 1
    TAPER = 2
    FULL = 3
    EMPTY = 4
    LESS_AVAILABLE = 5
    INVERTER = 6
    POWER_FACTOR = 7
    NOT_PLUGGED = 8
    DEPARTURE = 9
    RESERVE = 10
    COMFORT = 11
    TOO_WARM = 12
    MIN_DURATION = 13
    MAX_DURATION = 14
    COOLDOWN = 15
    ACTIVATIONS = 16
    MIN_REDUCTION = 17
    RUNNING = 18
    WINDOW = 19
    CONNECTION = 20
    REBOUND = 21


REASON_TEXT: Final[Mapping[Reason, str]] = {
    Reason.FOLLOWED: "followed",
    Reason.POWER_LIMIT: "more than its power limit",
    Reason.TAPER: "less power at this state of charge",
    Reason.FULL: "full",
    Reason.EMPTY: "at its lowest energy",
    Reason.LESS_AVAILABLE: "less available than told",
    Reason.INVERTER: "inverter at its apparent power",
    Reason.POWER_FACTOR: "reactive power beyond its power factor",
    Reason.NOT_PLUGGED: "not plugged in",
    Reason.DEPARTURE: "must charge to leave with its energy",
    Reason.RESERVE: "keeps its reserve",
    Reason.COMFORT: "must heat to keep comfort",
    Reason.TOO_WARM: "store and rooms are warm enough",
    Reason.MIN_DURATION: "minimum duration not over",
    Reason.MAX_DURATION: "maximum duration reached",
    Reason.COOLDOWN: "cooling down after a run",
    Reason.ACTIVATIONS: "no activations left",
    Reason.MIN_REDUCTION: "less than its smallest reduction",
    Reason.RUNNING: "running, cannot be interrupted",
    Reason.WINDOW: "outside its window",
    Reason.CONNECTION: "limit of the grid connection",
    Reason.REBOUND: "draws again what it saved",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What devices are told for one step [MW, Mvar], each of shape (devices,)."""

    injection_mw: Floats
    injection_mvar: Floats

    @classmethod
    def active(cls, injection_mw: Floats) -> Instruction:
        """Return active powers with no reactive power."""
        powers = np.asarray(injection_mw, dtype=float)
        return cls(injection_mw=powers, injection_mvar=np.zeros_like(powers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the world is like during one step; each of shape (devices,), None where unknown.

    Parameters
    ----------
    power_mw : ndarray or None
        Active power without any instruction [MW], non-negative: what sun or wind would give,
        what a load would draw.
    outdoor_c : ndarray or None
        Outdoor temperature [degC].
    heat_gain_mw : ndarray or None
        Heat that people, appliances and sun bring into the rooms [MW]; None means 0.
    withdrawal_mw_max, injection_mw_max : ndarray or None
        Limit of the grid connection in force (operating envelope) [MW]; None means none. It
        wins over everything a device wants, and what is missed for it is named.
    """

    power_mw: Floats | None = None
    outdoor_c: Floats | None = None
    heat_gain_mw: Floats | None = None
    withdrawal_mw_max: Floats | None = None
    injection_mw_max: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeasibleRange:
    """What devices can do in the next step, and for how long; each of shape (devices,).

    Parameters
    ----------
    injection_mw_min, injection_mw_max : ndarray
        Bounds of the active power [MW].
    injection_mvar_min, injection_mvar_max : ndarray
        Bounds of the reactive power at ``injection_mw_max`` [Mvar].
    hold_min_h, hold_max_h : ndarray
        How long the lower and the upper active bound could be held [h]; inf where no state of
        the device ends it.
    """

    injection_mw_min: Floats
    injection_mw_max: Floats
    injection_mvar_min: Floats
    injection_mvar_max: Floats
    hold_min_h: Floats
    hold_max_h: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStep(Generic[StateT]):
    """What devices did in one step.

    Parameters
    ----------
    state : StateT
        State at the end of the step.
    injection_mw, injection_mvar : ndarray, shape (devices,)
        Delivered power, mean over the step [MW, Mvar].
    reasons : ndarray of int, shape (devices,)
        `Reason` why active or reactive power differs from the instruction; 0 where it does not.
    """

    state: StateT
    injection_mw: Floats
    injection_mvar: Floats
    reasons: Ints

    def remarks(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the reason in words for each device that did not follow."""
        return {
            device: REASON_TEXT[Reason(int(code))]
            for device, code in zip(ids, self.reasons, strict=True)
            if code != Reason.FOLLOWED
        }


class DeviceModel(Protocol[StateT]):
    """Devices of one kind, as columns."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Device ids, in the sequence of the columns."""
        ...

    def start(self) -> StateT:
        """Return the state at the beginning."""
        ...

    def range_now(self, state: StateT, conditions: Conditions, dt_h: float) -> FeasibleRange:
        """Return what is possible in a step of ``dt_h`` hours."""
        ...

    def unguided(self, state: StateT, conditions: Conditions, dt_h: float) -> Instruction:
        """Return what the devices do when nobody tells them anything."""
        ...

    def step(
        self, state: StateT, told: Instruction, conditions: Conditions, dt_h: float
    ) -> DeviceStep[StateT]:
        """Follow an instruction as far as possible for ``dt_h`` hours."""
        ...


def column_problems(
    kind: str,
    ids: Sequence[str],
    columns: Mapping[str, tuple[Floats, float, float]],
) -> list[Problem]:
    """Return a problem for each column of the wrong length and each value outside its bounds.

    Parameters
    ----------
    kind : str
        Kind of device, to name it.
    ids : sequence of str
        Device ids.
    columns : mapping of name to (values, lowest, highest)
        Values of shape (devices,) and their closed bounds; NaN is never inside.
    """
    problems = [
        Problem(where=f"{kind} {device}", what="the id is used twice", remedy="rename one")
        for device in sorted({each for each in ids if list(ids).count(each) > 1})
    ]
    if not ids:
        problems.append(Problem(where=kind, what="no devices"))
    for name, (values, low, high) in columns.items():
        if values.shape != (len(ids),):
            what = f"has shape {values.shape}, there are {len(ids)} devices"
            problems.append(Problem(where=f"{kind} {name}", what=what))
            continue
        inside = (values >= low) & (values <= high)
        problems += [
            Problem(
                where=f"{kind} {ids[place]}",
                what=f"{name} is {values[place]:g}",
                remedy=f"state {low:g} to {high:g}",
            )
            for place in np.flatnonzero(~inside).tolist()
        ]
    return problems


def pair_problems(
    kind: str, ids: Sequence[str], low: tuple[str, Floats], high: tuple[str, Floats]
) -> list[Problem]:
    """Return a problem for each device whose lower value exceeds its upper one."""
    if low[1].shape != high[1].shape:
        return []
    return [
        Problem(
            where=f"{kind} {ids[place]}",
            what=f"{low[0]} {low[1][place]:g} is above {high[0]} {high[1][place]:g}",
        )
        for place in np.flatnonzero(low[1] > high[1]).tolist()
    ]


def check_step(kind: str, count: int, told: Instruction | None, dt_h: float) -> None:
    """Refuse a step of no length and instructions that are no numbers.

    Raises
    ------
    InputError
        With all problems.
    """
    problems = []
    if not 0.0 < dt_h < np.inf:
        problems.append(Problem(where=f"{kind} step", what=f"its length is {dt_h} h"))
    if told is not None:
        for name, values in (("active", told.injection_mw), ("reactive", told.injection_mvar)):
            if values.shape != (count,) or not np.isfinite(values).all():
                what = f"{name} powers are not {count} finite values"
                problems.append(Problem(where=f"{kind} instruction", what=what))
    refuse_if_any(problems)


def needed(kind: str, name: str, values: Floats | None, count: int) -> Floats:
    """Return a condition that a kind of device cannot do without.

    Raises
    ------
    InputError
        If it is missing, has another shape or holds a value that is not finite.
    """
    if values is None or values.shape != (count,) or not np.isfinite(values).all():
        found = "is missing" if values is None else f"is not {count} finite values"
        raise InputError([Problem(where=f"{kind} conditions", what=f"{name} {found}")])
    return values


def within_connection(
    lowest_mw: Floats, highest_mw: Floats, conditions: Conditions
) -> tuple[Floats, Floats]:
    """Cut a range of injections [MW] to the limits of the connection, which win.

    Raises
    ------
    InputError
        If a limit is NaN or negative.
    """
    low, high = lowest_mw, highest_mw
    problems = []
    for name, limit, sign in (
        ("withdrawal_mw_max", conditions.withdrawal_mw_max, -1.0),
        ("injection_mw_max", conditions.injection_mw_max, 1.0),
    ):
        if limit is None:
            continue
        if limit.shape != low.shape or not (limit >= 0.0).all():
            what = f"{name} is not {len(low)} values of at least 0 MW"
            problems.append(Problem(where="connection", what=what))
        elif sign < 0.0:
            low, high = np.maximum(low, -limit), np.maximum(high, -limit)
        else:
            low, high = np.minimum(low, limit), np.minimum(high, limit)
    refuse_if_any(problems)
    return low, high


def not_followed(told_mw: Floats, done_mw: Floats) -> Bools:
    """Return where the power done differs from the power told."""
    return np.asarray(np.abs(told_mw - done_mw) > POWER_TOLERANCE_MW, dtype=np.bool_)


def floor_tick(power_mw: Floats) -> Floats:
    """Round powers down to the tick of 1e-6 MW, so that rounding never offers what is not there."""
    rounded = quantise_mw(power_mw)
    return np.where(rounded > power_mw, quantise_mw(rounded - AWARD_TICK_MW), rounded)


def hold_h(energy_mwh: Floats, rate_mw: Floats) -> Floats:
    """Return how long a rate [MW] can draw on an energy [MWh]; inf at no rate."""
    moving = rate_mw > POWER_TOLERANCE_MW
    return np.where(moving, np.maximum(energy_mwh, 0.0) / np.where(moving, rate_mw, 1.0), np.inf)
