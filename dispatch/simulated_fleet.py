"""A simulated fleet of devices that follows its setpoints imperfectly, the same way every time.

It stands where real devices will stand: setpoints go in, metered deliveries come out. What a
device does depends on its setpoint, what was really available or demanded, its physics, and a
character drawn from its asset id and the day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.records.dispatch import Delivery, Setpoint
from data.records.order import DemandOrder, GenerationOrder, Order, StorageOrder
from data.units import AWARD_TICK_MW, quantise_mw
from flexibility.battery import Battery, next_energy_mwh, power_limits_mw

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
REACTIVE_RATIO_MW_MIN: Final = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetBehaviour:
    """How well devices follow.

    Parameters
    ----------
    generation_error, demand_error : float
        Standard deviation of the tracking error, as a share of the power (0..1).
    storage_error : float
        The same for storages; errors are cut at twice it.
    ramp_share_per_period : float
        Change of output in one period as a share of rating (0..1], where the resource allows it.
    late_share : float
        Share of devices that follow one period late.
    dead_band_share : float
        Share of devices that ignore changes of less than ``dead_band`` of rating.
    dead_band : float
        Share of rating (0..1).
    """

    generation_error: float = 0.005
    demand_error: float = 0.01
    storage_error: float = 0.015
    ramp_share_per_period: float = 0.5
    late_share: float = 0.04
    dead_band_share: float = 0.06
    dead_band: float = 0.02

    def __post_init__(self) -> None:
        refuse_if_any(
            Problem(where=f"fleet {name}", what=f"{getattr(self, name)} is not in [0, 1]")
            for name in (
                "generation_error", "demand_error", "storage_error", "ramp_share_per_period",
                "late_share", "dead_band_share", "dead_band",
            )
            if not 0.0 <= getattr(self, name) <= 1.0
        )  # fmt: skip


def simulate_fleet(
    *,
    setpoints: Sequence[Setpoint],
    orders: Sequence[Order],
    recorded_mw: Mapping[str, Floats],
    day: date,
    behaviour: FleetBehaviour | None = None,
) -> tuple[Delivery, ...]:
    """Let every asset follow its setpoint for a day and meter what it did.

    * Generation: min(setpoint, available) behind a ramp, with a tracking error; never above what
      was available.
    * Storage: the setpoint with an error, cut to its power limits and to what its state of charge
      allows, so the energy stays in its bounds.
    * Demand: the must-take share of what was really demanded, plus the accepted flexible power as
      far as it was really wanted.

    Reactive power keeps the setpoint's ratio to active power; a generator's never exceeds the
    setpoint's.

    Parameters
    ----------
    setpoints : sequence of Setpoint
        One per asset, equal periods.
    orders : sequence of Order
        Their orders (generation, demand or storage), terms as last in force for each period.
    recorded_mw : mapping of asset to ndarray, shape (periods,)
        Truth: available power of ``sgen:i``, demanded power of ``load:i`` [MW], own sign.
    day : date
        Local delivery day; with the asset id it fixes the device's character and its noise.
    behaviour : FleetBehaviour, optional
        How well devices follow.

    Returns
    -------
    tuple of Delivery
        Sorted by order id; powers on the tick of 1e-6 MW, energies [MWh] at period end, a remark
        for everything that was not followed.

    Raises
    ------
    InputError
        With all problems: a setpoint without order or twice for one asset, an order kind that has
        no device here, a missing, short or NaN record.
    """
    rules = behaviour or FleetBehaviour()
    by_id = {order.id: order for order in orders}
    refuse_if_any(_fleet_problems(setpoints, by_id, recorded_mw))
    deliveries = []
    for setpoint in sorted(setpoints, key=lambda each: each.order):
        order = by_id[setpoint.order]
        device = _Device.draw(setpoint.asset, day, rules)
        if isinstance(order, StorageOrder):
            deliveries.append(_deliver_storage(setpoint, order, device))
        elif isinstance(order, DemandOrder):
            deliveries.append(_deliver_demand(setpoint, order, recorded_mw[setpoint.asset], device))
        else:
            deliveries.append(_deliver_generation(setpoint, recorded_mw[setpoint.asset], device))
    return tuple(deliveries)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Device:
    """One device's character: its rules, whether it is late or dead-banded, and its noise."""

    rules: FleetBehaviour
    late: bool
    dead_banded: bool
    seed: int

    @classmethod
    def draw(cls, asset: str, day: date, rules: FleetBehaviour) -> _Device:
        """Draw the character: from the asset alone; the noise: from asset and day."""
        character = np.random.Generator(np.random.PCG64(_seed(asset)))
        late_draw, band_draw = character.random(2)
        return cls(
            rules=rules,
            late=bool(late_draw < rules.late_share),
            dead_banded=bool(band_draw < rules.dead_band_share),
            seed=_seed(f"{day.isoformat()}/{asset}"),
        )

    def error_factor(self, count: int, deviation: float) -> Floats:
        """Return 1 + error per period, errors cut at twice their standard deviation."""
        noise = np.random.Generator(np.random.PCG64(self.seed)).standard_normal(count)
        return np.asarray(1.0 + deviation * np.clip(noise, -2.0, 2.0))

    def heard_mw(self, told_mw: Floats, rating_mw: float) -> tuple[Floats, list[str]]:
        """Return the setpoint as the device acts on it, and remarks where that differs."""
        heard, remarks = told_mw.copy(), []
        if self.late and len(heard) > 1:
            heard[1:] = told_mw[:-1]
            if (heard != told_mw).any():
                remarks.append("followed one period late")
        if self.dead_banded:
            ignored = 0
            for period in range(1, len(heard)):
                change = abs(heard[period] - heard[period - 1])
                if 0.0 < change < self.rules.dead_band * rating_mw:
                    heard[period] = heard[period - 1]
                    ignored += 1
            if ignored:
                remarks.append(f"dead band: {ignored} small changes ignored")
        return heard, remarks


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def _deliver_generation(setpoint: Setpoint, available_mw: Floats, device: _Device) -> Delivery:
    """Follow min(setpoint, available), ramp-limited; a calm's own consumption passes through."""
    available = _floor_tick(available_mw)
    rating = max(float(available.max()), float(setpoint.injection_mw.max()), AWARD_TICK_MW)
    heard, remarks = device.heard_mw(setpoint.injection_mw, rating)
    wanted = heard * device.error_factor(len(heard), device.rules.generation_error)
    wanted = np.minimum(np.maximum(wanted, 0.0), available)
    step = device.rules.ramp_share_per_period * rating
    delivered = wanted.copy()
    for period in range(1, len(wanted)):
        # the ramp is that of the machine: neither a lull nor its own consumption knows one
        before = max(delivered[period - 1], 0.0)
        ramped = min(max(wanted[period], before - step), before + step)
        delivered[period] = min(ramped, available[period])
    delivered = np.minimum(quantise_mw(delivered), available) + 0.0
    remarks += _count("ramp limit", np.abs(delivered - wanted) > 2 * AWARD_TICK_MW)
    short = setpoint.injection_mw - available > AWARD_TICK_MW
    remarks += _count("less available than the setpoint", short)
    return _delivery(setpoint, delivered, remarks)


