r"""Connection points against their feeder meter: theft, wrong mapping, dead meters, by name.

For each feeder f with metered energy F_t and the withdrawals m_it of *all* connection points of the
substation, mapped to f or not, in period t:

.. math:: F_t - \sum_{i \in f} m_{it} = \sum_i \beta_i m_{it} + \sum_d \gamma_d e_{dt}
          + c + q S_t^2 + \epsilon_t,   \quad S_t = \sum_{i \in f} m_{it}

beta_i says what the mapping and the meter get wrong: 0 where all is well; theta / (1 - theta) where
a share theta of the energy passes by the meter; -1 for a point that is not on this feeder, +1 for
one that is on it and mapped elsewhere. e_d is what a meter that reads zero would have shown, by its
own like days, over its zero run: gamma_d is near 1 for a dead meter and near 0 for an empty house.
c is energy that no meter shows at all, and q S^2 the losses. Because households differ from each
other from quarter-hour to quarter-hour, each coefficient stands on its own after a few weeks.

Weighted least squares, with weights of their own for stretches in which a meter is silent; standard
errors are robust against what repeats within a day (sandwich estimator, clustered by day: Liang,
Zeger 1986, doi:10.1093/biomet/73.1.13).

What it cannot see: two meters swapped on the same feeder, because their sum is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.local_week import LocalWeek, local_week
from data.periods import Periods
from data.records.metering import Integers, MeterFinding, ValidatedMeter
from dso.metering.checks import CheckRules, mark_zero_runs, runs_of
from dso.metering.sum_findings import Coefficients, SumRules, name_findings

Floats = NDArray[np.float64]
DAYS_MIN: Final = 14
ROWS_PER_CONNECTION: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FeederSeries:
    """What a feeder meter counted.

    Parameters
    ----------
    feeder : str
        As in `MeterPoint.feeder`.
    energy_wh : ndarray of int64, shape (periods,)
        Energy from upstream into the feeder [Wh], negative when it feeds back.
    """

    feeder: str
    energy_wh: Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class SumCheck:
    """The check of one feeder.

    Parameters
    ----------
    energy_wh, residual_wh : int
        What the feeder meter counted, and what of it no connection point shows [Wh].
    loss_share : float
        Losses that grow with the square of the load, as a share of the feeder's energy.
    coefficients : Coefficients
        The estimate behind the findings.
    periods_used : int
        Periods in which nearly all energy was measured, not estimated.
    """

    feeder: str
    energy_wh: int
    residual_wh: int
    loss_share: float
    coefficients: Coefficients
    periods_used: int
    findings: tuple[MeterFinding, ...]


def check_sums(
    meters: Sequence[ValidatedMeter],
    feeder_of: Mapping[str, str],
    feeders: Sequence[FeederSeries],
    timezone: str,
    rules: SumRules | None = None,
) -> tuple[SumCheck, ...]:
    """Compare every feeder of a substation with its connection points.

    Parameters
    ----------
    meters : sequence of ValidatedMeter
        All connection points of the substation, over the same periods.
    feeder_of : mapping of connection to feeder
        The mapping to be checked.
    feeders : sequence of FeederSeries
        The feeder meters.
    timezone : str
        IANA zone; days and like days are local.
    rules : SumRules, optional
        Thresholds.

    Returns
    -------
    tuple of SumCheck
        One per feeder, as given; a swap across two feeders is named in both.

    Raises
    ------
    InputError
        If periods differ, a point has no feeder, or fewer than 14 days, or than three periods per
        connection, are left to judge by.
    """
    rules = rules or SumRules()
    _refuse_bad_input(meters, feeder_of, feeders)
    periods = meters[0].periods
    week = local_week(periods, timezone)
    withdrawal = np.column_stack([-m.injection_wh for m in meters]).astype(float)
    usable = _usable_periods(meters, withdrawal, rules)
    days_left = len(np.unique(week.day[usable]))
    if days_left < DAYS_MIN:
        problem = Problem(
            where="sum check",
            what=f"only {days_left} days have periods in which nearly every meter has a value",
            remedy=f"give {DAYS_MIN} days or more, or leave out meters with long gaps",
        )
        raise InputError([problem])
    if int(usable.sum()) < ROWS_PER_CONNECTION * len(meters):
        what = f"{int(usable.sum())} usable periods for {len(meters)} connections"
        remedy = f"give {ROWS_PER_CONNECTION} periods per connection or more, or check in parts"
        raise InputError([Problem(where="sum check", what=what, remedy=remedy)])
    names = tuple(m.connection for m in meters)
    fits = [
        _fit(
            feeder, names, withdrawal, np.array([feeder_of[n] == feeder.feeder for n in names]),
            usable, week, periods,
        )
        for feeder in feeders
    ]  # fmt: skip
    return tuple(
        SumCheck(
            feeder=feeder.feeder,
            energy_wh=int(feeder.energy_wh[usable].sum()),
            residual_wh=int(fit.residual_wh),
            loss_share=fit.loss_wh / max(float(feeder.energy_wh[usable].sum()), 1.0),
            coefficients=fit,
            periods_used=int(usable.sum()),
            findings=name_findings(fit, fits, periods, rules),
        )
        for feeder, fit in zip(feeders, fits, strict=True)
    )


def _usable_periods(
    meters: Sequence[ValidatedMeter], withdrawal: Floats, rules: SumRules
) -> NDArray[np.bool_]:
    """Return periods in which every meter has a value and few of them are estimates.

    A thousand meters never all answer: to leave out every period with a gap would leave none.
    """
    estimated = np.column_stack([m.substituted for m in meters])
    unresolved = np.any([m.unresolved for m in meters], axis=0)
    energy = np.abs(np.where(unresolved[:, None], 0.0, withdrawal))
    share = (energy * estimated).sum(axis=1) / np.maximum(energy.sum(axis=1), 1.0)
    return np.asarray(~unresolved & (share <= rules.substituted_share))


def _refuse_bad_input(
    meters: Sequence[ValidatedMeter],
    feeder_of: Mapping[str, str],
    feeders: Sequence[FeederSeries],
) -> None:
    known = {feeder.feeder for feeder in feeders}
    problems = [
        Problem(where=f"connection {m.connection}", what="is mapped to no metered feeder")
        for m in meters
        if feeder_of.get(m.connection) not in known
    ]
    problems.extend(
        Problem(where=f"connection {m.connection}", what="has other periods than the first")
        for m in meters[1:]
        if m.periods != meters[0].periods
    )
    problems.extend(
        Problem(where=f"feeder {f.feeder}", what=f"has {f.energy_wh.size} values")
        for f in feeders
        if not meters or f.energy_wh.shape != (meters[0].periods.count,)
    )
    if problems or not meters:
        raise InputError(problems or [Problem(where="sum check", what="no meters")])


def _fit(
    feeder: FeederSeries,
    names: tuple[str, ...],
    withdrawal: Floats,
    own: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    week: LocalWeek,
    periods: Periods,
) -> Coefficients:
    """Estimate the equation of the module for one feeder."""
    total = withdrawal[:, own].sum(axis=1)
    residual = feeder.energy_wh - total
    moving = np.flatnonzero(np.ptp(withdrawal[usable], axis=0) > 0)
    zero_runs, expected = _expected_in_zero_runs(withdrawal, own, week, periods)
    scale = max(float(np.abs(total[usable]).mean()), 1.0)
    ones, square = np.ones((len(total), 1)), (total**2 / scale)[:, None]
    design = np.hstack([withdrawal[:, moving], expected, ones, square])
    weight = 1.0 / np.maximum(np.abs(total), 0.2 * scale)
    silence = (expected[usable] > 0) @ (2.0 ** np.arange(expected.shape[1]))
    weights = _even_weights(design[usable], residual[usable], weight[usable], silence)
    estimate, error = _weighted_fit(design[usable], residual[usable], weights, week.day[usable])
    count, dead = len(moving), expected.shape[1]
    beta, beta_error = np.zeros(len(names)), np.full(len(names), np.inf)
    beta[moving], beta_error[moving] = estimate[:count], error[:count]
    return Coefficients(
        feeder=feeder.feeder,
        connections=names,
        own=own,
        beta=beta,
        beta_error=beta_error,
        energy_wh=withdrawal[usable].sum(axis=0),
        silent=tuple(n for k, n in enumerate(names) if own[k] and not withdrawal[:, k].any()),
        zero_runs=zero_runs,
        gamma=estimate[count : count + dead],
        gamma_error=error[count : count + dead],
        expected_wh=expected.sum(axis=0),
        constant_wh=float(estimate[-2] * usable.sum()),
        constant_error_wh=float(error[-2] * usable.sum()),
        loss_wh=float((estimate[-1] * square[usable, 0]).sum()),
        residual_wh=float(residual[usable].sum()),
        feeder_wh=float(feeder.energy_wh[usable].sum()),
    )


def _even_weights(design: Floats, target: Floats, weight: Floats, silence: Floats) -> Floats:
    """Return weights that give rows with silent meters the weight their residuals deserve.

    While a meter is silent its whole household is noise, far more than any meter error: without
    this it would spoil the coefficients of all its neighbours.
    """
    for _ in range(2 if np.any(silence > 0) else 0):
        estimate = _least_squares(design * weight[:, None], target * weight)
        left = (target - design @ estimate) * weight
        for kind in np.unique(silence):
            rows = silence == kind
            spread = float(np.sqrt(np.mean(left[rows] ** 2)))
            weight = np.where(rows, weight / max(spread, 1e-12), weight)
    return weight


def _least_squares(scaled: Floats, target: Floats) -> Floats:
    norm = np.linalg.norm(scaled, axis=0)
    norm[norm == 0] = 1.0
    return np.asarray(np.linalg.lstsq(scaled / norm, target, rcond=1e-10)[0] / norm)


def _weighted_fit(
    design: Floats, target: Floats, weight: Floats, day: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return weighted least squares estimates and their errors, clustered by day."""
    scaled = design * weight[:, None]
    norm = np.linalg.norm(scaled, axis=0)
    norm[norm == 0] = 1.0
    scaled = scaled / norm
    estimate = np.linalg.lstsq(scaled, target * weight, rcond=1e-10)[0]
    left = target * weight - scaled @ estimate
    inverse = np.linalg.pinv(scaled.T @ scaled, rcond=1e-10)
    _, cluster = np.unique(day, return_inverse=True)
    days = int(cluster.max()) + 1
    scores = np.zeros((days, design.shape[1]))
    np.add.at(scores, cluster, scaled * left[:, None])
    covariance = inverse @ (scores.T @ scores) @ inverse * (days / max(days - 1, 1))
    return estimate / norm, np.sqrt(np.maximum(np.diag(covariance), 0.0)) / norm


