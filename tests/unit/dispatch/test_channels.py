"""What one channel does and others do not: retries, lost answers, half lines, addresses, topics."""

from __future__ import annotations

import itertools
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from data.errors import InputError
from data.records.dispatch import Instruction, Presence, Telemetry
from dispatch.channels.files import FileChannel, FileDeviceLink
from dispatch.channels.http import HttpChannel
from dispatch.channels.http_device import DeviceServer
from dispatch.channels.mqtt_loop import Broker, TlsFiles
from dispatch.channels.topics import access_rules, sender_of
from dispatch.messages import Heard, Letter, LetterKey, Undelivered, Unreadable
from tests.support.own_mosquitto import Authority

KEY = LetterKey(name="market-1", seed=bytes(range(32)))
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def letter(name: str = "i1", lasts_s: float = 60.0) -> Letter:
    told = Instruction(
        id=name, asset="sgen:1", sequence=1, kind="setpoint", reason="test", issued_at=NOON,
        valid_from=NOON, expires_at=NOON + timedelta(seconds=lasts_s), p_w=1,
    )  # fmt: skip
    return KEY.seal(told)


def telemetry(p_w: int) -> Telemetry:
    return Telemetry(asset="sgen:1", at=NOON, p_w=p_w, q_var=0)


class Scripted:
    """A server that answers with given statuses, then with 202, and remembers what came."""

    def __init__(self, statuses: list[int]) -> None:
        self.posts: list[tuple[str, bytes]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                script.posts.append((self.headers["Idempotency-Key"], body))
                self.send_response(statuses.pop(0) if statuses else HTTPStatus.ACCEPTED)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                body = b'{"next": -1}'
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/here"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Counter:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def hear(
    channel: HttpChannel, reached: Callable[[list[Heard]], bool], step: Callable[[], None]
) -> list[Heard]:
    heard: list[Heard] = []
    end = time.monotonic() + 15.0
    while not reached(heard):
        assert time.monotonic() < end, heard
        heard += channel.events(0.02)
        step()
    return heard


@pytest.fixture
def counter() -> Counter:
    return Counter()


def test_a_post_is_repeated_with_growing_pauses_and_the_same_key(counter: Counter) -> None:
    server = Scripted([503, 500, 429])
    channel = HttpChannel({"sgen:1": server.url}, counter, fetch_every_s=1e9)
    sent, times = letter(), []

    def step() -> None:
        if len(server.posts) > len(times):
            times.append(counter.now_s)
        if channel._addresses["sgen:1"].under_way is None:  # time stands while a post is made
            counter.now_s += 0.05

    channel.send(sent)
    hear(channel, lambda _: len(server.posts) == 4, step)
    assert server.posts == [(sent.id, sent.text)] * 4
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses[1] > pauses[0] > 0.2
    channel.close()
    server.close()


def test_a_clear_no_ends_it_at_once(counter: Counter) -> None:
    server = Scripted([403])
    channel = HttpChannel({"sgen:1": server.url}, counter, fetch_every_s=1e9)
    channel.send(letter())
    heard = hear(
        channel, lambda heard: any(isinstance(e, Undelivered) for e in heard), lambda: None
    )
    reason = "refused with status 403"
    assert Undelivered(asset="sgen:1", instruction="i1", reason=reason) in heard
    assert len(server.posts) == 1
    channel.close()
    server.close()


def test_nobody_there_is_given_up_when_the_letter_has_ended(counter: Counter) -> None:
    server = Scripted([])
    url = server.url
    server.close()
    channel = HttpChannel({"sgen:1": url}, counter, fetch_every_s=1e9)
    channel.send(letter(lasts_s=5.0))

    def step() -> None:
        counter.now_s += 0.5

    (gone,) = hear(channel, bool, step)
    assert isinstance(gone, Undelivered)
    assert "not delivered in its time" in gone.reason
    channel.send(Letter(asset="load:9", subject="time", id="n", text=b"", lasts_s=1.0))
    assert any("no address" in e.reason for e in channel.events() if isinstance(e, Undelivered))
    channel.close()


def test_an_answer_that_is_none_is_named(counter: Counter) -> None:
    server = Scripted([])
    channel = HttpChannel({"sgen:1": server.url}, counter)
    (bad,) = hear(channel, bool, lambda: None)
    assert isinstance(bad, Unreadable)
    channel.close()
    server.close()


