"""One minute of the running market: what devices report, against what the market wants of them.

Nothing is remembered between minutes but what the store holds. The state of the grid is estimated
from the reports; where the positions of the market would break a limit in it, the correction finds
the least-cost change; where that does not mend it, the next steps are envelopes and the shed list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.records.dispatch import Telemetry
from data.units import MICRO_PER_UNIT
from dso.realtime.steps import Escalation, Situation, escalate
from opf.power_flow import PowerFlowDiverged
from opf.problems.correction import Correction, Units, correct_setpoints
from opf.problems.envelopes import Connections, FairnessRule
from opf.problems.estimated_state import Measured, estimate_state
from opf.problems.monitored_grid import MonitoredGrid
from opf.problems.shed import Sheddable, ShedRule

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Complexes = NDArray[np.complex128]

VOLTAGE_MARGIN_PU: Final = 0.002
LOADING_MARGIN_PERCENT: Final = 2.0
STORAGE_EUR_PER_MWH: Final = 5.0
CURTAIL_FLOOR_EUR_PER_MWH: Final = 20.0
VAR_EUR_PER_MVARH: Final = 1.0
# A plant below its setpoint may have by so much of its rating more a minute later.
RELEASE_SHARE: Final = 0.05
# Off its setpoint by more than this share of its rating, and 0.1 kW, a device does not follow.
ASTRAY_SHARE: Final = 0.02
ASTRAY_MW: Final = 1e-4
# What is expected of a node is wrong by so much of itself, and of the largest node [1].
NODE_ERROR_SHARE: Final = 0.2
LEAST_ERROR_SHARE: Final = 0.05
# Error of the substation's meter, as a share of its reading and at least [1, MW].
EXCHANGE_ERROR_SHARE: Final = 0.01
LEAST_ERROR_MW: Final = 5e-4
# In standard errors of a reading; beyond it the error of what was expected is doubled.
MISFIT_MAX: Final = 1.0
WIDENED_MAX: Final = 8
HOLDS: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketDevices:
    """What the market can tell something; every array has shape (devices,).

    Parameters
    ----------
    name : tuple of str
        Asset ids, none twice.
    bus : ndarray of int
        Where each is connected.
    is_storage : ndarray of bool
        Storages turn both ways, plants can only be curtailed.
    p_mw, q_mvar : ndarray
        Position in this period [MW, Mvar].
    rating_mw : ndarray
        Most it injects or takes [MW].
    tan_max : ndarray
        Reactive power it offers, as tan(phi); 0: none beyond its position.
    energy_mwh_min, energy_mwh_max, efficiency_charge, efficiency_discharge : ndarray
        Of storages.
    told_mw : ndarray
        What each was told a while ago; NaN: nothing [MW].
    """

    name: tuple[str, ...]
    bus: Ints
    is_storage: Bools
    p_mw: Floats
    q_mvar: Floats
    rating_mw: Floats
    tan_max: Floats
    energy_mwh_min: Floats
    energy_mwh_max: Floats
    efficiency_charge: Floats
    efficiency_discharge: Floats
    told_mw: Floats

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlexibleLoads:
    """Loads that may be given an envelope; every array has shape (loads,).

    The correction does not turn to them: what they draw they bought. Only where setpoints do not
    suffice their flexible part is shared by the fairness rule.

    Parameters
    ----------
    name : tuple of str
        Asset ids, none twice and none a device's.
    bus : ndarray of int
        Where each is connected.
    flexible_mw, firm_mw : ndarray
        What each draws beyond what it must take, and what it must take [MW].
    tan : ndarray
        Reactive power it draws with each MW.
    """

    name: tuple[str, ...]
    bus: Ints
    flexible_mw: Floats
    firm_mw: Floats
    tan: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What is known when a minute begins.

    Parameters
    ----------
    now : datetime
        Its beginning, UTC.
    others : ndarray of complex, shape (nodes,)
        Expected injection of everything that is no device [MW + j Mvar].
    reports : mapping
        Last recent report of each asset.
    exchange : complex or None
        Import at the substation by its own meter [MW + j Mvar]; None where it does not report.
    loads : Sheddable
        Loads that may be taken off, part of ``others``.
    flexible : FlexibleLoads
        Loads that may be given an envelope, part of ``others``.
    price_eur_per_mwh : float
        What a MWh that is not fed in would have earned.
    fairness, shed : str
        Rules of the market for envelopes and for the shed list.
    """

    now: datetime
    others: Complexes
    reports: Mapping[str, Telemetry]
    exchange: complex | None
    loads: Sheddable
    flexible: FlexibleLoads
    price_eur_per_mwh: float
    fairness: FairnessRule
    shed: ShedRule


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteAnswer:
    """What each device is told, and what that rests on.

    Arrays have shape (devices,), rows as ``name``; ``reason`` is empty where the position stands.
    ``correction`` is None where the state could not be estimated, ``escalation`` where no further
    step was needed.
    """

    name: tuple[str, ...]
    p_mw: Floats
    q_mvar: Floats
    reason: tuple[str, ...]
    correction: Correction | None
    escalation: Escalation | None
    fallbacks: tuple[str, ...]


