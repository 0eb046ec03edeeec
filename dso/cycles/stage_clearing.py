"""Stage 3, clearing: the day ahead, then every intraday round on the position so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from data.canonical import pretty_json, sha256_hex, write_atomically
from data.records.clearing import ClearingCase, ClearingResult
from data.records.forecast import Forecast
from data.records.order import Order
from data.records.posting import Batch
from data.results import SUMMARY_FILE, write_result, write_timings
from data.study import canonical_case, case_sha256, read_study, write_study
from dso.clock import Stopwatch
from dso.cycles.booked_orders import (
    Booked,
    close_round_book,
    keep_booked_terms,
    restate,
    rows_sha256,
)
from dso.cycles.bought import Bought, bought_before
from dso.cycles.bought_rounds import keep_bought, standing_at, with_bought
from dso.cycles.case import Book, expected_profiles, make_case
from dso.cycles.clearing_files import (
    CLEARING,
    INTRADAY,
    RESULT_FILES,
    STUDY_FILES,
    is_binding,
    named_files,
    read_status,
)
from dso.cycles.firm_positions import is_traded_again, rest_of_firm
from dso.cycles.forecast_files import describe_forecast
from dso.cycles.ledger_run import DAY_AHEAD_RUN, round_run, run_fields
from dso.cycles.messages import Received, updates_by
from dso.cycles.plan import DayPlan, Round
from dso.cycles.reserved import reserve_round
from dso.cycles.schedule import Schedule
from dso.cycles.stage_forecast import FORECAST_FOLDER, day_ahead_forecast, intraday_forecast
from dso.cycles.stages import Desk
from dso.cycles.uncertainty import secured_case
from flexibility.offers import make_intraday_orders
from ledger_adapter.batches import batch_for_clearing, files_root, read_records
from opf.clearing import clear_case
from opf.infeasible import infeasible_result
from opf.problem import prepare_problem

SOLVER_TIMEOUT: Final = "solver_timeout: the time of the clearing was over"
# What `infeasible_result` says of its solver: nothing was solved, so its message says why.
NOTHING_SOLVED: Final = "none"


class OutOfTime(Exception):
    """The time that a clearing had is over."""


def run_day_ahead(desk: Desk, *, withheld: str = "") -> str:
    """Clear the day ahead and commit to it.

    Parameters
    ----------
    desk : Desk
        Where the day is run.
    withheld : str
        Why nothing is cleared, if so: the result says it and binds nobody.
    """
    desk.progress.stage("3/7 clearing", steps=1 + len(desk.plan.rounds()))

    def clear_day_ahead(folder: Path) -> Batch:
        case = read_study(desk.out / CLEARING)
        _clear(desk, case, folder / CLEARING, withheld=withheld)
        return _batch(desk, DAY_AHEAD_RUN, desk.out / CLEARING, folder / CLEARING)

    inputs = {"orders": desk.output_of("orders")}
    done = desk.run_stage("day_ahead", inputs, clear_day_ahead, binds=not withheld)
    desk.progress.step("day ahead")
    return done


def run_round(desk: Desk, at: Round, *, withheld: str = "") -> str:
    """Clear one round on what is known at its gate and the schedule so far; as `run_day_ahead`."""
    rounds = desk.plan.rounds()
    inputs = {"before": _output_before(desk, at)}
    rows = close_round_book(desk, at)
    if rows:
        inputs["book"] = rows_sha256(rows)
    received = updates_by(desk.plan, at.gate)
    if received.updates:
        inputs["messages"] = received.sha256
    bought = bought_before(desk, at.gate)
    inputs |= bought.inputs

    def clear_round(folder: Path) -> Batch:
        place = folder / INTRADAY / at.label
        schedule = desk.positions.before(desk.plan, at, inputs["before"])
        restated = restate(desk.plan, schedule.orders, rows)
        case, notes = _round_case(
            desk.plan, at, schedule, day_ahead_forecast(desk), restated, received, bought
        )
        write_study(case, place, desk.plan.feeder.network, order_rules=desk.plan.rules.order_rules)
        result = _clear(desk, case, place, binding_periods=at.binding, withheld=withheld)
        if not is_binding(result.status):
            why = f"{result.message}; " if result.certificate.solver == NOTHING_SOLVED else ""
            notes["fallbacks"] = [f"{result.status}: {why}the positions of before hold"]
        write_atomically(
            folder / FORECAST_FOLDER / "intraday" / f"{at.label}.json", pretty_json(notes)
        )
        return _batch(desk, round_run(at), place, place)

    done = desk.run_stage(
        "intraday", inputs, clear_round, start=at.periods.start, binds=not withheld
    )
    desk.progress.step(f"intraday {at.number} of {len(rounds)}")
    return done


def last_clearing(desk: Desk) -> str:
    """Return the digest of the last clearing of the day."""
    return desk.output_of("intraday", desk.plan.rounds()[-1].periods.start)


def _output_before(desk: Desk, at: Round) -> str:
    if at.number == 1:
        return desk.output_of("day_ahead")
    return desk.output_of("intraday", desk.plan.rounds()[at.number - 2].periods.start)


def _round_case(
    plan: DayPlan,
    at: Round,
    schedule: Schedule,
    day_ahead: Forecast,
    restated: Booked,
    received: Received,
    bought: Bought,
) -> tuple[ClearingCase, dict[str, object]]:
    """Make the case of a round, and tell what it rests on.

    Orders that were restated for the round stand in place of the day-ahead ones of their id.
    """
    stated = {order.id: order for order in restated.orders}
    standing = standing_at(plan, schedule, at.first, bought.orders)
    orders = tuple(stated.get(order.id, order) for order in standing.orders)
    forecast = intraday_forecast(plan, day_ahead, at)
    book = make_intraday_orders(
        day_ahead=[order for order in orders if is_traded_again(order)],
        forecast=forecast,
        periods=at.periods,
        energy_mwh=standing.energy_mwh,
        policy=plan.feeder.offers,
        submitted_at=at.gate,
    )
    reserved = reserve_round(
        plan,
        at.periods,
        _by_id(keep_booked_terms(orders, book.orders, at.first), rest_of_firm(orders, at.first)),
        received.updates,
        restated,
    )
    kept = keep_bought(plan, at, reserved.orders, bought.orders, restated, received.updates)
    positions = Book(
        orders=kept.orders,
        position_mw=schedule.position_mw[:, at.first :],
        position_mvar=schedule.position_mvar[:, at.first :],
    )
    case = make_case(
        plan,
        name=f"{plan.feeder.id} {plan.delivery.day} intraday {at.label}",
        periods=at.periods,
        profiles=expected_profiles(plan, forecast, at.gate),
        book=with_bought(positions, at, plan.network, schedule, bought.orders),
    )
    case, margins = secured_case(plan, case, forecast, at.gate)
    notes = describe_forecast(forecast) | margins
    notes["fallbacks"] = [*forecast.fallbacks, *margins.get("fallbacks", ())]
    notes["remarks"] = [
        *standing.cuts, *book.remarks, *reserved.remarks, *kept.remarks, *received.left_out,
        *bought.left_out,
    ]  # fmt: skip
    if bought.orders:
        notes["bought"] = [each.reference for each in bought.orders]
    if restated != Booked():
        notes["book"] = restated.plain()
    return canonical_case(case), notes


def _by_id(traded: Sequence[Order], firm: Sequence[Order]) -> tuple[Order, ...]:
    return tuple(sorted([*traded, *firm], key=lambda order: order.id))


def _clear(
    desk: Desk,
    case: ClearingCase,
    folder: Path,
    *,
    binding_periods: int | None = None,
    withheld: str = "",
) -> ClearingResult:
    """Clear a case from nothing but itself, so that whoever has its folder gets the same bytes."""
    watch = Stopwatch.start()
    result = _without_result(case, withheld) if withheld else _clear_in_time(desk, case)
    write_result(result, case, folder, binding_periods=binding_periods)
    write_timings({"clear_and_write_s": watch.elapsed_s()}, folder)
    return result


def _clear_in_time(desk: Desk, case: ClearingCase) -> ClearingResult:
    """Clear, or say that the time was over: an incumbent would depend on the machine's speed."""
    over = desk.out_of_time
    if over is None:
        return clear_case(case)

    def ask() -> bool:
        if over():
            raise OutOfTime
        return False

    try:
        return clear_case(case, out_of_time=ask)
    except OutOfTime:
        return _without_result(case, SOLVER_TIMEOUT)


def _without_result(case: ClearingCase, reason: str) -> ClearingResult:
    """Return a result that awards nothing, prices nothing and says why."""
    nothing = infeasible_result(prepare_problem(case), reason, case_sha256(case))
    return replace(nothing, status="uncertified")


def _batch(desk: Desk, run: str, study: Path, result: Path) -> Batch:
    """Commit to a clearing: roots of its study and of its result, certificate, trades."""
    summary = result / SUMMARY_FILE
    return batch_for_clearing(
        run_fields(desk.plan, run),
        input_root=files_root(named_files(study, STUDY_FILES)),
        output_root=files_root(named_files(result, RESULT_FILES)),
        certificate_sha256=sha256_hex(summary.read_bytes()),
        status=read_status(result),
        trades=read_records("trade", result / "trades.csv"),
        subjects=desk.services.keys.subjects,
    )
