"""Write what metering found, and meter folders, as plain files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data.canonical import csv_bytes, pretty_json, write_atomically
from data.csv_table import table_bytes
from data.periods import Periods, format_utc
from data.readers.meter_csv import POINT_COLUMNS, READING_COLUMNS, REGISTER_COLUMNS
from data.records.metering import (
    FLAG_BIT,
    FLAGS,
    METHODS,
    MISSING,
    QUALITIES,
    MeterFiles,
    MeterFinding,
    ValidatedMeter,
    ValidatedSeries,
)
from dso.metering.sum_check import SumCheck

FINDING_COLUMNS = ("kind", "subjects", "first", "last", "energy_wh", "words")


def covered_periods(files: MeterFiles) -> Periods:
    """Return the periods from the first value to the last of all messages."""
    first = min(batch.periods.start for batch in files.batches)
    last = max(batch.periods.end for batch in files.batches)
    mtu = files.batches[0].periods.mtu
    return Periods(
        start=first,
        count=(last - first) // mtu,
        mtu_minutes=files.batches[0].periods.mtu_minutes,
    )


def write_meter_folder(files: MeterFiles, folder: Path) -> None:
    """Write points, readings and registers as `data.readers.meter_csv` reads them."""
    points = [
        (p.connection, p.feeder, p.limit_w / 1e3, p.resolution_wh, p.register_modulus_wh)
        for p in files.points
    ]
    write_atomically(folder / "points.csv", csv_bytes(POINT_COLUMNS, points))
    rows = [
        (
            batch.meter,
            batch.connection,
            batch.direction,
            label,
            None if quality == MISSING else int(value),
            QUALITIES[quality],
            format_utc(batch.received_at),
        )
        for batch in files.batches
        for label, value, quality in zip(
            batch.periods.labels(), batch.value_wh, batch.quality, strict=True
        )
    ]
    write_atomically(folder / "readings.csv", csv_bytes(READING_COLUMNS, rows))
    if files.registers:
        registers = [
            (r.meter, r.direction, r.at, r.register_wh, r.received_at) for r in files.registers
        ]
        write_atomically(folder / "registers.csv", csv_bytes(REGISTER_COLUMNS, registers))


def write_validated(meters: Sequence[ValidatedMeter], folder: Path) -> None:
    """Write every value with its quality, method and flags, the findings and a summary."""
    for meter in meters:
        for series in meter.series:
            name = f"{meter.connection}.{series.direction}.csv"
            write_atomically(folder / "values" / name, _values_csv(series))
    findings = [f for meter in meters for series in meter.series for f in series.findings]
    write_atomically(folder / "findings.csv", _findings_csv(findings))
    write_atomically(folder / "meters.json", pretty_json([_summary(meter) for meter in meters]))


def _values_csv(series: ValidatedSeries) -> bytes:
    words = [
        "+".join(name for name in FLAGS if bits & FLAG_BIT[name]) for bits in series.flags.tolist()
    ]
    energy = np.where(series.unresolved, np.nan, series.value_wh.astype(float))
    return table_bytes(
        {
            "period_start": series.periods.labels(),
            "energy_wh": energy,
            "quality": [QUALITIES[code] for code in series.quality],
            "method": [METHODS[code] for code in series.method],
            "flags": words,
            "revision": series.revision.astype(np.int64),
        }
    )


def _findings_csv(findings: Iterable[MeterFinding]) -> bytes:
    rows = [(f.kind, "+".join(f.subjects), f.first, f.last, f.energy_wh, f.words) for f in findings]
    return csv_bytes(FINDING_COLUMNS, rows)


def _summary(meter: ValidatedMeter) -> dict[str, object]:
    return {
        "connection": meter.connection,
        "periods": meter.periods.count,
        "substituted": int(meter.substituted.sum()),
        "unresolved": int(meter.unresolved.sum()),
        "sha256": meter.sha256,
        "inputs_sha256": {s.direction: s.inputs_sha256 for s in meter.series},
    }


def write_sum_checks(checks: Sequence[SumCheck], folder: Path) -> None:
    """Write findings, every coefficient behind them, and a summary per feeder."""
    findings = [finding for check in checks for finding in check.findings]
    write_atomically(folder / "findings.csv", _findings_csv(findings))
    rows = [
        (
            check.feeder,
            name,
            bool(check.coefficients.own[k]),
            float(check.coefficients.beta[k]),
            _finite(check.coefficients.beta_error[k]),
            float(check.coefficients.energy_wh[k]),
        )
        for check in checks
        for k, name in enumerate(check.coefficients.connections)
    ]
    header = ("feeder", "connection", "mapped_here", "beta", "beta_error", "energy_wh")
    write_atomically(folder / "coefficients.csv", csv_bytes(header, rows))
    summary = [
        {
            "feeder": check.feeder,
            "energy_wh": check.energy_wh,
            "not_metered_wh": check.residual_wh,
            "loss_share": round(check.loss_share, 6),
            "periods_used": check.periods_used,
            "findings": [finding.words for finding in check.findings],
        }
        for check in checks
    ]
    write_atomically(folder / "sum_check.json", pretty_json(summary))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
