"""Volt-VAR and volt-watt settings computed ahead: what inverters do when nobody calls.

Every inverter gets a droop Q(U), zero in a dead band and full at its ends, and a cap P(U) falling
from all to nothing below the upper voltage limit. The settings are the mildest of a list for which
no limit is broken in any of the states that are expected, at the point where droops and grid
agree,

    s_i = min(p_i, P(|V_i|)) + j Q(|V_i|),    A V + Y_L0 V0 = conj(s / V),

found by relaxed iteration, as inverters with a lag do. Mildest: least energy curtailed, then least
reactive power.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from opf.power_flow import PowerFlowDiverged
from opf.problems.monitored_grid import MonitoredGrid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

RELAXATION: Final = 0.35
ROUNDS_MAX: Final = 200
AGREED_PU: Final = 1e-6
# Dead bands and widths tried, measured from the upper voltage limit downwards [pu].
DEAD_BAND_BELOW_LIMIT: Final = (0.01, 0.02, 0.03, 0.04)
FULL_BELOW_LIMIT: Final = (0.0, 0.01)
WATT_BELOW_LIMIT: Final = (0.005, 0.01, 0.02)
# P(U) reaches nothing this far below the limit: rounding of settings and of readings.
NOTHING_BELOW_LIMIT: Final = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class Inverters:
    """Who follows a droop; arrays of shape (inverters,).

    Parameters
    ----------
    name : tuple of str
        Asset ids.
    bus : ndarray of int
        Where each is connected.
    p_mw_max : ndarray
        Rated active power [MW].
    tan_max : ndarray
        |q| <= tan_max p: what the grid code lets the inverter give.
    vm_pu_min, vm_pu_max : ndarray
        Voltage limits at its bus [pu].
    """

    name: tuple[str, ...]
    bus: Ints
    p_mw_max: Floats
    tan_max: Floats
    vm_pu_min: Floats
    vm_pu_max: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class DroopSettings:
    """One set of corners, relative to each inverter's own voltage limits [pu].

    Q(U): full export of vars at ``vm_min + full``, none from ``vm_min + dead`` to
    ``vm_max - dead``, full draw at ``vm_max - full``. P(U): all up to ``vm_max - watt``, nothing at
    ``vm_max - NOTHING_BELOW_LIMIT``.
    """

    dead: float
    full: float
    watt: float

    def corners(self, vm_pu_min: float, vm_pu_max: float) -> tuple[Floats, Floats, Floats]:
        """Return voltages [pu] with rising values, and there the share of q (+1 full export) and
        the share of p.
        """
        ups = [vm_pu_max - self.dead, vm_pu_max - self.full]
        lows = [vm_pu_min + self.full, vm_pu_min + self.dead]
        watts = [vm_pu_max - self.watt, vm_pu_max - NOTHING_BELOW_LIMIT]
        voltage = np.unique(np.array(lows + ups + watts))
        q = np.interp(voltage, lows + ups, [1.0, 0.0, 0.0, -1.0])
        p = np.interp(voltage, watts, [1.0, 0.0])
        return voltage, q, p


@dataclass(frozen=True, slots=True, kw_only=True)
class DroopAnswer:
    """The settings chosen, and how the expected states look under them.

    Parameters
    ----------
    settings : DroopSettings
        For all inverters.
    holds : bool
        Whether no limit is broken in any state; else the settings are those that break least.
    curtailed_mw : float
        Active power that P(U) takes, mean over the states.
    reactive_mvar : float
        Reactive power drawn or given, mean over the states.
    over_without, over_with : float
        Largest excess over a limit as a share of its tolerance-free bound, without and with droop;
        below 0: all hold.
    tried : int
        Settings tried.
    """

    settings: DroopSettings
    holds: bool
    curtailed_mw: float
    reactive_mvar: float
    over_without: float
    over_with: float
    tried: int


def choose_droops(
    at: MonitoredGrid, other: Complexes, available_mw: Floats, inverters: Inverters
) -> DroopAnswer:
    """Return the mildest droop settings under which the expected states keep every limit.

    Parameters
    ----------
    at : MonitoredGrid
        The grid and its limits.
    other : ndarray of complex, shape (nodes, states)
        What injects beside the inverters in each state that is expected [MW + j Mvar].
    available_mw : ndarray, shape (inverters, states)
        What each inverter would feed in [MW].
    inverters : Inverters
        Who follows.

    Raises
    ------
    InputError
        With everything that is not finite, and inverters without voltage limits.
    """
    _refuse_unusable(other, available_mw, inverters)
    node = at.nodes_of(inverters.bus)
    alone = other.copy()
    np.add.at(alone, node, available_mw + 0j)
    without = _worst(at, alone)
    best: tuple[tuple[bool, float, float, float], DroopSettings, float] | None = None
    tried = 0
    for dead, full, watt in product(DEAD_BAND_BELOW_LIMIT, FULL_BELOW_LIMIT, WATT_BELOW_LIMIT):
        if full >= dead:
            continue
        settings = DroopSettings(dead=dead, full=full, watt=watt)
        tried += 1
        settled = settle_droops(at, other, available_mw, inverters, settings)
        if settled is None:
            continue
        power, worst = settled
        curtailed = float((available_mw - power.real).sum(axis=0).mean())
        reactive = float(np.abs(power.imag).sum(axis=0).mean())
        holds = worst <= 0.0
        rank = (not holds, 0.0 if holds else worst, round(curtailed, 3), reactive)
        if best is None or rank < best[0]:
            best = rank, settings, worst
    assert best is not None, "some droop always settles: the relaxation is far below one"
    rank, settings, worst = best
    return DroopAnswer(
        settings=settings,
        holds=not rank[0],
        curtailed_mw=rank[2],
        reactive_mvar=rank[3],
        over_without=without,
        over_with=worst,
        tried=tried,
    )


def settle_droops(
    at: MonitoredGrid,
    other: Complexes,
    available_mw: Floats,
    inverters: Inverters,
    settings: DroopSettings,
) -> tuple[Complexes, float] | None:
    """Let droops and grid come to agree.

    Returns
    -------
    (power, worst) or None
        Powers of the inverters, shape (inverters, states) [MW + j Mvar], and the largest excess
        over a limit, relative; None where they do not agree or there is no AC state.
    """
    node = at.nodes_of(inverters.bus)
    bounds, group = np.unique(
        np.stack([inverters.vm_pu_min, inverters.vm_pu_max], axis=1), axis=0, return_inverse=True
    )
    curves = [settings.corners(low, high) for low, high in bounds.tolist()]
    injection = other.copy()
    np.add.at(injection, node, available_mw + 0j)
    try:
        vm = np.abs(at.state(injection).v[node])
        for _ in range(ROUNDS_MAX):
            p = np.empty_like(available_mw)
            q = np.empty_like(available_mw)
            for number, (voltage, q_share, p_share) in enumerate(curves):
                rows = group.ravel() == number
                cap = np.interp(vm[rows], voltage, p_share) * inverters.p_mw_max[rows, None]
                p[rows] = np.minimum(available_mw[rows], cap)
                largest = np.maximum(p[rows], 0.0) * inverters.tan_max[rows, None]
                q[rows] = np.interp(vm[rows], voltage, q_share) * largest
            injection = other.copy()
            np.add.at(injection, node, p + 1j * q)
            found = np.abs(at.state(injection).v[node])
            if float(np.abs(found - vm).max(initial=0.0)) < AGREED_PU:
                return p + 1j * q, _worst(at, injection)
            vm = vm + RELAXATION * (found - vm)
    except PowerFlowDiverged:
        return None
    return None


def _worst(at: MonitoredGrid, injection: Complexes) -> float:
    """Largest excess over a limit beyond rounding, relative to the limit."""
    try:
        state = at.state(injection)
    except PowerFlowDiverged:
        return np.inf
    over = at.values(state) - at.limits.maximum[:, None] - at.tolerance[:, None]
    return float((over / np.maximum(np.abs(at.limits.maximum), 1e-9)[:, None]).max())


def _refuse_unusable(other: Complexes, available_mw: Floats, inverters: Inverters) -> None:
    problems = [
        Problem(where=name, what="has no finite voltage limits, rating or power factor")
        for row, name in enumerate(inverters.name)
        if not np.isfinite(
            [
                inverters.vm_pu_min[row], inverters.vm_pu_max[row], inverters.p_mw_max[row],
                inverters.tan_max[row],
            ]
        ).all()
    ]  # fmt: skip
    for name, array in (("other", other), ("available_mw", available_mw)):
        if not np.isfinite(array).all():
            problems.append(Problem(where=name, what="holds values that are not finite"))
    refuse_if_any(problems)