def _deliver_storage(setpoint: Setpoint, order: StorageOrder, device: _Device) -> Delivery:
    """Follow within power limits and state of charge; bounds hold by construction."""
    battery = Battery.of_order(order)
    count, mtu_h = len(setpoint.periods), setpoint.periods.mtu_h
    # The order may be that of the day or of its rest: its terms are constant but for the horizon.
    rating = float(max(order.charge_mw_max.max(), order.discharge_mw_max.max(), AWARD_TICK_MW))
    heard, remarks = device.heard_mw(setpoint.injection_mw, rating)
    wanted = heard * device.error_factor(count, device.rules.storage_error)
    delivered, energies = np.zeros(count), np.zeros(count)
    cut: Bools = np.zeros(count, dtype=np.bool_)
    energy = order.energy_mwh_start
    for period in range(count):
        room_mw, content_mw = power_limits_mw(battery, energy, mtu_h)
        available = float(order.availability[period])
        charge = min(-min(wanted[period], 0.0), order.charge_mw_max[period] * available)
        discharge = min(max(wanted[period], 0.0), order.discharge_mw_max[period] * available)
        cut[period] = charge > room_mw or discharge > content_mw
        charge, discharge = _floor_tick(
            np.array([min(charge, room_mw), min(discharge, content_mw)])
        ).tolist()
        energy = next_energy_mwh(battery, energy, charge, discharge, mtu_h)
        # Only the last bit of a float can be outside now: the powers were floored.
        energy = min(max(energy, battery.energy_mwh_min), battery.energy_mwh_max)
        delivered[period], energies[period] = discharge - charge, energy
    remarks += _count("cut by state of charge", cut)
    return _delivery(setpoint, delivered + 0.0, remarks, soc_mwh=energies)


