"""The market's desk and its log: what is sent, what is remembered, what a restart knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data.errors import InputError
from data.records.dispatch import Acknowledgement, ActivationState, Presence, Telemetry
from dispatch.agents.device_agent import AgentSettings, DeviceAgent
from dispatch.agents.market_time import LocalTime
from dispatch.agents.station import NO_FAULTS, Faults, Station
from dispatch.channels.in_process import InProcessChannel
from dispatch.dispatcher import Dispatcher, Told
from dispatch.instruction_log import InstructionLog
from dispatch.messages import (
    LETTER_BYTES_MAX,
    Heard,
    Letter,
    LetterKey,
    TimeRequest,
    Undelivered,
    Unreadable,
    read_uplink,
    write_uplink,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEY = LetterKey(name="market-1", seed=bytes(range(32)))


@dataclass
class SetClock:
    at: datetime = NOON

    def now(self) -> datetime:
        return self.at


@dataclass
class Tray:
    """A channel that keeps what is sent, and says what it is told to."""

    sent: list[Letter] = field(default_factory=list)
    says: list[Heard] = field(default_factory=list)

    def send(self, letter: Letter) -> None:
        self.sent.append(letter)

    def events(self, wait_s: float = 0.0) -> tuple[Heard, ...]:  # noqa: ARG002 as the port
        said, self.says = tuple(self.says), []
        return said

    def close(self) -> None:
        pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "instructions.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[InstructionLog]:
    made = InstructionLog(path)
    yield made
    made.close()


def told(asset: str = "sgen:1", p_w: int = 4000, minutes: float = 2.0, at: datetime = NOON) -> Told:
    return Told(
        asset=asset, kind="setpoint", reason="line 7", p_w=p_w,
        expires_at=at + timedelta(minutes=minutes),
    )  # fmt: skip


def answer(instruction: str, *, accepted: bool = True, reason: str = "accepted") -> Acknowledgement:
    return Acknowledgement(
        asset=instruction.split("/")[0], instruction=instruction, accepted=accepted, reason=reason,
        at=NOON,
    )  # fmt: skip


def in_force(instruction: str) -> Telemetry:
    asset = instruction.split("/")[0]
    return Telemetry(
        asset=asset, at=NOON, p_w=1, q_var=0, active=instruction, in_force=(instruction,)
    )


def states(desk: Dispatcher, name: str) -> list[str]:
    return [change.state.value for change in desk.activation(name).changes]


def test_each_state_is_written_with_its_time(log: InstructionLog, path: Path) -> None:
    tray, clock = Tray(), SetClock()
    desk = Dispatcher(channel=tray, key=KEY, clock=clock, log=log)
    (order,) = desk.tell([told()])
    name = order.instruction.id
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert written[0]["instruction"]["p_w"] == 4000, "in the file before the letter leaves"
    assert [each.id for each in tray.sent] == [name]
    for seconds, message in (
        (1, answer(name)),
        (3, in_force(name)),
        (130, Presence(asset="x", online=True)),
    ):
        clock.at = NOON + timedelta(seconds=seconds)
        tray.says = [message]
        desk.listen()
    assert states(desk, name) == ["ordered", "acknowledged", "active", "done"]
    times = [(each.at - NOON).total_seconds() for each in desk.activation(name).changes]
    assert times == [0.0, 1.0, 3.0, 120.0], "it ended when it was to end"
    assert desk.unfinished() == []
    log.sync()
    again = InstructionLog(path, read_only=True)
    assert again.activations[name] == desk.activation(name)


def test_a_restart_goes_on_with_greater_numbers_and_sends_again(path: Path) -> None:
    clock, first = SetClock(), Tray()
    desk = Dispatcher(channel=first, key=KEY, clock=clock, log=InstructionLog(path))
    one, two = desk.tell([told(), told("sgen:2")])
    first.says = [answer(one.instruction.id)]
    desk.listen()
    desk.close()
    with path.open("ab") as stream:
        stream.write(b'{"instruction": {"id"')  # killed while it wrote
    clock.at = NOON - timedelta(hours=1)  # and its clock was set back
    again = Tray()
    desk = Dispatcher(channel=again, key=KEY, clock=clock, log=InstructionLog(path))
    assert desk.send_again() == 1
    assert [each.id for each in again.sent] == [two.instruction.id]
    (three,) = desk.tell([told(at=clock.at)])
    assert three.instruction.sequence == one.instruction.sequence + 1
    desk.close()
    InstructionLog(path).close()  # the half line is gone


def test_one_process_writes_a_log(path: Path, log: InstructionLog) -> None:
    with pytest.raises(InputError, match="another process"):
        InstructionLog(path)
    assert InstructionLog(path, read_only=True).activations == {}
    path.write_text('{"id": "nobody", "state": "done", "at": "2026-06-01T12:00:00Z"}\n')
    with pytest.raises(InputError, match="line 1"):
        InstructionLog(path, read_only=True)


def test_bad_instructions_send_nothing() -> None:
    tray = Tray()
    desk = Dispatcher(channel=tray, key=KEY, clock=SetClock())
    with pytest.raises(InputError):
        desk.tell([told(), told("sgen:2", minutes=-1.0)])
    assert tray.sent == []
    assert desk.unfinished() == []


def test_a_newer_setpoint_ends_the_older_one_when_it_was_accepted() -> None:
    tray, clock = Tray(), SetClock()
    desk = Dispatcher(channel=tray, key=KEY, clock=clock)
    names = []
    for seconds in (0, 10):
        clock.at = NOON + timedelta(seconds=seconds)
        names.append(desk.tell([told(p_w=seconds)])[0].instruction.id)
        if seconds == 0:
            tray.says = [answer(names[0]), in_force(names[0])]
        desk.listen()
    assert states(desk, names[0])[-1] == "active"  # nobody knows yet whether the newer one arrived
    tray.says = [answer(names[1])]
    desk.listen()
    assert states(desk, names[0])[-1] == "done"
    assert desk.activation(names[0]).changes[-1].reason == f"replaced by {names[1]}"


def test_what_does_not_fit_is_noted_and_changes_nothing(log: InstructionLog, path: Path) -> None:
    tray, clock = Tray(), SetClock()
    desk = Dispatcher(channel=tray, key=KEY, clock=clock, log=log)
    name = desk.tell([told()])[0].instruction.id
    clock.at = NOON + timedelta(minutes=5)
    desk.listen()
    before = desk.activation(name)
    assert before.state is ActivationState.EXPIRED
    tray.says = [
        answer(name), answer("sgen:1/0"), Unreadable(sender="sgen:9", reason="not_json"),
        Undelivered(asset="sgen:1", instruction=name, reason="gone"),
    ]  # fmt: skip
    desk.listen()
    assert desk.activation(name) is before
    log.sync()
    notes = [json.loads(line).get("note", "") for line in path.read_text().splitlines()]
    assert [note.split(",")[0] for note in notes if note] == [
        f"instruction {name}: expired does not lead to acknowledged (accepted)",
        "heard about instruction sgen:1/0", "unreadable",
    ]  # fmt: skip


def test_undelivered_is_failed_and_silence_is_noticed() -> None:
    tray, clock = Tray(), SetClock()
    desk = Dispatcher(channel=tray, key=KEY, clock=clock)
    one, two = desk.tell([told(), told("sgen:2")])
    tray.says = [
        Undelivered(asset="sgen:1", instruction=one.instruction.id, reason="no address"),
        answer(two.instruction.id),
        TimeRequest(asset="sgen:3", nonce="n"),
    ]
    desk.listen()
    assert desk.activation(one.instruction.id).changes[-1].reason == "no address"
    assert tray.sent[-1].subject == "time"
    clock.at = NOON + timedelta(seconds=61)
    assert desk.silent_assets(["sgen:1", "sgen:2", "sgen:3"], 60.0) == [
        "sgen:1",
        "sgen:2",
        "sgen:3",
    ]
    assert desk.silent_assets(["sgen:2", "sgen:3"], 62.0) == []


def test_devices_that_are_late_silent_lying_and_skewed_do_what_they_should() -> None:
    assets = [f"sgen:{n}" for n in range(8)]
    faults = {
        "sgen:1": Faults(late_s=60.0), "sgen:2": Faults(silent=True),
        "sgen:3": Faults(soc_factor=1.5),
    }  # fmt: skip
    channel, clock = InProcessChannel(), SetClock()
    desk = Dispatcher(channel=channel, key=KEY, clock=clock)
    stations = [
        Station(
            DeviceAgent(
                AgentSettings(asset=a, keys={KEY.name: KEY.public}, p_min_w=0, p_max_w=9000)
            ),
            channel.link(a), faults.get(a, NO_FAULTS),
        )
        for a in assets
    ]  # fmt: skip
    followed: dict[str, list[int | None]] = {asset: [] for asset in assets}
    for minute in range(4):
        clock.at = NOON + timedelta(minutes=minute)
        skewed = [clock.at + timedelta(seconds=120 * (-1) ** n) for n in range(len(assets))]
        times = [LocalTime(counter_s=clock.at.timestamp(), wall=wall) for wall in skewed]
        desk.tell(told(a, p_w=1000 + minute, minutes=1.5, at=clock.at) for a in assets)
        for _ in range(3):  # letters, the time, answers
            for station, here in zip(stations, times, strict=True):
                station.turn(here)
            desk.listen()
        for station, here in zip(stations, times, strict=True):
            followed[station.asset].append(station.command(here).p_w)
            station.report(here, p_w=0, q_var=0, soc_wh=1000)
        desk.listen()
    for asset in assets:
        if asset == "sgen:1":  # what is a minute old when it is read still has half a minute to go
            assert followed[asset][2:] == [1001, 1002]
        elif asset == "sgen:2":
            assert followed[asset] == [None] * 4
            assert asset not in desk.telemetry
        else:
            assert followed[asset] == [1000, 1001, 1002, 1003]
    stated = {asset: desk.telemetry[asset][1].soc_wh for asset in assets if asset != "sgen:2"}
    assert {stated.pop("sgen:3")} == {1500}
    assert set(stated.values()) == {1000}
    assert desk.silent_assets(assets, 60.0) == ["sgen:2"]


def test_messages_that_are_none_are_named() -> None:
    good = answer("sgen:1/1")
    assert read_uplink(write_uplink(good), "sgen:1") == good
    for text, reason in (
        (b"", "not_json"), (b"[]", "not a JSON object"), (b"[" * 9000, "not_json"),
        (b" " * (LETTER_BYTES_MAX + 1), "bytes are more than"), (b"{}", "version None"),
        (write_uplink(good).replace(b"sgen:1\"", b"sgen:2\""), "speaks for sgen:2"),
        (write_uplink(good).replace(b"true", b"1"), "accepted is neither"),
        (write_uplink(in_force("sgen:1/1")).replace(b'"p_w":1', b'"p_w":1.5'), "whole number"),
        (write_uplink(in_force("sgen:1/1")).replace(b'"p_w":1', b'"p_w":NaN'), "whole number"),
        (write_uplink(in_force("sgen:1/1")).replace(b"null", b"NaN"), "finite"),
        (write_uplink(good).replace(b"2026-06-01T", b"someday"), "not an instant"),
    ):  # fmt: skip
        found = read_uplink(text, "sgen:1")
        assert isinstance(found, Unreadable)
        assert reason in found.reason
