"""What a statement says about meters: which one, since when, and which values were put there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.metering import METHODS, MeterExchange, ValidatedMeter
from data.records.settlement import SettlementCase

MEASURED = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterNote:
    """One stretch of time at one connection, ``[start, end)``, with one meter and one method.

    ``method`` is ``measured`` or how the values were substituted; ``source`` is the hash of the
    readings used, or empty.
    """

    connection: str
    start: datetime
    end: datetime
    meter: str
    method: str
    source: str = ""


def note_meter(
    meter: ValidatedMeter, exchanges: Sequence[MeterExchange], first_meter: str
) -> tuple[MeterNote, ...]:
    """Return the notes of one validated connection.

    Parameters
    ----------
    meter : ValidatedMeter
        Both registers after validation.
    exchanges : sequence of MeterExchange
        Records of exchanged meters; those of other connections are left aside.
    first_meter : str
        The meter that was there before the first exchange.

    Returns
    -------
    tuple of MeterNote
        In the order of time, without gap or overlap.
    """
    changes = sorted(
        {(e.at, e.installed_meter) for e in exchanges if e.connection == meter.connection}
    )
    starts = meter.periods.starts
    words = [_method(meter, period) for period in range(meter.periods.count)]
    notes: list[MeterNote] = []
    for period, start in enumerate(starts):
        installed = [name for at, name in changes if at <= start]
        name = installed[-1] if installed else first_meter
        last = notes[-1] if notes else None
        end = start + meter.periods.mtu
        if last is not None and (last.meter, last.method) == (name, words[period]):
            notes[-1] = replace(last, end=end)
        else:
            notes.append(
                MeterNote(
                    connection=meter.connection, start=start, end=end, meter=name,
                    method=words[period], source=meter.sha256,
                )
            )  # fmt: skip
    return tuple(notes)


def _method(meter: ValidatedMeter, period: int) -> str:
    """Return how the value of a period came about; both methods where the registers differ."""
    if not meter.substituted[period]:
        return MEASURED
    codes = [int(series.method[period]) for series in meter.series if series.substituted[period]]
    return " and ".join(dict.fromkeys(METHODS[code].replace("_", " ") for code in codes))


def with_meters(case: SettlementCase, meters: Sequence[ValidatedMeter]) -> SettlementCase:
    """Return the case with the meters of validated connections in it.

    A connection that changed hands gives every holder the energy of the periods he held it.

    Raises
    ------
    InputError
        With every connection that is unknown, of other periods, or has a period without a value:
        nothing is settled on a value nobody stands for.
    """
    by_connection = {meter.connection: meter for meter in meters}
    refuse_if_any(_meter_problems(case, meters))
    positions = []
    for position in case.positions:
        meter = by_connection.get(position.connection)
        if meter is not None and not position.is_bilateral:
            energy = tuple(
                int(wh) if position.is_held(period) else 0
                for period, wh in enumerate(meter.injection_wh.tolist())
            )
            position = replace(position, meter_wh=energy)
        positions.append(position)
    return replace(case, positions=tuple(positions))


def _meter_problems(case: SettlementCase, meters: Sequence[ValidatedMeter]) -> Iterator[Problem]:
    known = {p.connection for p in case.positions if not p.is_bilateral}
    for meter in meters:
        where = f"meter at {meter.connection}"
        if meter.connection not in known:
            yield Problem(where=where, what="has no position", remedy="add it to positions.csv")
        if _span(meter.periods) != _span(case.periods):
            yield Problem(where=where, what="covers other periods than the settlement")
        missing = int(np.count_nonzero(meter.unresolved))
        if missing:
            yield Problem(
                where=where, what=f"has no value in {missing} periods",
                remedy="substitute them by a rule of the contract, or wait for the readings",
            )  # fmt: skip


def _span(periods: Periods) -> tuple[datetime, int, int]:
    return periods.start, periods.count, periods.mtu_minutes
