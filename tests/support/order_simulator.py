"""Replay of awards, one period after the other, against what each order states.

Plain arithmetic on whole ticks (exact fractions), written from the market rules: states of charge
are integrated again, runs and rebounds of curtail orders are counted again. Nothing of the clearing
is used. Everything that does not hold is listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Award, ClearingCase
from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    ShiftOrder,
    StorageOrder,
)

Floats = NDArray[np.float64]
TICK: Final = Fraction(1, 1_000_000)  # MW
# What two roundings to a tick may leave where an award is the sum of two parts.
TWO_ROUNDINGS: Final = TICK + TICK / 2
# Powers are compared with bounds, and energies with energies, to this: floats hold no thirds.
FLOAT: Final = Fraction(1, 10**9)
# Charging and discharging in one period counts above ten ticks.
BOTH_DIRECTIONS: Final = 10 * TICK


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One rule that an award breaks; ``period`` is -1 where it is about the whole horizon."""

    order: str
    rule: str
    period: int
    text: str


class _Replay:
    """Collects the breaches of one order."""

    def __init__(self, case: ClearingCase, order: Order, award: Award) -> None:
        self.case, self.order, self.award = case, order, award
        self.size = len(case.periods)
        self.h = Fraction(case.periods.mtu_minutes, 60)
        self.breaches: list[Breach] = []
        # a bilateral's second row is its withdrawal, a portfolio's rows are its parts
        rows = award.injection_mw[:1] if isinstance(order, BilateralOrder) else award.injection_mw
        self.injection = [self._on_tick(float(rows[:, t].sum()), t) for t in range(self.size)]

    def say(self, rule: str, period: int, text: str) -> None:
        self.breaches.append(Breach(order=self.order.id, rule=rule, period=period, text=text))

    def _on_tick(self, power_mw: float, t: int) -> Fraction:
        ticks = power_mw * 1e6
        if not np.isfinite(ticks):
            self.say("tick", t, f"{power_mw} MW")
            return Fraction(0)
        if abs(ticks - round(ticks)) > 1e-3:
            self.say("tick", t, f"{power_mw!r} MW is no whole number of ticks")
        return round(ticks) * TICK

    def series(self, values: Floats | None) -> list[Fraction]:
        if values is None:
            self.say("column", -1, "a column of its kind is missing")
            return [Fraction(0)] * self.size
        return [self._on_tick(float(value), t) for t, value in enumerate(values)]

    def within(
        self, rule: str, t: int, value: Fraction, least: float, most: float, by: Fraction = FLOAT
    ) -> None:
        """Report a value outside its bounds."""
        if value < Fraction(least) - by or value > Fraction(most) + by:
            self.say(rule, t, f"{float(value):.7f} is outside {least:.7f} to {most:.7f}")


def broken_rules(case: ClearingCase, awards: Sequence[Award]) -> list[Breach]:
    """List everything that the awards of a case break.

    Every order has one award; links and groups are judged between them.
    """
    by_id = {award.order: award for award in awards}
    breaches = [
        Breach(order=name, rule="award", period=-1, text="no order, or a second award of it")
        for name in [award.order for award in awards]
        if name not in {order.id for order in case.orders}
    ]
    if len(by_id) != len(awards):
        breaches.append(Breach(order="", rule="award", period=-1, text="two awards of one order"))
    ratios: dict[str, tuple[Fraction, Fraction]] = {}
    for order in case.orders:
        if order.id not in by_id:
            breaches.append(Breach(order=order.id, rule="award", period=-1, text="no award"))
            continue
        replay = _Replay(case, order, by_id[order.id])
        _check_places(replay)
        match order:
            case GenerationOrder() | DemandOrder():
                _check_steps(replay, order)
            case StorageOrder():
                _check_storage(replay, order)
            case ShiftOrder():
                _check_shift(replay, order)
            case BilateralOrder():
                _check_bilateral(replay, order)
            case CurtailOrder():
                _check_curtail(replay, order)
            case BlockOrder():
                ratios[order.id] = _check_block(replay, order)
        _check_reactive(replay)
        breaches += replay.breaches
    return breaches + _check_links(case, ratios)


