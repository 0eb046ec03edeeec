"""Hierarchy: meters add up to transformers, feeders and substations, and so must their forecasts.

Who adds up to whom changes when the grid is switched, so the summing matrix is a dated object.
Incoherent forecasts are projected onto what adds up by minimum trace reconciliation (Wickramasuriya
et al. 2019, doi:10.1080/01621459.2018.1448825) with the shrunk covariance of past errors (Schaefer
and Strimmer 2005, doi:10.2202/1544-6115.1175), or with simpler weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods, format_utc
from forecasting.quantiles import interpolate_quantiles
from forecasting.scenarios import Scenarios, to_grains

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
WeightRule = Literal["equal", "meters", "variance", "shrunk"]
WEIGHT_RULES: Final[tuple[WeightRule, ...]] = ("equal", "meters", "variance", "shrunk")
# Midpoints of fifty equal parts: what the mean of a distribution is taken over.
MEAN_LEVELS: Final = tuple((np.arange(50) + 0.5) / 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """Who adds up to whom, for as long as the grid is switched like this.

    Parameters
    ----------
    nodes : tuple of str
        Aggregates from the top down, then the meters.
    depth : tuple of int
        Of each node: 0 at the top; nodes of one depth are one level.
    meters : tuple of str
        The series that are summed, in the order of the matrix' columns.
    matrix : ndarray, shape (len(nodes), len(meters))
        1 where a meter is part of a node, otherwise 0; the last rows are the identity.
    valid_from : datetime
        Start of validity, UTC.
    valid_until : datetime or None
        End of validity (exclusive), UTC; None: until further notice.
    """

    nodes: tuple[str, ...]
    depth: tuple[int, ...]
    meters: tuple[str, ...]
    matrix: Floats
    valid_from: datetime
    valid_until: datetime | None = None

    @property
    def aggregates(self) -> int:
        """Number of nodes that are sums."""
        return len(self.nodes) - len(self.meters)

    def sum_meters(self, value_mw: Floats) -> Floats:
        """Return the values of all nodes from those of the meters.

        Parameters
        ----------
        value_mw : ndarray, shape (meters, ...)
            In the order of ``meters`` [MW]; whole grains (`forecasting.scenarios.to_grains`) have
            exact sums.

        Returns
        -------
        ndarray, shape (nodes, ...)
            Power [MW].
        """
        if value_mw.shape[0] != len(self.meters):
            raise InputError(
                [Problem(where="hierarchy", what=f"{value_mw.shape[0]} series for "
                         f"{len(self.meters)} meters")]
            )  # fmt: skip
        return np.asarray(np.tensordot(self.matrix, value_mw, axes=1))

    def rows_at(self, depth: int) -> Ints:
        """Return the rows of the nodes at one depth."""
        return np.flatnonzero(np.asarray(self.depth) == depth)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedHierarchy:
    """All versions of a hierarchy, oldest first, without gap or overlap.

    Raises
    ------
    InputError
        If there is none, or one does not begin where the one before it ends.
    """

    versions: tuple[Hierarchy, ...]

    def __post_init__(self) -> None:
        problems = []
        if not self.versions:
            problems.append(Problem(where="hierarchy", what="no version"))
        for old, new in pairwise(self.versions):
            if old.valid_until != new.valid_from:
                end = "never" if old.valid_until is None else f"at {format_utc(old.valid_until)}"
                problems.append(
                    Problem(
                        where="hierarchy",
                        what=f"a version ends {end}, the next begins at "
                        f"{format_utc(new.valid_from)}",
                        remedy="end each version where the next begins",
                    )
                )
        refuse_if_any(problems)

    def at(self, instant: datetime) -> Hierarchy:
        """Return the version valid at an instant.

        Raises
        ------
        InputError
            If none is.
        """
        for version in self.versions:
            ended = version.valid_until is not None and instant >= version.valid_until
            if version.valid_from <= instant and not ended:
                return version
        raise InputError(
            [Problem(where="hierarchy", what=f"no version is valid at {format_utc(instant)}")]
        )

    def over(self, periods: Periods) -> tuple[tuple[range, Hierarchy], ...]:
        """Return the runs of periods with the version valid at the start of each."""
        versions = [self.at(start) for start in periods.starts]
        changes = [k for k in range(1, len(versions)) if versions[k] is not versions[k - 1]]
        edges = [0, *changes, len(versions)]
        return tuple((range(a, b), versions[a]) for a, b in pairwise(edges))


def build_hierarchy(
    parents: Mapping[str, str], valid_from: datetime, valid_until: datetime | None = None
) -> Hierarchy:
    """Make a hierarchy of a tree (or several): each node is named with what it is part of.

    Parameters
    ----------
    parents : mapping
        Meter or transformer to transformer, feeder or substation. Nodes without children are the
        meters, nodes without parent the tops. Order is kept.
    valid_from, valid_until : datetime
        From when until when (exclusive) the grid is switched like this.

    Raises
    ------
    InputError
        If nothing is named or a node is part of itself.

    Examples
    --------
    >>> from datetime import UTC
    >>> tree = build_hierarchy(
    ...     {"m1": "t1", "m2": "t1", "m3": "t2", "t1": "feeder", "t2": "feeder"},
    ...     datetime(2016, 1, 1, tzinfo=UTC),
    ... )
    >>> tree.nodes, tree.depth
    (('feeder', 't1', 't2', 'm1', 'm2', 'm3'), (0, 1, 1, 2, 2, 2))
    >>> tree.sum_meters(np.array([1.0, 2.0, 4.0])).tolist()
    [7.0, 3.0, 4.0, 1.0, 2.0, 4.0]
    """
    refuse_if_any(_tree_problems(parents))
    above = {name: _path_up(name, parents) for name in (*parents, *parents.values())}
    inner = set(parents.values())
    meters = tuple(name for name in parents if name not in inner)
    ordered = sorted(dict.fromkeys(n for n in above if n in inner), key=lambda n: len(above[n]))
    row_of = {name: row for row, name in enumerate(ordered)}
    matrix = np.zeros((len(ordered) + len(meters), len(meters)))
    for column, meter in enumerate(meters):
        matrix[[row_of[name] for name in above[meter]], column] = 1.0
        matrix[len(ordered) + column, column] = 1.0
    deepest = max(len(above[meter]) for meter in meters)
    return Hierarchy(
        nodes=(*ordered, *meters),
        depth=tuple(len(above[name]) for name in ordered) + (deepest,) * len(meters),
        meters=meters,
        matrix=matrix,
        valid_from=valid_from,
        valid_until=valid_until,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCovariance:
    """W of MinT as a diagonal and a factor: W = diag(``variance``) + factor' factor.

    Thousands of meters need no matrix of all pairs.

    Parameters
    ----------
    rule : {"equal", "meters", "variance", "shrunk"}
        What it was made of.
    variance : ndarray, shape (nodes,)
        The diagonal part, positive.
    factor : ndarray, shape (samples, nodes)
        What couples the nodes; no sample where nothing does.
    shrinkage : float
        Share of the diagonal target, 0 ... 1.
    """

    rule: WeightRule
    variance: Floats
    factor: Floats
    shrinkage: float

    def times(self, right: Floats) -> Floats:
        """Return W right, shape (nodes, columns)."""
        return np.asarray(self.variance[:, None] * right + self.factor.T @ (self.factor @ right))


def estimate_error_covariance(
    hierarchy: Hierarchy, error: Floats | None = None, rule: WeightRule = "shrunk"
) -> ErrorCovariance:
    """Say how the errors of the nodes' own forecasts go together.

    Parameters
    ----------
    hierarchy : Hierarchy
        The nodes.
    error : ndarray, shape (samples, nodes), optional
        Past errors (actual - forecast) [MW]; needed for ``variance`` and ``shrunk``. Moments are
        about zero: a bias is an error.
    rule : str
        ``equal`` (ordinary least squares), ``meters`` (a node's variance is its number of meters),
        ``variance`` (of each node), ``shrunk`` (covariances shrunk towards the diagonal, the
        intensity of Schaefer and Strimmer).

    Raises
    ------
    InputError
        If errors are missing, too few, not finite or of another shape.
    """
    count = len(hierarchy.nodes)
    empty = np.zeros((0, count))
    if rule == "equal":
        return ErrorCovariance(rule=rule, variance=np.ones(count), factor=empty, shrinkage=1.0)
    if rule == "meters":
        size = hierarchy.matrix.sum(axis=1)
        return ErrorCovariance(rule=rule, variance=size, factor=empty, shrinkage=1.0)
    if error is None or error.ndim != 2 or error.shape[1] != count or len(error) < 3:
        shape = None if error is None else error.shape
        raise InputError(
            [Problem(where="errors", what=f"shape {shape}, expected (3 or more, {count})")]
        )
    refuse_if_any(
        [] if np.isfinite(error).all()
        else [Problem(where="errors", what="a value is not a number")]
    )  # fmt: skip
    variance = np.mean(error**2, axis=0)
    # A node that was never wrong (a closed branch) is trusted most, not infinitely.
    floor = 1e-9 * float(variance.max(initial=0.0)) or 1.0
    variance = np.maximum(variance, floor)
    if rule == "variance":
        return ErrorCovariance(rule=rule, variance=variance, factor=empty, shrinkage=1.0)
    share = shrinkage_intensity(error / np.sqrt(variance))
    return ErrorCovariance(
        rule=rule,
        variance=share * variance,
        factor=np.sqrt((1.0 - share) / len(error)) * error,
        shrinkage=share,
    )


def shrinkage_intensity(standardised: Floats) -> float:
    """Return Schaefer and Strimmer's share of the diagonal target.

    lambda = sum_(i<>j) Var(r_ij) / sum_(i<>j) r_ij^2, r_ij = mean_t(x_ti x_tj), kept in [1e-6, 1].
    Both sums come from matrices of samples, not of all pairs of nodes.

    Parameters
    ----------
    standardised : ndarray, shape (samples, nodes)
        Errors over the root of their mean square.
    """
    samples = len(standardised)
    square = standardised**2
    gram = standardised @ standardised.T if samples < standardised.shape[1] else None
    gram = standardised.T @ standardised if gram is None else gram
    own = square.mean(axis=0)
    off_r2 = float((gram**2).sum()) / samples**2 - float((own**2).sum())
    off_fourth = float((square.sum(axis=1) ** 2).mean()) - float((square**2).mean(axis=0).sum())
    if off_r2 <= 0.0:
        return 1.0
    return float(np.clip((off_fourth - off_r2) / (samples - 1) / off_r2, 1e-6, 1.0))


def reconcile(
    hierarchy: Hierarchy,
    base_mw: Floats,
    covariance: ErrorCovariance,
    *,
    minimum_mw: float = -np.inf,
) -> Floats:
    """Project forecasts of all nodes onto what adds up.

    With C = [I, -A] (each aggregate less its meters, C y = 0 where y adds up),
    y~ = y^ - W C' (C W C')^-1 C y^, which equals S (S' W^-1 S)^-1 S' W^-1 y^ and only solves for
    as many unknowns as there are aggregates.

    Parameters
    ----------
    hierarchy : Hierarchy
        The nodes.
    base_mw : ndarray, shape (nodes, ...)
        Each node's own forecast [MW]: means, or scenarios that are reconciled one by one.
    covariance : ErrorCovariance
        From `estimate_error_covariance`.
    minimum_mw : float
        Meters are not forecast below it [MW]: 0 for gross load, -inf for net load.

    Returns
    -------
    ndarray, shape (nodes, ...)
        Forecasts [MW] of which every sum is exact (`to_grains`).

    Raises
    ------
    InputError
        If the shape differs or a value is not finite.
    """
    count = len(hierarchy.nodes)
    problems = []
    if base_mw.shape[0] != count or len(covariance.variance) != count:
        problems.append(
            Problem(where="forecasts", what=f"{base_mw.shape[0]} series for {count} nodes")
        )
    if not np.isfinite(base_mw).all():
        problems.append(Problem(where="forecasts", what="a value is not a number"))
    refuse_if_any(problems)
    base = base_mw.reshape(count, -1)
    top = hierarchy.aggregates
    constraint = np.hstack([np.eye(top), -hierarchy.matrix[:top]])
    spread = covariance.times(constraint.T)
    gap = constraint @ base
    moved = base[top:] - spread[top:] @ np.linalg.solve(constraint @ spread, gap)
    meters = to_grains(np.maximum(moved, minimum_mw))
    return hierarchy.sum_meters(meters).reshape(base_mw.shape)


def reconcile_quantiles(
    hierarchy: Hierarchy,
    quantile_mw: Floats,
    levels: Sequence[float],
    covariance: ErrorCovariance,
    *,
    minimum_mw: float = -np.inf,
) -> tuple[Floats, Floats]:
    """Move every node's quantiles by what reconciliation moves its mean.

    Quantiles do not add up, means do; not even medians, of skewed meters. Above a floor quantiles
    are stretched, so that base load stays and peaks move (measured at meters: 0.2 % more loss
    instead of 0.35 %); without one they are moved.

    Parameters
    ----------
    hierarchy : Hierarchy
        The nodes.
    quantile_mw : ndarray, shape (nodes, periods, levels)
        Each node's own quantiles [MW].
    levels : sequence of float
        Probability levels, ascending.
    covariance : ErrorCovariance
        Of the means' errors (`mean_of_quantiles`).
    minimum_mw : float
        Nothing is forecast below it [MW]: 0 for gross load, -inf for net load.

    Returns
    -------
    quantile_mw : ndarray, shape (nodes, periods, levels)
        Quantiles [MW], non-decreasing.
    mean_mw : ndarray, shape (nodes, periods)
        Means [MW]; they add up exactly.
    """
    mean = mean_of_quantiles(quantile_mw, levels)
    moved = reconcile(hierarchy, mean, covariance, minimum_mw=minimum_mw)
    if not np.isfinite(minimum_mw):
        return quantile_mw + (moved - mean)[:, :, None], moved
    above = mean - minimum_mw
    stretch = np.where(above > 0.0, (moved - minimum_mw) / np.where(above > 0.0, above, 1.0), 1.0)
    return minimum_mw + (quantile_mw - minimum_mw) * stretch[:, :, None], moved


def reconcile_scenarios(
    hierarchy: Hierarchy,
    scenarios: Scenarios,
    covariance: ErrorCovariance,
    *,
    minimum_mw: float = -np.inf,
) -> Scenarios:
    """Reconcile joint scenarios of all nodes one by one, so that in each of them all adds up.

    Sample paths of a coherent distribution (Panagiotelis et al. 2023,
    doi:10.1016/j.ejor.2022.07.040).

    Parameters
    ----------
    hierarchy : Hierarchy
        The nodes.
    scenarios : Scenarios
        Series are the hierarchy's nodes, in its order.
    covariance : ErrorCovariance
        Of the forecasts' errors.
    minimum_mw : float
        Meters are not below it [MW].

    Raises
    ------
    InputError
        If the series are not the nodes.
    """
    refuse_if_any(
        [] if scenarios.series == hierarchy.nodes
        else [Problem(where="scenarios", what="the series are not the nodes of the hierarchy")]
    )  # fmt: skip
    value = reconcile(
        hierarchy, scenarios.value_mw.transpose(1, 0, 2), covariance, minimum_mw=minimum_mw
    )
    return Scenarios(
        series=scenarios.series,
        periods=scenarios.periods,
        value_mw=np.ascontiguousarray(value.transpose(1, 0, 2)),
        known_at=scenarios.known_at,
        model_id=f"{scenarios.model_id} + mint-{covariance.rule}/1",
    )


def sum_quantiles_bottom_up(
    hierarchy: Hierarchy, quantile_mw: Floats, levels: Sequence[float]
) -> tuple[Floats, Floats]:
    """Move the aggregates' quantiles to the sums of the meters' means; meters stay as they are.

    What reconciliation comes to when the meters are trusted and the aggregates' own level is not.

    Parameters
    ----------
    hierarchy : Hierarchy
        The nodes.
    quantile_mw : ndarray, shape (nodes, periods, levels)
        Each node's own quantiles [MW].
    levels : sequence of float
        Probability levels, ascending.

    Returns
    -------
    quantile_mw : ndarray, shape (nodes, periods, levels)
        Quantiles [MW]; bands keep their width.
    mean_mw : ndarray, shape (nodes, periods)
        Means [MW]; they add up exactly.
    """
    mean = mean_of_quantiles(quantile_mw, levels)
    moved = hierarchy.sum_meters(to_grains(mean[hierarchy.aggregates :]))
    result = quantile_mw.copy()
    top = slice(0, hierarchy.aggregates)
    result[top] += (moved[top] - mean[top])[:, :, None]
    return result, moved


def mean_of_quantiles(quantile_mw: Floats, levels: Sequence[float]) -> Floats:
    """Return the mean of the distribution that quantiles (..., levels) describe, same unit."""
    return np.asarray(interpolate_quantiles(quantile_mw, levels, MEAN_LEVELS).mean(axis=-1))


def _path_up(name: str, parents: Mapping[str, str]) -> tuple[str, ...]:
    path = []
    while name in parents:
        name = parents[name]
        path.append(name)
    return tuple(path)


def _tree_problems(parents: Mapping[str, str]) -> list[Problem]:
    if not parents:
        return [Problem(where="hierarchy", what="no meter is part of anything")]
    problems = []
    for name in parents:
        seen, at = {name}, name
        while at in parents and parents[at] not in seen:
            at = parents[at]
            seen.add(at)
        if at in parents:
            problems.append(
                Problem(where=name, what=f"is part of itself, over {at}",
                        remedy="name for each node the one above it")
            )  # fmt: skip
    return problems
