"""Whatever happens between market and devices on a real broker, no wrong setpoint is in force.

Every test runs the market's desk, agents and a broker of its own (TLS, certificates, rights per
device), and a monitor that looks at every agent after every turn of the loop. A setpoint is wrong
if the market never gave it to that device, if its time on the market's clock has not come or is
over, or if a setpoint with a greater number has been in force before.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data.records.dispatch import ActivationState, Instruction
from dispatch.agents.device_agent import AgentSettings, Command, DeviceAgent
from dispatch.agents.market_time import LocalTime
from dispatch.agents.station import Station
from dispatch.channels.mqtt import MqttChannel, MqttDeviceLink
from dispatch.channels.mqtt_loop import Broker, ClientLoop, Connection
from dispatch.channels.topics import down_topic, up_topic
from dispatch.dispatcher import Dispatcher, Told
from dispatch.messages import LetterKey, Unreadable, write_uplink
from tests.support.own_mosquitto import MARKET, OwnMosquitto, own_mosquitto

pytestmark = pytest.mark.service
ROOT = "gridclear/test"
DEVICES = ("sgen:1", "storage:2", "load:3", "sgen:4")
STRANGER = "sgen:99"
SKEW_S = {"sgen:1": 120.0, "storage:2": -120.0, "load:3": 0.0, "sgen:4": 119.0}
KEY = LetterKey(name="market-1", seed=bytes(range(32)))
PATIENCE_S = 20.0


class MarketClock:
    """The market's clock: right, and the truth of these tests."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def local_time(asset: str) -> LocalTime:
    """Return what a device reads: its counter, and a wall clock that is out."""
    skew_s = SKEW_S.get(asset, 120.0 * (-1) ** len(asset))
    wall = datetime.now(UTC) + timedelta(seconds=skew_s)
    return LocalTime(counter_s=time.monotonic(), wall=wall)