def _check_places(replay: _Replay) -> None:
    """A portfolio keeps its key in every period; a bilateral draws at one bus what it feeds in."""
    order, award = replay.order, replay.award
    if isinstance(order, BilateralOrder):
        keys = [(order.buses[0][0], 1.0), (order.bus_to, -1.0)]
    else:
        keys = list(order.buses)
    if award.buses != tuple(bus for bus, _ in keys):
        replay.say("place", -1, f"awarded at {award.buses}")
        return
    for row, (bus, share) in enumerate(keys):
        for t, whole in enumerate(replay.injection):
            part = float(award.injection_mw[row, t])
            if not abs(part - float(Fraction(share) * whole)) <= float(FLOAT):
                replay.say("place", t, f"{part} MW at bus {bus} is not {share:g} of the whole")


def _check_steps(replay: _Replay, order: GenerationOrder | DemandOrder) -> None:
    sign = 1 if isinstance(order, GenerationOrder) else -1
    before = None if order.p_mw_before is None else Fraction(order.p_mw_before)
    for t, injection in enumerate(replay.injection):
        power = sign * injection
        most = float(sum(step.p_mw[t] for step in order.steps))
        replay.within("bound", t, power, float(order.p_mw_min[t]), most)
        if order.ramp_mw_per_h is not None and before is not None:
            reach = Fraction(order.ramp_mw_per_h) * replay.h
            if abs(power - before) > reach + TICK:
                replay.say("ramp", t, f"{float(power - before):.7f} MW in one period")
        before = power


def _check_storage(replay: _Replay, order: StorageOrder) -> None:
    """Integrate the state of charge again and hold it against its bounds and the stated one."""
    award, h = replay.award, replay.h
    charge, discharge = replay.series(award.charge_mw), replay.series(award.discharge_mw)
    keep = Fraction((1.0 - order.self_discharge_per_day) ** (float(h) / 24.0))
    energy = Fraction(order.energy_mwh_start)
    plugged = [t for t in range(replay.size) if order.availability[t] > 0]

    def spare(energy: Fraction) -> Fraction:
        """Less than a tick may be missing where one more tick would overfill the storage."""
        tick = TICK * h * Fraction(order.efficiency_charge)
        return tick if energy + tick > Fraction(order.energy_mwh_max) else FLOAT

    for t in range(replay.size):
        share = float(order.availability[t])
        replay.within("bound", t, charge[t], 0.0, share * float(order.charge_mw_max[t]))
        replay.within("bound", t, discharge[t], 0.0, share * float(order.discharge_mw_max[t]))
        if min(charge[t], discharge[t]) > BOTH_DIRECTIONS:
            replay.say("direction", t, "charges and discharges")
        if replay.injection[t] != discharge[t] - charge[t]:
            replay.say("column", t, "injection is not discharge less charge")
        energy = (
            keep * energy
            + Fraction(order.efficiency_charge) * h * charge[t]
            - h * discharge[t] / Fraction(order.efficiency_discharge)
        )
        replay.within("soc", t, energy, order.energy_mwh_min, order.energy_mwh_max)
        stated = float("nan") if award.soc_mwh is None else float(award.soc_mwh[t])
        if not abs(stated - float(energy)) <= 1e-9:
            replay.say("column", t, f"states {stated} MWh, holds {float(energy)} MWh")
        departs = plugged and t == plugged[-1] and order.energy_mwh_departure_min is not None
        if departs and energy < Fraction(order.energy_mwh_departure_min or 0.0) - spare(energy):
            replay.say("departure", t, f"leaves with {float(energy):.7f} MWh")
    if energy < Fraction(order.energy_mwh_end_min) - spare(energy):
        replay.say("end", replay.size - 1, f"ends with {float(energy):.7f} MWh")


