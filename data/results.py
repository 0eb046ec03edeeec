"""The output folder of a clearing: what the market decided, as plain files (docs/market.md).

Tables are sorted by period, then bus or order; numbers carry 12 significant digits.
``summary.json`` is removed first and written last, so a folder that holds it is whole.
``timings.json`` is the only file that may differ between two runs on equal input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import pretty_json, write_atomically
from data.csv_table import Column, table_bytes
from data.periods import format_utc
from data.records.clearing import (
    Award,
    Certificate,
    ClearingCase,
    ClearingResult,
    IntegerReport,
)
from data.result_trades import trade_columns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SUMMARY_FILE: Final = "summary.json"
TIMINGS_FILE: Final = "timings.json"
CERTIFIED: Final = ("certified", "certified_with_slack")
GAP_FLOOR_EUR: Final = 1.0


def _repeat(texts: Iterable[str], times: int) -> list[str]:
    """Return each text ``times`` times in a row."""
    return [text for text in texts for _ in range(times)]


def _by_period(values: Floats) -> Floats:
    """Flatten an array of shape (rows, periods) period by period."""
    return np.asarray(values, dtype=float).T.ravel()


def _bus_rows(case: ClearingCase) -> Ints:
    """Return the rows of buses in service, sorted by bus number."""
    rows = np.flatnonzero(case.network.buses.in_service)
    return rows[np.argsort(case.network.buses.index[rows], kind="stable")]


def _bus_period_columns(case: ClearingCase) -> dict[str, Column]:
    rows = _bus_rows(case)
    return {
        "bus": np.tile(case.network.buses.index[rows], len(case.periods)),
        "period_start": _repeat(case.periods.labels(), len(rows)),
    }


def _prices(result: ClearingResult, case: ClearingCase) -> dict[str, Column]:
    rows, prices = _bus_rows(case), result.prices
    columns = _bus_period_columns(case)
    for name in (
        "dlmp_p_eur_per_mwh", "dlmp_q_eur_per_mvarh", "energy_eur_per_mwh", "loss_eur_per_mwh",
        "congestion_eur_per_mwh", "voltage_eur_per_mwh",
    ):  # fmt: skip
        columns[name] = _by_period(getattr(prices, name)[rows])
    return columns


def _price_parts(result: ClearingResult, case: ClearingCase) -> dict[str, Column]:
    """List the parts that are not zero, by period, bus and element."""
    rows, labels = _bus_rows(case), case.periods.labels()
    bus_numbers = case.network.buses.index[rows]
    parts = sorted(
        result.prices.parts, key=lambda part: (part.element_kind, part.element, part.side)
    )
    places = [
        np.argwhere((part.p_eur_per_mwh[rows] != 0) | (part.q_eur_per_mvarh[rows] != 0))
        for part in parts
    ]
    empty = np.zeros((0, 2), dtype=np.int64)
    bus = np.concatenate([empty, *places])[:, 0]
    period = np.concatenate([empty, *places])[:, 1]
    which = np.repeat(np.arange(len(parts)), [len(place) for place in places]).astype(np.int64)
    values = [
        np.concatenate(
            [np.zeros(0)]
            + [
                getattr(part, name)[rows][place[:, 0], place[:, 1]]
                for part, place in zip(parts, places, strict=True)
            ]
        )
        for name in ("p_eur_per_mwh", "q_eur_per_mvarh")
    ]
    order = np.lexsort((which, bus, period))
    number = which[order].tolist()
    return {
        "bus": bus_numbers[bus[order]],
        "period_start": [labels[k] for k in period[order].tolist()],
        "element_kind": [parts[k].element_kind for k in number],
        "element": np.array([parts[k].element for k in number], dtype=np.int64),
        "side": [parts[k].side for k in number],
        "p_eur_per_mwh": values[0][order],
        "q_eur_per_mvarh": values[1][order],
    }


def _awards(awards: list[Award], case: ClearingCase) -> dict[str, Column]:
    """List awards; what belongs to the order as a whole stands at its first bus."""
    count = len(case.periods)
    blank = np.full(count, np.nan)
    rows = [(award, place) for award in awards for place in range(len(award.buses))]

    def stacked(name: str) -> Floats:
        lines = []
        for award, place in rows:
            values: Floats | None = getattr(award, name)
            lines.append(blank if values is None or place else values)
        return _by_period(np.array(lines).reshape(-1, count))

    def each(name: str) -> Floats:
        lines = [getattr(award, name)[place] for award, place in rows]
        return _by_period(np.array(lines).reshape(-1, count))

    share = np.array([award.accepted_share for award, _ in rows]).reshape(-1, count)
    return {
        "order": [award.order for award, _ in rows] * count,
        "bus": np.tile(np.array([a.buses[k] for a, k in rows], dtype=np.int64), count),
        "period_start": _repeat(case.periods.labels(), len(rows)),
        "injection_mw": each("injection_mw"),
        "injection_mvar": each("injection_mvar"),
        "energy_mwh": each("injection_mw") * case.periods.mtu_h,
        "accepted_share": _by_period(share),
        "charge_mw": stacked("charge_mw"),
        "discharge_mw": stacked("discharge_mw"),
        "soc_mwh": stacked("soc_mwh"),
    }


def _orders(awards: list[Award]) -> dict[str, Column]:
    return {
        "order": [award.order for award in awards],
        "status": [award.status for award in awards],
        "surplus_eur": np.array([award.surplus_eur for award in awards], dtype=float),
        "reason": [award.reason for award in awards],
        "binding_element": [award.binding_element for award in awards],
    }


def _buses(result: ClearingResult, case: ClearingCase) -> dict[str, Column]:
    rows = _bus_rows(case)
    columns = _bus_period_columns(case)
    for name in ("vm_pu", "shadow_price_upper_eur_per_pu_h", "shadow_price_lower_eur_per_pu_h"):
        columns[name] = _by_period(getattr(result.grid, name)[rows])
    return columns


def _branches(result: ClearingResult, case: ClearingCase) -> dict[str, Column]:
    branches = sorted(result.grid.branches, key=lambda flow: (flow.element_kind, flow.element))
    count = len(case.periods)
    columns: dict[str, Column] = {
        "element_kind": [flow.element_kind for flow in branches] * count,
        "element": np.tile(np.array([f.element for f in branches], dtype=np.int64), count),
        "period_start": _repeat(case.periods.labels(), len(branches)),
    }
    for name in ("p_from_mw", "q_from_mvar", "loading_percent", "shadow_price_eur_per_mva_h"):
        values = np.array([getattr(flow, name) for flow in branches]).reshape(-1, count)
        columns[name] = _by_period(values)
    return columns


def _substation(result: ClearingResult, case: ClearingCase) -> dict[str, Column]:
    return {
        "period_start": list(case.periods.labels()),
        "import_mw": result.grid.import_mw,
        "import_mvar": result.grid.import_mvar,
    }


def _certificate(certificate: Certificate) -> dict[str, object]:
    """Return the certificate's fields; what could not be computed is null."""
    plain: dict[str, object] = {}
    for name in Certificate.__slots__:
        value = getattr(certificate, name)
        if isinstance(value, float) and not np.isfinite(value):
            value = None
        plain[name] = dict(value) if name == "solver_options" else value
    return plain


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _summary(result: ClearingResult, case: ClearingCase) -> dict[str, object]:
    objective, bound = _finite(result.objective_eur), _finite(result.bound_eur)
    gap = None
    if objective is not None and bound is not None:
        gap = (objective - bound) / max(abs(objective), GAP_FLOOR_EUR)
    starts = case.periods.starts
    violations = sorted(
        result.violations, key=lambda v: (v.period, v.element_kind, v.element, v.side)
    )
    summary: dict[str, object] = {
        "name": result.case_name,
        "status": result.status,
        "message": result.message,
        "objective_eur": objective,
        "penalty_eur": _finite(result.penalty_eur),
        "violations": [
            {
                "element_kind": violation.element_kind,
                "element": violation.element,
                "side": violation.side,
                "period_start": format_utc(starts[violation.period]),
                "value": violation.value,
                "limit": violation.limit,
                "mw_short": violation.mw_short,
            }
            for violation in violations
        ],
        "bound_eur": bound,
        "bound_kind": result.bound_kind,
        "gap": gap,
        "certificate": _certificate(result.certificate),
        "integers": _integers(result.integers),
        "input_sha256": result.input_sha256,
        "versions": dict(result.versions),
    }
    if case.margins is not None:
        summary["binding_margins"] = _binding_margins(result, case)
    return summary


