"""Real time as a whole: correction over a broker, an hour without the desk, orange and red days."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from uuid import uuid4

import numpy as np
import pytest

from data.errors import InputError
from dso.bootstrap import carry_in_process, carry_over_mqtt
from dso.realtime.desk import DeskRules
from dso.realtime.fallbacks import Expected, droops_ahead
from dso.realtime.faults import FleetFaults
from dso.realtime.simulation import LEAD_QUARTERS, Scene, prepare_scene, run_scene
from dso.realtime.steps import Escalation, Situation, escalate, records_bytes
from opf.problems.envelopes import FAIRNESS_RULES, Connections, FairnessRule
from opf.problems.shed import Sheddable, ShedRule
from opf.replay import replay_violations
from tests.support.realtime_scenes import (
    NOON,
    load_by_node,
    rural_fleet,
    rural_grid,
    rural_limits,
    rural_monitored,
    rural_positions,
)

LEAD = 15 * LEAD_QUARTERS


@cache
def scene(quarters: int, *, faulty: bool) -> Scene:
    return prepare_scene(
        rural_grid(),
        rural_limits(),
        rural_positions(NOON, quarters),
        faults=None if faulty else FleetFaults(),
        envelopes=faulty,
        seed=4,
    )


@pytest.mark.service
def test_correction_over_a_broker_removes_what_would_be_broken(mqtt_url: str) -> None:
    """The worst half hour; the whole day is `python -m benchmarks.closed_loop`."""
    of = scene(2, faulty=True)
    faults = of.world.faults
    assert len(of.fleet.assets) == 192
    assert (len(faults.late_minutes), len(faults.silent_from), len(faults.lying)) == (19, 10, 4)
    without = run_scene(of, carry_in_process, DeskRules(correcting=False)).figures
    run = run_scene(of, lambda: carry_over_mqtt(mqtt_url, f"test-{uuid4().hex}"), DeskRules())
    found = run.figures
    assert run.carrier.startswith("MQTT")
    assert without.minutes > 15
    assert without.violated_mwh > 0.2
    assert found.violated_mwh <= 0.1 * without.violated_mwh
    assert found.longest_minutes <= 5
    for episode in found.episodes:
        assert episode.culprits
        assert all(
            who.state in {"silent", "late", "lying", "off", "new"} for who in episode.culprits
        )
    # the devices' own limits hold whatever they were told
    done, count = run.record.p_mw, of.fleet.plant_count
    assert (done[:count] <= of.world.available_mw + 1e-9).all()
    assert (run.record.soc_mwh[count:] <= of.fleet.batteries.energy_mwh_max[:, None] + 1e-9).all()
    corrections = [d.correction for d in run.record.decisions if d and d.correction]
    assert all(each.fallback == "" for each in corrections)


def test_a_silent_device_falls_back_to_its_envelope() -> None:
    of = scene(2, faulty=True)
    record = run_scene(of, carry_in_process, DeskRules()).record
    early = {asset: minute for asset, minute in of.world.faults.silent_from.items() if minute < 25}
    assert early
    row = {asset: k for k, asset in enumerate(of.fleet.assets)}
    for asset, minute in early.items():
        after = record.p_mw[row[asset], minute + 16 :]
        low, high = of.world.installed_w[row[asset]] / 1e6
        assert (after <= high + 1e-9).all(), asset
        assert (after >= low - 1e-9).all(), asset
    # all envelopes at once are something the grid carries
    assert (of.envelope_mw[: of.fleet.plant_count] > 0.0).all()


@pytest.mark.slow
def test_droops_sent_ahead_hold_the_voltage_while_the_desk_is_gone_for_an_hour() -> None:
    of = scene(6, faulty=False)
    until = of.positions.periods.end + timedelta(hours=1)
    expected = Expected(
        loads=of.positions.loads,
        available_mw=of.positions.expected_mw[: of.fleet.plant_count],
    )
    told, answer = droops_ahead(of.at, of.fleet, of.limits, expected, until)
    assert answer.holds
    assert answer.over_without > 0.0
    stop = (15, 75)
    without = run_scene(of, carry_in_process, DeskRules(), stopped=stop).figures
    assert without.minutes > 40
    with_droop = run_scene(of, carry_in_process, DeskRules(), stopped=stop, ahead=told)
    assert with_droop.figures.episodes == ()
    asleep = with_droop.record.decisions[LEAD + stop[0] : LEAD + stop[1]]
    assert all(decision is None for decision in asleep)
    # without setpoints the plants really are on their droops: they draw reactive power
    quiet = slice(LEAD + stop[0] + 12, LEAD + stop[1])
    assert (with_droop.record.q_mvar[:, quiet].sum(axis=0) < -0.5).all()


def connections(wish: float) -> Connections:
    fleet = rural_fleet()
    storages = np.arange(len(fleet.assets)) >= fleet.plant_count
    return Connections(
        name=fleet.assets,
        bus=fleet.buses,
        import_mw=np.where(storages, fleet.rating_mw, 0.0),
        export_mw=wish * fleet.rating_mw,
        tan_max=np.zeros(len(fleet.assets)),
    )


def loads_as_sheddable(share: float) -> Sheddable:
    network, at = rural_grid().network, rural_monitored()
    loads = network.loads
    by_node = load_by_node(NOON, share)
    node = at.nodes_of(loads.bus)
    parts = np.array([1.0 / (node == each).sum() for each in node])
    return Sheddable(
        name=tuple(f"load:{index}" for index in loads.index),
        bus=loads.bus,
        injection=by_node[node] * parts,
        priority=np.arange(len(node)),
        times_shed=np.zeros(len(node), dtype=np.int64),
    )


def go(
    load: float, wish: float, rule: FairnessRule, shed: ShedRule = "rotating"
) -> tuple[Escalation, Situation]:
    """Escalate a noon at which the market found no offers."""
    at = rural_monitored()
    wishes = connections(wish)
    background = load_by_node(NOON, load)
    unsolved = background.copy()
    np.add.at(unsolved, at.nodes_of(wishes.bus), wishes.export_mw + 0j)
    situation = Situation(
        now=NOON,
        until=NOON + timedelta(hours=1),
        background=(background, background),
        offered=unsolved,
        connections=wishes,
        firm_mw=np.zeros(len(wishes.name)),
        sheddable=loads_as_sheddable(load),
        margin=np.zeros(len(at.limits)),
    )
    return escalate(at, situation, rule, shed), situation


def held_elsewhere(load: float, device_mw: np.ndarray, off: frozenset[str] = frozenset()) -> bool:
    """Whether power-grid-model finds every limit held, some loads taken off."""
    network, shed = rural_grid().network, loads_as_sheddable(load)
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    total = np.zeros((len(row), 1), dtype=complex)
    for name, bus, power in zip(shed.name, shed.bus, shed.injection, strict=True):
        if name not in off:
            total[row[int(bus)], 0] += power
    for bus, power in zip(rural_fleet().buses, device_mw, strict=True):
        total[row[int(bus)], 0] += power
    report = replay_violations(network, rural_limits(), 1, total.real, total.imag)
    return all(
        abs(each.value - each.limit) < (3e-5 if each.element_kind == "bus" else 3e-2)
        for each in report.violations
    )


@pytest.mark.parametrize("rule", FAIRNESS_RULES)
def test_orange_day_offers_do_not_suffice_and_envelopes_do(rule: FairnessRule) -> None:
    answer, situation = go(0.5, 1.0, rule)
    assert answer.step == "orange"
    assert answer.unmended == ()
    assert "offers leave" in answer.notes[0]
    assert answer.notes[0].endswith(f"envelopes by {rule}")
    wishes = situation.connections
    assert not held_elsewhere(0.5, wishes.export_mw)
    limit = {told.asset: told for told in answer.told}
    used = np.array(
        [
            (limit[asset].p_max_w or 0) / 1e6 if asset in limit else wishes.export_mw[row]
            for row, asset in enumerate(wishes.name)
        ]
    )
    assert held_elsewhere(0.5, used)
    # everybody whose envelope is smaller than the wish has a record with its reason, and no other
    smaller = {wishes.name[row] for row in np.flatnonzero(used < wishes.export_mw - 2e-6)}
    assert {each.asset for each in answer.records if each.what == "export"} == smaller
    assert all(each.why.startswith("held by ") and each.rule == rule for each in answer.records)
    table = records_bytes(answer.records).decode().splitlines()
    assert len(table) == 1 + len(answer.records)
    assert table[0].startswith("step,asset,what,from_mw,to_mw,why,rule")


def test_red_day_even_empty_envelopes_do_not_help_and_loads_are_shed_in_order() -> None:
    answer, _ = go(6.0, 0.0, "max_min")
    assert answer.step == "red"
    assert answer.unmended == ()
    off = frozenset(each.asset for each in answer.records if each.step == "red")
    assert off
    idle = np.zeros(len(rural_fleet().assets))
    assert not held_elsewhere(6.0, idle)
    assert held_elsewhere(6.0, idle, off)
    shed = [each for each in answer.told if each.kind == "shed"]
    assert {told.asset for told in shed} == off
    assert all(told.p_min_w == told.p_max_w == 0 for told in shed)
    assert all("broken" in each.why and each.rule == "rotating" and each.to_mw == 0.0
               for each in answer.records if each.step == "red")  # fmt: skip
    assert [note.partition(":")[0] for note in answer.notes] == ["orange", "red", "red"]
    assert f"{len(off)} connections shed by rotating" in answer.notes[2]


def test_rules_that_there_are_not_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError) as caught:
        go(0.5, 0.1, "first_come", "by_lot")  # type: ignore[arg-type]
    text = str(caught.value)
    for part in ("'first_come'", "max_min, pro_rata", "'by_lot'", "priority, rotating"):
        assert part in text


def test_yellow_where_what_was_offered_suffices() -> None:
    answer, _ = go(0.5, 0.1, "max_min")
    assert (answer.step, answer.records, answer.told) == ("yellow", (), ())
