"""A clearing without certificate binds nobody: what was agreed before holds, and it is said.

The files of a finished day are taken, and the status of some of its clearings is struck out.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from dso.config import load_feeder, load_market
from dso.cycles.plan import DayPlan, plan_day
from dso.cycles.schedule import day_ahead_schedule, final_schedule, last_terms
from dso.cycles.settlement_case import settlement_case
from dso.cycles.stage_report import clearing_statuses, day_notes, worst_exit_code
from dso.settlement import check_settlement, settle
from tests.support.delivery_days import FinishedDay

pytestmark = pytest.mark.slow
DAY = date(2016, 7, 25)


@pytest.fixture
def struck(summer: FinishedDay, tmp_path: Path) -> Callable[..., DayPlan]:
    """A copy of the day in which the named clearings have no certificate."""

    def strike(*folders: str) -> DayPlan:
        out = tmp_path / "out"
        for name in ("clearing", "dispatch", "forecast"):
            shutil.copytree(summer.out / name, out / name)
        for folder in folders:
            path = out / folder / "summary.json"
            summary = json.loads(path.read_text())
            path.write_text(json.dumps({**summary, "status": "uncertified"}))
            for table in ("awards.csv", "prices.csv", "price_parts.csv"):
                (out / folder / table).unlink()  # nobody may look at them
        market = load_market("local-energy", DAY)
        feeder = load_feeder("1-MV-rural--2-sw", DAY)
        plan = plan_day(day=DAY, out=tmp_path / "new", feeder=feeder, rules=market)
        return dataclasses.replace(plan, out=out)

    return strike


def test_after_a_round_without_certificate_the_day_ahead_holds(
    struck: Callable[..., DayPlan],
) -> None:
    plan = struck("clearing/intraday/20160725T1000Z")
    at = next(at for at in plan.rounds() if at.label == "20160725T1000Z")
    here = slice(at.first, at.first + at.binding)
    before, after = day_ahead_schedule(plan), final_schedule(plan)
    assert np.array_equal(after.position_mw[:, here], before.position_mw[:, here])
    assert not np.array_equal(after.position_mw, before.position_mw)
    assert set(after.source[here]) == {0}
    assert len(last_terms(plan, after)) == len(before.orders)

    case = settlement_case(plan)
    assert case.rounds is not None
    assert at.number not in {line.round for line in case.rounds}
    assert f"id/{at.number}" not in {part.market for part in case.parts}
    for position in case.positions:
        assert position.id_wh[here] == position.da_wh[here]
    assert check_settlement(case, settle(case)) == ()
    assert worst_exit_code(clearing_statuses(plan)) == 3


def test_without_a_day_ahead_the_rounds_sell_everything(struck: Callable[..., DayPlan]) -> None:
    plan = struck("clearing")
    before, after = day_ahead_schedule(plan), final_schedule(plan)
    assert not before.position_mw.any()
    assert set(before.source) == {-1}
    assert set(after.source) == {at.number for at in plan.rounds()}
    case = settlement_case(plan)
    assert all(not any(position.da_wh) for position in case.positions)
    assert case.substation.da_import_wh is not None
    assert not any(case.substation.da_import_wh)
    assert not any(part.market == "da" for part in case.parts)
    result = settle(case)
    assert check_settlement(case, result) == ()
    assert not any(line.amount_micro_eur for line in result.lines if line.market == "da")
    assert any("nothing was sold day-ahead" in note for note in day_notes(plan))


def test_without_any_certificate_everything_is_imbalance(struck: Callable[..., DayPlan]) -> None:
    labels = [f"clearing/intraday/{label}" for label in ("20160724T2200Z", "20160725T2100Z")]
    plan = struck("clearing", *labels)
    schedule = final_schedule(plan)
    assert set(schedule.source[:4]) == set(schedule.source[-4:]) == {-1}
    assert not schedule.position_mw[:, :4].any()
    case = settlement_case(plan)
    wholesale = case.substation.import_price_micro_eur_per_mwh
    for price in case.prices:
        assert price.imbalance_micro_eur_per_mwh[:4] == wholesale[:4]
    assert case.substation.id_import_wh is not None
    assert not any(case.substation.id_import_wh[:4])
    assert check_settlement(case, settle(case)) == ()


def test_energies_follow_the_positions_and_stay_in_bounds(
    struck: Callable[..., DayPlan],
) -> None:
    plan = struck()
    schedule = final_schedule(plan)
    count = len(plan.periods)
    energies, remarks = schedule.energy_mwh(count)
    assert remarks == ()
    for order in schedule.orders:
        if order.id in energies:
            assert energies[order.id] >= order.energy_mwh_end_min - 1e-5  # type: ignore[attr-defined]
    charged = np.full_like(schedule.charge_mw, 0.05)
    wild = dataclasses.replace(schedule, charge_mw=schedule.charge_mw + charged)
    energies, remarks = wild.energy_mwh(count)
    assert any("positions leave its bounds" in remark for remark in remarks)
    for order in schedule.orders:
        if order.id in energies:
            assert energies[order.id] <= order.energy_mwh_max  # type: ignore[attr-defined]