def correct_minute(at: MonitoredGrid, devices: MarketDevices, minute: Minute) -> MinuteAnswer:
    """Return what devices are told so that the measured grid keeps its limits.

    Parameters
    ----------
    at : MonitoredGrid
        The grid and its limits.
    devices : MarketDevices
        Who can be told something.
    minute : Minute
        What is known.
    """
    heard = np.array([name in minute.reports for name in devices.name], dtype=bool)
    p_now, q_now = _power_now(devices, minute, heard)
    as_is = ~heard | _astray(devices, p_now)
    try:
        others = _estimate(at, devices, minute, p_now + 1j * q_now, heard)
    except PowerFlowDiverged as error:
        return _position(devices, f"no_power_flow: the measured state has no AC solution ({error})")
    units = _units(devices, minute, (p_now, q_now), as_is)
    margin = at.margins(VOLTAGE_MARGIN_PU, LOADING_MARGIN_PERCENT)
    correction = correct_setpoints(at, others, units, margin)
    if not correction.before and not correction.fallback:
        return _position(devices, "", correction)
    held = ", ".join(" ".join(map(str, limit)) for limit in correction.binding[:3])
    why = f"correction: {held or 'limits'} held"
    p = np.where(correction.changed, correction.p_mw, devices.p_mw)
    q = np.where(correction.changed, correction.q_mvar, devices.q_mvar)
    reason = [why if each else "" for each in (correction.changed & ~as_is).tolist()]
    p, q = np.where(as_is, devices.p_mw, p), np.where(as_is, devices.q_mvar, q)
    fallbacks = [correction.fallback] if correction.fallback else []
    step = None
    if correction.unmended or correction.fallback:
        try:
            step = _escalate(at, devices, minute, (others, units, correction), as_is)
        except (InputError, PowerFlowDiverged) as error:
            fallbacks.append(f"no_envelopes: limits stay broken ({error})")
        else:
            p = _inside(devices, p, reason, step)
    return MinuteAnswer(
        name=devices.name,
        p_mw=p,
        q_mvar=q,
        reason=tuple(reason),
        correction=correction,
        escalation=step,
        fallbacks=tuple(fallbacks),
    )


def _position(
    devices: MarketDevices, fallback: str, correction: Correction | None = None
) -> MinuteAnswer:
    return MinuteAnswer(
        name=devices.name,
        p_mw=devices.p_mw,
        q_mvar=devices.q_mvar,
        reason=("",) * len(devices),
        correction=correction,
        escalation=None,
        fallbacks=(fallback,) if fallback else (),
    )


def _power_now(devices: MarketDevices, minute: Minute, heard: Bools) -> tuple[Floats, Floats]:
    """Return what each injects: its report, or what it was told last."""
    last = np.where(np.isnan(devices.told_mw), devices.p_mw, devices.told_mw)
    p, q = last.copy(), devices.q_mvar.copy()
    for row in np.flatnonzero(heard).tolist():
        report = minute.reports[devices.name[row]]
        p[row], q[row] = report.p_w / MICRO_PER_UNIT, report.q_var / MICRO_PER_UNIT
    return p, q


