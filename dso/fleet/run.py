"""A fleet carries out its awards minute by minute; what its meters then say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem, refuse_if_any
from data.readers.simbench import NetworkProfiles
from data.records.clearing import ClearingCase, ClearingResult
from data.units import WH_PER_MWH, quantise_mw
from dso.cycles.grid_replay import AssetPower, broken_limits, replay
from dso.fleet.fleet_file import FleetFile
from flexibility.devices import (
    REASON_TEXT,
    Conditions,
    Instruction,
    Reason,
    Shortfall,
    ShortfallRule,
    find_shortfalls,
)
from flexibility.portfolios.fleet import FleetOffer, instruct_fleet, offer_fleet
from opf.replay import ReplayReport

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
STEP_MINUTES: Final = 1
# Kinds that an operating envelope of the surprises reaches.
LIMITED: Final = ("cars", "pumps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surprises:
    """What turns out otherwise than the fleet expected when it offered.

    Parameters
    ----------
    colder_k : float
        The day is colder by this [K]; negative: warmer.
    late_h : float
        Cars arrive later by this, at the latest when they leave [h]; not negative.
    limit_mw : float or None
        Operating envelope: no car or heat pump draws more than this [MW] ...
    limit_from_h, limit_to_h : float
        ... between these hours since the start of the day.
    """

    colder_k: float = 0.0
    late_h: float = 0.0
    limit_mw: float | None = None
    limit_from_h: float = 0.0
    limit_to_h: float = 24.0

    def __post_init__(self) -> None:
        problems = [
            Problem(where=f"surprise {name}", what=f"is {getattr(self, name)}")
            for name in ("colder_k", "late_h", "limit_from_h", "limit_to_h")
            if not np.isfinite(getattr(self, name))
        ]
        if self.late_h < 0.0:
            problems.append(Problem(where="surprise late_h", what=f"is {self.late_h}"))
        if self.limit_mw is not None and not 0.0 <= self.limit_mw < np.inf:
            problems.append(Problem(where="surprise limit_mw", what=f"is {self.limit_mw}"))
        refuse_if_any(problems)

    def words(self) -> tuple[str, ...]:
        """Say what turned out otherwise."""
        said = []
        if self.colder_k:
            said.append(f"It was {self.colder_k:g} K colder than expected.")
        if self.late_h:
            said.append(f"Cars arrived {self.late_h * 60:g} min later than expected.")
        if self.limit_mw is not None:
            said.append(
                f"Between hours {self.limit_from_h:g} and {self.limit_to_h:g} no car or heat pump "
                f"may draw more than {self.limit_mw * 1e3:g} kW."
            )
        return tuple(said)


AS_EXPECTED: Final = Surprises()


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRun:
    """What the devices of one kind did; arrays of shape (devices, periods).

    Parameters
    ----------
    ids, buses : tuple
        Devices and their buses.
    told_mw, told_mvar : ndarray
        What they were told [MW, Mvar].
    metered_wh : ndarray of int
        Energy at the meter in each period [Wh], injection positive.
    metered_mvar : ndarray
        Mean reactive power [Mvar].
    stored : ndarray
        State at the end of each period: energy [MWh]; of a heat pump the indoor temperature [degC];
        NaN where a kind has none.
    heat_mwh : ndarray
        Heat in the stores of heat pumps at the end of each period [MWh]; NaN elsewhere.
    not_followed : mapping of device to reason
        How many minutes for which reason.
    """

    ids: tuple[str, ...]
    buses: tuple[int, ...]
    told_mw: Floats
    told_mvar: Floats
    metered_wh: Ints
    metered_mvar: Floats
    stored: Floats
    heat_mwh: Floats
    not_followed: Mapping[str, Mapping[str, int]]

    def metered_mw(self, mtu_h: float) -> Floats:
        """Return the mean power of each period [MW]."""
        return np.asarray(self.metered_wh / WH_PER_MWH / mtu_h)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRun:
    """A day of a fleet: per kind what it did, what cars lacked, how cold it was, and the grid."""

    kinds: Mapping[str, KindRun]
    shortfalls: tuple[Shortfall, ...]
    cold_kh: Mapping[str, float]
    offer: FleetOffer
    unguided: Mapping[str, KindRun]
    grid: ReplayReport
    grid_unguided: ReplayReport
    surprises: Surprises = AS_EXPECTED


def deviation_wh(run: KindRun, mtu_h: float) -> Ints:
    """Return the meter less what was told, shape (devices, periods) [Wh]."""
    told = np.round(run.told_mw * WH_PER_MWH * mtu_h).astype(np.int64)
    return np.asarray(run.metered_wh - told)


def run_fleet(
    case: ClearingCase,
    result: ClearingResult,
    file: FleetFile,
    rule: ShortfallRule,
    surprises: Surprises = AS_EXPECTED,
) -> FleetRun:
    """Share out the awards of a clearing, and let every device follow them in steps of a minute.

    Beside it the same devices run without any instruction, for comparison.

    Parameters
    ----------
    case, result : ClearingCase, ClearingResult
        The study cleared and what came out.
    file : FleetFile
        The devices behind its orders.
    rule : ShortfallRule
        What a missing MWh of a car is worth.
    surprises : Surprises
        What turns out otherwise than expected.

    Raises
    ------
    InputError
        If the case's orders are not those of the fleet.
    """
    periods = case.periods
    offer = offer_fleet(file.fleet, file.outlook, periods, file.terms)
    stated = {order.id for order in case.orders}
    problems = [
        Problem(where=f"order {order.id}", what="of the fleet is not among the study's")
        for order in offer.orders
        if order.id not in stated
    ]
    if problems:
        raise InputError(problems)
    awards = {award.order: award for award in result.awards}
    missing = [order.id for order in offer.orders if order.id not in awards]
    if missing:
        raise InputError([Problem(where=f"order {one}", what="has no award") for one in missing])
    injection = {name: award.injection_mw.sum(axis=0) for name, award in awards.items()}
    told_mw = instruct_fleet(file.fleet, offer, injection, len(periods))
    told_mvar = {kind: np.zeros_like(power) for kind, power in told_mw.items()}
    if file.fleet.plants is not None:
        told_mvar["plants"] = np.array(
            [awards[plant].injection_mvar.sum(axis=0) for plant in file.fleet.plants.ids]
        )
    runs: dict[str, KindRun] = {}
    plain: dict[str, KindRun] = {}
    shortfalls: tuple[Shortfall, ...] = ()
    cold: dict[str, float] = {}
    for kind in file.fleet.kinds():
        model: Any = getattr(file.fleet, kind)
        if kind == "cars" and surprises.late_h:
            late = np.minimum(model.arrival_h + surprises.late_h, model.departure_h)
            model = dataclasses.replace(model, arrival_h=late)
        follower = _Follower(model, kind, file, periods.mtu_minutes, surprises)
        runs[kind], end = follower.follow(told_mw[kind], told_mvar[kind])
        plain[kind], _ = follower.follow(None, None)
        if kind == "cars":
            shortfalls = find_shortfalls(model, end, rule, dt_h=STEP_MINUTES / 60.0)
        if kind == "pumps":
            cold = dict(zip(model.ids, end.cold_kh.tolist(), strict=True))
    return FleetRun(
        kinds=runs,
        shortfalls=shortfalls,
        cold_kh=cold,
        offer=offer,
        unguided=plain,
        grid=_replayed(case, file, runs),
        grid_unguided=_replayed(case, file, plain),
        surprises=surprises,
    )


class _Follower:
    """Steps one kind of device through the day."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - any of the device models
        kind: str,
        file: FleetFile,
        mtu_minutes: int,
        surprises: Surprises,
    ) -> None:
        self.model, self.kind, self.file, self.surprises = model, kind, file, surprises
        self.minutes = mtu_minutes
        self.count = len(file.outlook.outdoor_c)

    def _conditions(self, period: int) -> Conditions:
        devices, seen = len(self.model.ids), self.surprises
        at_h = period * self.minutes / 60.0
        within = seen.limit_from_h <= at_h < seen.limit_to_h
        limit = None
        if seen.limit_mw is not None and within and self.kind in LIMITED:
            limit = np.full(devices, seen.limit_mw)
        if self.kind == "pumps":
            outdoor = self.file.outlook.outdoor_c[period] - seen.colder_k
            return Conditions(outdoor_c=np.full(devices, outdoor), withdrawal_mw_max=limit)
        if self.kind == "plants":
            return Conditions(power_mw=self.file.outlook.plants_mw[:, period])
        return Conditions(withdrawal_mw_max=limit)

    def follow(self, told_mw: Floats | None, told_mvar: Floats | None) -> tuple[KindRun, Any]:
        """Return what they did and their last state; None: nobody tells them anything."""
        model, dt_h = self.model, STEP_MINUTES / 60.0
        shape, state = (len(model.ids), self.count), model.start()
        energy, mvar, stored = np.zeros(shape), np.zeros(shape), np.full(shape, np.nan)
        asked, asked_mvar = np.zeros(shape), np.zeros(shape)
        heat = np.full(shape, np.nan)
        reasons: list[NDArray[np.int64]] = []
        for period in range(self.count):
            now = self._conditions(period)
            for _ in range(self.minutes // STEP_MINUTES):
                if told_mw is None or told_mvar is None:
                    told = model.unguided(state, now, dt_h)
                else:
                    told = Instruction(
                        injection_mw=told_mw[:, period], injection_mvar=told_mvar[:, period]
                    )
                done = model.step(state, told, now, dt_h)
                state = done.state
                energy[:, period] += done.injection_mw * dt_h
                mvar[:, period] += done.injection_mvar * STEP_MINUTES / self.minutes
                asked[:, period] += told.injection_mw * STEP_MINUTES / self.minutes
                asked_mvar[:, period] += told.injection_mvar * STEP_MINUTES / self.minutes
                reasons.append(done.reasons)
            if self.kind == "pumps":
                stored[:, period], heat[:, period] = state.indoor_c, state.store_mwh
            elif self.kind != "plants":
                stored[:, period] = state.energy_mwh
        run = KindRun(
            ids=model.ids,
            buses=model.buses,
            told_mw=quantise_mw(asked),
            told_mvar=asked_mvar,
            metered_wh=np.round(energy * WH_PER_MWH).astype(np.int64),
            metered_mvar=mvar,
            stored=stored,
            heat_mwh=heat,
            not_followed=_counted(model.ids, np.array(reasons)),
        )
        return run, state


def _counted(ids: tuple[str, ...], reasons: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """Return for each device that did not follow how many minutes for which reason."""
    found: dict[str, dict[str, int]] = {}
    for column, device in enumerate(ids):
        codes, counts = np.unique(reasons[:, column], return_counts=True)
        named = {
            REASON_TEXT[Reason(int(code))]: int(count)
            for code, count in zip(codes, counts, strict=True)
            if code != Reason.FOLLOWED
        }
        if named:
            found[device] = named
    return found


def _replayed(case: ClearingCase, file: FleetFile, runs: Mapping[str, KindRun]) -> ReplayReport:
    """Put what the meters saw into an AC power flow that is not the market's."""
    elements = dict(zip(file.fleet.plants.ids, file.fleet.plant_assets, strict=True)) if (
        file.fleet.plants is not None
    ) else {}  # fmt: skip
    assets = [
        AssetPower(
            asset=elements.get(device, device),
            bus=run.buses[row],
            injection_mw=run.metered_mw(case.periods.mtu_h)[row],
            injection_mvar=run.metered_mvar[row],
        )
        for run in runs.values()
        for row, device in enumerate(run.ids)
    ]
    profiles = NetworkProfiles(
        load_p_mw=case.load_p_mw,
        load_q_mvar=case.load_q_mvar,
        sgen_p_mw=case.sgen_p_mw,
        sgen_q_mvar=case.sgen_q_mvar,
    )
    report = replay(case.network, case.limits, profiles, assets)
    return dataclasses.replace(report, violations=broken_limits(report))
