"""What held when, seen with the knowledge of then; nothing is changed in place."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from dso.store import Store
from dso.store.register import Register
from dso.store.register_records import Asset, CalendarEntry, Mandate, Party

MAY, JUNE, JULY = (datetime(2016, month, 1, tzinfo=UTC) for month in (5, 6, 7))
PARTY = Party(id="north", valid_from=MAY, known_at=MAY, name="North", role="aggregator")
BATTERY = Asset(
    id="storage:7",
    valid_from=MAY,
    known_at=MAY,
    connection_point="load:7",
    technology="battery",
    import_w_max=5_000,
    export_w_max=5_000,
    energy_wh_max=13_500,
    certification="EN 50549-1",
)


def test_a_version_holds_until_the_next(store: Store) -> None:
    assets = Register(Asset)
    larger = dataclasses.replace(BATTERY, valid_from=JULY, known_at=JUNE, energy_wh_max=27_000)
    with store.transaction() as connection:
        assert assets.add(connection, [BATTERY, larger]) == 2

        def capacity(at: datetime, known_at: datetime) -> list[int | None]:
            found = assets.in_force(connection, at=at, known_at=known_at)
            return [each.energy_wh_max for each in found]

        assert capacity(MAY - timedelta(seconds=1), JULY) == []
        assert capacity(JUNE, JULY) == [13_500]
        assert capacity(JULY, JULY) == [27_000]
        assert capacity(JULY, MAY) == [13_500]  # in May nobody knew
        assert assets.history(connection, "storage:7") == (BATTERY, larger)


def test_a_correction_known_later_does_not_change_what_was_seen(store: Store) -> None:
    parties = Register(Party)
    corrected = dataclasses.replace(PARTY, name="North Energy", known_at=JULY)
    with store.transaction() as connection:
        parties.add(connection, [PARTY, corrected])
        assert parties.in_force(connection, at=JUNE, known_at=JUNE) == (PARTY,)
        assert parties.in_force(connection, at=JUNE, known_at=JULY) == (corrected,)


def test_the_same_again_is_no_new_version(store: Store) -> None:
    parties = Register(Party)
    with store.transaction() as connection:
        assert parties.add(connection, [PARTY]) == 1
        assert parties.add(connection, [dataclasses.replace(PARTY, known_at=JULY)]) == 0
        later = dataclasses.replace(PARTY, known_at=JULY, valid_from=JULY)
        assert parties.add(connection, [later]) == 0
        assert len(parties.history(connection, "north")) == 1
        # that it held earlier already is news
        earlier = dataclasses.replace(PARTY, known_at=JULY, valid_from=MAY - timedelta(days=9))
        assert parties.add(connection, [earlier]) == 1


def test_what_ended_is_gone_from_then_on(store: Store) -> None:
    mandates = Register(Mandate)
    given = Mandate(
        id="1", valid_from=MAY, known_at=MAY, grantor="home", agent="north",
        connection_point="load:7", scope="trade",
    )  # fmt: skip
    with store.transaction() as connection:
        mandates.add(connection, [given, dataclasses.replace(given, valid_from=JULY, ended=True)])
        assert mandates.in_force(connection, at=JUNE, known_at=JULY) == (given,)
        assert mandates.in_force(connection, at=JULY, known_at=JULY) == ()


def test_a_calendar_ends_after_it_starts(store: Store) -> None:
    entry = CalendarEntry(
        id="c1", valid_from=MAY, known_at=MAY, asset="storage:7", kind="maintenance",
        starts_at=JUNE, ends_at=JULY, available_permille=0,
    )  # fmt: skip
    calendar = Register(CalendarEntry)
    with store.transaction() as connection:
        calendar.add(connection, [entry])
        assert calendar.in_force(connection, at=JULY, known_at=JULY) == (entry,)
    backwards = dataclasses.replace(entry, id="c2", starts_at=JULY, ends_at=JUNE)
    with pytest.raises(IntegrityError), store.transaction() as connection:
        calendar.add(connection, [backwards])


def test_an_instant_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="aware"):
        dataclasses.replace(PARTY, valid_from=datetime(2016, 5, 1))  # noqa: DTZ001 - the fault
