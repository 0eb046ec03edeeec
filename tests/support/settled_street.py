"""A street that shares a photovoltaic plant: one month, a tenant who leaves, a meter exchanged.

Twenty houses and the plant in June, hour by hour, all from formulas:

- house-07 gets another meter on the 12th; the ten hours after that arrive late;
- the household of house-15 moves out on the 16th, the default supplier takes the connection over;
- house-20 sells flexibility with a fee for availability;
- the meter of house-03 counts the 5th twice; house-11 contests its 8th without need.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.canonical import csv_bytes
from data.periods import Periods, format_utc
from data.records.metering import (
    MEASURED,
    MISSING,
    NO_VALUE_WH,
    MeterExchange,
    MeterFiles,
    MeterPoint,
    ReadingBatch,
)
from data.records.settlement import (
    Activation,
    Availability,
    BusPrices,
    Community,
    CommunityMember,
    ConnectionPosition,
    PricePartLine,
    ReactivePosition,
    SettlementCase,
    SettlementRules,
    SubstationSeries,
)
from dso.metering import ValidationRules, validate_meters
from dso.settlement import MeterNote, note_meter, with_meters, write_settlement_case
from dso.settlement.report_inputs import METER_COLUMNS

Integers = NDArray[np.int64]
START = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = 30
PERIODS = Periods(start=START, count=DAYS * 24, mtu_minutes=60)
HOUSES = tuple(f"house-{k:02d}" for k in range(1, 21))
PLANT = ("sun-cooperative", "roof-pv")
LEAVES_AT = 15 * 24
SUPPLIER = "default-supplier"
EXCHANGED_AT = 11 * 24 + 9
LATE = slice(EXCHANGED_AT, EXCHANGED_AT + 10)
DOUBLED = slice(4 * 24, 5 * 24)
CONTESTED = slice(7 * 24, 8 * 24)
EUR = 1_000_000
TARIFF = """\
zone = "UTC"
peak_eur_per_kw_month = 4.5

[[band]]
name = "evening"
eur_per_mwh = 95
days = "workdays"
from = "17:00"
to = "21:00"

