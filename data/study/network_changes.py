"""Changes of a study to its network: one value of one element each, stated in ``study.toml``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeGuard

import numpy as np

from data.errors import Problem
from data.readers.transformer_taps import tap_phasor
from data.records.network import Network, TapChangers

ChangeValue = float | int | bool
SUBSTATION: Final = "ext_grid"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkChange:
    """One value of one network element.

    Parameters
    ----------
    element : str
        ``line:3``, ``trafo:0``, ``shunt:1``, or ``ext_grid``, the substation.
    field : str
        One of `CHANGEABLE`: names and units as pandapower's.
    value : float, int or bool
        The new value.
    """

    element: str
    field: str
    value: ChangeValue


CHANGEABLE: Final[dict[str, dict[str, str]]] = {
    "line": {
        "max_i_ka": "positive",
        "length_km": "positive",
        "r_ohm_per_km": "positive",
        "x_ohm_per_km": "positive",
        "parallel": "count",
        "in_service": "flag",
        "closed": "flag",
    },
    "trafo": {
        "sn_mva": "positive",
        "parallel": "count",
        "tap_pos": "number",
        "in_service": "flag",
        "closed": "flag",
    },
    "shunt": {"p_mw": "number", "q_mvar": "number", "in_service": "flag"},
    SUBSTATION: {"vm_pu": "positive"},
}
"""Element kind to field to what its value must be; ``closed`` sets the switches at both ends."""
_TABLES: Final = {"line": "lines", "trafo": "trafos", "shunt": "shunts"}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_WANTED: Final[dict[str, tuple[str, Callable[[object], bool]]]] = {
    "positive": ("a number above 0", lambda value: _is_number(value) and value > 0),
    "number": ("a finite number", _is_number),
    "count": (
        "a whole number of at least 1",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
    ),
    "flag": ("true or false", lambda value: isinstance(value, bool)),
}


def value_problem(kind: str, field: str, value: object) -> str:
    """Say what is wrong with kind, field or value of a change; empty when nothing is."""
    fields = CHANGEABLE.get(kind)
    if fields is None:
        return f"elements of kind {kind!r} cannot be changed; one of {', '.join(CHANGEABLE)}"
    if field not in fields:
        return f"{field!r} of a {kind} cannot be changed; one of {', '.join(fields)}"
    wanted, fits = _WANTED[fields[field]]
    return "" if fits(value) else f"{field} is {value!r}; state {wanted}"


def _place(network: Network, change: NetworkChange) -> tuple[str, int, str]:
    """Return kind and row of the changed element, and what is wrong if anything."""
    kind, _, number = change.element.partition(":")
    fault = value_problem(kind, change.field, change.value)
    if fault or kind == SUBSTATION:
        return kind, -1, fault or ("" if not number else "state it as ext_grid, without a number")
    table = getattr(network, _TABLES[kind])
    rows = np.flatnonzero(table.index == (int(number) if number.isdigit() else -1))
    if len(rows) != 1:
        return kind, -1, f"the network has no {kind} {number!r}"
    return kind, int(rows[0]), ""


def _tap_row(network: Network, change: NetworkChange) -> tuple[int, str]:
    """Return the row of the tap changer, and what is wrong if anything."""
    changers = network.tap_changers
    rows = np.flatnonzero(changers.trafo == int(change.element.partition(":")[2]))
    if not rows.size:
        return -1, "has no tap changer: the network states no tap_changer_type and tap_pos for it"
    row, value = int(rows[0]), float(change.value)
    low, high = float(changers.pos_min[row]), float(changers.pos_max[row])
    if value < low or value > high:
        return row, f"tap_pos is {value:g}; state {low:g} to {high:g}"
    return row, ""


def _with_value(
    network: Network, table_name: str, row: int, values: dict[str, ChangeValue]
) -> Network:
    table = getattr(network, table_name)
    columns = {}
    for field, value in values.items():
        column = getattr(table, field).copy()
        column[row] = value
        columns[field] = column
    return dataclasses.replace(network, **{table_name: dataclasses.replace(table, **columns)})


def _with_tap(network: Network, row: int, at: int, pos: float) -> Network:
    """Move a tap: the ratio of its side and the phase shift change by what the steps add."""
    changers, trafos = network.tap_changers, network.trafos
    moved = tap_phasor(changers, at, pos) / tap_phasor(changers, at, float(changers.pos[at]))
    column = "ratio_hv" if changers.side[at] == "hv" else "ratio_lv"
    sign = 1.0 if changers.side[at] == "hv" else -1.0
    network = _with_value(
        network,
        "trafos",
        row,
        {
            column: float(getattr(trafos, column)[row]) * abs(moved),
            "shift_degree": float(trafos.shift_degree[row])
            + sign * float(np.rad2deg(np.angle(moved))),
        },
    )
    positions = changers.pos.copy()
    positions[at] = pos
    fields = {name: getattr(changers, name) for name in TapChangers.__slots__}
    return dataclasses.replace(network, tap_changers=TapChangers(**{**fields, "pos": positions}))


def _with_change(network: Network, kind: str, row: int, change: NetworkChange) -> Network:
    if kind == SUBSTATION:
        return dataclasses.replace(network, slack_vm_pu=float(change.value))
    if change.field == "closed":
        ends = ("closed_from", "closed_to") if kind == "line" else ("closed_hv", "closed_lv")
        return _with_value(network, _TABLES[kind], row, dict.fromkeys(ends, change.value))
    return _with_value(network, _TABLES[kind], row, {change.field: change.value})


def change_network(
    network: Network, changes: Sequence[NetworkChange], problems: list[Problem]
) -> Network:
    """Return a network with some values of its elements changed.

    Parameters
    ----------
    network : Network
        The network; it is not changed.
    changes : sequence of NetworkChange
        Done one after the other.
    problems : list of Problem
        Collects every change that names no element, no changeable field or no possible value.
    """
    for change in changes:
        where = f"{change.element.replace(':', ' ')} {change.field}"
        kind, row, fault = _place(network, change)
        if not fault and change.field == "tap_pos":
            at, fault = _tap_row(network, change)
            if not fault:
                network = _with_tap(network, row, at, float(change.value))
        elif not fault:
            network = _with_change(network, kind, row, change)
        if fault:
            problems.append(Problem(where=where, what=fault))
    return network


def present_value(network: Network, element: str, field: str) -> ChangeValue | None:
    """Return the value that a change would replace; None where there is no such element.

    Parameters
    ----------
    element, field : str
        As in `NetworkChange`.
    """
    kind, _, number = element.partition(":")
    if kind == SUBSTATION:
        return network.slack_vm_pu
    if field == "tap_pos":
        changers = network.tap_changers
        at = np.flatnonzero(changers.trafo == int(number))
        return float(changers.pos[at[0]]) if at.size else None
    table = getattr(network, _TABLES[kind])
    rows = np.flatnonzero(table.index == int(number))
    if not rows.size:
        return None
    if field == "closed":
        ends = ("closed_from", "closed_to") if kind == "line" else ("closed_hv", "closed_lv")
        return all(bool(getattr(table, end)[rows[0]]) for end in ends)
    value: ChangeValue = getattr(table, field)[rows[0]].item()
    return value
