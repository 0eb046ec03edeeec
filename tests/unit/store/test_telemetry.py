"""Telemetry: kept by time of receipt, the last of a second counts, the latest is read by asset."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from data.records.dispatch import Presence, Telemetry
from dso.realtime.keep import TelemetryKeeper
from dso.store import Store
from dso.store.telemetry import (
    HeardTelemetry,
    add_telemetry,
    forget_telemetry,
    has_telemetry,
    latest_telemetry,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def report(asset: str, p_w: int, at: datetime = NOON, vm_pu: float | None = 1.0125) -> Telemetry:
    return Telemetry(asset=asset, at=at, p_w=p_w, q_var=-3, vm_pu=vm_pu, soc_wh=500, active="m-1")


def latest(store: Store, after: datetime, known_at: datetime, feeder: str = "f") -> dict[str, int]:
    with store.transaction() as connection:
        found = latest_telemetry(connection, feeder, after=after, known_at=known_at)
    return {asset: each.telemetry.p_w for asset, each in found.items()}


def test_what_was_known_at_an_instant_is_read_again(store: Store) -> None:
    ancient = datetime(1, 1, 1, tzinfo=UTC)  # a device whose clock is centuries off
    heard = [
        HeardTelemetry(known_at=NOON, telemetry=report("sgen:1", 10)),
        HeardTelemetry(known_at=NOON + 0.4 * SECOND, telemetry=report("sgen:1", 11)),
        HeardTelemetry(known_at=NOON + MINUTE, telemetry=report("sgen:1", 20, ancient, None)),
        HeardTelemetry(known_at=NOON + MINUTE, telemetry=report("sgen:2", 7)),
    ]
    with store.transaction() as connection:
        assert not has_telemetry(connection, "f", known_at=NOON)
        assert add_telemetry(connection, "f", heard[:2]) == 1
        assert add_telemetry(connection, "f", heard[2:]) == 2
        assert add_telemetry(connection, "f", heard[2:]) == 2  # heard twice, kept once
        add_telemetry(connection, "other", heard[:1])
        assert has_telemetry(connection, "f", known_at=NOON)
        assert not has_telemetry(connection, "f", known_at=NOON - SECOND)
        found = latest_telemetry(connection, "f", after=NOON, known_at=NOON + MINUTE)
    assert list(found.values()) == heard[2:]
    assert latest(store, NOON - SECOND, NOON + SECOND) == {"sgen:1": 11}
    assert latest(store, NOON - SECOND, NOON + MINUTE) == {"sgen:1": 20, "sgen:2": 7}
    assert latest(store, NOON + MINUTE, NOON + 2 * MINUTE) == {}
    with store.transaction() as connection:
        assert forget_telemetry(connection, "f", before=NOON + MINUTE) == 1
    assert latest(store, NOON - SECOND, NOON + MINUTE) == {"sgen:1": 20, "sgen:2": 7}
    assert latest(store, NOON - SECOND, NOON, "other") == {"sgen:1": 10}


def test_the_keeper_writes_once_a_second_and_what_is_left_at_the_end(store: Store) -> None:
    keeper = TelemetryKeeper(store, "f", keep=timedelta(days=1))
    keeper.take([report("sgen:1", 1), report("sgen:\0", 5)], NOON)
    assert keeper.write(NOON) == 1
    keeper.take([report("sgen:1", 2), Presence(asset="sgen:2", online=True)], NOON)
    assert keeper.write(NOON + 0.5 * SECOND) == 0
    keeper.take([report("sgen:2", 3)], NOON + 0.6 * SECOND)
    assert keeper.write(NOON + 0.7 * SECOND, at_once=True) == 2
    assert latest(store, NOON - SECOND, NOON) == {"sgen:1": 2, "sgen:2": 3}
    later = NOON + timedelta(days=2)
    keeper.take([report("sgen:1", 4)], later)
    assert keeper.write(later) == 1
    assert latest(store, NOON - SECOND, later) == {"sgen:1": 4}
    assert latest(store, NOON - SECOND, NOON) == {}