def _astray(devices: MarketDevices, p_now: Floats) -> Bools:
    """Mark who does neither what it was told before nor what its position says now."""
    limit = np.maximum(ASTRAY_SHARE * devices.rating_mw, ASTRAY_MW)

    def off(wanted: Floats) -> Bools:
        over = p_now - wanted
        return np.asarray(np.where(devices.is_storage, np.abs(over), over) > limit)

    told = ~np.isnan(devices.told_mw)
    return told & off(np.where(told, devices.told_mw, 0.0)) & off(devices.p_mw)


def _estimate(
    at: MonitoredGrid, devices: MarketDevices, minute: Minute, power: Complexes, heard: Bools
) -> Complexes:
    """Return what injects beside the devices, as the reported voltages have it."""
    node = at.nodes_of(devices.bus)
    own = np.zeros(at.grid.node_count, dtype=complex)
    np.add.at(own, node, power)
    size = np.abs(minute.others)
    deviation = NODE_ERROR_SHARE * size + LEAST_ERROR_SHARE * float(size.max(initial=0.0))
    np.add.at(deviation, node[~heard], 0.3 * devices.rating_mw[~heard])
    deviation[0] = 0.0
    volts: dict[int, float] = {}
    for row in np.flatnonzero(heard).tolist():
        reading = minute.reports[devices.name[row]].vm_pu
        if reading is not None and node[row] > 0:
            volts.setdefault(int(node[row]), reading)
    measured = Measured(
        nodes=np.array(list(volts), dtype=np.int64),
        vm_pu=np.array(list(volts.values()), dtype=float),
        exchange=minute.exchange,
        exchange_deviation_mw=EXCHANGE_ERROR_SHARE * abs(minute.exchange or 0.0) + LEAST_ERROR_MW,
    )
    # One reading that misses is wrong; where all of them miss, the expectation is.
    estimate = estimate_state(at, own + minute.others, deviation, measured)
    for _ in range(WIDENED_MAX):
        if 2 * len(estimate.suspects) <= len(volts) and estimate.residual_max <= MISFIT_MAX:
            break
        deviation *= 2.0
        estimate = estimate_state(at, own + minute.others, deviation, measured)
    return estimate.injection - own


def _units(
    devices: MarketDevices, minute: Minute, now: tuple[Floats, Floats], as_is: Bools
) -> Units:
    """Return every device as a unit; who is taken as it is can do nothing else."""
    p_now, q_now = now
    low, high = _storage_range(devices, minute)
    step = RELEASE_SHARE * devices.rating_mw
    below = p_now < devices.told_mw - np.maximum(0.1 * step, ASTRAY_MW)  # NaN: not below
    available = np.where(below, np.maximum(p_now, 0.0) + step, np.inf)
    p = np.where(devices.is_storage, devices.p_mw, np.minimum(devices.p_mw, available))
    low = np.where(devices.is_storage, np.minimum(low, p), np.minimum(0.0, p))
    high = np.where(devices.is_storage, np.maximum(high, p), p)
    p = np.where(as_is, p_now, p)
    q = np.where(as_is, q_now, devices.q_mvar)
    turns = (devices.tan_max > 0.0) & ~as_is
    room = devices.tan_max * np.maximum(p, 0.0)
    q = np.where(turns, np.clip(q, -room, room), q)
    most = np.where(turns, devices.tan_max * devices.rating_mw, 0.0)
    price = np.where(
        devices.is_storage,
        STORAGE_EUR_PER_MWH,
        max(minute.price_eur_per_mwh, CURTAIL_FLOOR_EUR_PER_MWH),
    )
    return Units(
        name=devices.name,
        bus=devices.bus,
        p_mw=p,
        q_mvar=q,
        p_mw_min=np.where(as_is, p, low),
        p_mw_max=np.where(as_is, p, high),
        q_mvar_min=np.where(turns, -most, q),
        q_mvar_max=np.where(turns, most, q),
        tan_max=np.where(turns, devices.tan_max, np.inf),
        up_eur_per_mwh=price,
        down_eur_per_mwh=price,
        var_eur_per_mvarh=np.full(len(devices), VAR_EUR_PER_MVARH),
    )