def _deliver_demand(
    setpoint: Setpoint, order: DemandOrder, demanded_mw: Floats, device: _Device
) -> Delivery:
    """Take the must-take share of the real demand and what of the rest was bought and wanted."""
    size = np.sum([step.p_mw for step in order.steps], axis=0)
    share = np.where(size > 0.0, order.p_mw_min / np.where(size > 0.0, size, 1.0), 1.0)
    share = np.clip(share, 0.0, 1.0)
    demanded = np.maximum(quantise_mw(demanded_mw), 0.0)
    must_take = share * demanded
    bought = np.maximum(-setpoint.injection_mw - order.p_mw_min, 0.0)
    rating = float(max(demanded.max(), AWARD_TICK_MW))
    heard, remarks = device.heard_mw(bought, rating)
    followed = heard * device.error_factor(len(heard), device.rules.demand_error)
    flexible = np.clip(followed, 0.0, demanded - must_take)
    withdrawn = np.minimum(quantise_mw(must_take + flexible), demanded)
    unwanted = heard - (demanded - must_take) > AWARD_TICK_MW
    remarks += _count("bought more than was wanted", unwanted)
    return _delivery(setpoint, 0.0 - withdrawn, remarks)


def _delivery(
    setpoint: Setpoint, injection_mw: Floats, remarks: list[str], soc_mwh: Floats | None = None
) -> Delivery:
    """Write the record; q keeps the setpoint's ratio to p (a generator's never exceeds it)."""
    told = setpoint.injection_mw
    active = np.abs(told) > REACTIVE_RATIO_MW_MIN
    ratio = np.where(active, np.abs(injection_mw) / np.where(active, np.abs(told), 1.0), 0.0)
    # A load's q grows with what it really takes; a generator keeps to what it was told.
    ratio = np.where(told > 0.0, np.minimum(ratio, 1.0), ratio)
    # Without active power told there is nothing to keep a ratio to: q as told (a pure var device).
    followed = np.where(active, ratio, 1.0)
    return Delivery(
        order=setpoint.order,
        asset=setpoint.asset,
        bus=setpoint.bus,
        periods=setpoint.periods,
        injection_mw=injection_mw,
        injection_mvar=quantise_mw(setpoint.injection_mvar * followed),
        soc_mwh=soc_mwh,
        remarks=tuple(remarks),
    )


def _count(what: str, periods: Bools) -> list[str]:
    """Remark on the periods marked, with the first of them."""
    if not periods.any():
        return []
    return [f"{what}: {int(periods.sum())} periods, first {int(np.argmax(periods))}"]


def _floor_tick(power_mw: Floats) -> Floats:
    """Round powers down to the tick, so that rounding never delivers more than there is."""
    rounded = quantise_mw(power_mw)
    return np.where(rounded > power_mw, quantise_mw(rounded - AWARD_TICK_MW), rounded)


def _fleet_problems(
    setpoints: Sequence[Setpoint], by_id: Mapping[str, Order], recorded_mw: Mapping[str, Floats]
) -> list[Problem]:
    problems = []
    assets = [setpoint.asset for setpoint in setpoints]
    problems += [
        Problem(where=asset, what=f"{assets.count(asset)} setpoints")
        for asset in sorted(set(assets))
        if assets.count(asset) > 1
    ]
    for setpoint in setpoints:
        order, count = by_id.get(setpoint.order), len(setpoint.periods)
        if not isinstance(order, GenerationOrder | DemandOrder | StorageOrder):
            what = "no order" if order is None else f"no device for a {type(order).__name__}"
            problems.append(Problem(where=f"setpoint {setpoint.order}", what=what))
            continue
        length = len(order.availability if isinstance(order, StorageOrder) else order.p_mw_min)
        if length != count:
            problems.append(
                Problem(where=order.id, what=f"{length} periods, its setpoint has {count}")
            )
        if not (
            np.isfinite(setpoint.injection_mw).all() & np.isfinite(setpoint.injection_mvar).all()
        ):
            problems.append(Problem(where=f"setpoint {order.id}", what="a value is not finite"))
        if isinstance(order, StorageOrder):
            continue
        record = recorded_mw.get(setpoint.asset)
        if record is None:
            problems.append(Problem(where=setpoint.asset, what="no record of what really was"))
        elif record.shape != (count,) or not np.isfinite(record).all():
            problems.append(
                Problem(where=setpoint.asset, what=f"record is not {count} finite values")
            )
    return problems
