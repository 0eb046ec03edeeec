"""Stage 2, orders: the aggregators' book, and the study folder of the day-ahead clearing."""

from __future__ import annotations

from pathlib import Path

from data.canonical import pretty_json, write_atomically
from data.study import write_study
from dso.cycles.booked_orders import BOOK_JSON, Booked, close_day_ahead_book, with_booked
from dso.cycles.case import Book, expected_profiles, feeder_map, make_case
from dso.cycles.clearing_files import CLEARING
from dso.cycles.messages import updates_by
from dso.cycles.reserved import RESERVED_JSON, contracts_sha256, reserve_day_ahead
from dso.cycles.stage_forecast import FORECAST_FOLDER, day_ahead_forecast
from dso.cycles.stages import Desk
from dso.cycles.uncertainty import MARGINS_JSON, secured_case
from flexibility.offers import make_orders


def run_orders(desk: Desk, forecast_sha256: str) -> str:
    """Make the orders on the forecast and write the day-ahead study folder."""
    desk.progress.stage("2/7 orders")
    plan = desk.plan
    booked = close_day_ahead_book(desk)
    received = updates_by(plan, plan.day_ahead_gate)

    def work(folder: Path) -> None:
        forecast = day_ahead_forecast(desk)
        gate = plan.day_ahead_gate
        offered = make_orders(
            network=plan.network,
            forecast=forecast,
            periods=plan.periods,
            policy=plan.feeder.offers,
            submitted_at=gate,
        )
        reserved = reserve_day_ahead(plan, with_booked(offered, booked), received.updates)
        case = make_case(
            plan,
            name=f"{plan.feeder.id} {plan.delivery.day} day-ahead",
            periods=plan.periods,
            profiles=expected_profiles(plan, forecast, gate),
            book=Book(orders=reserved.orders),
        )
        case, notes = secured_case(plan, case, forecast, gate)
        if notes:
            write_atomically(folder / FORECAST_FOLDER / MARGINS_JSON, pretty_json(notes))
        if plan.feeder.contract_files:
            place = folder / FORECAST_FOLDER / RESERVED_JSON
            remarks = [*reserved.remarks, *received.left_out]
            write_atomically(place, pretty_json({"remarks": remarks}))
        if booked != Booked():
            write_atomically(folder / FORECAST_FOLDER / BOOK_JSON, pretty_json(booked.plain()))
        write_study(
            case, folder / CLEARING, plan.feeder.network, order_rules=plan.rules.order_rules
        )
        write_atomically(
            folder / CLEARING / "feeder_map.json", pretty_json(feeder_map(plan.network))
        )

    inputs = {"forecast": forecast_sha256}
    if booked != Booked():
        inputs["book"] = booked.sha256()
    if plan.feeder.contract_files:
        inputs["contracts"] = contracts_sha256(plan)
    if received.updates:
        inputs["messages"] = received.sha256
    done = desk.run_stage("orders", inputs, work)
    desk.progress.step("book of the day ahead")
    return done
