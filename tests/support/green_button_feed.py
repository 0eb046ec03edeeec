"""Write Green Button feeds in the shape of the published samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RESOURCE = "https://example.org/espi/1_1/resource"
POINT = f"{RESOURCE}/RetailCustomer/2/UsagePoint/2"


@dataclass(frozen=True, kw_only=True)
class Register:
    """One MeterReading with its ReadingType and one block per list of (value, quality)."""

    number: int
    blocks: Sequence[Sequence[tuple[float, int | None]]]
    flow: int | None = 1
    uom: int = 72
    power_of_ten: int = 0
    behaviour: int = 4
    start: int = 1_388_552_400  # as in the published sample: 2014-01-01 05:00 UTC
    step: int = 3600
    updated: str = "2014-01-12T05:00:00Z"


def entry(self: str, up: str, content: str, updated: str, related: Sequence[str] = ()) -> str:
    links = "".join(f'<link rel="related" href="{href}"/>' for href in related)
    return (
        f'<entry><id>urn:uuid:0</id><link rel="self" href="{self}"/><link rel="up" href="{up}"/>'
        f"{links}<title/><content>{content}</content><published>{updated}</published>"
        f"<updated>{updated}</updated></entry>"
    )


def reading(start: int, step: int, value: float, quality: int | None) -> str:
    said = (
        "" if quality is None else f"<ReadingQuality><quality>{quality}</quality></ReadingQuality>"
    )
    return (
        f"<IntervalReading>{said}<timePeriod><duration>{step}</duration><start>{start}</start>"
        f"</timePeriod><value>{value}</value></IntervalReading>"
    )


def feed(*registers: Register, prologue: str = "") -> bytes:
    parts = [
        entry(POINT, f"{RESOURCE}/RetailCustomer/2/UsagePoint",
              '<UsagePoint xmlns="http://naesb.org/espi"><ServiceCategory><kind>0</kind>'
              "</ServiceCategory></UsagePoint>", "2014-01-01T00:00:00Z", [f"{POINT}/MeterReading"])
    ]  # fmt: skip
    for register in registers:
        meter = f"{POINT}/MeterReading/{register.number}"
        kind = f"{RESOURCE}/ReadingType/{register.number}"
        parts.append(
            entry(meter, f"{POINT}/MeterReading", '<MeterReading xmlns="http://naesb.org/espi"/>',
                  register.updated, [f"{meter}/IntervalBlock", kind])
        )  # fmt: skip
        flow = "" if register.flow is None else f"<flowDirection>{register.flow}</flowDirection>"
        parts.append(
            entry(kind, f"{RESOURCE}/ReadingType",
                  '<ReadingType xmlns="http://naesb.org/espi">'
                  f"<accumulationBehaviour>{register.behaviour}</accumulationBehaviour>"
                  f"<commodity>1</commodity>{flow}<intervalLength>{register.step}</intervalLength>"
                  f"<powerOfTenMultiplier>{register.power_of_ten}</powerOfTenMultiplier>"
                  f"<uom>{register.uom}</uom></ReadingType>", register.updated)
        )  # fmt: skip
        start = register.start
        for number, block in enumerate(register.blocks):
            readings = "".join(
                reading(start + k * register.step, register.step, value, quality)
                for k, (value, quality) in enumerate(block)
            )
            length = register.step * len(block)
            parts.append(
                entry(f"{meter}/IntervalBlock/{number}", f"{meter}/IntervalBlock",
                      '<IntervalBlock xmlns="http://naesb.org/espi"><interval>'
                      f"<duration>{length}</duration><start>{start}</start></interval>"
                      f"{readings}</IntervalBlock>", register.updated)
            )  # fmt: skip
            start += length
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{prologue}<feed xmlns="http://www.w3.org/2005/Atom">'
        "<id>urn:uuid:1</id><title>Green Button</title><updated>2014-01-12T05:00:00Z</updated>"
        f"{''.join(parts)}</feed>"
    ).encode()
