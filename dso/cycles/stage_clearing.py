"""Stage 3, clearing: the day ahead, then every intraday round on the position so far."""

from __future__ import annotations

from pathlib import Path

from data.canonical import pretty_json, sha256_hex, write_atomically
from data.records.clearing import ClearingCase, ClearingResult
from data.records.forecast import Forecast
from data.records.posting import Batch
from data.results import SUMMARY_FILE, write_result, write_timings
from data.study import canonical_case, read_study, write_study
from dso.clock import Stopwatch
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
from dso.cycles.forecast_files import describe_forecast
from dso.cycles.ledger_run import DAY_AHEAD_RUN, round_run, run_fields
from dso.cycles.plan import DayPlan, Round
from dso.cycles.schedule import Schedule, after_round, day_ahead_schedule
from dso.cycles.stage_forecast import FORECAST_FOLDER, day_ahead_forecast, intraday_forecast
from dso.cycles.stages import Desk
from flexibility.offers import make_intraday_orders
from ledger_adapter.batches import batch_for_clearing, files_root, read_records
from opf.clearing import clear_case


def run_clearing(desk: Desk, orders_sha256: str) -> str:
    """Clear the day ahead and every round; each is a stage of its own and posts its own batch."""
    plan = desk.plan
    rounds = plan.rounds()
    desk.progress.stage("3/7 clearing", steps=1 + len(rounds))

    def clear_day_ahead(folder: Path) -> Batch:
        case = read_study(desk.out / CLEARING)
        _clear(case, folder / CLEARING)
        return _batch(desk, DAY_AHEAD_RUN, desk.out / CLEARING, folder / CLEARING)

    done = desk.run_stage("day_ahead", {"orders": orders_sha256}, clear_day_ahead)
    desk.progress.step("day ahead")
    forecast = day_ahead_forecast(desk)
    schedule = day_ahead_schedule(plan)
    for at in rounds:
        done = _run_round(desk, at, schedule, forecast, done)
        schedule = after_round(schedule, plan, at)
        desk.progress.step(f"intraday {at.number} of {len(rounds)}")
    return done


def _run_round(
    desk: Desk, at: Round, schedule: Schedule, day_ahead: Forecast, before_sha256: str
) -> str:
    """Clear one round on what is known at its gate and the schedule so far."""

    def clear_round(folder: Path) -> Batch:
        place = folder / INTRADAY / at.label
        case, notes = _round_case(desk.plan, at, schedule, day_ahead)
        write_study(case, place, desk.plan.feeder.network, order_rules=desk.plan.rules.order_rules)
        status = _clear(case, place, binding_periods=at.binding).status
        if not is_binding(status):
            notes["fallbacks"] = [f"{status}: the positions of before hold"]
        write_atomically(
            folder / FORECAST_FOLDER / "intraday" / f"{at.label}.json", pretty_json(notes)
        )
        return _batch(desk, round_run(at), place, place)

    return desk.run_stage(
        "intraday", {"before": before_sha256}, clear_round, start=at.periods.start
    )


def _round_case(
    plan: DayPlan, at: Round, schedule: Schedule, day_ahead: Forecast
) -> tuple[ClearingCase, dict[str, object]]:
    """Make the case of a round, and tell what it rests on."""
    forecast = intraday_forecast(plan, day_ahead, at)
    energy_mwh, cuts = schedule.energy_mwh(at.first)
    book = make_intraday_orders(
        day_ahead=schedule.orders,
        forecast=forecast,
        periods=at.periods,
        energy_mwh=energy_mwh,
        policy=plan.feeder.offers,
        submitted_at=at.gate,
    )
    case = make_case(
        plan,
        name=f"{plan.feeder.id} {plan.delivery.day} intraday {at.label}",
        periods=at.periods,
        profiles=expected_profiles(plan, forecast, at.gate),
        book=Book(
            orders=book.orders,
            position_mw=schedule.position_mw[:, at.first :],
            position_mvar=schedule.position_mvar[:, at.first :],
        ),
    )
    notes = describe_forecast(forecast)
    notes["remarks"] = [*cuts, *book.remarks]
    return canonical_case(case), notes


def _clear(
    case: ClearingCase, folder: Path, *, binding_periods: int | None = None
) -> ClearingResult:
    """Clear a case from nothing but itself, so that whoever has its folder gets the same bytes."""
    watch = Stopwatch.start()
    result = clear_case(case)
    write_result(result, case, folder, binding_periods=binding_periods)
    write_timings({"clear_and_write_s": watch.elapsed_s()}, folder)
    return result


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
