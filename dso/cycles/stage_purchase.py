"""The purchase: what the day-ahead clearing left unsolved is bought of contracts and offers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from data.canonical import pretty_json, sha256_hex, write_atomically
from data.periods import format_utc
from data.readers.result_folder import read_result
from data.study import read_study
from data.study.order_fields import context_of
from dso.cycles.bought_files import PURCHASE_FOLDER
from dso.cycles.clearing_files import CLEARING, is_binding, read_status
from dso.cycles.messages import Received, received_by, tell_parties
from dso.cycles.plan import DayPlan
from dso.cycles.reserved import contracts_in_force, contracts_sha256
from dso.cycles.schedule import day_ahead_schedule
from dso.cycles.settlement_case import list_connections
from dso.cycles.stage_forecast import FORECAST_FOLDER
from dso.cycles.stage_request import REQUESTS, REQUESTS_JSON
from dso.cycles.stages import Desk
from dso.cycles.timetable import FLEXIBILITY_PURCHASE
from dso.flexibility.buy import Tray, buy
from dso.flexibility.files import ORDERS_JSON, PURCHASE_JSON, purchase_files
from dso.flexibility.page import render_purchase
from dso.store import Connection, DueCycle
from flexibility.procurement.acceptance import Desk as Acceptance
from flexibility.procurement.read_messages import read_messages
from flexibility.procurement.records import AvailabilityContract, FlexOffer, Rejection
from opf.problems.held_positions import held_case

NO_PURCHASE: Final = "no_purchase"
PAGE: Final = "index.html"
MESSAGES_JSON: Final = "messages.json"


def run_purchase(desk: Desk, due: DueCycle) -> str:
    """Buy at least cost what keeps the limits with the day-ahead positions, or what helps most.

    Counted is what was received by the instant at which the cycle is due. Orders are read by their
    parties over the API from the moment the result is kept.
    """
    plan = desk.plan
    received = received_by(desk, due.due_at)
    requests = _published_requests(plan, due)
    inputs = {"day_ahead": desk.output_of("day_ahead")}
    if received.sha256:
        inputs["messages"] = received.sha256
    if plan.feeder.contract_files:
        inputs["contracts"] = contracts_sha256(plan)
    if requests:
        digests = [sha256_hex(path.read_bytes()) for path in requests]
        inputs["requests"] = sha256_hex("".join(digests).encode())

    def work(folder: Path) -> None:
        for name, content in _purchase(plan, due, received, requests).items():
            write_atomically(folder / PURCHASE_FOLDER / name, content)
        if received.kept:
            path = folder / PURCHASE_FOLDER / MESSAGES_JSON
            write_atomically(path, pretty_json(received.kept))

    def order(connection: Connection) -> None:
        path = plan.out / PURCHASE_FOLDER / ORDERS_JSON
        tell_parties(connection, plan, json.loads(path.read_text(encoding="utf-8")))

    return desk.run_stage(FLEXIBILITY_PURCHASE, inputs, work, start=due.first_period, keep=order)


def _published_requests(plan: DayPlan, due: DueCycle) -> list[Path]:
    """Return the files of the requests that were published by then, first to last."""
    last = due.due_at.strftime("%Y%m%dT%H%MZ")
    found = (plan.out / FORECAST_FOLDER / REQUESTS).glob(f"*/{REQUESTS_JSON}")
    return sorted(path for path in found if path.parent.name <= last)


def _purchase(
    plan: DayPlan, due: DueCycle, received: Received, requests: Sequence[Path]
) -> dict[str, bytes]:
    """Return the files of a purchase by name."""
    place = plan.out / CLEARING
    if not is_binding(read_status(place)):
        return _nothing_bought(
            due, f"{NO_PURCHASE}: the day-ahead clearing is {read_status(place)}"
        )
    case = read_study(place)
    held = held_case(case, read_result(place, case))
    points = {point.id: point for point in plan.feeder.congestion_points}
    holder = {
        each.name: each.participant for each in list_connections(plan, day_ahead_schedule(plan))
    }
    contracts, remarks = _callable(contracts_in_force(plan), holder)
    offers, refused = _with_meter(received.inbox.offers, contracts, holder)
    published = read_messages(
        requests, context_of(plan.network, len(plan.periods)), plan.periods,
        plan.delivery.timezone, points,
    )  # fmt: skip
    acceptance = Acceptance(
        points=points,
        requests={
            request.message_id: request
            for request in (*received.inbox.requests, *published.requests)
        },
        contracts={contract.id: contract for contract in contracts},
        at=due.due_at,
    )
    tray = Tray(
        contracts=contracts,
        offers=offers,
        revocations=tuple(received.inbox.revocations),
        updates=received.updates,
    )
    purchase = buy(held, tray, acceptance)
    purchase = replace(
        purchase,
        rejections=(*purchase.rejections, *refused),
        remarks=(*purchase.remarks, *remarks, *received.left_out),
    )
    return purchase_files(purchase, held, acceptance) | {PAGE: render_purchase(purchase, held)}


def _nothing_bought(due: DueCycle, why: str) -> dict[str, bytes]:
    about = {
        "state": "orange", "decided_at": format_utc(due.due_at), "orders": 0, "cost_micro_eur": 0,
        "missing_before": [], "missing": [], "rejections": [], "remarks": [], "fallbacks": [why],
    }  # fmt: skip
    return {PURCHASE_JSON: pretty_json(about), ORDERS_JSON: pretty_json([])}


def _callable(
    contracts: Sequence[AvailabilityContract], holder: Mapping[str, str]
) -> tuple[tuple[AvailabilityContract, ...], list[str]]:
    """Return the contracts whose delivery a meter of their party shows, and why others are not."""
    mine = tuple(each for each in contracts if holder.get(each.connection) == each.participant)
    remarks = [
        f"contract {each.id} is not called: {_no_meter(each.connection, holder)}"
        for each in contracts
        if each not in mine
    ]
    return mine, remarks


def _no_meter(connection: str, holder: Mapping[str, str]) -> str:
    if connection in holder:
        return f"{connection} is held by {holder[connection]}"
    return f"there is no meter of {connection or 'a connection'}"


def _with_meter(
    offers: Sequence[FlexOffer],
    contracts: Sequence[AvailabilityContract],
    holder: Mapping[str, str],
) -> tuple[tuple[FlexOffer, ...], list[Rejection]]:
    """Separate offers that a meter of their party can prove from those that none can.

    Orders of one meter are settled together: a later offer must have the rule of the earlier ones
    and of a contract on that meter, and no power against theirs in any period.
    """
    rules = {each.connection: each.rule for each in contracts}
    signs = {each.connection: {each.sign} for each in contracts}
    kept: list[FlexOffer] = []
    refused: list[Rejection] = []
    for offer in offers:
        reasons = []
        meter = offer.connection
        if holder.get(meter) != offer.participant:
            reasons.append(f"Unknown Reference: {_no_meter(meter, holder)}")
        if rules.get(meter, offer.rule) != offer.rule:
            reasons.append(f"{meter} is offered under the rule {rules[meter]}, too")
        own = {
            float(sign) for option in offer.options for sign in np.sign(option.injection_mw) if sign
        }
        if meter in signs and len(own | signs[meter]) > 1:
            reasons.append(f"{meter} is offered in the other direction, too")
        if reasons:
            refused.append(
                Rejection(
                    message_id=offer.message_id,
                    participant=offer.participant,
                    reasons=tuple(reasons),
                )
            )
            continue
        rules[meter] = offer.rule
        signs[meter] = signs.get(meter, set()) | own
        kept.append(offer)
    return tuple(kept), refused
