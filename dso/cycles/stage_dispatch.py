"""Stage 4, dispatch: setpoints to the devices, what they did, and what that did to the grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import pretty_json, write_atomically
from data.csv_table import Column, table_bytes
from data.records.dispatch import Delivery, Setpoint
from data.records.order import Order
from data.units import quantise_mw
from dispatch.setpoints import setpoints_from_position
from dispatch.simulated_fleet import simulate_fleet
from dso.cycles.bought import (
    bought_of_day,
    free_what_is_ordered,
    ordered_injection,
    where_known,
)
from dso.cycles.firm_positions import told_to_firm
from dso.cycles.forecast_files import write_feeder_totals
from dso.cycles.grid_replay import AssetPower, replay, write_replays
from dso.cycles.plan import DayPlan
from dso.cycles.schedule import Schedule, day_ahead_schedule, final_schedule, last_terms
from dso.cycles.stage_forecast import FORECAST_FOLDER, day_ahead_forecast
from dso.cycles.stages import Desk
from flexibility.procurement.records import FlexOrder

Floats = NDArray[np.float64]
DISPATCH_FOLDER: Final = "dispatch"
DELIVERY_CSV: Final = "delivery.csv"
IMPORT_CSV: Final = "import.csv"


def run_dispatch(desk: Desk, clearing_sha256: str) -> str:
    """Tell the fleet its setpoints, meter what it did, replay the day three ways."""
    desk.progress.stage("4/7 dispatch")
    plan = desk.plan
    found = bought_of_day(desk)
    bought = found.orders
    inputs = {"clearing": clearing_sha256, **found.inputs}

    def work(folder: Path) -> None:
        place = folder / DISPATCH_FOLDER
        schedule = final_schedule(plan)
        setpoints = setpoints_from_position(
            orders=schedule.orders,
            position_mw=schedule.position_mw
            + ordered_injection(bought, schedule.orders, len(plan.periods)),
            position_mvar=schedule.position_mvar,
            periods=plan.periods,
        )
        deliveries = simulate_fleet(
            setpoints=setpoints,
            orders=_terms_of_devices(desk, schedule, bought),
            recorded_mw=truth_of_assets(plan) | told_to_firm(schedule.orders),
            day=plan.delivery.day,
        )
        write_delivery(setpoints, deliveries, place, found.left_out)
        _replay_day(plan, schedule, deliveries, place)
        write_feeder_totals(day_ahead_forecast(desk), plan.recorded, folder / FORECAST_FOLDER)

    done = desk.run_stage("dispatch", inputs, work)
    desk.progress.step("devices and replays")
    return done


def _terms_of_devices(
    desk: Desk, schedule: Schedule, bought: Sequence[FlexOrder]
) -> tuple[Order, ...]:
    terms = last_terms(desk.plan, schedule)
    if not bought:
        return terms
    return free_what_is_ordered(desk.plan, bought, terms, where_known(desk, schedule, bought))


def write_delivery(
    setpoints: Sequence[Setpoint],
    deliveries: Sequence[Delivery],
    folder: Path,
    left_out: Sequence[str] = (),
) -> None:
    """Write ``delivery.csv``, sorted by period and order, and ``remarks.json`` of the devices.

    ``left_out`` says which orders of flexibility were told to none.
    """
    pairs = list(zip(setpoints, deliveries, strict=True))
    labels = setpoints[0].periods.labels()
    blank = np.full(len(labels), np.nan)

    def by_period(series: list[Floats]) -> Floats:
        return np.array(series).T.ravel()

    columns: dict[str, Column] = {
        "order": [delivery.order for _, delivery in pairs] * len(labels),
        "asset": [delivery.asset for _, delivery in pairs] * len(labels),
        "bus": np.tile(np.array([d.bus for _, d in pairs], dtype=np.int64), len(labels)),
        "period_start": [label for label in labels for _ in pairs],
        "setpoint_mw": by_period([setpoint.injection_mw for setpoint, _ in pairs]),
        "delivered_mw": by_period([delivery.injection_mw for _, delivery in pairs]),
        "soc_mwh": by_period([blank if d.soc_mwh is None else d.soc_mwh for _, d in pairs]),
        "setpoint_mvar": by_period([setpoint.injection_mvar for setpoint, _ in pairs]),
        "delivered_mvar": by_period([delivery.injection_mvar for _, delivery in pairs]),
    }
    write_atomically(folder / DELIVERY_CSV, table_bytes(columns))
    remarks = {delivery.asset: delivery.remarks for _, delivery in pairs if delivery.remarks}
    if left_out:
        remarks["flexibility"] = tuple(left_out)
    write_atomically(folder / "remarks.json", pretty_json(remarks))


def truth_of_assets(plan: DayPlan) -> dict[str, Floats]:
    """Return what each generator could have fed in and each load wanted, by asset [MW]."""
    truth, network = plan.recorded.during(plan.periods), plan.network
    found = {f"load:{i}": truth.load_p_mw[:, k] for k, i in enumerate(network.loads.index)}
    found |= {f"sgen:{i}": truth.sgen_p_mw[:, k] for k, i in enumerate(network.sgens.index)}
    return found


def _replay_day(
    plan: DayPlan, schedule: Schedule, deliveries: Sequence[Delivery], folder: Path
) -> None:
    """Replay without the market, the schedule and what really happened; meter the import.

    Without the market every generator feeds in what it can and storages rest. The schedule is read
    on the forecasts it was made on; what happened, on the recorded profiles of everything that was
    not dispatched.
    """
    truth = plan.recorded.during(plan.periods)
    before = day_ahead_schedule(plan)
    done = [
        AssetPower(
            asset=each.asset,
            bus=each.bus,
            injection_mw=each.injection_mw,
            injection_mvar=each.injection_mvar,
        )
        for each in deliveries
    ]
    reports = {
        "without_market": replay(plan.network, plan.limits, truth, ()),
        "schedule": replay(plan.network, plan.limits, schedule.fixed, _scheduled(schedule)),
        "with_market": replay(plan.network, plan.limits, truth, done),
    }
    write_replays(reports, plan.network, plan.limits, plan.periods, folder)
    day_ahead = replay(plan.network, plan.limits, before.fixed, _scheduled(before))
    imports = {"day_ahead_mw": day_ahead.import_mw}
    imports |= {f"{name}_mw": report.import_mw for name, report in reports.items()}
    columns: dict[str, Column] = {"period_start": plan.periods.labels()}
    columns |= {name: quantise_mw(values) for name, values in imports.items()}
    write_atomically(folder / IMPORT_CSV, table_bytes(columns))


def _scheduled(schedule: Schedule) -> list[AssetPower]:
    return [
        AssetPower(
            asset=order.asset or f"order:{order.id}",
            bus=order.buses[0][0],
            injection_mw=schedule.position_mw[row],
            injection_mvar=schedule.position_mvar[row],
        )
        for row, order in enumerate(schedule.orders)
    ]
