"""The congestion outlook: how likely each limit is broken without a market, and the MW to relieve.

Every joint scenario of loads and generation gives a state of the grid with no order used; a limit
that is exceeded by ``g - g_max`` needs ``(g - g_max) / max_i |dg/dp_i|`` at the bus that
relieves it most, the measure in which clearings state what they are short of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from opf.limits import CURRENT_FROM, CURRENT_TO, VOLTAGE_LOWER, limit_gradients
from opf.problems.scenario_limits import ExpectedGrid, expected_grid, scenario_values

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
NEED_QUANTILE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class CongestionOutlook:
    """What is to be expected of every limit; arrays have shape (limits, periods).

    Parameters
    ----------
    element_kind, element, side : names as the result files print them
    limit : ndarray, shape (limits,)
        The limit [pu of voltage, percent of rating].
    expected_value : ndarray
        The quantity at the expected injections, same unit.
    probability : ndarray
        Share of scenarios in which the limit is broken, 0..1.
    need_mw_mean, need_mw_q90 : ndarray
        What relieving it takes at the bus that relieves it most, mean over all scenarios and their
        0.9-quantile [MW].
    """

    element_kind: tuple[str, ...]
    element: NDArray[np.int64]
    side: tuple[str, ...]
    limit: Floats
    expected_value: Floats
    probability: Floats
    need_mw_mean: Floats
    need_mw_q90: Floats


def congestion_outlook(case: ClearingCase, deviation: Complexes) -> CongestionOutlook:
    """Return the outlook of a case whose profiles are what is expected; orders are not used.

    Parameters
    ----------
    case : ClearingCase
        Grid, limits and expected profiles; its security margins do not count.
    deviation : ndarray of complex, shape (scenarios, buses, periods)
        Injection of each scenario less the expected one [MW + j Mvar], rows as the network's buses.

    Raises
    ------
    PowerFlowDiverged
        Where the expected injections have no AC solution.
    """
    return outlook_around(expected_grid(case), deviation)


def outlook_around(expected: ExpectedGrid, deviation: Complexes) -> CongestionOutlook:
    """Return the outlook of `congestion_outlook` around an expected state already solved."""
    limits = expected.limits
    shape = expected.values.shape
    probability, mean, high = (np.zeros(shape) for _ in range(3))
    for period, values in enumerate(scenario_values(expected, deviation)):
        over = np.maximum(values - limits.maximum[:, None], 0.0)
        broken = np.flatnonzero((over > 0.0).any(axis=1))
        if not len(broken):
            continue
        gradient, _ = limit_gradients(
            expected.solver, expected.state, limits, broken, np.full(len(broken), period)
        )
        need = over[broken] / np.maximum(np.abs(gradient).max(axis=0), 1e-9)[:, None]
        probability[broken, period] = (over[broken] > 0.0).mean(axis=1)
        mean[broken, period] = need.mean(axis=1)
        high[broken, period] = np.quantile(need, NEED_QUANTILE, axis=1)
    per_unit = _result_units(expected)
    return CongestionOutlook(
        element_kind=limits.element_kind,
        element=limits.element,
        side=limits.side,
        limit=limits.maximum * per_unit,
        expected_value=expected.values * per_unit[:, None],
        probability=probability,
        need_mw_mean=mean,
        need_mw_q90=high,
    )


def _result_units(expected: ExpectedGrid) -> Floats:
    """Return what g is multiplied with to print it: signs of lower limits, percent of ratings."""
    limits, b = expected.limits, expected.grid.branches
    factor = np.ones(len(limits))
    factor[limits.family == VOLTAGE_LOWER] = -1.0
    for family, rating in ((CURRENT_FROM, b.rating_from), (CURRENT_TO, b.rating_to)):
        rows = limits.family == family
        factor[rows] = 100.0 / rating[limits.place[rows]]
    return factor
