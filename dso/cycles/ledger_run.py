"""What names a run of this day in the ledger: public words, no party among them."""

from __future__ import annotations

from typing import Final

from dso.cycles.plan import DayPlan, Round

DAY_AHEAD_RUN: Final = "day-ahead"
SETTLEMENT_RUN: Final = "settlement"
BUNDLE_RUN: Final = "bundle"


def round_run(at: Round) -> str:
    """Return the name of an intraday round, e.g. ``intraday-20160724T2200Z``."""
    return f"intraday-{at.label}"


def run_fields(plan: DayPlan, run: str, *, revision: int = 0) -> dict[str, str | int]:
    """Return market, feeder, day, run and revision; the ledger adds the kind."""
    return {
        "market": plan.rules.id,
        "feeder": plan.feeder.id,
        "interval": plan.delivery.day.isoformat(),
        "run": run,
        "revision": revision,
    }
