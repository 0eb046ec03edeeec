"""Whatever a network does to letters, and whatever clocks show, no wrong setpoint is in force.

The truth is simulated here: the market's time, when each letter arrived, and from both, by the
definition alone, which setpoint may be in force at each moment.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.records.dispatch import Instruction
from dispatch.agents.device_agent import AgentSettings, DeviceAgent
from dispatch.agents.market_time import LocalTime
from dispatch.messages import LetterKey, TimeAnswer, TimeRequest

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEY = LetterKey(name="market-1", seed=bytes(range(32)))
FORGED = LetterKey(name="market-1", seed=bytes(32))
ASSET = "storage:7"
END_S = 900.0
LOOK_EVERY_S = 7.0
MILD = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def seconds(low: float, high: float) -> st.SearchStrategy[float]:
    """Whole and broken seconds: both boundaries that coincide and such that do not."""
    return st.one_of(
        st.integers(int(low), int(high)).map(float), st.floats(low, high, allow_nan=False)
    )


@dataclass(frozen=True)
class Sent:
    """One instruction, and when copies of it arrive."""

    issued_s: float
    starts_s: float
    lasts_s: float
    arrivals_s: tuple[float, ...]
    character: str

    def instruction(self, number: int) -> Instruction:
        starts = NOON + timedelta(seconds=self.issued_s + self.starts_s)
        return Instruction(
            id=f"i{number}",
            asset="sgen:1" if self.character == "foreign" else ASSET,
            sequence=number,
            kind="setpoint",
            reason="test",
            issued_at=NOON + timedelta(seconds=self.issued_s),
            valid_from=starts,
            expires_at=starts + timedelta(seconds=self.lasts_s),
            p_w=number,
        )


@st.composite
def sent(draw: st.DrawFn) -> Sent:
    issued_s = draw(seconds(0.0, 600.0))
    delays = draw(st.lists(seconds(0.0, 400.0), max_size=3))
    return Sent(
        issued_s=issued_s,
        starts_s=draw(st.one_of(st.just(0.0), seconds(0.0, 200.0))),
        lasts_s=draw(seconds(1.0, 400.0)),
        arrivals_s=tuple(issued_s + delay for delay in delays),
        character=draw(st.sampled_from(("genuine", "genuine", "genuine", "forged", "foreign"))),
    )


@dataclass(frozen=True)
class Device:
    """A device's clocks, and what befalls it and its questions about the time."""

    skew_s: float
    drift: float
    restarts_s: tuple[float, ...]
    asks_s: tuple[float, ...]
    ways_s: tuple[tuple[float, float], ...]


@st.composite
def devices(draw: st.DrawFn, skew_max_s: float) -> Device:
    asks = draw(st.lists(seconds(0.0, 700.0), max_size=4))
    way = st.tuples(seconds(0.0, 60.0), seconds(0.0, 60.0))
    return Device(
        skew_s=draw(seconds(-skew_max_s, skew_max_s)),
        drift=draw(st.floats(-1e-4, 1e-4)),
        restarts_s=tuple(draw(st.lists(seconds(0.0, END_S), max_size=2))),
        asks_s=tuple(asks),
        ways_s=tuple(draw(st.lists(way, min_size=len(asks), max_size=len(asks)))),
    )


def timeline(letters: list[Sent], device: Device) -> Iterator[tuple[float, str, object]]:
    """Yield what happens in order of time; questions that were asked come back to be answered."""
    ordered = sorted(letters, key=lambda each: each.issued_s)
    count = itertools.count()
    queue: list[tuple[float, int, str, object]] = []

    def plan(at_s: float, what: str, thing: object) -> None:
        heapq.heappush(queue, (at_s, next(count), what, thing))

    for number, each in enumerate(ordered):
        for at_s in each.arrivals_s:
            plan(at_s, "letter", (each, each.instruction(number)))
    for at_s in device.restarts_s:
        plan(at_s, "restart", None)
    for at_s, way in zip(device.asks_s, device.ways_s, strict=True):
        plan(at_s, "ask", lambda request, at_s=at_s, way=way: (
            plan(at_s + sum(way), "answer", (request, at_s + way[0]))
        ))  # fmt: skip
    look_s = 0.0
    while look_s < END_S:
        plan(look_s, "look", None)
        look_s += LOOK_EVERY_S
    while queue:
        at_s, _, what, thing = heapq.heappop(queue)
        yield at_s, what, thing


