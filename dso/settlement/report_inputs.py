"""What a settlement folder may hold for its reports: tariff, meter notes, emissions, certificates.

None of it changes a line of money.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from data.canonical import sha256_hex
from data.errors import refuse_if_any
from data.periods import Periods
from data.records.settlement import SettlementCase
from data.units import MICRO_PER_UNIT
from dso.settlement.certificate_notes import (
    CERTIFICATES,
    CertificateNote,
    read_certificates,
)
from dso.settlement.exact import divide_half_even, parse_micro
from dso.settlement.indicators import EmissionFactors
from dso.settlement.meter_notes import MeterNote
from dso.settlement.tables import TableFolder
from dso.settlement.tariffs import DAYS, MINUTES_PER_DAY, Tariff, TariffBand

TARIFF: Final = "tariff.toml"
METERS: Final = "meters.csv"
ASSETS: Final = "emissions.csv"
IMPORTS: Final = "import_emissions.csv"
REPORT_FILES: Final = (TARIFF, METERS, ASSETS, IMPORTS, CERTIFICATES)
METER_COLUMNS: Final = ("connection", "start", "end", "meter", "method", "source")
ASSET_COLUMNS: Final = ("connection", "kind", "g_co2_per_kwh")
IMPORT_COLUMNS: Final = ("period_start", "g_co2_per_kwh")
TARIFF_KEYS: Final = ("zone", "peak_eur_per_kw_month", "band")
BAND_KEYS: Final = ("name", "eur_per_mwh", "days", "from", "to")
RENEWABLE: Final = "renewable"
KINDS: Final = (RENEWABLE, "other")
MILLI: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """What was found beside the case; ``sha256`` is by file name."""

    tariff: Tariff | None = None
    meters: tuple[MeterNote, ...] = ()
    emissions: EmissionFactors | None = None
    certificates: tuple[CertificateNote, ...] = ()
    sha256: Mapping[str, str] | None = None


def read_report_inputs(folder: Path, case: SettlementCase) -> ReportInputs:
    """Read the optional files of a settlement folder.

    Raises
    ------
    InputError
        With all problems of all of them.
    """
    files = TableFolder(folder=folder)
    tariff = _read_tariff(files)
    meters = _read_meters(files)
    emissions = _read_emissions(files, case.periods)
    certificates = read_certificates(files, {p.participant for p in case.positions})
    refuse_if_any(files.all_problems())
    present = [name for name in REPORT_FILES if (folder / name).is_file()]
    return ReportInputs(
        tariff=tariff,
        meters=meters,
        emissions=emissions,
        certificates=certificates,
        sha256={name: sha256_hex((folder / name).read_bytes()) for name in present},
    )


def _read_tariff(files: TableFolder) -> Tariff | None:
    if not (files.folder / TARIFF).exists():
        return None
    try:
        given = tomllib.loads(files.text(TARIFF))
    except tomllib.TOMLDecodeError as error:
        files.complain(TARIFF, f"is no TOML: {error}")
        return None
    for key in sorted(set(given) - set(TARIFF_KEYS)):
        files.complain(TARIFF, f"has an unknown key {key!r}", f"known: {', '.join(TARIFF_KEYS)}")
    zone = str(given.get("zone", ""))
    try:
        ZoneInfo(zone)
    except (KeyError, OSError, ValueError):
        files.complain(TARIFF, f"zone: {zone!r} is no IANA zone", 'write zone = "Europe/Berlin"')
        zone = "UTC"
    bands = given.get("band", [])
    if not isinstance(bands, list) or not bands:
        files.complain(TARIFF, "has no band", "write [[band]] with name and eur_per_mwh")
        bands = []
    found = tuple(_band(files, entry) for entry in bands if isinstance(entry, dict))
    if len({band.name for band in found}) < len(found):
        files.complain(TARIFF, "names a band twice")
    if found and (found[-1].days, found[-1].from_minute, found[-1].to_minute) != (
        "all", 0, MINUTES_PER_DAY,
    ):  # fmt: skip
        files.complain(TARIFF, "leaves hours without a band", "let the last band have no hours")
    return Tariff(
        zone=zone,
        bands=found,
        peak_micro_eur_per_kw=_micro(files, given, "peak_eur_per_kw_month", default=0),
    )


def _band(files: TableFolder, entry: Mapping[str, Any]) -> TariffBand:
    for key in sorted(set(entry) - set(BAND_KEYS)):
        files.complain(TARIFF, f"band: unknown key {key!r}", f"known: {', '.join(BAND_KEYS)}")
    days = entry.get("days", "all")
    if days not in DAYS:
        files.complain(TARIFF, f"days: unknown word {days!r}", f"one of {', '.join(DAYS)}")
        days = "all"
    return TariffBand(
        name=str(entry.get("name", "")),
        price_micro_eur_per_mwh=_micro(files, entry, "eur_per_mwh", default=None),
        days=cast("Any", days),
        from_minute=_minute(files, entry.get("from", "00:00")),
        to_minute=_minute(files, entry.get("to", "24:00")),
    )


def _minute(files: TableFolder, text: object) -> int:
    hours, _, minutes = str(text).partition(":")
    if hours.isdecimal() and minutes.isdecimal() and len(minutes) == 2:
        minute = 60 * int(hours) + int(minutes)
        if minute <= MINUTES_PER_DAY and int(minutes) < 60:
            return minute
    files.complain(TARIFF, f"{text!r} is no time of day", 'write "17:00"')
    return 0


def _micro(files: TableFolder, given: Mapping[str, Any], key: str, *, default: int | None) -> int:
    value = given.get(key, default)
    if type(value) in (int, float):
        try:
            return parse_micro(repr(value))
        except ValueError as error:
            files.complain(TARIFF, f"{key}: {error}")
            return 0
    files.complain(TARIFF, f"{key} is no number: {value!r}")
    return 0


def _read_meters(files: TableFolder) -> tuple[MeterNote, ...]:
    if not (files.folder / METERS).exists():
        return ()
    notes = []
    for row, (connection, start, end, meter, method, source) in files.table(
        METERS, METER_COLUMNS
    ).rows:
        first = files.instant(METERS, row, start)
        last = files.instant(METERS, row, end)
        if first is not None and last is not None:
            notes.append(
                MeterNote(
                    connection=files.label(METERS, row, "connection", connection),
                    start=first,
                    end=last,
                    meter=files.label(METERS, row, "meter", meter),
                    method=files.label(METERS, row, "method", method),
                    source=source.strip(),
                )
            )
    return tuple(sorted(notes, key=lambda note: (note.connection, note.start)))


def _read_emissions(files: TableFolder, periods: Periods) -> EmissionFactors | None:
    present = [(files.folder / name).exists() for name in (ASSETS, IMPORTS)]
    if not any(present):
        return None
    if not all(present):
        files.complain(ASSETS, f"{ASSETS} and {IMPORTS} belong together", "give both or neither")
        return None
    factors: dict[str, int] = {}
    renewable = set()
    for row, (connection, kind, grams) in files.table(ASSETS, ASSET_COLUMNS).rows:
        factors[connection.strip()] = _milligrams(files, ASSETS, row, grams)
        if kind.strip() == RENEWABLE:
            renewable.add(connection.strip())
        elif kind.strip() not in KINDS:
            files.complain(ASSETS, f"unknown kind {kind!r}", f"one of {', '.join(KINDS)}", row=row)
    series: list[int | None] = [None] * periods.count
    for row, (label, grams) in files.table(IMPORTS, IMPORT_COLUMNS).rows:
        period = files.period(IMPORTS, row, label, periods)
        if period is not None:
            series[period] = _milligrams(files, IMPORTS, row, grams)
    missing = series.count(None)
    if missing:
        files.complain(IMPORTS, f"{missing} of {periods.count} periods missing")
    return EmissionFactors(
        asset_mg_per_kwh=factors,
        renewable=frozenset(renewable),
        import_mg_per_kwh=tuple(value or 0 for value in series),
    )


def _milligrams(files: TableFolder, name: str, row: int, text: str) -> int:
    micro = files.micro(name, row, "g_co2_per_kwh", text)
    if micro < 0:
        files.complain(name, f"g_co2_per_kwh: {text} is below 0", row=row)
    return divide_half_even(micro * MILLI, MICRO_PER_UNIT)
