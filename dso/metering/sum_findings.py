"""From the coefficients of the sum check to findings with names, energies and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from data.records.metering import MeterFinding

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SumRules:
    """When a coefficient is a finding.

    Parameters
    ----------
    register_share : float
        A meter counts too little when its beta exceeds this: 0.10 is beyond what marginal losses at
        the far end of a feeder (0.06 with 3 % losses) and a meter of class B (0.01) explain.
    moved_share : float
        A point is on another feeder when its beta is below minus this, or above it there.
    dead_share : float
        A zero run is a dead meter when this share of its like days is missing on the feeder.
    unmetered_share : float
        Energy without any meter, as a share of the feeder's energy.
    substituted_share : float
        Periods in which more than this share of the energy was estimated are not used.
    errors : float
        So many standard errors a coefficient must be away from what is harmless.
    """

    register_share: float = 0.10
    moved_share: float = 0.5
    dead_share: float = 0.25
    unmetered_share: float = 0.015
    substituted_share: float = 0.02
    errors: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """What was estimated for one feeder; the equation stands in `dso.metering.sum_check`.

    Parameters
    ----------
    own : ndarray of bool, shape (connections,)
        Whether the point is mapped to this feeder.
    beta, beta_error : ndarray, shape (connections,)
        Share of the point's metered energy that is missing on the feeder, and its standard error.
    energy_wh : ndarray, shape (connections,)
        Metered withdrawal [Wh].
    silent : tuple of str
        Own points that read zero throughout.
    zero_runs : tuple of (point, first, last exclusive)
        With ``gamma``, ``gamma_error`` and ``expected_wh`` [Wh], shape (runs,).
    constant_wh, loss_wh, residual_wh, feeder_wh : float
        Constant part, quadratic losses, difference, feeder meter, over the periods used [Wh].
    """

    feeder: str
    connections: tuple[str, ...]
    own: NDArray[np.bool_]
    beta: Floats
    beta_error: Floats
    energy_wh: Floats
    silent: tuple[str, ...]
    zero_runs: tuple[tuple[int, int, int], ...]
    gamma: Floats
    gamma_error: Floats
    expected_wh: Floats
    constant_wh: float
    constant_error_wh: float
    loss_wh: float
    residual_wh: float
    feeder_wh: float


def name_findings(
    fit: Coefficients, fits: Sequence[Coefficients], periods: Periods, rules: SumRules
) -> tuple[MeterFinding, ...]:
    """Name what is wrong on one feeder.

    Parameters
    ----------
    fit : Coefficients
        Of the feeder.
    fits : sequence of Coefficients
        Of all feeders of the substation: a swap shows on two.
    """
    found = [
        *_moved(fit, fits, periods, rules),
        *_registers(fit, periods, rules),
        *_dead(fit, periods, rules),
        *_unmetered(fit, periods, rules),
    ]
    return tuple(sorted(found, key=lambda f: (-abs(f.energy_wh), f.kind, f.subjects)))


def gone_from(fit: Coefficients, rules: SumRules) -> list[int]:
    """Return own points whose energy does not flow through this feeder."""
    sure = fit.beta + rules.errors * fit.beta_error < -rules.moved_share / 2
    return np.flatnonzero(fit.own & (fit.beta < -rules.moved_share) & sure).tolist()


def come_to(fit: Coefficients, rules: SumRules) -> list[int]:
    """Return points mapped elsewhere whose energy flows through this feeder."""
    sure = fit.beta - rules.errors * fit.beta_error > rules.moved_share / 2
    return np.flatnonzero(~fit.own & (fit.beta > rules.moved_share) & sure).tolist()


def _moved(
    fit: Coefficients, fits: Sequence[Coefficients], periods: Periods, rules: SumRules
) -> list[MeterFinding]:
    gone, come = gone_from(fit, rules), come_to(fit, rules)
    goes_to = {
        point: other for other in fits if other is not fit for point in come_to(other, rules)
    }
    comes_from = {
        point: other for other in fits if other is not fit for point in gone_from(other, rules)
    }
    found: list[MeterFinding] = []
    paired: set[int] = set()
    for point in gone:
        other = goes_to.get(point)
        back = [p for p in come if p not in paired and comes_from.get(p) is other and other]
        if other is None or not back:
            continue
        partner = back[0]
        paired |= {point, partner}
        names = (fit.connections[point], fit.connections[partner])
        words = (
            f"{names[0]} (mapped to {fit.feeder}) and {names[1]} (mapped to {other.feeder}) stand "
            "on each other's feeder"
        )
        energy = fit.energy_wh[point] + fit.energy_wh[partner]
        found.append(_finding("swapped", tuple(sorted(names)), energy, words, periods))
    for point in gone:
        if point not in paired:
            where = f", it flows through {goes_to[point].feeder}" if point in goes_to else ""
            words = f"{fit.connections[point]} is mapped to {fit.feeder} but not on it{where}"
            found.append(
                _finding(
                    "wrong_feeder", (fit.connections[point],), fit.energy_wh[point], words, periods
                )
            )
    return found


def _registers(fit: Coefficients, periods: Periods, rules: SumRules) -> list[MeterFinding]:
    """Name meters that count too little or too much of what passes."""
    found: list[MeterFinding] = []
    moved = {*gone_from(fit, rules)}
    margin = rules.errors * fit.beta_error
    for point in np.flatnonzero(fit.own).tolist():
        beta = float(fit.beta[point])
        sure = abs(beta) - margin[point] > rules.register_share / 2
        if point in moved or abs(beta) < rules.register_share or not sure:
            continue
        energy, name = beta * fit.energy_wh[point], fit.connections[point]
        if beta > 0:
            share = beta / (1.0 + beta)
            words = (
                f"{name}: {share:.0%} of its energy passes by the meter, "
                f"{energy / 1e3:.0f} kWh, {energy / fit.feeder_wh:.1%} of {fit.feeder}"
            )
            found.append(_finding("theft", (name,), energy, words, periods))
        else:
            words = f"{name} counts {-beta:.0%} more than the feeder sees of it"
            found.append(_finding("counts_too_much", (name,), energy, words, periods))
    return found


def _dead(fit: Coefficients, periods: Periods, rules: SumRules) -> list[MeterFinding]:
    found: list[MeterFinding] = []
    for place, (point, first, last) in enumerate(fit.zero_runs):
        gamma, error = float(fit.gamma[place]), float(fit.gamma_error[place])
        if gamma < rules.dead_share or gamma - rules.errors * error <= 0:
            continue
        name, energy = fit.connections[point], gamma * fit.expected_wh[place]
        start = periods.start + first * periods.mtu
        words = (
            f"{name} reads zero from {start:%Y-%m-%d %H:%M} UTC on, yet the feeder carries "
            f"{gamma:.0%} of its usual energy"
        )
        finding = _finding("dead", (name,), energy, words, periods)
        found.append(
            MeterFinding(
                kind=finding.kind,
                subjects=finding.subjects,
                first=start,
                last=periods.start + (last - 1) * periods.mtu,
                energy_wh=finding.energy_wh,
                words=words,
            )
        )
    return found


def _unmetered(fit: Coefficients, periods: Periods, rules: SumRules) -> list[MeterFinding]:
    sure = fit.constant_wh - rules.errors * fit.constant_error_wh > 0
    if not sure or fit.constant_wh < rules.unmetered_share * fit.feeder_wh:
        return []
    words = (
        f"{fit.constant_wh / 1e3:.0f} kWh, {fit.constant_wh / fit.feeder_wh:.1%} of {fit.feeder}, "
        "flow day and night through no meter"
    )
    if fit.silent:
        words += f"; meters that read zero throughout: {', '.join(fit.silent)}"
    return [_finding("unmetered", fit.silent or (fit.feeder,), fit.constant_wh, words, periods)]


def _finding(
    kind: str, subjects: tuple[str, ...], energy_wh: float, words: str, periods: Periods
) -> MeterFinding:
    return MeterFinding(
        kind=kind,
        subjects=subjects,
        first=periods.start,
        last=periods.start + (periods.count - 1) * periods.mtu,
        energy_wh=round(float(energy_wh)),
        words=words,
    )
