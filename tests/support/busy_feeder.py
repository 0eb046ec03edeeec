"""case33bw over eight quarter-hours with every continuous order kind: for two statements of it."""

from __future__ import annotations

import dataclasses

import numpy as np

from data.records.clearing import ClearingCase
from data.records.network import Network
from data.records.order import (
    BilateralOrder,
    DemandOrder,
    GenerationOrder,
    PriceStep,
    ReactiveRange,
    ShiftOrder,
)
from tests.support.cases import library_network, make_case, storage

PERIODS = 8
SHAPE = np.array([0.6, 0.55, 0.5, 0.7, 1.0, 1.1, 0.9, 0.65])
PRICE = np.array([35.0, 28.0, 15.0, 42.0, 70.0, 95.0, 60.0, 38.0])


def busy_feeder(network: Network | None = None, **limits: float) -> ClearingCase:
    """Two storages, a shift, two bilaterals, ramped generation, two-step demand, free Q."""
    network = network or library_network("case33bw", slack_vm_pu=1.0)
    ones = np.ones(PERIODS)
    sun = np.array([0.0, 0.1, 0.5, 0.9, 1.0, 0.8, 0.3, 0.0])
    pv = GenerationOrder(
        id="pv", participant="A", buses=((17, 1.0),), p_mw_min=0.0 * ones,
        steps=(PriceStep(p_mw=1.2 * sun, price_eur_per_mwh=1.0 * ones),),
        reactive=ReactiveRange(q_mvar_min=-0.3 * ones, power_factor_min=0.9),
    )  # fmt: skip
    engine = GenerationOrder(
        id="engine", participant="A", buses=((24, 0.75), (28, 0.25)), p_mw_min=0.1 * ones,
        steps=(
            PriceStep(p_mw=0.3 * ones, price_eur_per_mwh=33.0 * ones),
            PriceStep(p_mw=0.5 * ones, price_eur_per_mwh=52.0 * ones),
        ),
        ramp_mw_per_h=0.8, p_mw_before=0.2,
    )  # fmt: skip
    heat = DemandOrder(
        id="heat", participant="B", buses=((7, 1.0),), asset=f"load:{network.loads.index[6]}",
        p_mw_min=0.02 * ones,
        steps=(
            PriceStep(p_mw=0.12 * ones, price_eur_per_mwh=80.0 * ones),
            PriceStep(p_mw=0.10 * ones, price_eur_per_mwh=40.0 * ones),
        ),
        ramp_mw_per_h=0.4,
    )  # fmt: skip
    wash = ShiftOrder(
        id="wash", participant="B", buses=((29, 1.0),),
        baseline_mw=np.array([0.1, 0.1, 0.1, 0.2, 0.3, 0.3, 0.2, 0.1]),
        p_mw_min=0.0 * ones, p_mw_max=0.4 * ones, window_periods=4, price_eur_per_mwh=6.0 * ones,
    )  # fmt: skip
    swap = BilateralOrder(
        id="swap", participant="A", buses=((21, 1.0),), bus_to=31, participant_to="B",
        p_mw=0.4 * ones, price_eur_per_mwh=np.linspace(0.5, 4.0, PERIODS),
    )  # fmt: skip
    back = BilateralOrder(
        id="back", participant="B", buses=((13, 1.0),), bus_to=3, participant_to="A",
        p_mw=0.3 * ones, price_eur_per_mwh=0.2 * ones,
    )  # fmt: skip
    battery = storage("battery", 30, p_mw=0.5, energy_mwh=0.8, periods=PERIODS, throughput=1.0)
    car = dataclasses.replace(
        storage("car", 10, p_mw=0.2, energy_mwh=0.3, periods=PERIODS, start=0.3),
        availability=np.array([0.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]),
        energy_mwh_departure_min=0.25,
        energy_mwh_end_min=0.0,
        self_discharge_per_day=0.02,
    )
    return make_case(
        network, [pv, engine, heat, wash, swap, back, battery, car], price=PRICE,
        periods=PERIODS, mtu_minutes=15, load_scale=SHAPE, **limits,
    )  # fmt: skip