@dataclass
class Monitor:
    """Looks at what is in force and remembers every moment."""

    given: dict[str, Instruction] = field(default_factory=dict)
    greatest: dict[str, int] = field(default_factory=dict)
    seen: list[tuple[datetime, str, str | None]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def look(self, asset: str, read: Callable[[], Command]) -> None:
        before = datetime.now(UTC)
        command = read()
        after = datetime.now(UTC)
        self.seen.append((after, asset, command.setpoint))
        if command.setpoint is None:
            if command.p_w is not None:
                self.wrong.append(f"{asset} follows {command.p_w} W without a setpoint")
            return
        told = self.given.get(command.setpoint)
        if told is None or told.asset != asset or told.p_w != command.p_w:
            self.wrong.append(f"{asset} follows {command.setpoint}, never given to it so")
            return
        if not (told.valid_from <= after and before < told.expires_at):
            self.wrong.append(f"{asset} follows {told.id} at {after}, outside its time")
        if told.sequence < self.greatest.get(asset, -1):
            self.wrong.append(f"{asset} went back to {told.id}")
        self.greatest[asset] = max(self.greatest.get(asset, -1), told.sequence)

    def in_force(self, asset: str) -> str | None:
        return next((name for _, each, name in reversed(self.seen) if each == asset), None)


class Street:
    """A market and its devices on one broker, turned together."""

    def __init__(self, broker: OwnMosquitto, devices: tuple[str, ...] = DEVICES) -> None:
        self.broker, self.monitor = broker, Monitor()
        self.loop = ClientLoop(time.monotonic)
        self.channel = MqttChannel(self.loop, broker.broker(MARKET), root=ROOT)
        self.desk = Dispatcher(channel=self.channel, key=KEY, clock=MarketClock())
        self.stations = {asset: self.station(asset) for asset in devices}
        self.heard: list[object] = []
        assert self.until(self.is_known), "devices did not learn the market's time"

    def station(self, asset: str) -> Station:
        settings = AgentSettings(
            asset=asset, keys={KEY.name: KEY.public}, p_min_w=-9000, p_max_w=9000
        )
        link = MqttDeviceLink(self.loop, self.broker.broker(asset), asset, root=ROOT)
        return Station(DeviceAgent(settings), link)

    def is_known(self) -> bool:
        found = [s.agent.bounds(local_time(a)) for a, s in self.stations.items()]
        return all(bounds is not None and bounds.width_s < 5.0 for bounds in found)

    def turn(self) -> None:
        self.heard += self.desk.listen(0.002)
        for asset, station in self.stations.items():
            station.turn(local_time(asset))
            self.monitor.look(asset, lambda s=station, a=asset: s.command(local_time(a)))

    def until(self, reached: Callable[[], bool], timeout_s: float = PATIENCE_S) -> bool:
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self.turn()
            if reached():
                return True
        return False

    def run(self, seconds: float) -> None:
        self.until(lambda: False, seconds)

    def tell(self, p_w: int, lasts_s: float = 60.0, starts_s: float = 0.0) -> dict[str, str]:
        """Give every device a setpoint; return the ids by asset."""
        now = datetime.now(UTC)
        orders = self.desk.tell(
            Told(
                asset=asset,
                kind="setpoint",
                reason="test",
                p_w=p_w,
                valid_from=now + timedelta(seconds=starts_s),
                expires_at=now + timedelta(seconds=starts_s + lasts_s),
            )
            for asset in self.stations
        )
        self.monitor.given |= {each.instruction.id: each.instruction for each in orders}
        return {each.instruction.asset: each.instruction.id for each in orders}

    def follows(self, ids: dict[str, str]) -> bool:
        return all(self.monitor.in_force(asset) == name for asset, name in ids.items())

    def nobody_follows(self) -> bool:
        return all(self.monitor.in_force(asset) is None for asset in self.stations)

    def close(self) -> None:
        self.loop.close()


@pytest.fixture
def broker(tmp_path: Path, mosquitto_program: str) -> Iterator[OwnMosquitto]:
    with own_mosquitto(tmp_path, mosquitto_program, ROOT, (*DEVICES, STRANGER)) as running:
        yield running


@pytest.fixture
def street(broker: OwnMosquitto) -> Iterator[Street]:
    made = Street(broker)
    yield made
    made.close()
    assert made.monitor.wrong == []
    assert len(made.monitor.seen) > 20


def test_setpoints_reach_devices_whose_clocks_are_two_minutes_out(street: Street) -> None:
    first = street.tell(1000, lasts_s=30.0)
    assert street.until(lambda: street.follows(first))
    second = street.tell(2000, lasts_s=4.0)
    assert street.until(lambda: street.follows(second))
    assert street.until(street.nobody_follows), "an expired setpoint stayed in force"
    states = {street.desk.activation(name).state for name in second.values()}
    assert states <= {ActivationState.ACKNOWLEDGED, ActivationState.EXPIRED, ActivationState.ACTIVE}


def test_a_setpoint_begins_and_ends_on_the_markets_clock(street: Street) -> None:
    ids = street.tell(1500, lasts_s=3.0, starts_s=1.5)
    assert street.until(lambda: street.follows(ids))
    assert street.until(street.nobody_follows)
    for asset in DEVICES:
        times = [
            at for at, each, name in street.monitor.seen if (each, name) == (asset, ids[asset])
        ]
        told = street.monitor.given[ids[asset]]
        # the monitor refuses what is outside; nearly all of the inside was used
        assert (times[-1] - times[0]) > 0.5 * (told.expires_at - told.valid_from)


def test_a_broker_that_loses_its_memory_changes_nothing_in_force(street: Street) -> None:
    ids = street.tell(1000)
    assert street.until(lambda: street.follows(ids))
    street.broker.kill()
    street.run(0.5)
    assert street.follows(ids), "a setpoint outlives the broker"
    newer = street.tell(2000)  # while there is no way to the devices
    ended = street.tell(2500, lasts_s=0.3)  # over before the broker is back
    street.run(0.5)
    assert street.follows(ids)
    street.broker.start()
    assert street.until(lambda: all(s._link.is_up for s in street.stations.values()))
    street.run(1.0)
    followed = {name for _, _, name in street.monitor.seen}
    assert not followed & set(ended.values())
    assert street.until(lambda: street.follows(newer))
    last = street.tell(3000)
    assert street.until(lambda: street.follows(last))


def test_a_restarted_device_finds_its_setpoint_and_no_older_one(street: Street) -> None:
    first = street.tell(1000)
    assert street.until(lambda: street.follows(first))
    second = street.tell(2000)
    assert street.until(lambda: street.follows(second))
    lost = street.stations.pop("sgen:1")
    lost._link.connection.close()
    street.run(0.3)
    again = street.station("sgen:1")
    again.agent = DeviceAgent(again.agent.settings, lost.agent.memory())
    street.stations["sgen:1"] = again
    assert street.until(lambda: street.follows(second))


def test_the_market_notices_who_is_gone_and_who_is_back(street: Street) -> None:
    assert street.until(lambda: street.desk.online.get("load:3") is True)
    gone = street.stations.pop("load:3")
    gone._link.connection.drop()  # no farewell: the broker speaks its last will
    street.loop.remove(gone._link.connection)
    assert street.until(lambda: street.desk.online["load:3"] is False)
    street.stations["load:3"] = street.station("load:3")
    assert street.until(lambda: street.desk.online["load:3"] is True)


def test_duplicates_and_wrong_order_on_the_wire(street: Street) -> None:
    now = datetime.now(UTC)
    orders = [
        Instruction(
            id=f"sgen:1/{n}", asset="sgen:1", sequence=n, kind="setpoint", reason="test",
            issued_at=now, valid_from=now, expires_at=now + timedelta(seconds=20), p_w=100 * n,
        )
        for n in range(1, 9)
    ]  # fmt: skip
    street.monitor.given |= {each.id: each for each in orders}
    topic = down_topic(ROOT, "sgen:1", "setpoint")
    for n in (3, 1, 3, 2, 8, 5, 8, 1, 4, 7, 6, 8, 8, 2):
        letter = KEY.seal(orders[n - 1])
        street.channel.connection.publish(topic, letter.text, lasts_s=20, retain=True)
        street.run(0.05)
    assert street.until(lambda: street.monitor.in_force("sgen:1") == "sgen:1/8")
    numbers = [n for _, a, n in street.monitor.seen if a == "sgen:1" and n is not None]
    assert numbers == sorted(numbers)
    assert street.stations["sgen:1"].agent.refused["older_sequence"] >= 3


def test_an_expired_setpoint_is_refused_even_if_the_broker_still_has_it(street: Street) -> None:
    now = datetime.now(UTC)
    told = Instruction(
        id="sgen:1/1", asset="sgen:1", sequence=1, kind="setpoint", reason="test", p_w=100,
        issued_at=now - timedelta(seconds=90), valid_from=now - timedelta(seconds=90),
        expires_at=now - timedelta(seconds=30),
    )  # fmt: skip
    street.monitor.given[told.id] = told
    # 30 s over, by a device clock two minutes slow it would still have 90 s to go
    for asset in DEVICES:
        own = replace(told, asset=asset, id=f"{asset}/1")
        street.monitor.given[own.id] = own
        topic = down_topic(ROOT, asset, "setpoint")
        street.channel.connection.publish(topic, KEY.seal(own).text, lasts_s=60, retain=True)
    assert street.until(
        lambda: all(s.agent.refused["expired"] == 1 for s in street.stations.values())
    )


def test_a_foreign_device_can_neither_speak_nor_listen_for_another(
    street: Street, broker: OwnMosquitto
) -> None:
    taken: list[bytes] = []
    stranger = Connection(
        street.loop,
        broker.broker(STRANGER),
        "stranger",
        subscriptions=(f"{ROOT}/#", down_topic(ROOT, "sgen:1", "+")),
        on_message=lambda _topic, payload: taken.append(payload),
    )
    assert street.until(lambda: stranger.is_up)
    ids = street.tell(1000)
    assert street.until(lambda: street.follows(ids))
    forged = LetterKey(name=KEY.name, seed=bytes(32))
    now = datetime.now(UTC)
    told = Instruction(
        id="forged", asset="sgen:1", sequence=2**52, kind="setpoint",
        reason="forged", issued_at=now, valid_from=now, expires_at=now + timedelta(hours=1),
        p_w=9000,
    )  # fmt: skip
    stranger.publish(
        down_topic(ROOT, "sgen:1", "setpoint"), forged.seal(told).text, lasts_s=60, retain=True
    )
    lie = street.stations["sgen:1"].agent.ask_time(local_time("sgen:1"))
    stranger.publish(up_topic(ROOT, lie), write_uplink(lie), lasts_s=60)
    street.run(0.7)
    assert taken == [], "the stranger read letters of others"
    assert street.follows(ids)
    assert street.stations["sgen:1"].agent.refused["not_signed"] == 0, "the broker let it through"


def test_without_rights_at_the_broker_the_signature_still_holds(street: Street) -> None:
    """The market's own connection stands for a broker whose rights were lost."""
    forged = LetterKey(name=KEY.name, seed=bytes(32))
    ids = street.tell(1000)
    assert street.until(lambda: street.follows(ids))
    now = datetime.now(UTC)
    told = Instruction(
        id="x", asset="sgen:1", sequence=2**52, kind="setpoint", reason="forged", issued_at=now,
        valid_from=now, expires_at=now + timedelta(hours=1), p_w=9000,
    )  # fmt: skip
    topic = down_topic(ROOT, "sgen:1", "setpoint")
    publish = street.channel.connection.publish
    publish(topic, forged.seal(told).text, lasts_s=60)
    publish(topic, KEY.seal(replace(told, asset="storage:2")).text, lasts_s=60)
    publish(topic, b'{"p_w": 9000}', lasts_s=60)
    publish(topic, b"\xff\x00", lasts_s=60)
    agent = street.stations["sgen:1"].agent
    assert street.until(lambda: agent.refused["not_signed"] == 2 and agent.refused["not_json"] == 1)
    assert agent.refused["other_device"] == 1
    assert street.follows(ids)


def test_a_device_that_speaks_for_another_is_not_believed(
    street: Street, broker: OwnMosquitto
) -> None:
    liar = Connection(
        street.loop, broker.broker(STRANGER), "liar",
        subscriptions=(down_topic(ROOT, STRANGER, "+"),), on_message=lambda *_: None,
    )  # fmt: skip
    assert street.until(lambda: liar.is_up)
    lie = street.stations["sgen:1"].agent.ask_time(local_time("sgen:1"))
    own_topic = up_topic(ROOT, replace(lie, asset=STRANGER))
    liar.publish(own_topic, write_uplink(lie), lasts_s=60)
    assert street.until(
        lambda: Unreadable(sender=STRANGER, reason="speaks for sgen:1") in street.heard
    )


def test_a_market_without_rights_hears_that_nothing_was_delivered(broker: OwnMosquitto) -> None:
    loop = ClientLoop(time.monotonic)
    channel = MqttChannel(loop, broker.broker(STRANGER), root=ROOT)
    desk = Dispatcher(channel=channel, key=KEY, clock=MarketClock())
    soon = datetime.now(UTC) + timedelta(seconds=60)
    (order,) = desk.tell(
        [Told(asset="sgen:1", kind="setpoint", reason="test", p_w=1, expires_at=soon)]
    )
    name = order.instruction.id
    end = time.monotonic() + PATIENCE_S
    while desk.activation(name).state is ActivationState.ORDERED and time.monotonic() < end:
        desk.listen(0.05)
    last = desk.activation(name).changes[-1]
    assert (last.state, last.reason) == (
        ActivationState.FAILED, "refused by the broker: Not authorized",
    )  # fmt: skip
    loop.close()


def test_without_a_certificate_of_the_authority_nobody_gets_in(
    broker: OwnMosquitto, tmp_path: Path
) -> None:
    from tests.support.own_mosquitto import Authority

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = Authority(elsewhere)
    other.issue("sgen:1")
    files = replace(other.files("sgen:1"), authority=broker.authority.files("sgen:1").authority)
    loop = ClientLoop(time.monotonic)
    intruder = Connection(
        loop, Broker.of_url(f"mqtts://127.0.0.1:{broker.port}", files), "intruder",
        subscriptions=(f"{ROOT}/#",), on_message=lambda *_: None,
    )  # fmt: skip
    assert not loop.run_until(lambda: intruder.is_up, 1.0)
    loop.close()


@pytest.mark.long
def test_a_minute_of_everything_at_once(tmp_path: Path, mosquitto_program: str) -> None:
    """Forty devices while the broker is killed, devices restart, letters come again and forged."""
    devices = tuple(f"storage:{n}" for n in range(90, 130))
    draw, forger = random.Random(9), LetterKey(name=KEY.name, seed=bytes(32))
    with own_mosquitto(tmp_path, mosquitto_program, ROOT, devices) as broker:
        street = Street(broker, devices)
        letters: list[tuple[str, bytes]] = []
        restart_at = None
        for step in range(240):
            ids = street.tell(step, lasts_s=draw.uniform(0.5, 6.0), starts_s=draw.choice((0, 0, 1)))
            for asset, name in ids.items():
                letters.append((asset, KEY.seal(street.monitor.given[name]).text))
                forged = replace(street.monitor.given[name], p_w=-1, sequence=2**52)
                letters.append((asset, forger.seal(forged).text))
            for asset, text in draw.sample(letters, min(len(letters), 20)):
                to = asset if draw.random() < 0.7 else draw.choice(devices)
                street.channel.connection.publish(
                    down_topic(ROOT, to, "setpoint"), text, lasts_s=60, retain=draw.random() < 0.5
                )
            if draw.random() < 0.2:
                asset = draw.choice(devices)
                lost = street.stations[asset]
                lost._link.connection.drop()
                street.loop.remove(lost._link.connection)
                street.stations[asset] = street.station(asset)
                street.stations[asset].agent = DeviceAgent(lost.agent.settings, lost.agent.memory())
            if restart_at is None and draw.random() < 0.03:
                broker.kill()
                restart_at = step + draw.randint(1, 6)
            elif restart_at is not None and step >= restart_at:
                broker.start()
                restart_at = None
            street.run(0.25)
        street.close()
    assert street.monitor.wrong == []
    in_force = sum(name is not None for _, _, name in street.monitor.seen)
    assert in_force > 0.3 * len(street.monitor.seen)
    refused = sum((station.agent.refused for station in street.stations.values()), Counter())
    assert min(refused[why] for why in ("not_signed", "older_sequence", "other_device")) > 20
