"""What every channel must do, on each of them: in process, files, HTTP callbacks, MQTT."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from data.records.dispatch import Acknowledgement, ActivationState, Instruction, Presence, Telemetry
from dispatch.agents.device_agent import AgentSettings, DeviceAgent
from dispatch.agents.market_time import LocalTime
from dispatch.agents.station import Station
from dispatch.channels.files import FileChannel, FileDeviceLink
from dispatch.channels.http import HttpChannel
from dispatch.channels.http_device import DeviceServer
from dispatch.channels.in_process import InProcessChannel
from dispatch.channels.mqtt import MqttChannel, MqttDeviceLink
from dispatch.channels.mqtt_loop import Broker, ClientLoop
from dispatch.channels.port import Channel, DeviceLink
from dispatch.channels.topics import down_topic, up_topic
from dispatch.dispatcher import Dispatcher, Told
from dispatch.messages import Heard, LetterKey

ASSETS = ("sgen:1", "storage:a b/c#")
KEY = LetterKey(name="market-1", seed=bytes(range(32)))
PATIENCE_S = 15.0


class RightClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def local_time() -> LocalTime:
    return LocalTime(counter_s=time.monotonic(), wall=datetime.now(UTC))


@dataclass
class Line:
    channel: Channel
    links: dict[str, DeviceLink]

    def until(self, reached: Callable[[], bool], each: Callable[[], None]) -> bool:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            each()
            if reached():
                return True
            time.sleep(0.002)
        return False


def in_process() -> Iterator[Line]:
    channel = InProcessChannel()
    yield Line(channel, {asset: channel.link(asset) for asset in ASSETS})


def files(folder: Path) -> Iterator[Line]:
    yield Line(FileChannel(folder), {asset: FileDeviceLink(folder, asset) for asset in ASSETS})


def http() -> Iterator[Line]:
    server = DeviceServer()
    links = {asset: server.link(asset) for asset in ASSETS}
    addresses = {
        asset: f"http://127.0.0.1:{server.port}/devices/{quote(asset, safe='')}" for asset in ASSETS
    }
    channel = HttpChannel(addresses, time.monotonic, fetch_every_s=0.02)
    yield Line(channel, dict(links))
    channel.close()
    server.close()


def mqtt(url: str) -> Iterator[Line]:
    loop, root = ClientLoop(time.monotonic), f"gridclear/{uuid.uuid4().hex}"
    broker = Broker.of_url(url)
    channel = MqttChannel(loop, broker, client_id=root, root=root)
    links = {asset: MqttDeviceLink(loop, broker, asset, root=root) for asset in ASSETS}
    ends = [channel.connection, *(link.connection for link in links.values())]
    assert loop.run_until(lambda: all(end.is_up for end in ends), PATIENCE_S)
    yield Line(channel, dict(links))
    for asset in ASSETS:  # the broker keeps nothing of the test
        presence = up_topic(root, Presence(asset=asset, online=True))
        for topic in (down_topic(root, asset, "setpoint"), presence):
            channel.connection.publish(topic, b"", lasts_s=1, retain=True)
    loop.run_until(lambda: False, 0.2)
    loop.close()


@pytest.fixture(
    params=["in_process", "files", "http", pytest.param("mqtt", marks=pytest.mark.service)]
)
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Line]:
    if request.param == "in_process":
        yield from in_process()
    elif request.param == "files":
        yield from files(tmp_path)
    elif request.param == "http":
        yield from http()
    else:
        yield from mqtt(request.getfixturevalue("mqtt_url"))


def instruction(asset: str, number: int = 1) -> Instruction:
    now = datetime.now(UTC)
    return Instruction(
        id=f"{asset}/{number}", asset=asset, sequence=number, kind="setpoint", reason="ü, test",
        issued_at=now, valid_from=now, expires_at=now + timedelta(seconds=60), p_w=number,
    )  # fmt: skip


def test_a_letter_reaches_its_device_unchanged_and_nobody_else(line: Line) -> None:
    letters = [KEY.seal(instruction(ASSETS[0], n)) for n in (1, 2, 3)]
    came: dict[str, list[bytes]] = {asset: [] for asset in ASSETS}

    def take() -> None:
        line.channel.events(0.005)
        for asset, link in line.links.items():
            came[asset] += link.letters()

    for letter in letters:
        line.channel.send(letter)
        take()
    assert line.until(lambda: {each.text for each in letters} <= set(came[ASSETS[0]]), take)
    assert came[ASSETS[1]] == []


def test_messages_come_from_whom_they_are(line: Line) -> None:
    at = datetime(2026, 6, 1, 12, tzinfo=UTC)
    said = [
        Acknowledgement(asset=ASSETS[1], instruction="i1", accepted=False, reason="expired", at=at),
        Telemetry(
            asset=ASSETS[0],
            at=at,
            p_w=-5,
            q_var=7,
            vm_pu=1.01,
            soc_wh=8,
            active="i",
            in_force=("i",),
        ),
    ]
    for message in said:
        line.links[message.asset].send(message)
    heard: list[Heard] = []

    def take() -> None:
        heard.extend(line.channel.events(0.005))

    assert line.until(lambda: all(message in heard for message in said), take)


def test_a_setpoint_goes_from_ordered_to_active(line: Line) -> None:
    desk = Dispatcher(channel=line.channel, key=KEY, clock=RightClock())
    stations = [
        Station(
            DeviceAgent(
                AgentSettings(asset=asset, keys={KEY.name: KEY.public}, p_min_w=0, p_max_w=9000)
            ),
            link,
        )
        for asset, link in line.links.items()
    ]
    soon = datetime.now(UTC) + timedelta(seconds=60)
    orders = desk.tell(
        Told(asset=asset, kind="setpoint", reason="test", p_w=500, expires_at=soon)
        for asset in ASSETS
    )

    def take() -> None:
        for station in stations:
            station.turn(local_time())
            if station.command(local_time()).p_w == 500:
                station.report(local_time(), p_w=500, q_var=0)
        desk.listen(0.005)

    def state(order: int) -> ActivationState:
        return desk.activation(orders[order].instruction.id).state

    assert line.until(lambda: {state(0), state(1)} == {ActivationState.ACTIVE}, take)
    assert set(desk.telemetry) == set(ASSETS)