def test_messages_are_offered_until_their_receipt_is_known() -> None:
    import json
    from urllib.request import urlopen

    server = DeviceServer()
    link = server.link("sgen:1")
    link.send(telemetry(1))
    link.send(telemetry(2))
    url = f"http://127.0.0.1:{server.port}/devices/sgen:1?after="
    for _ in range(2):  # the first answer was lost
        with urlopen(url + "0") as answer:
            found = json.load(answer)
        assert [each["p_w"] for each in found["messages"]] == [1, 2]
    with urlopen(url + str(found["next"])) as answer:
        assert json.load(answer)["messages"] == []
    server.close()


def test_callbacks_over_tls_check_who_answers(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("aggregator")
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(tmp_path / "aggregator.pem", tmp_path / "aggregator.key")
    server = DeviceServer(tls=own)
    link = server.link("sgen:1")
    url = {"sgen:1": f"https://127.0.0.1:{server.port}/devices/sgen:1"}
    trusting = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    channel = HttpChannel(url, time.monotonic, tls=trusting)
    channel.send(letter())
    end = time.monotonic() + 10.0
    came: tuple[bytes, ...] = ()
    while not came and time.monotonic() < end:
        channel.events(0.05)
        came = link.letters()
    assert came == (letter().text,)
    channel.close()
    strict = HttpChannel(url, time.monotonic)  # trusts the system's authorities only
    strict.send(letter("i2", lasts_s=0.5))
    end = time.monotonic() + 10.0
    heard: list[Heard] = []
    while not heard and time.monotonic() < end:
        heard += strict.events(0.05)
    assert isinstance(heard[0], Undelivered)
    assert link.letters() == ()
    strict.close()
    server.close()


def test_addresses_that_are_none_are_all_named() -> None:
    callbacks = {
        "a": "http://example.org/x", "b": "ftp://example.org", "c": "https://", "d": "https://x:99999/",
        "e": "https://u:p@example.org/", "f": "https://example.org/ok",
    }  # fmt: skip
    with pytest.raises(InputError) as refused:
        HttpChannel(callbacks, time.monotonic)
    assert [each.where[-1] for each in refused.value.problems] == ["a", "b", "c", "d", "e"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    return tmp_path / "exchange"


def test_files_a_half_line_is_not_there_yet(folder: Path) -> None:
    channel, link = FileChannel(folder), FileDeviceLink(folder, "sgen:1")
    link.send(telemetry(1))
    path = folder / "up" / "sgen:1.jsonl"
    with path.open("ab") as stream:
        stream.write(b'{"type": "tele')
    assert channel.events() == (telemetry(1),)
    assert channel.events() == ()
    link.send(telemetry(2))  # a writer that was killed left the half line
    heard = channel.events()
    assert heard == (Unreadable(sender="sgen:1", reason="not_json"), telemetry(2))


def test_files_a_restart_hears_nothing_twice(folder: Path) -> None:
    link = FileDeviceLink(folder, "sgen:1")
    link.send(telemetry(1))
    assert FileChannel(folder).events() == (telemetry(1),)
    link.send(telemetry(2))
    assert FileChannel(folder).events() == (telemetry(2),)
    (folder / "read.json").write_text("[]")
    with pytest.raises(InputError, match=r"read\.json"):
        FileChannel(folder)


def test_the_sender_stands_in_the_topic() -> None:
    assert sender_of("g/v1", "g/v1/order:a%2Fb/up/presence") == "order:a/b"
    for topic in ("g/v1/a/down/setpoint", "g/v2/a/up/x", "g/v1/a/up", "g/v1/a/b/up/x", "x"):
        assert sender_of("g/v1", topic) is None


def test_rights_are_written_for_exactly_two_kinds_of_user() -> None:
    assert access_rules("market", root="g").splitlines() == [
        "user market", "topic write g/+/down/#", "topic read g/+/up/#", "",
        "pattern read g/%u/down/#", "pattern write g/%u/up/#",
    ]  # fmt: skip
    for name in ("", "two words", "a\nuser b", "+", "#"):
        with pytest.raises(InputError):
            access_rules(name)


@pytest.mark.parametrize("url", ["http://h", "mqtt://", "mqtts://h:8883", "h:1883"])
def test_a_broker_is_named_by_its_url(url: str) -> None:
    with pytest.raises(InputError):
        Broker.of_url(url)


def test_tls_files_and_plain_mqtt_do_not_go_together(tmp_path: Path) -> None:
    files = TlsFiles(authority=tmp_path / "none.pem")
    with pytest.raises(InputError, match="takes none"):
        Broker.of_url("mqtt://h", files)
    with pytest.raises(InputError, match="cannot be used"):
        Broker.of_url("mqtts://h", files)
    assert Presence(asset="a", online=True).online
