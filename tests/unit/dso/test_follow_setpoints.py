"""What the market's store says is told reaches devices once, and not when its time is over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data.periods import format_utc
from data.records.dispatch import DroopPoint
from dispatch.channels.in_process import InProcessChannel
from dispatch.dispatcher import Dispatcher
from dispatch.instruction_log import InstructionLog
from dispatch.messages import LetterKey
from dso.cli.main import main
from dso.realtime.follow import SetpointFollower
from dso.store import StageKey, Store
from dso.store.instructions import KeptInstruction, add_instructions
from dso.store.results import add_setpoints

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
KEY = LetterKey(name="market-1", seed=bytes(range(32)))


@dataclass
class SetClock:
    at: datetime = NOON

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.sqlite'}"


def told(store: Store, feeder: str, rows: list[tuple[str, datetime, int, int]]) -> None:
    key = StageKey(market="m", feeder=feeder, kind="day_ahead", first_period=NOON)
    store.begin_stage(key, input_sha256="0" * 64)
    with store.transaction() as connection:
        add_setpoints(connection, key, [(a, format_utc(at), p, q, None) for a, at, p, q in rows])


def follower(
    store: Store, clock: SetClock, path: Path
) -> tuple[SetpointFollower, Dispatcher, InProcessChannel]:
    channel, log = InProcessChannel(), InstructionLog(path)
    desk = Dispatcher(channel=channel, key=KEY, clock=clock, log=log)
    return SetpointFollower(store, desk, log, market="m", feeder="f"), desk, channel


def test_each_setpoint_is_told_once_in_its_time(tmp_path: Path, url: str) -> None:
    store, clock, path = Store.open(url), SetClock(), tmp_path / "log.jsonl"
    told(store, "f", [
        ("sgen:1", NOON, 4000, -10), ("sgen:1", NOON + QUARTER, 5000, 0),
        ("sgen:1", NOON - QUARTER, 3000, 0), ("sgen:2", NOON, -1, 0),
    ])  # fmt: skip
    told(store, "other", [("sgen:9", NOON, 1, 1)])
    follow, desk, channel = follower(store, clock, path)
    first = follow.turn(NOON)
    assert [(o.instruction.asset, o.instruction.p_w, o.instruction.q_var) for o in first] == [
        ("sgen:1", 4000, -10), ("sgen:2", -1, 0),
    ]  # fmt: skip
    assert {(o.instruction.valid_from, o.instruction.expires_at) for o in first} == {
        (NOON, NOON + QUARTER)
    }
    assert follow.turn(NOON + timedelta(minutes=1)) == ()
    assert len(channel.link("sgen:1").letters()) == 1
    desk.close()
    clock.at = NOON + QUARTER + timedelta(minutes=1)
    follow, desk, _ = follower(store, clock, path)  # after a restart
    (second,) = follow.turn(clock.at)
    assert (second.instruction.asset, second.instruction.p_w) == ("sgen:1", 5000)
    assert second.instruction.sequence > first[0].instruction.sequence
    desk.close()
    clock.at = NOON + timedelta(hours=1)
    follow, desk, _ = follower(store, clock, tmp_path / "new.jsonl")
    assert follow.turn(clock.at) == ()
    desk.close()
    store.close()


def test_limits_are_told_before_setpoints_and_once(tmp_path: Path, url: str) -> None:
    store, clock, path = Store.open(url), SetClock(), tmp_path / "log.jsonl"
    told(store, "f", [("sgen:1", NOON, 4000, 0)])
    key = StageKey(market="m", feeder="f", kind="day_ahead", first_period=NOON)
    envelope = KeptInstruction(
        asset="sgen:1", kind="envelope", valid_from=NOON, expires_at=NOON + QUARTER,
        reason="orange: export held by line 7", p_min_w=0, p_max_w=2000,
    )  # fmt: skip
    corners = (DroopPoint(vm_pu=1.0, q_var=0), DroopPoint(vm_pu=1.05, q_var=-300))
    droop = replace(envelope, kind="droop", p_min_w=None, p_max_w=None, droop=corners)
    over = replace(envelope, asset="sgen:2", valid_from=NOON - QUARTER, expires_at=NOON)
    with store.transaction() as connection:
        add_instructions(connection, key, [envelope, droop, over])
        add_instructions(connection, key, [replace(envelope, p_max_w=1)])  # told is told
    follow, desk, _ = follower(store, clock, path)
    found = [each.instruction for each in follow.turn(NOON)]
    assert [(each.asset, each.kind) for each in found] == [
        ("sgen:1", "droop"), ("sgen:1", "envelope"), ("sgen:1", "setpoint"),
    ]  # fmt: skip
    assert (found[0].droop, found[1].p_max_w, found[1].reason) == (corners, 2000, envelope.reason)
    assert follow.turn(NOON + timedelta(minutes=1)) == ()
    desk.close()
    follow, desk, _ = follower(store, clock, path)  # after a restart
    assert follow.turn(NOON + timedelta(minutes=1)) == ()
    desk.close()
    store.close()


def test_the_command_sends_what_the_store_holds(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(url)
    now = datetime.now(UTC).replace(microsecond=0)
    told(store, "f", [("sgen:1", now, 4000, 0)])
    store.close()
    channel = tmp_path / "channel.toml"
    channel.write_text('channel = "files"\n[files]\nfolder = "exchange"\n')
    words = ["dispatch", "follow", "--channel", str(channel), "--keys", str(tmp_path / "keys")]
    words += ["--log", str(tmp_path / "log.jsonl"), "--store", url, "--market", "m"]
    assert main([*words, "--feeder", "f", "--for", "0.5"]) == 0
    assert "4.000 kW" in capsys.readouterr().out
    assert len((tmp_path / "exchange" / "down" / "sgen:1.jsonl").read_text().splitlines()) == 1