def _expected_in_zero_runs(
    withdrawal: Floats, own: NDArray[np.bool_], week: LocalWeek, periods: Periods
) -> tuple[tuple[tuple[int, int, int], ...], Floats]:
    """Return zero runs (point, first, last) and what each would have shown, (periods, runs)."""
    runs: list[tuple[int, int, int]] = []
    columns: list[Floats] = []
    present = np.ones(len(withdrawal), dtype=bool)
    for point in np.flatnonzero(own).tolist():
        values = withdrawal[:, point]
        marks = mark_zero_runs(values.astype(np.int64), present, periods.mtu_minutes, CheckRules())
        alive = ~marks
        if not marks.any() or len(np.unique(week.day[alive])) < 2:
            continue
        profile = np.zeros(week.slots)
        seen = np.bincount(week.slot[alive], minlength=week.slots)
        sums = np.bincount(week.slot[alive], weights=values[alive], minlength=week.slots)
        profile[seen > 0] = sums[seen > 0] / seen[seen > 0]
        for first, last in runs_of(marks):
            column = np.zeros(len(values))
            column[first:last] = profile[week.slot[first:last]]
            runs.append((point, first, last))
            columns.append(column)
    shape = np.column_stack(columns) if columns else np.zeros((len(withdrawal), 0))
    return tuple(runs), shape