def _binding_margins(result: ClearingResult, case: ClearingCase) -> list[dict[str, object]]:
    """Name the price parts that come from a security margin, by element and period."""
    starts = case.periods.starts
    found = sorted(
        result.binding_margins, key=lambda m: (m.period, m.element_kind, m.element, m.side)
    )
    return [
        {
            "element_kind": each.element_kind,
            "element": each.element,
            "side": each.side,
            "period_start": format_utc(starts[each.period]),
            "limit": each.limit,
            "margin": each.margin,
            "unit": "pu" if each.element_kind == "bus" else "percent",
            "shadow_price_eur_per_mwh": each.shadow_price_eur_per_mwh,
        }
        for each in found
    ]


def _integers(report: IntegerReport | None) -> dict[str, object] | None:
    """What is said of the search over integers; None where no order has one."""
    if report is None:
        return None
    return {
        "orders": report.orders,
        "choices_cleared": report.choices_cleared,
        "proven": report.proven,
        "gap": _finite(report.gap),
        "overstated_eur": _finite(report.overstated_eur),
        "paradoxically_rejected": [
            {"order": order, "surplus_eur": worth} for order, worth in report.paradoxically_rejected
        ],
        "message": report.message,
    }


def _refuse_gaps(tables: Mapping[str, Mapping[str, Column]], summary: dict[str, object]) -> None:
    """A certified result has a number wherever a number applies.

    Raises
    ------
    ValueError
        With file and column of every NaN or infinite value.
    """
    optional = {"charge_mw", "discharge_mw", "soc_mwh"}
    faults = [
        f"{name} {header}"
        for name, columns in tables.items()
        for header, column in columns.items()
        if header not in optional
        and isinstance(column, np.ndarray)
        and column.dtype.kind == "f"
        and not np.all(np.isfinite(column))
    ]
    faults += [f"summary.json {name}" for name in ("objective_eur", "penalty_eur")
               if summary[name] is None]  # fmt: skip
    certificate = summary["certificate"]
    if isinstance(certificate, dict):
        faults += [f"certificate {name}" for name, value in certificate.items() if value is None]
    if faults:
        raise ValueError(f"a certified result without a number in {', '.join(faults)}")


