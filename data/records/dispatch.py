"""What devices are told, what they answer, and what they did.

`Setpoint` and `Delivery` are a whole day in MW; `Instruction`, `Acknowledgement` and `Telemetry`
are single messages at the device edge, in integer W, var and Wh, injection positive into the grid.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setpoint:
    """Power one asset is told to follow; never overwritten by what it did.

    ``injection_mw``/``injection_mvar`` have shape (periods,), positive into the grid.
    """

    order: str
    asset: str
    bus: int
    periods: Periods
    injection_mw: Floats
    injection_mvar: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What one asset did: metered injection [MW], state of charge at period end [MWh] if any."""

    order: str
    asset: str
    bus: int
    periods: Periods
    injection_mw: Floats
    injection_mvar: Floats
    soc_mwh: Floats | None = None
    remarks: tuple[str, ...] = ()


InstructionKind = Literal["setpoint", "envelope", "droop", "shed"]
INSTRUCTION_KINDS: Final[tuple[InstructionKind, ...]] = ("setpoint", "envelope", "droop", "shed")


class ActivationState(StrEnum):
    """How far an instruction has come; the last three are final."""

    ORDERED = "ordered"
    ACKNOWLEDGED = "acknowledged"
    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"


ACTIVATION_TRANSITIONS: Final[Mapping[ActivationState, frozenset[ActivationState]]] = (
    MappingProxyType(
        {
            ActivationState.ORDERED: frozenset(
                {ActivationState.ACKNOWLEDGED, ActivationState.FAILED, ActivationState.EXPIRED}
            ),
            ActivationState.ACKNOWLEDGED: frozenset(
                {ActivationState.ACTIVE, ActivationState.FAILED, ActivationState.EXPIRED}
            ),
            ActivationState.ACTIVE: frozenset({ActivationState.DONE, ActivationState.FAILED}),
            ActivationState.DONE: frozenset(),
            ActivationState.FAILED: frozenset(),
            ActivationState.EXPIRED: frozenset(),
        }
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DroopPoint:
    """One corner of a characteristic over the voltage, linear between corners, flat outside.

    Parameters
    ----------
    vm_pu : float
        Voltage magnitude [pu of nominal].
    q_var : int or None
        Reactive injection there [var]; None in every corner: this instruction sets no Q(U).
    p_max_w : int or None
        Most active injection there [W]; None in every corner: this instruction sets no P(U).
    """

    vm_pu: float
    q_var: int | None = None
    p_max_w: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One message to one asset, in force on ``[valid_from, expires_at)`` of the market's clock.

    Parameters
    ----------
    id : str
        Unique for the market.
    asset : str
        Who it is for, e.g. ``sgen:12``.
    sequence : int
        Grows from message to message of one asset; of a kind, the greater replaces the smaller
        for good from its ``valid_from`` on.
    kind : str
        ``setpoint`` (power to follow), ``envelope`` (limits to keep), ``droop`` (characteristics
        to follow while no setpoint is in force) or ``shed`` (limits of an emergency).
    issued_at, valid_from, expires_at : datetime
        UTC, on the market's clock.
    reason : str
        Why it was given, for whoever is affected.
    p_w, q_var : int or None
        Setpoint: injection [W, var]; None leaves it to the device.
    p_min_w, p_max_w : int or None
        Envelope and shed: least and most injection [W]; import is negative.
    droop : tuple of DroopPoint
        Corners with rising voltage.

    Raises
    ------
    InputError
        With all problems: an instant without UTC offset or out of order, fields that do not
        belong to the kind or are missing, corners that do not rise.
    """

    id: str
    asset: str
    sequence: int
    kind: InstructionKind
    issued_at: datetime
    valid_from: datetime
    expires_at: datetime
    reason: str
    p_w: int | None = None
    q_var: int | None = None
    p_min_w: int | None = None
    p_max_w: int | None = None
    droop: tuple[DroopPoint, ...] = ()

    def __post_init__(self) -> None:
        where = f"instruction {self.id}"
        refuse_if_any(Problem(where=where, what=what) for what in _instruction_problems(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """A device's answer to one instruction.

    Parameters
    ----------
    asset, instruction : str
        Who answers, and which instruction.
    accepted : bool
        Whether it will be followed.
    reason : str
        Why not, e.g. ``duplicate``, ``older_sequence``, ``expired``, ``other_device``,
        ``not_signed``; ``accepted`` else.
    at : datetime
        The device's wall clock, UTC; it may be wrong and nothing is decided by it.
    """

    asset: str
    instruction: str
    accepted: bool
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What a device measured of itself.

    Parameters
    ----------
    asset : str
        Who measured.
    at : datetime
        The device's wall clock, UTC; the market orders telemetry by its own time of receipt.
    p_w, q_var : int
        Injection [W, var].
    vm_pu : float or None
        Voltage at its terminals [pu].
    soc_wh : int or None
        Energy in its store, as it says [Wh].
    active : str or None
        Id of the setpoint it follows; None: none is in force.
    in_force : tuple of str
        Ids of all instructions in force, the setpoint included.
    """

    asset: str
    at: datetime
    p_w: int
    q_var: int
    vm_pu: float | None = None
    soc_wh: int | None = None
    active: str | None = None
    in_force: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Whether a device is reachable, said by itself or by its broker after it was lost."""

    asset: str
    online: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationChange:
    """One transition of an activation: when on the market's clock, and why."""

    state: ActivationState
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """An instruction with everything that became of it, oldest change first."""

    instruction: Instruction
    changes: tuple[ActivationChange, ...]

    @property
    def state(self) -> ActivationState:
        """Where it stands now."""
        return self.changes[-1].state


def _instruction_problems(told: Instruction) -> list[str]:
    """Return what is wrong with an instruction, each in words."""
    found = [
        f"{name} is empty" for name in ("id", "asset", "reason") if not getattr(told, name).strip()
    ]
    numbers = ("sequence", "p_w", "q_var", "p_min_w", "p_max_w")
    found += [
        f"{name} {value!r} is not a whole number"
        for name in numbers
        if (value := getattr(told, name)) is not None and type(value) is not int
    ]
    if not found and told.sequence < 0:
        found.append(f"sequence {told.sequence} is negative")
    instants = (told.issued_at, told.valid_from, told.expires_at)
    if any(instant.tzinfo is None for instant in instants):
        found.append("an instant carries no UTC offset")
    elif not (told.valid_from < told.expires_at and told.issued_at < told.expires_at):
        found.append("expires_at does not lie after issued_at and valid_from")
    given = {
        name for name in ("p_w", "q_var", "p_min_w", "p_max_w") if getattr(told, name) is not None
    } | ({"droop"} if told.droop else set())
    allowed = {
        "setpoint": {"p_w", "q_var"},
        "envelope": {"p_min_w", "p_max_w"},
        "shed": {"p_min_w", "p_max_w"},
        "droop": {"droop"},
    }.get(told.kind)
    if allowed is None:
        return [*found, f"kind {told.kind!r} is none of {', '.join(INSTRUCTION_KINDS)}"]
    if given - allowed:
        found.append(f"{', '.join(sorted(given - allowed))} does not belong to a {told.kind}")
    if not given & allowed:
        found.append(f"a {told.kind} needs {' or '.join(sorted(allowed))}")
    if told.p_min_w is not None and told.p_max_w is not None and told.p_min_w > told.p_max_w:
        found.append(f"p_min_w {told.p_min_w} is above p_max_w {told.p_max_w}")
    if told.droop:
        found += _droop_problems(told.droop)
    return found


def _droop_problems(corners: tuple[DroopPoint, ...]) -> list[str]:
    found = []
    voltages = [corner.vm_pu for corner in corners]
    if not all(np.isfinite(voltages)) or min(voltages) <= 0.0:
        found.append("a droop voltage is not a positive number")
    elif any(after <= before for before, after in itertools.pairwise(voltages)):
        found.append("droop voltages do not rise")
    found += [
        f"{name} stands in some droop corners and not in all"
        for name in ("q_var", "p_max_w")
        if len({getattr(corner, name) is None for corner in corners}) > 1
    ]
    if all(corner.q_var is None and corner.p_max_w is None for corner in corners):
        found.append("the droop sets neither q_var nor p_max_w")
    return found