def _check_shift(replay: _Replay, order: ShiftOrder) -> None:
    for t, injection in enumerate(replay.injection):
        replay.within("bound", t, -injection, float(order.p_mw_min[t]), float(order.p_mw_max[t]))
    for start in range(0, replay.size, order.window_periods):
        window = range(start, min(start + order.window_periods, replay.size))
        drawn = -sum((replay.injection[t] for t in window), Fraction(0))
        wanted = sum((Fraction(float(order.baseline_mw[t])) for t in window), Fraction(0))
        if abs(drawn - wanted) > TICK / 2 + FLOAT:
            replay.say("window", start, f"draws {float(drawn):.7f} of {float(wanted):.7f} MW")


def _check_bilateral(replay: _Replay, order: BilateralOrder) -> None:
    for t, power in enumerate(replay.injection):
        replay.within("bound", t, power, 0.0, float(order.p_mw[t]))


def _check_curtail(replay: _Replay, order: CurtailOrder) -> None:
    """Count runs, pauses and rebounds; a period is on where the award accepts a share.

    The reduction is the award plus the rebound that runs so far have left for the period.
    """
    size, share = replay.size, replay.award.accepted_share
    rebound = [Fraction(0)] * size
    run: list[Fraction] = []
    activations, off = 0, size  # long enough for any cooldown
    for t in range(size + 1):
        on = t < size and float(share[t]) > 1e-9
        if run and not on:
            _end_run(replay, order, run, t, rebound)
            run, off = [], 0
        if t == size:
            break
        reduced = replay.injection[t] + rebound[t]
        if not on:
            off += 1
            if abs(reduced) > TWO_ROUNDINGS:
                text = f"injects {float(replay.injection[t]):.7f} MW, owes {float(rebound[t]):.7f}"
                replay.say("rebound", t, text)
            continue
        if not run:
            activations += 1
            if activations > 1 and off < order.cooldown_periods:
                replay.say("cooldown", t, f"on again after {off} periods")
            if order.activations_max is not None and activations > order.activations_max:
                replay.say("activations", t, f"run {activations} of {order.activations_max}")
        run.append(reduced)
        by = TWO_ROUNDINGS if rebound[t] else FLOAT
        replay.within(
            "bound", t, reduced, float(order.p_mw_min_on[t]), float(order.p_mw_max[t]), by
        )
        drawn = _load_mw(replay.case, order, t)
        if drawn is not None and reduced > Fraction(drawn) + by:
            replay.say("load", t, f"reduces {float(reduced):.7f} MW of {drawn:.7f} MW")


def _end_run(
    replay: _Replay, order: CurtailOrder, run: list[Fraction], t: int, rebound: list[Fraction]
) -> None:
    """Judge a run that ended before period ``t`` and leave its rebound for what follows."""
    if len(run) < order.duration_periods_min:
        replay.say("duration", t - 1, f"on for {len(run)} periods")
    if order.duration_periods_max is not None and len(run) > order.duration_periods_max:
        replay.say("duration", t - 1, f"on for {len(run)} periods")
    if order.rebound_share == 0 or order.rebound_periods is None:
        return
    again = Fraction(order.rebound_share) * sum(run, Fraction(0)) / order.rebound_periods
    for s in range(t, t + order.rebound_periods):
        if s < len(rebound):
            rebound[s] += again
        else:
            replay.say("horizon", s, "rebound after the horizon")


def _load_mw(case: ClearingCase, order: Order, t: int) -> float | None:
    """What the order's load draws in a period [MW]; None without one."""
    if order.asset is None or not order.asset.startswith("load:"):
        return None
    return float(case.load_p_mw[t, _load_row(case, order.asset)])


def _load_row(case: ClearingCase, asset: str) -> int:
    return case.network.loads.index.tolist().index(int(asset.split(":")[1]))


