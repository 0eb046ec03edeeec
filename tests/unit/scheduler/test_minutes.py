"""Setpoints by the minute: as many cycles as minutes, each told what binds in its period."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from data.errors import InputError
from data.periods import DeliveryDay, format_utc
from dso.config import MarketRules, load_market
from dso.cycles.timetable import REAL_TIME, day_timetable
from dso.store.tables import SETPOINT
from tests.support.small_market import FEEDER, MARKET
from tests.unit.scheduler.conftest import DAY, GATE, MINUTE, START, Market


def rules_with(folder: Path, line: str) -> MarketRules:
    """Return the rules of the small market with one more line in ``[cycles]``."""
    path = folder / "rules.toml"
    path.write_text(MARKET.format(signatures=0) + line, encoding="utf-8")
    return load_market(str(path), DAY)


@pytest.mark.parametrize(
    ("day", "minutes"), [("2016-03-27", 1380), ("2016-07-25", 1440), ("2016-10-30", 1500)]
)
def test_every_minute_of_a_day_has_one_cycle(tmp_path: Path, day: str, minutes: int) -> None:
    rules = rules_with(tmp_path, "real_time_every_minutes = 1\n")
    of_day = date.fromisoformat(day)
    told = [d for d in day_timetable(rules, FEEDER, of_day) if d.cycle == REAL_TIME]
    periods = DeliveryDay(day=of_day, timezone=rules.timezone).periods
    assert [due.due_at for due in told] == [periods.start + k * MINUTE for k in range(minutes)]
    assert all(due.skip_after == due.due_at + MINUTE for due in told)
    by_period = [
        d for d in day_timetable(rules_with(tmp_path, ""), FEEDER, of_day) if d.cycle == REAL_TIME
    ]
    assert [due.due_at for due in by_period] == list(periods.starts)


def test_what_does_not_divide_a_period_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must divide mtu_minutes"):
        rules_with(tmp_path, "real_time_every_minutes = 4\n")


def test_a_minute_inside_a_period_is_told_what_binds_in_it(market: Market) -> None:
    market.work(GATE)
    first = next(
        due for due in day_timetable(market.operation.rules_on(FEEDER, DAY)[1], FEEDER, DAY)
        if due.cycle == REAL_TIME
    )  # fmt: skip
    inside = replace(
        first, first_period=START + 7 * MINUTE, due_at=START + 7 * MINUTE,
        late_after=START + 8 * MINUTE, skip_after=START + 8 * MINUTE,
    )  # fmt: skip
    market.operation.queue.add([inside])
    market.work(START)
    market.work(START + timedelta(minutes=7))
    with market.operation.services.store.transaction() as connection:
        rows = connection.execute(select(SETPOINT).order_by(SETPOINT.c.asset)).mappings().all()
    by_start = {
        start: [{**row, "period_start": ""} for row in rows if row["period_start"] == start]
        for start in {row["period_start"] for row in rows}
    }
    assert set(by_start) == {format_utc(START), format_utc(START + 7 * MINUTE)}
    assert by_start[format_utc(START)] == by_start[format_utc(START + 7 * MINUTE)]
    lights = {
        row["light"] for row in market.operation.queue.states()
        if row["cycle"] == REAL_TIME and row["state"] == "done"
    }  # fmt: skip
    assert len(lights) == 1
