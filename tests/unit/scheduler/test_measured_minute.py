"""One minute of the market on what devices report; what it tells is judged by power-grid-model."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from data.records.dispatch import Telemetry
from data.records.order import DemandOrder
from data.units import MICRO_PER_UNIT
from dso.config import RealTimeRules
from dso.cycles.grid_replay import AssetPower, broken_limits, bus_injections
from dso.cycles.perform import CycleResult
from dso.cycles.plan import DayPlan
from dso.cycles.real_time import RECENT, SUBSTATION, tell_setpoints
from dso.cycles.schedule import Schedule
from dso.cycles.stages import Desk, approve_all
from dso.cycles.timetable import FLEXIBILITY_PURCHASE, REAL_TIME, day_timetable
from dso.realtime.market_devices import market_devices
from dso.scheduler import worker as worker_module
from dso.store import DueCycle
from dso.store.instructions import instructions_in_force
from dso.store.tables import STEP_RECORD
from dso.store.telemetry import HeardTelemetry, add_telemetry
from dso.store.told import ToldSetpoint, newest_setpoints
from opf.problems.envelopes import FAIRNESS_RULES, FairnessRule
from opf.replay import ReplayReport, replay_violations
from tests.support.small_market import FEEDER as VILLAGE
from tests.unit.scheduler.conftest import DAY, GATE, MINUTE, START, Market

NOON = START + timedelta(hours=13, minutes=7)
PERIOD = 52
ASTRAY = "sgen:5"


@dataclass
class Village:
    """The village at noon, where one plant feeds in more than it was told."""

    market: Market
    extra_mw: float
    now: datetime = NOON
    period: int = PERIOD
    unmetered_mw: float = 0.0

    @cached_property
    def due(self) -> DueCycle:
        rules = self.market.operation.rules_on(VILLAGE, DAY)[1]
        first = next(d for d in day_timetable(rules, VILLAGE, DAY) if d.cycle == REAL_TIME)
        return replace(first, first_period=self.now, due_at=self.now)

    @cached_property
    def desk(self) -> Desk:
        return self.market.operation.desk(self.due, approve=approve_all)

    @property
    def plan(self) -> DayPlan:
        return self.desk.plan

    @cached_property
    def schedule(self) -> Schedule:
        return self.desk.positions.bound(self.plan, ())

    def positions(self) -> dict[str, complex]:
        devices = market_devices(self.schedule, self.plan.network, self.period, {})
        power = (devices.p_mw + 1j * devices.q_mvar).tolist()
        return dict(zip(devices.name, power, strict=True))

    def with_astray(self, power: dict[str, complex]) -> dict[str, complex]:
        return power | {ASTRAY: self.positions()[ASTRAY] + self.extra_mw}

    def derate(self, percent: float, rule: FairnessRule) -> None:
        """Let the transformer carry less than the market knew, under a fairness rule."""
        desk, limits = self.desk, self.plan.limits
        less = replace(
            limits,
            trafo_loading_percent_max=np.full_like(limits.trafo_loading_percent_max, percent),
        )
        rules = replace(desk.plan.rules, real_time=RealTimeRules(envelopes=rule))
        self.desk = replace(desk, plan=replace(desk.plan, limits=less, rules=rules))

    def loads(self) -> dict[str, DemandOrder]:
        """The loads that sold flexibility."""
        orders = self.schedule.orders
        return {each.asset or "": each for each in orders if isinstance(each, DemandOrder)}

    def sold(self) -> dict[str, complex]:
        """Positions of these loads [MW + j Mvar]."""
        schedule, here = self.schedule, self.period
        power = schedule.position_mw[:, here] + 1j * schedule.position_mvar[:, here]
        return {
            each.asset or "": one
            for each, one in zip(schedule.orders, power.tolist(), strict=True)
            if each.asset in self.loads()
        }

    def told_loads(self) -> dict[str, complex]:
        told = self.told()
        return {
            name: complex(told[name].p_w, told[name].q_var) / MICRO_PER_UNIT
            for name in self.loads()
        }

    def truth(
        self, power: dict[str, complex], loads: dict[str, complex] | None = None
    ) -> ReplayReport:
        """What power-grid-model says of the grid when devices do this, and loads as sold."""
        devices = market_devices(self.schedule, self.plan.network, self.period, {})
        done = [
            AssetPower(
                asset=name, bus=int(bus), injection_mw=np.array([power[name].real]),
                injection_mvar=np.array([power[name].imag]),
            )
            for name, bus in zip(devices.name, devices.bus.tolist(), strict=True)
        ]  # fmt: skip
        drawn = self.sold() | (loads or {})
        done += [
            AssetPower(
                asset=name, bus=order.buses[0][0], injection_mw=np.array([drawn[name].real]),
                injection_mvar=np.array([drawn[name].imag]),
            )
            for name, order in self.loads().items()
        ]  # fmt: skip
        network = self.plan.network
        done.append(
            AssetPower(
                asset="unmetered", bus=int(network.trafos.lv_bus[0]),
                injection_mw=np.array([self.unmetered_mw]), injection_mvar=np.zeros(1),
            )
        )  # fmt: skip
        fixed = self.schedule.fixed
        here = replace(
            fixed,
            **{
                field: getattr(fixed, field)[self.period : self.period + 1]
                for field in ("load_p_mw", "load_q_mvar", "sgen_p_mw", "sgen_q_mvar")
            },
        )
        p, q = bus_injections(network, here, done)
        return replay_violations(network, self.plan.limits, 1, p, q)

    def report(self, power: dict[str, complex], *, substation: bool = False) -> None:
        """Let every device report what it does and its voltage, half a minute before.

        With ``substation``, its meter reports the import, too.
        """
        seen = self.truth(power)
        vm_pu = seen.vm_pu
        row = {int(bus): k for k, bus in enumerate(self.plan.network.buses.index)}
        devices = market_devices(self.schedule, self.plan.network, self.period, {})
        heard_at = self.now - MINUTE / 2
        heard = [
            HeardTelemetry(
                known_at=heard_at,
                telemetry=Telemetry(
                    asset=name, at=heard_at, p_w=round(power[name].real * MICRO_PER_UNIT),
                    q_var=round(power[name].imag * MICRO_PER_UNIT),
                    vm_pu=float(vm_pu[row[int(bus)], 0]),
                    soc_wh=0 if name.startswith("storage:") else None,
                ),
            )
            for name, bus in zip(devices.name, devices.bus.tolist(), strict=True)
        ]  # fmt: skip
        if substation:
            exchange = Telemetry(
                asset=SUBSTATION, at=heard_at, p_w=round(seen.import_mw[0] * MICRO_PER_UNIT),
                q_var=round(seen.import_mvar[0] * MICRO_PER_UNIT),
            )  # fmt: skip
            heard.append(HeardTelemetry(known_at=heard_at, telemetry=exchange))
        with self.market.operation.services.store.transaction() as connection:
            add_telemetry(connection, VILLAGE, heard)

    def told(self) -> dict[str, ToldSetpoint]:
        with self.market.operation.services.store.transaction() as connection:
            found = newest_setpoints(
                connection,
                market=self.due.market,
                feeder=VILLAGE,
                after=self.now - MINUTE,
                until=self.now,
            )
        return {each.asset: each for each in found}

    def told_power(self) -> dict[str, complex]:
        told = self.told()
        return {
            name: complex(told[name].p_w, told[name].q_var) / MICRO_PER_UNIT
            for name in self.positions()
        }

    def run(self) -> CycleResult:
        return tell_setpoints(self.desk, self.due)


def test_what_devices_report_changes_what_they_are_told(market: Market) -> None:
    market.work(GATE)
    store = market.operation.services.store

    calm = Village(market, 0.15)
    before = calm.run()
    assert (before.light, before.fallbacks) == ("green", ())
    assert calm.told_power() == pytest.approx(calm.positions(), abs=1e-6)
    assert {each.reason for each in calm.told().values()} == {None}

    seen = Village(market, 0.15, NOON + MINUTE)
    done = seen.with_astray(seen.positions())
    assert broken_limits(seen.truth(done))
    seen.report(done)
    assert seen.run() == CycleResult(light="yellow", fallbacks=())
    assert broken_limits(seen.truth(seen.with_astray(seen.told_power()))) == ()
    reasons = {name: each.reason for name, each in seen.told().items() if each.reason}
    assert reasons
    assert ASTRAY not in reasons  # it does not listen: others make up for it
    assert all(each.startswith("correction: trafo 0") for each in reasons.values())

    old = Village(market, 0.15, NOON + 2 * MINUTE + RECENT)
    assert [each.name for each in old.run().fallbacks] == ["no_telemetry"]
    assert old.told_power() == pytest.approx(old.positions(), abs=1e-6)

    much = Village(market, 0.6, NOON + 7 * MINUTE)
    much.report(much.with_astray(much.positions()))
    assert much.run().light == "red"
    with store.transaction() as connection:
        limits = instructions_in_force(
            connection, market=much.due.market, feeder=VILLAGE, now=much.now
        )
        steps = connection.execute(select(STEP_RECORD)).all()
    assert [each.asset for each in limits if each.kind == "shed"] == [ASTRAY]
    assert {each.asset for each in limits if each.kind == "envelope"}
    assert {each.asset for each in limits} == {each.asset for each in steps} - {VILLAGE}
    notes = {each.what: (each.step, each.rule) for each in steps if each.asset == VILLAGE}
    assert notes == {
        "note 1": ("orange", "max_min"),
        "note 2": ("red", "priority"),
        "note 3": ("red", "priority"),
    }
    assert all(each.reason for each in limits)
    assert all(each.why for each in steps)
    assert broken_limits(much.truth(much.told_power() | {ASTRAY: 0j})) == ()


@pytest.mark.parametrize("rule", FAIRNESS_RULES)
def test_orange_where_setpoints_do_not_suffice_and_flexible_loads_share_what_there_is(
    market: Market, rule: FairnessRule
) -> None:
    """An evening on which the transformer was derated after the market had closed."""
    market.work(GATE)
    evening = Village(market, 0.0, START + timedelta(hours=19, minutes=17), period=77)
    done = evening.positions()
    load = float(evening.truth(done).trafo_loading_percent.max())
    evening.derate(0.97 * load, rule)
    evening.report(done)
    assert broken_limits(evening.truth(done))

    result = evening.run()

    assert (result.light, result.fallbacks) == ("orange", ())
    assert len(result.notes) == 1
    assert f"envelopes by {rule}" in result.notes[0]
    told, store = evening.told(), market.operation.services.store
    with store.transaction() as connection:
        limits = instructions_in_force(
            connection, market=evening.due.market, feeder=VILLAGE, now=evening.now
        )
        steps = connection.execute(select(STEP_RECORD)).all()
    assert {each.kind for each in limits} == {"envelope"}
    loads = {each.asset: each for each in limits}
    assert loads
    assert all(name.startswith("load:") for name in loads)
    for name, each in loads.items():
        assert each.p_min_w is not None
        assert told[name].p_w == each.p_min_w > round(evening.sold()[name].real * MICRO_PER_UNIT)
        assert told[name].reason == each.reason
    records = {each.asset: each for each in steps if each.asset != VILLAGE}
    assert set(records) == set(loads)
    assert {(each.step, each.what, each.rule) for each in records.values()} == {
        ("orange", "import", rule)
    }
    (note,) = [each for each in steps if each.asset == VILLAGE]
    assert (note.step, note.what, note.rule) == ("orange", "note 1", rule)
    assert broken_limits(evening.truth(evening.told_power(), evening.told_loads())) == ()


def test_a_surplus_that_no_device_reports_is_seen_by_the_substations_meter(market: Market) -> None:
    """Half of what the transformer carries comes from plants that nobody meters."""
    market.work(GATE)
    blind = Village(market, 0.0, NOON, unmetered_mw=0.126)
    done = blind.positions()
    assert broken_limits(blind.truth(done))
    blind.report(done)
    blind.run()
    assert broken_limits(blind.truth(blind.told_power()))

    metered = Village(market, 0.0, NOON + MINUTE, unmetered_mw=0.126)
    metered.report(done, substation=True)
    result = metered.run()
    assert (result.light, result.fallbacks) == ("yellow", ())
    assert broken_limits(metered.truth(metered.told_power())) == ()


def test_what_was_bought_is_told_on_top_of_the_position(market: Market) -> None:
    market.work(GATE)
    village = Village(market, 0.0)
    order = {
        "message_id": "m-1", "order_reference": "o-1", "participant": "aggregator-north",
        "connection": "storage:1",
        "congestion_point": "ea1.2026-01.grid.example:village", "option_reference": "a",
        "activation_factor": 1.0, "price_eur": 1.0, "rule": "as-bid", "penalty_eur_per_mwh": 0.0,
        "isps": [{"start": PERIOD + 1, "duration": 1, "power_w": -5000}],
    }  # fmt: skip

    def work(folder: Path) -> None:
        (folder / "flexibility").mkdir()
        (folder / "flexibility/orders.json").write_text(json.dumps([order]))

    village.run()
    before = village.told()
    village.desk.run_stage(FLEXIBILITY_PURCHASE, {}, work)
    later = Village(market, 0.0, NOON + MINUTE)
    later.run()
    after = later.told()
    changed = {name: after[name].p_w - before[name].p_w for name in after}
    assert {name: watts for name, watts in changed.items() if watts} == {"storage:1": 5000}


def test_the_cycle_says_which_steps_were_taken_and_by_which_rule(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.work(GATE)
    notes = (
        "orange: offers leave 1 limits broken; envelopes by pro_rata",
        "red: 1 shed by rotating",
    )
    told = CycleResult(light="red", fallbacks=(), notes=notes)
    monkeypatch.setattr(worker_module, "tell_setpoints", lambda *_: told)
    market.work(START)
    row = market.row(REAL_TIME)
    assert (row["state"], row["light"]) == ("done", "red")
    assert row["remark"] == "; ".join(notes)