def _check_block(replay: _Replay, order: BlockOrder) -> tuple[Fraction, Fraction]:
    """One ratio for the profile, 0 or above the least; returns it with what ticks leave open."""
    profile = [Fraction(float(value)) for value in order.profile_mw]
    moved = sum((abs(value) for value in profile), Fraction(0))
    if moved == 0:
        return Fraction(0), Fraction(0)
    signed = [p * (1 if q >= 0 else -1) for p, q in zip(replay.injection, profile, strict=True)]
    ratio = sum(signed, Fraction(0)) / moved
    by = TICK / max(abs(value) for value in profile)
    for t, value in enumerate(profile):
        if abs(replay.injection[t] - ratio * value) > TICK + FLOAT:
            replay.say("ratio", t, f"{float(replay.injection[t]):.7f} MW at ratio {float(ratio)}")
        if value and abs(float(replay.award.accepted_share[t]) - ratio) > 2 * TICK / abs(value):
            replay.say("share", t, f"states {replay.award.accepted_share[t]}, is {float(ratio)}")
    if ratio > 1 + by or ratio < 0:
        replay.say("bound", -1, f"ratio {float(ratio):.7f}")
    if ratio > by and ratio < Fraction(order.acceptance_min) - by:
        replay.say("acceptance", -1, f"ratio {float(ratio):.7f} of {order.acceptance_min:.7f}")
    return ratio, by


def _check_links(case: ClearingCase, ratios: dict[str, tuple[Fraction, Fraction]]) -> list[Breach]:
    """A child's ratio is at most its parent's; those of a group sum to at most 1."""
    breaches = []
    groups: dict[str, list[str]] = {}
    for order in case.orders:
        if not isinstance(order, BlockOrder) or order.id not in ratios:
            continue
        ratio, by = ratios[order.id]
        if order.parent is not None:
            above, by_above = ratios.get(order.parent, (Fraction(0), Fraction(0)))
            if ratio > above + by + by_above:
                text = f"ratio {float(ratio):.7f}, its parent's {float(above):.7f}"
                breaches.append(Breach(order=order.id, rule="link", period=-1, text=text))
        if order.exclusive_group is not None:
            groups.setdefault(order.exclusive_group, []).append(order.id)
    for group, members in groups.items():
        total = sum((ratios[name][0] for name in members), Fraction(0))
        if total > 1 + sum((ratios[name][1] for name in members), Fraction(0)):
            text = f"ratios sum to {float(total):.7f}"
            breaches.append(Breach(order=group, rule="group", period=-1, text=text))
    return breaches


def _check_reactive(replay: _Replay) -> None:
    """Reactive injection: stated range, the load's power factor, or none."""
    order, case = replay.order, replay.case
    q = replay.award.injection_mvar
    q_total = q[0] if isinstance(order, BilateralOrder) else q.sum(axis=0)
    reactive = order.reactive
    follows = isinstance(order, DemandOrder | ShiftOrder | CurtailOrder)
    for t in range(replay.size):
        p, value = float(replay.injection[t]), float(q_total[t])
        if reactive is None:
            tan = 0.0
            drawn = _load_mw(case, order, t) if follows else None
            if drawn is not None and drawn > 0:
                assert order.asset is not None
                tan = float(case.load_q_mvar[t, _load_row(case, order.asset)]) / drawn
            if abs(value - tan * p) > float(TICK):
                replay.say("reactive", t, f"{value} Mvar with {p} MW")
            continue
        if reactive.q_mvar_min is not None and value < reactive.q_mvar_min[t] - float(FLOAT):
            replay.say("reactive", t, f"{value} Mvar is below its range")
        if reactive.q_mvar_max is not None and value > reactive.q_mvar_max[t] + float(FLOAT):
            replay.say("reactive", t, f"{value} Mvar is above its range")
        if reactive.power_factor_min is not None:
            reach = abs(p) * float(np.tan(np.arccos(reactive.power_factor_min)))
            if abs(value) > reach + float(FLOAT):
                replay.say("reactive", t, f"{value} Mvar with {p} MW")
