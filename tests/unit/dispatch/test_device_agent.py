"""The agent beside a device, one situation at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from data.errors import InputError
from data.records.dispatch import DroopPoint, Instruction
from dispatch.agents.device_agent import AgentMemory, AgentSettings, DeviceAgent
from dispatch.agents.market_time import LocalTime, MarketTime
from dispatch.agents.memory_file import read_memory, write_memory
from dispatch.messages import LetterKey, TimeAnswer, TimeRequest, Uplink

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEY = LetterKey(name="market-1", seed=bytes(range(32)))
SETTINGS = AgentSettings(
    asset="storage:7", keys={KEY.name: KEY.public}, p_min_w=-5000, p_max_w=5000, silence_s=300.0
)


def instant(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def here(seconds: float, skew_s: float | None = 0.0) -> LocalTime:
    wall = None if skew_s is None else instant(seconds + skew_s)
    return LocalTime(counter_s=1000.0 + seconds, wall=wall)


def told(number: int, **fields: Any) -> Instruction:
    made: dict[str, Any] = {
        "id": f"i{number}", "asset": "storage:7", "sequence": number, "kind": "setpoint",
        "reason": "test", "issued_at": NOON, "valid_from": NOON, "expires_at": instant(600),
    } | fields  # fmt: skip
    if made["kind"] == "setpoint":
        made.setdefault("p_w", 1000 * number)
    return Instruction(**made)


def known_time(agent: DeviceAgent, at: LocalTime, market_s: float) -> DeviceAgent:
    request = agent.ask_time(at)
    answer = TimeAnswer(asset=request.asset, nonce=request.nonce, at=instant(market_s))
    agent.receive(KEY.seal(answer).text, at)
    return agent


def agent_at(seconds: float, skew_s: float = 0.0, **settings: Any) -> DeviceAgent:
    made = DeviceAgent(replace(SETTINGS, **settings))
    return known_time(made, here(seconds, skew_s), seconds)


def hand(agent: DeviceAgent, instruction: Instruction, at: LocalTime) -> str:
    (answer,) = agent.receive(KEY.seal(instruction).text, at)
    return getattr(answer, "reason", "")


def test_each_refusal_has_its_name() -> None:
    agent, at = agent_at(100.0), here(100.0)
    assert hand(agent, told(5), at) == "accepted"
    assert hand(agent, told(5), at) == "duplicate"
    assert hand(agent, told(5, p_w=1, id="other"), at) == "sequence_taken"
    assert hand(agent, told(4), at) == "older_sequence"
    assert hand(agent, told(6, asset="sgen:1"), at) == "other_device"
    assert hand(agent, told(7, expires_at=instant(90)), at) == "expired"
    assert agent.receive(b"{}", at) == agent.receive(b"no", at) == ()
    forged = LetterKey(name=KEY.name, seed=bytes(32)).seal(told(8)).text
    unknown = LetterKey(name="market-2", seed=KEY.seed).seal(told(8)).text
    touched = KEY.seal(told(8)).text.replace(b"8000", b"9000")
    assert [agent.receive(letter, at) for letter in (forged, unknown, touched)] == [(), (), ()]
    assert agent.refused == {
        "older_sequence": 1, "other_device": 1, "expired": 1, "sequence_taken": 1, "not_signed": 4,
        "not_json": 1,
    }  # fmt: skip


def test_what_came_too_late_still_replaces_what_it_replaced() -> None:
    agent = agent_at(100.0)
    hand(agent, told(5), here(100.0))
    assert agent.command(here(100.0)).setpoint == "i5"
    assert (
        hand(agent, told(7, valid_from=instant(50), expires_at=instant(90)), here(100)) == "expired"
    )
    assert agent.command(here(100.0)).setpoint is None


def test_a_letter_that_comes_again_after_it_was_replaced_gets_its_first_answer() -> None:
    agent, at = agent_at(100.0), here(100.0)
    assert [hand(agent, told(n), at) for n in (1, 2, 1, 2)] == [
        "accepted", "accepted", "duplicate", "duplicate",
    ]  # fmt: skip
    assert agent.command(at).setpoint == "i2"


def test_a_newer_one_that_may_have_begun_stops_the_older_one() -> None:
    """Without a round trip the market may be two minutes ahead: neither is sure then.

    It is not behind: the letters themselves prove how late it is at least.
    """
    agent = DeviceAgent(replace(SETTINGS, silence_s=1e6))
    hand(agent, told(1, expires_at=instant(3600)), here(0.0))
    hand(agent, told(2, valid_from=instant(400), expires_at=instant(3600)), here(0.0))
    times = (279.0, 281.0, 399.0, 401.0)
    followed = {seconds: agent.command(here(seconds)).setpoint for seconds in times}
    assert followed == {279: "i1", 281: None, 399: None, 401: "i2"}


def test_after_a_restart_nothing_older_comes_back() -> None:
    agent = agent_at(0.0)
    hand(agent, told(1), here(0.0))
    hand(agent, told(2, valid_from=instant(100)), here(0.0))
    assert agent.command(here(101.0)).setpoint == "i2"
    again = DeviceAgent(SETTINGS, agent.memory())
    assert again.command(LocalTime(counter_s=0.0)).reason == "the market's time is unknown"
    assert hand(again, told(1), here(101.0)) == "older_sequence"
    known_time(again, here(101.0), 101.0)
    assert again.command(here(101.0)).setpoint == "i2"
    # with the wall clock alone: it has begun before, so it has begun
    bare = DeviceAgent(SETTINGS, agent.memory())
    assert bare.command(here(101.0)).reason == "the market is silent"
    assert hand(bare, told(2, valid_from=instant(100)), here(101.0)) == "duplicate"
    assert bare.command(here(101.0)).setpoint == "i2"
    assert bare.command(here(481.0)).setpoint is None  # it may be over: 600 s less two minutes
    foreign = AgentMemory(begun={}, letters=(b"{}", KEY.seal(told(1, asset="x")).text))
    assert DeviceAgent(SETTINGS, foreign).memory().letters == ()


def test_what_is_remembered_is_written_and_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    assert read_memory(path) is None
    agent = agent_at(0.0)
    hand(agent, told(3), here(0.0))
    agent.command(here(1.0))
    write_memory(path, agent.memory())
    assert read_memory(path) == agent.memory()
    for text in ("", "[]", "{}", '{"begun": {"setpoint": 1.5}, "letters": []}', '{"begun": {}}'):
        path.write_text(text)
        with pytest.raises(InputError, match="unreadable"):
            read_memory(path)


def test_silence_drops_setpoints_and_keeps_the_envelope() -> None:
    agent = agent_at(0.0)
    hour = instant(3600)
    hand(agent, told(1, expires_at=hour), here(0.0))
    hand(agent, told(2, kind="envelope", p_min_w=-100, p_max_w=900, expires_at=hour), here(0.0))
    assert agent.command(here(299.0)).p_w == 900  # 1,000 W, cut to the envelope
    silent = agent.command(here(301.0))
    assert (silent.p_w, silent.p_min_w, silent.p_max_w) == (None, -100, 900)
    assert (silent.in_force, silent.reason) == (("i2",), "the market is silent")
    hand(agent, told(1), here(302.0))  # an old letter again is no news
    assert agent.command(here(302.0)).p_w is None
    known_time(agent, here(303.0), 303.0)
    assert agent.command(here(303.0)).setpoint == "i1"
    over = agent.command(here(3601.0))
    assert (over.p_min_w, over.p_max_w, over.in_force) == (-5000, 5000, ())


def test_shed_stands_above_the_envelope() -> None:
    agent = agent_at(0.0)
    hand(agent, told(1, kind="envelope", p_min_w=-3000, p_max_w=3000), here(0.0))
    hand(agent, told(2, kind="shed", p_min_w=0), here(0.0))
    hand(agent, told(3, p_w=-2000), here(0.0))
    command = agent.command(here(1.0))
    assert (command.p_w, command.p_min_w, command.p_max_w) == (0, 0, 3000)
    assert command.in_force == ("i1", "i2", "i3")


def test_the_droop_acts_where_no_setpoint_does() -> None:
    agent = agent_at(0.0)
    corners = (
        DroopPoint(vm_pu=0.96, q_var=1000, p_max_w=5000),
        DroopPoint(vm_pu=1.04, q_var=-1000, p_max_w=5000),
        DroopPoint(vm_pu=1.06, q_var=-2000, p_max_w=1000),
    )
    hand(agent, told(1, kind="droop", droop=corners, expires_at=instant(3600)), here(0.0))
    at = here(1.0)
    assert agent.command(at).q_var is None
    assert [agent.command(at, vm_pu).q_var for vm_pu in (0.9, 1.0, 1.05, 1.2)] == [
        1000, 0, -1500, -2000,
    ]  # fmt: skip
    assert [agent.command(at, vm_pu).p_max_w for vm_pu in (1.0, 1.05, 1.2)] == [5000, 3000, 1000]
    hand(agent, told(2, p_w=4000), at)
    assert (agent.command(at, 1.2).p_w, agent.command(at, 1.2).q_var) == (4000, -2000)
    hand(agent, told(3, p_w=4000, q_var=7), at)
    assert agent.command(at, 1.2).q_var == 7
    assert agent.command(at, float("nan")).q_var == 7


def test_time_is_asked_for_once_and_its_answer_is_good_once() -> None:
    agent = DeviceAgent(SETTINGS)
    (request,) = agent.requests(here(0.0))
    assert agent.requests(here(1.0)) == ()  # the first one is still under way
    assert len(agent.requests(here(6.0))) == 1
    answer = TimeAnswer(asset="storage:7", nonce=request.nonce, at=instant(5.0))
    foreign = replace(answer, asset="sgen:1")
    agent.receive(KEY.seal(foreign).text, here(7.0))
    assert agent.refused["other_device"] == 1
    agent.receive(KEY.seal(answer).text, here(7.0))
    assert agent.refused["not_asked"] == 1  # the question was taken for the foreign answer


def test_a_wall_clock_that_is_out_is_found_out() -> None:
    slow = DeviceAgent(SETTINGS)
    at = here(0.0, -500.0)
    hand(slow, told(1), at)  # written at noon: by this clock in the future, beyond its tolerance
    assert slow.bounds(at) is None
    known_time(slow, at, 0.0)
    assert slow.command(here(0.0, -500.0)).setpoint == "i1"


def test_a_market_clock_that_was_set_back_is_learned_anew() -> None:
    known = MarketTime().answered(asked_at_s=0.0, told=instant(3600), at=here(0.0))
    again = known.answered(asked_at_s=1000.0, told=NOON, at=here(0.0))
    bounds = again.bounds(here(0.0))
    assert bounds is not None
    assert bounds.earliest == NOON


def test_settings_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="above"):
        replace(SETTINGS, p_min_w=1, p_max_w=0)
    for name in ("silence_s", "time_width_s", "time_every_s"):
        with pytest.raises(InputError, match=name):
            replace(SETTINGS, **{name: float("nan")})
    with pytest.raises(InputError, match="wall_tolerance_s"):
        replace(SETTINGS, wall_tolerance_s=float("nan"))


def test_requests_are_what_the_type_says() -> None:
    said: tuple[Uplink, ...] = DeviceAgent(SETTINGS).requests(here(0.0))
    assert isinstance(said[0], TimeRequest)