class Simulation:
    """Runs one agent along a timeline and checks it at every moment."""

    def __init__(self, device: Device, wall_tolerance_s: float) -> None:
        self.device, self.counter_zero_s = device, 0.0
        self.settings = AgentSettings(
            asset=ASSET, keys={KEY.name: KEY.public}, p_min_w=0, p_max_w=10**6,
            silence_s=10_000.0, wall_tolerance_s=wall_tolerance_s,
        )  # fmt: skip
        self.agent = DeviceAgent(self.settings)
        self.arrived: dict[str, Instruction] = {}
        self.moments_in_force = 0

    def here(self, at_s: float) -> LocalTime:
        return LocalTime(
            counter_s=(at_s - self.counter_zero_s) * (1.0 + self.device.drift),
            wall=NOON + timedelta(seconds=at_s + self.device.skew_s),
        )

    def run(self, letters: list[Sent]) -> None:
        for at_s, what, thing in timeline(letters, self.device):
            self.check(at_s)
            if what == "letter":
                each, told = thing
                key = FORGED if each.character == "forged" else KEY
                if each.character == "genuine":
                    self.arrived[told.id] = told
                self.agent.receive(key.seal(told).text, self.here(at_s))
            elif what == "ask":
                thing(self.agent.ask_time(self.here(at_s)))
            elif what == "answer":
                self.answer(at_s, *thing)
            elif what == "restart":
                self.agent = DeviceAgent(self.settings, self.agent.memory())
                self.counter_zero_s = at_s
            self.check(at_s)

    def answer(self, at_s: float, request: TimeRequest, written_s: float) -> None:
        written = NOON + timedelta(seconds=written_s)
        answer = KEY.seal(TimeAnswer(asset=ASSET, nonce=request.nonce, at=written))
        for _ in range(2):  # what comes twice counts once
            self.agent.receive(answer.text, self.here(at_s))

    def check(self, at_s: float) -> None:
        command = self.agent.command(self.here(at_s))
        assert (command.setpoint is None) == (command.p_w is None)
        if command.setpoint is None:
            return
        self.moments_in_force += 1
        now = NOON + timedelta(seconds=at_s)
        assert command.setpoint in self.arrived, "never given, or not yet arrived"
        told = self.arrived[command.setpoint]
        assert command.p_w == told.p_w
        # bounds are kept in floats and told in whole microseconds
        slack = timedelta(microseconds=2)
        assert told.valid_from <= now + slack
        assert now < told.expires_at + slack
        newer = [
            each.id
            for each in self.arrived.values()
            if each.sequence > told.sequence and each.valid_from <= now - slack
        ]
        assert newer == [], "something newer had arrived and begun"


@MILD
@given(st.lists(sent(), min_size=1, max_size=8), devices(skew_max_s=120.0))
def test_no_wrong_setpoint_with_clocks_two_minutes_out(letters: list[Sent], device: Device) -> None:
    Simulation(device, wall_tolerance_s=120.0).run(letters)


@MILD
@given(st.lists(sent(), min_size=1, max_size=8), devices(skew_max_s=86_400.0))
def test_no_wrong_setpoint_with_a_clock_that_is_not_believed(
    letters: list[Sent], device: Device
) -> None:
    Simulation(device, wall_tolerance_s=0.0).run(letters)


@pytest.mark.long
@settings(max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(sent(), min_size=1, max_size=12),
    st.one_of(
        st.tuples(devices(skew_max_s=120.0), st.just(120.0)),
        st.tuples(devices(skew_max_s=86_400.0), st.just(0.0)),
    ),
)
def test_no_wrong_setpoint_in_five_thousand_schedules(
    letters: list[Sent], device: tuple[Device, float]
) -> None:
    Simulation(device[0], wall_tolerance_s=device[1]).run(letters)


@MILD
@given(
    st.lists(sent().map(lambda each: replace(each, character="genuine")), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
    seconds(-86_400.0, 86_400.0),
)
def test_what_is_in_force_does_not_depend_on_the_order_of_letters(
    letters: list[Sent], random: object, skew_s: float
) -> None:
    """A device that knows the time follows, of all letters, exactly the one that is right."""
    ordered = sorted(letters, key=lambda each: each.issued_s)
    told = [each.instruction(number) for number, each in enumerate(ordered)]
    last_s = max(each.issued_s for each in ordered)
    device = Device(skew_s=skew_s, drift=0.0, restarts_s=(), asks_s=(), ways_s=())
    run = Simulation(device, wall_tolerance_s=120.0)
    run.answer(last_s, run.agent.ask_time(run.here(last_s)), last_s)
    shuffled = told * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for each in shuffled:
        run.arrived[each.id] = each
        run.agent.receive(KEY.seal(each).text, run.here(last_s))
    at_s = last_s
    while at_s < END_S + 400.0:
        now = NOON + timedelta(seconds=at_s)
        begun = [each for each in told if each.valid_from <= now]
        right = max(begun, key=lambda each: each.sequence, default=None)
        wanted = None if right is None or right.expires_at <= now else right.id
        edges = [edge for each in told for edge in (each.valid_from, each.expires_at)]
        if all(abs((edge - now).total_seconds()) > 1.0 for edge in edges):
            assert run.agent.command(run.here(at_s)).setpoint == wanted
        at_s += LOOK_EVERY_S


def test_the_schedules_are_no_empty_proof() -> None:
    """Setpoints are in force in the simulated schedules, though clocks are wrong."""
    letter = Sent(
        issued_s=10.0, starts_s=0.0, lasts_s=300.0, arrivals_s=(12.0,), character="genuine"
    )
    way = ((1.0, 1.0),)
    for skew_s, tolerance_s in ((120.0, 120.0), (-120.0, 120.0), (40_000.0, 0.0)):
        device = Device(skew_s=skew_s, drift=1e-4, restarts_s=(), asks_s=(5.0,), ways_s=way)
        run = Simulation(device, wall_tolerance_s=tolerance_s)
        run.run([letter])
        assert run.moments_in_force > 35
