"""The running market sends droops ahead: they are with every plant before delivery begins."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dispatch.agents.device_agent import AgentSettings, DeviceAgent
from dispatch.agents.market_time import LocalTime
from dispatch.agents.station import Station
from dispatch.channels.in_process import InProcessChannel
from dispatch.dispatcher import Dispatcher
from dispatch.instruction_log import InstructionLog
from dispatch.messages import LetterKey
from dso.cycles import stage_droops
from dso.cycles.plan import DayPlan
from dso.cycles.stages import approve_all
from dso.cycles.timetable import DROOPS, day_timetable
from dso.realtime.fleet import fleet_of_network
from dso.realtime.follow import SetpointFollower
from dso.store import DueCycle
from dso.store.instructions import instructions_in_force
from opf.problems.volt_var import DroopSettings
from tests.support.small_market import FEEDER as VILLAGE
from tests.unit.scheduler.conftest import DAY, GATE, MINUTE, START, Market

AHEAD = START - timedelta(hours=1)
END = START + timedelta(days=1)
KEY = LetterKey(name="market-1", seed=bytes(range(32)))


class Then:
    """A clock that stands."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


def plan_of(market: Market) -> DayPlan:
    return market.operation.desk(timetable(market)[0], approve=approve_all).plan


def bounds_of(plan: DayPlan) -> dict[str, tuple[float, float]]:
    """Voltage limits at the bus of each plant [pu]."""
    plants, limits = fleet_of_network(plan.network).plants, plan.limits
    row = {int(bus): k for k, bus in enumerate(plan.network.buses.index)}
    return {
        asset: (float(limits.vm_pu_min[row[bus]]), float(limits.vm_pu_max[row[bus]]))
        for asset, bus in zip(plants.ids, plants.buses, strict=True)
    }


def timetable(market: Market) -> tuple[DueCycle, ...]:
    return day_timetable(market.operation.rules_on(VILLAGE, DAY)[1], VILLAGE, DAY)


def read_record(market: Market) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((market.day / "dispatch/droops.json").read_text("utf-8"))
    return found


def test_droops_are_with_every_plant_before_delivery_begins(market: Market, tmp_path: Path) -> None:
    market.work(GATE)
    assert market.row(DROOPS)["state"] == "due"
    assert market.work(AHEAD) >= 1
    row = market.row(DROOPS)
    assert (row["state"], row["due_at"]) == ("done", "2016-07-24T21:00:00Z")

    plants = bounds_of(plan_of(market))
    channel, clock = InProcessChannel(), Then(AHEAD + MINUTE)
    stations = {
        asset: Station(
            DeviceAgent(
                AgentSettings(asset=asset, keys={KEY.name: KEY.public}, p_min_w=0, p_max_w=500_000)
            ),
            channel.link(asset),
        )
        for asset in plants
    }
    log = InstructionLog(tmp_path / "log.jsonl")
    desk = Dispatcher(channel=channel, key=KEY, clock=clock, log=log)
    here = LocalTime(counter_s=0.0, wall=clock.at)
    for station in stations.values():
        station.turn(here)  # asks for the time
    follower = SetpointFollower(
        market.operation.services.store, desk, log, market="four-rounds", feeder=VILLAGE
    )
    told = follower.turn(clock.at)
    again = follower.turn(clock.at + MINUTE)
    desk.listen()
    for station in stations.values():
        station.turn(here)
    desk.close()
    assert again == ()
    assert {each.instruction.asset for each in told} == set(plants)
    assert {each.instruction.kind for each in told} == {"droop"}
    assert {each.instruction.expires_at for each in told} == {END + timedelta(days=1)}
    for asset, station in stations.items():
        calm, tense = (station.command(here, vm_pu=vm) for vm in (1.0, plants[asset][1]))
        assert (calm.p_w, calm.q_var, tense.p_w) == (None, 0, None)
        # its rating, and at the limit nothing is fed in
        assert 0 == tense.p_max_w < calm.p_max_w < 500_000


def test_the_record_says_what_was_chosen_and_on_what(market: Market) -> None:
    market.work(GATE)
    market.work(AHEAD)
    store = market.operation.services.store
    record = read_record(market)
    with store.transaction() as connection:
        kept = instructions_in_force(connection, market="four-rounds", feeder=VILLAGE, now=AHEAD)
    assert sorted(each.asset for each in kept) == sorted(record["assets"])
    assert all(each.kind == "droop" and each.reason for each in kept)
    settings = DroopSettings(
        dead=record["dead_band_pu_below_limit"],
        full=record["full_pu_below_limit"],
        watt=record["watt_pu_below_limit"],
    )
    bounds = bounds_of(plan_of(market))
    for each in kept:
        voltage, q_share, p_share = settings.corners(*bounds[each.asset])
        assert [corner.vm_pu for corner in each.droop] == pytest.approx(voltage)
        q = np.array([corner.q_var for corner in each.droop], dtype=float)
        p = np.array([corner.p_max_w for corner in each.droop], dtype=float)
        assert q == pytest.approx(q_share * q.max(), abs=1.0)
        assert p == pytest.approx(p_share * p.max(), abs=1.0)


def test_the_light_says_whether_droops_alone_hold_every_limit(market: Market) -> None:
    """At their ratings the plants of the village overload its transformer, whatever the voltage."""
    market.work(GATE)
    due = next(each for each in timetable(market) if each.cycle == DROOPS)
    desk = market.operation.desk(due, approve=approve_all)
    market.work(AHEAD)
    row = market.row(DROOPS)
    assert (row["state"], row["light"]) == ("done", "yellow")
    found = read_record(market)
    assert not found["holds"]
    assert found["fallbacks"][0].startswith("droops_short: without setpoints a limit")
    overloaded = found["excess_percent_with"]
    assert overloaded > 0.0

    wide = replace(
        desk.plan.limits,
        trafo_loading_percent_max=np.full_like(
            desk.plan.limits.trafo_loading_percent_max, 101.0 + overloaded
        ),
    )
    stronger = replace(desk, plan=replace(desk.plan, limits=wide))
    _, answer = stage_droops.choose_droops_of(stronger)
    assert answer.holds