[[band]]
name = "base"
eur_per_mwh = 55
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What was known when a run was made."""

    late_arrived: bool = False
    doubled_corrected: bool = False
    revised_contested: bool = False


def loads_wh() -> Integers:
    """Return what the houses use, shape (periods, houses) [Wh]."""
    hour = np.arange(PERIODS.count) % 24
    day = np.arange(PERIODS.count) // 24
    shape = 220 + 260 * np.exp(-(((hour - 19) / 2.5) ** 2)) + 140 * np.exp(-(((hour - 8) / 2) ** 2))
    size = 0.6 + 0.09 * np.arange(len(HOUSES))
    wave = 1 + 0.15 * np.sin(day[:, None] * 1.7 + np.arange(len(HOUSES)))
    return np.asarray(np.rint(shape[:, None] * size * wave), dtype=np.int64)


def sun_wh() -> Integers:
    """Return what the plant injects, shape (periods,) [Wh]."""
    hour = np.arange(PERIODS.count) % 24
    cloud = 0.55 + 0.45 * np.sin(np.arange(PERIODS.count) // 24 * 2.1) ** 2
    height = np.maximum(0, np.sin((hour - 3) / 16 * np.pi))
    return np.asarray(np.rint(14_000 * height * cloud), dtype=np.int64)


def street_case(knowledge: Knowledge) -> tuple[SettlementCase, tuple[MeterNote, ...]]:
    """Return the month as it was known, and what its statements say about meters."""
    loads, sun = loads_wh(), sun_wh()
    metered = loads.copy()
    metered[:, 10] += np.where(_inside(CONTESTED) & knowledge.revised_contested, 35, 0)
    if not knowledge.doubled_corrected:
        metered[DOUBLED, 2] *= 2
    plan = np.rint(loads * 1.05).astype(np.int64)
    positions = []
    for k, house in enumerate(HOUSES):
        energies = [tuple((-series[:, k]).tolist()) for series in (plan, plan, metered)]
        if house == "house-15":
            positions += _two_holders(house, k, energies)
        else:
            positions.append(_position(house, house, k, energies))
    shared = tuple(sun.tolist())
    positions.append(_position(*PLANT, 0, [shared, shared, shared]))
    energy = _energy_price()
    part = np.where((np.arange(PERIODS.count) % 24) == 19, 12 * EUR, 0)
    import_wh = np.rint(metered.sum(axis=1) * 1.03 - sun).astype(np.int64)
    planned_wh = np.rint(plan.sum(axis=1) * 1.03 - sun).astype(np.int64)
    case = SettlementCase(
        periods=PERIODS,
        rules=SettlementRules(),
        positions=tuple(positions),
        prices=_bus_prices(energy, part),
        substation=SubstationSeries(
            import_wh=tuple(import_wh.tolist()),
            import_price_micro_eur_per_mwh=energy,
            da_import_wh=tuple(planned_wh.tolist()),
            id_import_wh=tuple(planned_wh.tolist()),
            da_energy_micro_eur_per_mwh=energy,
            id_energy_micro_eur_per_mwh=energy,
        ),
        parts=tuple(
            PricePartLine(
                market="da", bus=bus, period=t, element_kind="line", element="4", side="from",
                p_micro_eur_per_mwh=int(part[t]) * bus,
            )
            for t in range(PERIODS.count)
            for bus in range(1, 5)
            if part[t]
        ),
        split="da",
        activations=_activations(plan, metered),
        availabilities=tuple(
            Availability(
                participant="house-20", connection="house-20", period=day * 24 + hour,
                available_w=600, price_micro_eur_per_mw_h=8 * EUR, delivery_ppm=925_000,
            )
            for day in range(DAYS)
            for hour in (18, 19, 20)
        ),
        reactive=tuple(
            ReactivePosition(
                participant=PLANT[0], connection=PLANT[1], period=t, q_varh=-int(sun[t]) // 5,
                price_micro_eur_per_mvarh=1_250_000,
            )
            for t in range(PERIODS.count)
            if sun[t]
        ),
        communities=(
            Community(
                name="street", generator=PLANT, key="pro_rata", price_micro_eur_per_mwh=70 * EUR,
                members=tuple(
                    CommunityMember(participant=house, connection=house) for house in HOUSES
                ),
            ),
        ),
    )  # fmt: skip
    return _with_exchanged_meter(case, loads[:, 6], knowledge)


def _inside(periods: slice) -> NDArray[np.bool_]:
    mask = np.zeros(PERIODS.count, dtype=np.bool_)
    mask[periods] = True
    return mask


def _position(
    owner: str, connection: str, k: int, energies: list[tuple[int, ...]]
) -> ConnectionPosition:
    return ConnectionPosition(
        participant=owner, connection=connection, bus=k % 5,
        da_wh=energies[0], id_wh=energies[1], meter_wh=energies[2],
    )  # fmt: skip


def _two_holders(house: str, k: int, energies: list[tuple[int, ...]]) -> list[ConnectionPosition]:
    """The household holds the connection until it leaves, the supplier after that."""
    holders = []
    for owner, stays in ((house, True), (SUPPLIER, False)):
        held = tuple((t < LEAVES_AT) == stays for t in range(PERIODS.count))
        own = [
            tuple(wh if here else 0 for wh, here in zip(series, held, strict=True))
            for series in energies
        ]
        holders.append(replace(_position(owner, house, k, own), held=held))
    return holders


def _energy_price() -> tuple[int, ...]:
    hour = np.arange(PERIODS.count) % 24
    return tuple(
        np.rint((75 - 45 * np.exp(-(((hour - 12) / 4) ** 2)) + 30 * (hour == 19)) * EUR)
        .astype(np.int64)
        .tolist()
    )


def _bus_prices(energy: tuple[int, ...], part: Integers) -> tuple[BusPrices, ...]:
    found = []
    for bus in range(5):
        price = tuple(int(e + e * bus // 100 + part[t] * bus) for t, e in enumerate(energy))
        found.append(
            BusPrices(
                bus=bus,
                dlmp_da_micro_eur_per_mwh=price,
                dlmp_id_micro_eur_per_mwh=price,
                imbalance_micro_eur_per_mwh=tuple(p + 8 * EUR for p in price),
            )
        )
    return tuple(found)


def _activations(plan: Integers, metered: Integers) -> tuple[Activation, ...]:
    """House-20 is called every Friday evening; it holds back what its plan has above its meter."""
    called = [day * 24 + 19 for day in range(4, DAYS, 7)]
    return tuple(
        Activation(
            participant="house-20", connection="house-20", period=t,
            baseline_w=int(plan[t, 19]) + 150 + 40 * k, ordered_w=200, meter_w=int(metered[t, 19]),
            price_micro_eur_per_mwh=220 * EUR, penalty_micro_eur_per_mwh=60 * EUR,
            rule="sliding_50_100",
        )
        for k, t in enumerate(called)
    )  # fmt: skip


def _with_exchanged_meter(
    case: SettlementCase, used_wh: Integers, knowledge: Knowledge
) -> tuple[SettlementCase, tuple[MeterNote, ...]]:
    """Put the validated meter of house-07 into the case."""
    house, old, new = "house-07", "M-1007", "M-2007"
    at = START + EXCHANGED_AT * PERIODS.mtu
    known_at = PERIODS.end + timedelta(days=9 if knowledge.late_arrived else 1)
    first_wh = int(used_wh[:EXCHANGED_AT].sum())
    batches = [
        _batch(house, old, used_wh, slice(0, EXCHANGED_AT), PERIODS.end),
        _batch(house, new, used_wh, slice(LATE.stop, PERIODS.count), PERIODS.end),
        _batch(house, new, used_wh, LATE, PERIODS.end + timedelta(days=8)),
    ]
    exchange = MeterExchange(
        connection=house, direction="import", at=at, removed_meter=old, final_wh=first_wh,
        installed_meter=new, initial_wh=0, received_at=at,
    )  # fmt: skip
    files = MeterFiles(
        points=(MeterPoint(connection=house, feeder="street", limit_w=24_000),),
        batches=tuple(batches),
        exchanges=(exchange,),
    )
    meters = validate_meters(files, PERIODS, known_at, ValidationRules(timezone="Europe/Berlin"))
    notes = tuple(note for meter in meters for note in note_meter(meter, (exchange,), old))
    return with_meters(case, meters), notes


def _batch(
    house: str, meter: str, used_wh: Integers, where: slice, received_at: datetime
) -> ReadingBatch:
    known = _inside(where)
    return ReadingBatch(
        meter=meter, connection=house, direction="import", periods=PERIODS,
        value_wh=np.where(known, used_wh, NO_VALUE_WH).astype(np.int64),
        quality=np.where(known, MEASURED, MISSING).astype(np.int8),
        received_at=received_at, source=f"{meter} {received_at.date()}",
    )  # fmt: skip


def write_street(folder: Path, knowledge: Knowledge) -> None:
    """Write the settlement folder of a run, with everything its reports use."""
    case, notes = street_case(knowledge)
    write_settlement_case(case, folder)
    (folder / "tariff.toml").write_text(TARIFF)
    rows = (
        (n.connection, format_utc(n.start), format_utc(n.end), n.meter, n.method, n.source)
        for n in notes
    )
    (folder / "meters.csv").write_bytes(csv_bytes(METER_COLUMNS, rows))
    (folder / "emissions.csv").write_bytes(
        csv_bytes(("connection", "kind", "g_co2_per_kwh"), [(PLANT[1], "renewable", 41)])
    )
    factor = ((label, 380 - 120 * (t % 24 in range(9, 17))) for t, label in _labels())
    (folder / "import_emissions.csv").write_bytes(
        csv_bytes(("period_start", "g_co2_per_kwh"), factor)
    )


def _labels() -> list[tuple[int, str]]:
    return list(enumerate(PERIODS.labels()))


def payment_terms() -> str:
    """Return the terms of the payment run: IBANs with right check digits, of no real account."""
    parties = []
    for number, party in enumerate((*HOUSES, PLANT[0], SUPPLIER), start=1):
        parties.append(
            f'[[party]]\nparticipant = "{party}"\nname = "{party.title()}"\n'
            f'address = ["Sunny Street {number}", "12345 Exampletown"]\n'
            f'iban = "{iban(number)}"\n'
        )
    return (
        'message_id = "2026-06-street"\ncreated_at = 2026-07-03T08:00:00Z\n'
        "execution_date = 2026-07-06\ndue_date = 2026-07-17\n\n"
        '[operator]\nname = "Exampletown Grid Ltd"\n'
        'address = ["Grid Square 1", "12345 Exampletown"]\n'
        f'iban = "{iban(0)}"\nbic = "EXMPDEFFXXX"\n\n' + "\n".join(parties)
    )


def iban(number: int) -> str:
    """Return an IBAN of a bank code that is not given out, with right check digits."""
    account = f"99999999{number:010d}"
    check = 98 - int(f"{account}131400") % 97
    return f"DE{check:02d}{account}"
