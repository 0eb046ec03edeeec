"""Small orders and setpoints for tests of the fleet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import numpy as np

from data.periods import Periods
from data.records.dispatch import Setpoint
from data.records.order import DemandOrder, GenerationOrder, PriceStep, StorageOrder

DAY = date(2016, 7, 25)


def periods_of(count: int) -> Periods:
    return Periods(start=datetime(2016, 7, 24, 22, tzinfo=UTC), count=count)


def told(asset: str, p_mw: Sequence[float], q_mvar: Sequence[float] | None = None) -> Setpoint:
    return Setpoint(
        order=f"order of {asset}", asset=asset, bus=3, periods=periods_of(len(p_mw)),
        injection_mw=np.array(p_mw, dtype=float),
        injection_mvar=np.zeros(len(p_mw)) if q_mvar is None else np.array(q_mvar, dtype=float),
    )  # fmt: skip


def generation(asset: str, count: int) -> GenerationOrder:
    step = PriceStep(p_mw=np.full(count, 10.0), price_eur_per_mwh=np.zeros(count))
    return GenerationOrder(
        id=f"order of {asset}", participant="a", buses=((3, 1.0),), asset=asset, steps=(step,),
        p_mw_min=np.zeros(count),
    )  # fmt: skip


def demand(asset: str, must_mw: Sequence[float], flexible_mw: Sequence[float]) -> DemandOrder:
    must, flexible = np.array(must_mw, dtype=float), np.array(flexible_mw, dtype=float)
    steps = tuple(
        PriceStep(p_mw=p, price_eur_per_mwh=np.full(len(must), price))
        for p, price in ((must, 1000.0), (flexible, 100.0))
    )
    return DemandOrder(
        id=f"order of {asset}", participant="a", buses=((3, 1.0),), asset=asset, steps=steps,
        p_mw_min=must,
    )  # fmt: skip


def storage(
    asset: str,
    count: int,
    *,
    p_mw: float = 1.0,
    energy_mwh: tuple[float, float, float] = (0.0, 1.0, 2.0),
    efficiency: float = 0.95,
    self_discharge_per_day: float = 0.0,
) -> StorageOrder:
    low, start, high = energy_mwh
    return StorageOrder(
        id=f"order of {asset}", participant="a", buses=((3, 1.0),), asset=asset,
        charge_mw_max=np.full(count, p_mw), discharge_mw_max=np.full(count, p_mw),
        energy_mwh_min=low, energy_mwh_max=high, energy_mwh_start=start, energy_mwh_end_min=start,
        efficiency_charge=efficiency, efficiency_discharge=efficiency,
        price_charge_eur_per_mwh=np.zeros(count), price_discharge_eur_per_mwh=np.zeros(count),
        self_discharge_per_day=self_discharge_per_day, availability=np.ones(count),
    )  # fmt: skip
