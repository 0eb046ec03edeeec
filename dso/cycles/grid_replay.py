"""Replays of a day in a power flow that is not the market's: without it, as agreed, as it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import pretty_json, write_atomically
from data.csv_table import Column, table_bytes
from data.periods import Periods
from data.readers.simbench import NetworkProfiles
from data.records.clearing import Limits, Violation
from data.records.network import Network
from opf.replay import ReplayReport, replay_violations

Floats = NDArray[np.float64]
# What a limit may be exceeded by before it counts as broken, in every scenario alike.
VOLTAGE_TOLERANCE_PU: Final = 1e-4
LOADING_TOLERANCE_PERCENT: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetPower:
    """Injection of one asset that replaces the profile of its element, shape (periods,)."""

    asset: str
    bus: int
    injection_mw: Floats
    injection_mvar: Floats


def bus_injections(
    network: Network, profiles: NetworkProfiles, assets: Sequence[AssetPower]
) -> tuple[Floats, Floats]:
    """Add up what is connected at each bus, shape (buses, periods) [MW, Mvar].

    Parameters
    ----------
    network : Network
        The grid; elements out of service count nothing.
    profiles : NetworkProfiles
        Powers of loads and generators.
    assets : sequence of AssetPower
        Elements named here (``sgen:12``, ``load:3``) inject this instead of their profile;
        others, such as storages, inject it in addition.
    """
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    total = np.zeros((len(row), len(profiles.load_p_mw)), dtype=complex)
    named = {power.asset for power in assets}
    for kind, sign, elements, p_mw, q_mvar in (
        ("load", -1.0, network.loads, profiles.load_p_mw, profiles.load_q_mvar),
        ("sgen", 1.0, network.sgens, profiles.sgen_p_mw, profiles.sgen_q_mvar),
    ):
        for column, index in enumerate(elements.index):
            if elements.in_service[column] and f"{kind}:{index}" not in named:
                power = p_mw[:, column] + 1j * q_mvar[:, column]
                total[row[int(elements.bus[column])]] += sign * power
    for asset in assets:
        total[row[asset.bus]] += asset.injection_mw + 1j * asset.injection_mvar
    return total.real, total.imag


def replay(
    network: Network, limits: Limits, profiles: NetworkProfiles, assets: Sequence[AssetPower]
) -> ReplayReport:
    """Replay profiles and assets; see `opf.replay`."""
    injection_mw, injection_mvar = bus_injections(network, profiles, assets)
    return replay_violations(network, limits, len(profiles.load_p_mw), injection_mw, injection_mvar)


def broken_limits(report: ReplayReport) -> tuple[Violation, ...]:
    """Return the limits broken by more than the tolerances."""
    return tuple(
        violation
        for violation in report.violations
        if _excess(violation)
        > (VOLTAGE_TOLERANCE_PU if violation.element_kind == "bus" else LOADING_TOLERANCE_PERCENT)
    )


def write_replays(
    reports: Mapping[str, ReplayReport],
    network: Network,
    limits: Limits,
    periods: Periods,
    folder: Path,
) -> None:
    """Write ``violations.csv`` and ``replay.json`` of the scenarios."""
    labels = periods.labels()
    rows = [
        (scenario, found, "pu" if found.element_kind == "bus" else "percent")
        for scenario, report in reports.items()
        for found in sorted(
            broken_limits(report), key=lambda v: (v.period, v.element_kind, v.element, v.side)
        )
    ]
    columns: dict[str, Column] = {
        "scenario": [scenario for scenario, _, _ in rows],
        "element_kind": [found.element_kind for _, found, _ in rows],
        "element": np.array([found.element for _, found, _ in rows], dtype=np.int64),
        "period_start": [labels[found.period] for _, found, _ in rows],
        "side": [found.side for _, found, _ in rows],
        "value": np.array([found.value for _, found, _ in rows], dtype=float),
        "limit": np.array([found.limit for _, found, _ in rows], dtype=float),
        "unit": [unit for _, _, unit in rows],
    }
    write_atomically(folder / "violations.csv", table_bytes(columns))
    figures = {
        scenario: _figures(report, network, limits, periods.mtu_h)
        for scenario, report in reports.items()
    }
    write_atomically(folder / "replay.json", pretty_json(figures))


def _figures(
    report: ReplayReport, network: Network, limits: Limits, mtu_h: float
) -> dict[str, object]:
    """Return counts, worst values and losses of one scenario."""
    broken = broken_limits(report)
    voltages = [_excess(v) for v in report.violations if v.element_kind == "bus"]
    loadings = [_excess(v) for v in report.violations if v.element_kind != "bus"]
    supplied = np.isfinite(report.vm_pu).all(axis=1) & np.isfinite(limits.vm_pu_max)
    supplied &= network.buses.index != network.slack_bus
    vm_pu = report.vm_pu[supplied]
    margin = np.maximum(
        vm_pu - limits.vm_pu_max[supplied, None], limits.vm_pu_min[supplied, None] - vm_pu
    )
    loading = np.concatenate([report.line_loading_percent, report.trafo_loading_percent])
    return {
        "engine": report.engine,
        "periods_violated": len({violation.period for violation in broken}),
        "violations": len(broken),
        "worst_voltage_pu": float(vm_pu.flat[int(np.argmax(margin))]),
        "worst_voltage_violation_pu": max(voltages, default=0.0),
        "worst_loading_percent": float(loading.max(initial=0.0)),
        "worst_loading_violation_percent": max(loadings, default=0.0),
        "losses_mwh": report.losses_mwh(mtu_h),
        "tolerance_pu": VOLTAGE_TOLERANCE_PU,
        "tolerance_percent": LOADING_TOLERANCE_PERCENT,
    }


def _excess(violation: Violation) -> float:
    return abs(violation.value - violation.limit)