def _storage_range(devices: MarketDevices, minute: Minute) -> tuple[Floats, Floats]:
    """Return powers that the reported energy carries while a setpoint may hold [MW].

    A storage that reports no energy may only do less of what its position says.
    """
    hours = HOLDS.total_seconds() / 3600.0
    low, high = np.minimum(devices.p_mw, 0.0), np.maximum(devices.p_mw, 0.0)
    for row in np.flatnonzero(devices.is_storage).tolist():
        report = minute.reports.get(devices.name[row])
        if report is None or report.soc_wh is None:
            continue
        energy = report.soc_wh / MICRO_PER_UNIT
        room = (devices.energy_mwh_max[row] - energy) / devices.efficiency_charge[row]
        content = (energy - devices.energy_mwh_min[row]) * devices.efficiency_discharge[row]
        low[row] = -min(max(room / hours, 0.0), devices.rating_mw[row])
        high[row] = min(max(content / hours, 0.0), devices.rating_mw[row])
    return low, high


def _escalate(
    at: MonitoredGrid,
    devices: MarketDevices,
    minute: Minute,
    found: tuple[Complexes, Units, Correction],
    as_is: Bools,
) -> Escalation:
    """Give envelopes to who follows; who does not is background and first on the shed list.

    Everybody asks for what the market wants of it: room for more would be taken from others.
    """
    others, units, correction = found
    node, flexible, loads = at.nodes_of(devices.bus), minute.flexible, minute.loads
    draw = flexible.flexible_mw * (1.0 + 1j * flexible.tan)
    background, offered = others.copy(), others.copy()
    np.add.at(background, node[as_is], (units.p_mw + 1j * units.q_mvar)[as_is])
    np.add.at(background, at.nodes_of(flexible.bus), draw)
    np.add.at(offered, node, correction.p_mw + 1j * correction.q_mvar)
    rows, none = np.flatnonzero(~as_is), np.zeros(len(flexible.name))
    heard = np.array([name in minute.reports for name in devices.name], dtype=bool)
    astray = np.flatnonzero(as_is & heard & (np.abs(units.p_mw) > 0.0))
    # the flexible part of a load is not in the background that others are shed from
    drawn = dict(zip(flexible.name, draw.tolist(), strict=True))
    firm = loads.injection + np.array([drawn.get(name, 0.0) for name in loads.name], dtype=complex)
    situation = Situation(
        now=minute.now,
        until=minute.now + HOLDS,
        background=(background, background),
        offered=offered,
        connections=Connections(
            name=tuple(devices.name[row] for row in rows) + flexible.name,
            bus=np.concatenate([devices.bus[rows], flexible.bus]),
            import_mw=np.append(np.maximum(-units.p_mw[rows], 0.0), flexible.flexible_mw),
            export_mw=np.append(np.maximum(units.p_mw[rows], 0.0), none),
            tan_max=np.append(np.zeros(len(rows)), np.abs(flexible.tan)),
        ),
        firm_mw=np.append(np.zeros(len(rows)), flexible.firm_mw),
        sheddable=Sheddable(
            name=tuple(devices.name[row] for row in astray) + loads.name,
            bus=np.concatenate([devices.bus[astray], loads.bus]),
            injection=np.concatenate([(units.p_mw + 1j * units.q_mvar)[astray], firm]),
            priority=np.concatenate([np.zeros(len(astray), dtype=np.int64), loads.priority + 1]),
            times_shed=np.concatenate([np.zeros(len(astray), dtype=np.int64), loads.times_shed]),
        ),
        margin=np.zeros(len(at.limits)),
    )
    return escalate(at, situation, minute.fairness, minute.shed)


def _inside(devices: MarketDevices, p: Floats, reason: list[str], step: Escalation) -> Floats:
    """Bring setpoints into the envelopes, and those who are shed to nothing."""
    row_of = {name: row for row, name in enumerate(devices.name)}
    inside = p.copy()
    for told in step.told:
        row = row_of.get(told.asset)
        if row is None or told.p_min_w is None or told.p_max_w is None:
            continue
        inside[row] = np.clip(p[row], told.p_min_w / MICRO_PER_UNIT, told.p_max_w / MICRO_PER_UNIT)
        if inside[row] != p[row]:
            reason[row] = told.reason
    return inside
