"""What the registers say of stretches of time: the energy between two readings of one meter.

An exchange contributes both its readings, so a register never jumps by guess: the stretch up to the
exchange ends with what the removed meter showed, the next begins with what the new one showed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from data.periods import Periods
from data.records.metering import Direction, MeterFiles, MeterPoint
from dso.metering.intake import exchanges_of, stays_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterStretch:
    """The energy of the periods ``first`` to ``last`` (exclusive) according to the registers.

    ``energy_wh`` is None where a register went backwards without a record that explains it;
    ``readings`` are the texts that go into hashes and messages.
    """

    first: int
    last: int
    energy_wh: int | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    start: datetime
    end: datetime
    energy_wh: int | None
    words: str


def register_stretches(
    files: MeterFiles,
    point: MeterPoint,
    direction: Direction,
    periods: Periods,
    known_at: datetime,
) -> tuple[RegisterStretch, ...]:
    """Return the stretches inside the periods for which register readings bound the energy.

    Parameters
    ----------
    files : MeterFiles
        Everything that came in.
    point : MeterPoint
        The connection.
    known_at : datetime
        Readings received later are not seen.

    Returns
    -------
    tuple of RegisterStretch
        In time, without overlap. Readings between two period boundaries are bridged: the stretch
        reaches to the next reading that stands on a boundary.
    """
    steps = _steps(files, point, direction, known_at)
    return tuple(
        RegisterStretch(
            first=(step.start - periods.start) // periods.mtu,
            last=(step.end - periods.start) // periods.mtu,
            energy_wh=step.energy_wh,
            words=step.words,
        )
        for step in _on_boundaries(steps, periods)
        if step.start >= periods.start and step.end <= periods.end
    )


def _steps(
    files: MeterFiles, point: MeterPoint, direction: Direction, known_at: datetime
) -> list[_Step]:
    exchanges = [
        x for x in exchanges_of(files, point.connection, direction) if x.received_at <= known_at
    ]
    steps: list[_Step] = []
    for stay in stays_of(files, point.connection, direction):
        shown: dict[datetime, tuple[datetime, int]] = {}
        for reading in sorted(files.registers, key=lambda r: (r.received_at, r.register_wh)):
            inside = (stay.start is None or reading.at >= stay.start) and (
                stay.end is None or reading.at <= stay.end
            )
            mine = (reading.meter, reading.direction) == (stay.meter, direction)
            if mine and inside and reading.received_at <= known_at:
                shown[reading.at] = (reading.received_at, reading.register_wh)
        at_instant = {at: energy for at, (_, energy) in shown.items()}
        for exchange in exchanges:
            if exchange.removed_meter == stay.meter and exchange.at == stay.end:
                at_instant[exchange.at] = exchange.final_wh
            if exchange.installed_meter == stay.meter and exchange.at == stay.start:
                at_instant[exchange.at] = exchange.initial_wh
        instants = sorted(at_instant)
        steps.extend(
            _Step(
                start=start,
                end=end,
                energy_wh=_difference(at_instant[start], at_instant[end], point),
                words=f"{stay.meter}: {at_instant[start]} to {at_instant[end]} Wh",
            )
            for start, end in pairwise(instants)
        )
    return sorted(steps, key=lambda step: step.start)


def _difference(before_wh: int, after_wh: int, point: MeterPoint) -> int | None:
    """Return the energy between two readings; a turnover at the last digit is allowed for."""
    if after_wh >= before_wh:
        return after_wh - before_wh
    if point.register_modulus_wh is None:
        return None
    return after_wh + point.register_modulus_wh - before_wh


def _on_boundaries(steps: list[_Step], periods: Periods) -> list[_Step]:
    """Join steps until both ends lie on period boundaries; drop those that never do."""
    joined: list[_Step] = []
    pending: _Step | None = None
    for step in steps:
        if pending is not None and pending.end == step.start:
            known = pending.energy_wh is not None and step.energy_wh is not None
            step = _Step(
                start=pending.start,
                end=step.end,
                energy_wh=(pending.energy_wh or 0) + (step.energy_wh or 0) if known else None,
                words=f"{pending.words}; {step.words}",
            )
        if (step.start - periods.start) % periods.mtu != timedelta(0):
            pending = None
        elif (step.end - periods.start) % periods.mtu != timedelta(0):
            pending = step
        else:
            joined.append(step)
            pending = None
    return joined