def write_result(
    result: ClearingResult,
    case: ClearingCase,
    folder: Path,
    *,
    binding_periods: int | None = None,
) -> None:
    """Write the result of a clearing.

    Parameters
    ----------
    result : ClearingResult
        What the engine returned for ``case``.
    case : ClearingCase
        The case.
    folder : Path
        Made when absent; files of an earlier result in it are replaced.
    binding_periods : int or None
        Only the first so many periods change positions and give trades (an intraday round);
        None: all.

    Notes
    -----
    Only certified results give trades: of another one ``trades.csv`` has the header alone.
    ``gap`` is (objective - bound) / max(abs(objective), 1 EUR), null without a bound.

    Raises
    ------
    ValueError
        If the result does not belong to the case, or is certified and lacks a number.
    """
    if result.periods != case.periods:
        raise ValueError("the result has other periods than the case")
    awards = sorted(result.awards, key=lambda award: award.order)
    unknown = {award.order for award in awards} - {order.id for order in case.orders}
    if unknown:
        raise ValueError(f"awards of orders that the case does not have: {sorted(unknown)}")
    certified = result.status in CERTIFIED
    tables: dict[str, dict[str, Column]] = {
        "prices.csv": _prices(result, case),
        "price_parts.csv": _price_parts(result, case),
        "awards.csv": _awards(awards, case),
        "orders.csv": _orders(awards),
        "buses.csv": _buses(result, case),
        "branches.csv": _branches(result, case),
        "substation.csv": _substation(result, case),
    }
    summary = _summary(result, case)
    if certified:
        _refuse_gaps(tables, summary)
    tables["trades.csv"] = trade_columns(awards if certified else [], result, case, binding_periods)
    (folder / SUMMARY_FILE).unlink(missing_ok=True)
    for name, columns in tables.items():
        write_atomically(folder / name, table_bytes(columns))
    write_atomically(folder / SUMMARY_FILE, pretty_json(summary))


def write_timings(timings: Mapping[str, float], folder: Path) -> None:
    """Write how long the stages took [s]; part of no hash."""
    rounded = {name: round(seconds, 3) for name, seconds in timings.items()}
    write_atomically(folder / TIMINGS_FILE, pretty_json(rounded))
