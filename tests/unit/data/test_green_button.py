"""Green Button feeds: a published sample's values, registers, qualities, and what is refused."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta

import pytest

from data.errors import InputError
from data.readers.green_button import GreenButton, read_green_button
from data.records.metering import MISSING, NO_VALUE_WH, QUALITIES
from tests.support.green_button_feed import Register, feed

# First day of TestGBDataHourlyNineDaysBinnedDaily.xml (version 0.7 20130920, EnergyOS.org for NIST)
SAMPLE_DAY = (
    *[273] * 5, 819, *[1365] * 4, *[819] * 7, 1092, *[1365] * 4, 819, 273,
)  # fmt: skip


def read(content: bytes, **others: object) -> GreenButton:
    settings = {"mtu_minutes": 60, **others}
    return read_green_button(content, meter="M", connection="house", source="f.xml", **settings)  # type: ignore[arg-type]


def valid(*values: float) -> list[tuple[float, int | None]]:
    return [(value, None) for value in values]


def test_the_published_sample_day() -> None:
    found = read(feed(Register(number=1, blocks=[valid(*SAMPLE_DAY)])))
    (batch,) = found.batches
    assert batch.direction == "import"
    assert batch.periods.start == datetime(2014, 1, 1, 5, tzinfo=UTC)
    assert batch.value_wh.tolist() == list(SAMPLE_DAY)
    assert batch.received_at == datetime(2014, 1, 12, 5, tzinfo=UTC)
    assert found.assumed == ()


@pytest.mark.parametrize(
    ("register", "expected"),
    [
        (Register(number=1, blocks=[valid(273, 819)], power_of_ten=-3), [0, 1]),
        (Register(number=1, blocks=[valid(3, 4)], power_of_ten=3), [3000, 4000]),
        (Register(number=1, blocks=[valid(0.5, 1.5, 2.5)]), [0, 2, 2]),  # half-even
        (Register(number=1, blocks=[valid(600, 800)], uom=38), [600, 800]),
        (Register(number=1, blocks=[valid(600, 801)], uom=38, step=900), [150, 200]),
    ],
)
def test_units_and_powers_of_ten(register: Register, expected: list[int]) -> None:
    found = read(feed(register), mtu_minutes=register.step // 60)
    assert found.batches[0].value_wh.tolist() == expected


def test_import_and_export_registers_and_blocks_of_days() -> None:
    content = feed(
        Register(number=1, blocks=[valid(5, 6), valid(7, 8)]),
        Register(number=2, blocks=[valid(0, 3)], flow=19),
    )
    found = [(b.direction, b.value_wh.tolist()) for b in read(content).batches]
    assert found == [("import", [5, 6]), ("import", [7, 8]), ("export", [0, 3])]


def test_a_net_series_feeds_both_registers() -> None:
    content = feed(Register(number=1, blocks=[valid(5, -6, 0)], flow=4))
    found = {b.direction: b.value_wh.tolist() for b in read(content).batches}
    assert found == {"import": [5, 0, 0], "export": [0, 6, 0]}


def test_a_cumulative_series_gives_register_readings() -> None:
    content = feed(Register(number=1, blocks=[valid(100, 170)], behaviour=3))
    found = read(content)
    assert found.batches == ()
    start = datetime(2014, 1, 1, 5, tzinfo=UTC)
    assert [(r.at - start, r.register_wh) for r in found.registers] == [
        (timedelta(hours=1), 100),
        (timedelta(hours=2), 170),
    ]


def test_qualities_of_the_standard() -> None:
    codes = (0, 7, 8, 9, 10, 11, 13, 14, 16, 17, 18, 19)
    content = feed(Register(number=1, blocks=[[(5, code) for code in codes]]))
    words = [QUALITIES[code] for code in read(content).batches[0].quality]
    assert words == [
        "measured", "edited", "estimated", "estimated", "questionable", "estimated",
        "questionable", "raw", "questionable", "measured", "measured", "measured",
    ]  # fmt: skip


def test_a_hole_in_a_block_is_missing_not_zero() -> None:
    content = feed(Register(number=1, blocks=[valid(1, 2, 3)]))
    start = b"<start>1388556000</start>"  # the second reading moves two hours on
    moved = content.replace(start, b"<start>1388563200</start>")
    batch = read(moved).batches[0]
    assert batch.value_wh.tolist() == [1, NO_VALUE_WH, 3, 2]
    assert batch.quality[1] == MISSING


def test_an_unsaid_direction_is_refused_or_assumed_by_name() -> None:
    content = feed(Register(number=1, blocks=[valid(5)], flow=None))
    with pytest.raises(InputError, match="states no flowDirection"):
        read(content)
    found = read(content, assume_direction="export")
    assert found.batches[0].direction == "export"
    assert found.assumed == ("f.xml: no flowDirection, taken as export",)


BOMB = '<!DOCTYPE feed [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE feed [<!ENTITY x SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize("prologue", [BOMB, OUTSIDE, "<!DOCTYPE feed>"])
def test_a_document_type_is_refused_before_anything_is_built(prologue: str) -> None:
    content = feed(Register(number=1, blocks=[valid(5)]), prologue=prologue)
    with pytest.raises(InputError, match="document type declaration"):
        read(content)


@pytest.mark.parametrize(
    ("register", "words"),
    [
        (Register(number=1, blocks=[valid(5)], uom=169), "unit of measure 169"),
        (Register(number=1, blocks=[valid(5)], behaviour=12), "accumulationBehaviour 12"),
        (Register(number=1, blocks=[valid(5)], flow=20), "flowDirection 20"),
        (Register(number=1, blocks=[valid(5)], power_of_ten=40), "powerOfTenMultiplier 40"),
        (Register(number=1, blocks=[[(5, 12)]]), "quality 12 is no meter reading"),
        (Register(number=1, blocks=[valid(5, 6)], step=900), "periods of 900 s"),
        (Register(number=1, blocks=[]), "holds no interval readings"),
    ],
)
def test_what_is_no_meter_reading_is_refused_by_name(register: Register, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(feed(register))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"<value>5</value>", b"<value>five</value>", "a word for a number"),
        (b"<value>5</value>", b"", "lacks start, duration or value"),
        (b"<value>5</value>", b"<value>NaN</value>", "a word for a number"),
        (b"<value>5</value>", b"<value>1e999999999</value>", "a word for a number"),
        (b"<value>5</value>", b"<value>1e20</value>", "is beyond any meter"),
        (b"</duration><start>1388556000", b"</duration><start>1388552400", "stand there twice"),
        (b"</feed>", b"", "is no XML"),
        (b"<uom>72</uom>", b"<uom>Wh</uom>", "a word for a number"),
    ],
)  # fmt: skip
def test_damaged_feeds_are_refused(old: bytes, new: bytes, words: str) -> None:
    content = feed(Register(number=1, blocks=[valid(5, 6)]))
    assert old in content
    with pytest.raises(InputError, match=words):
        read(content.replace(old, new))


def test_all_problems_come_together() -> None:
    content = feed(
        Register(number=1, blocks=[valid(5)], uom=169),
        Register(number=2, blocks=[valid(5)], flow=20),
    )
    with pytest.raises(InputError) as refused:
        read(content)
    assert len(refused.value.problems) == 2


JUNK = (
    b"-1", b"99999999999999999999", b"1e400", b"inf", b"", b"\x00", b"&amp;", b"<x/>",
    b"2014-13-01T00:00:00Z", b"9" * 5000, b"p:q",
)  # fmt: skip


def test_whatever_is_damaged_is_read_or_refused() -> None:
    """Numbers replaced, bytes flipped, pieces cut out: never another error than a refusal."""
    whole = feed(
        Register(number=1, blocks=[[(5, 0), (6, 8)]]),
        Register(number=2, blocks=[[(1, 0)]], flow=19),
    )
    generator = random.Random(20_130_101)
    texts = [match.span() for match in re.finditer(rb">[^<>]+<", whole)]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(600):
        content = bytearray(whole)
        kind = generator.random()
        place = generator.randrange(len(content))
        if kind < 0.5:
            first, last = generator.choice(texts)
            content[first + 1 : last - 1] = generator.choice(JUNK)
        elif kind < 0.8:
            content[place] = generator.randrange(256)
        else:
            del content[place : place + generator.randint(1, 60)]
        try:
            read(bytes(content))
            outcomes["read"] += 1
        except InputError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 100
