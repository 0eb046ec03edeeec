"""Security margins: limits drawn in by what the forecast does not know.

The margin of a limit in a period is the chosen quantile, over joint scenarios, of how far the
monitored quantity lies beyond its expected value: with the quantile 0.9 a schedule that uses the
limit up is within it in nine of ten scenarios. The joint scenarios matter, because quantiles of
single injections do not add up to those of a flow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase, LimitMargins
from data.study.margins import no_margins
from opf.limits import CURRENT_FROM, CURRENT_TO, VOLTAGE_LOWER, VOLTAGE_UPPER
from opf.problems.scenario_limits import ExpectedGrid, expected_grid, scenario_values

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

# Margins are rounded up to these steps, and no margin takes more than this share of what a limit
# leaves: of the band between the voltage limits (by both margins together), of a loading limit.
STEP_PU = 1e-6
STEP_PERCENT = 1e-3
SHARE_MAX = 0.5


def security_margins(
    case: ClearingCase, deviations: Sequence[Complexes], quantiles: Sequence[float]
) -> tuple[LimitMargins, ...]:
    """Return the margins of all limits of a case at each quantile of the joint scenarios.

    Parameters
    ----------
    case : ClearingCase
        Its profiles are what is expected.
    deviations : sequence of ndarray of complex, shape (scenarios, buses, periods) each
        Injection of each scenario less the expected one [MW + j Mvar], rows as the network's buses.
        Each is one view of what may happen; a margin is the largest that any of them asks for.
    quantiles : sequence of float
        In (0, 1): the share of scenarios in which a limit that is used up holds.

    Raises
    ------
    PowerFlowDiverged
        Where the expected injections have no AC solution.
    """
    expected = expected_grid(case)
    beyond = np.zeros((len(quantiles), *expected.values.shape))
    for deviation in deviations:
        for period, values in enumerate(scenario_values(expected, deviation)):
            found = np.quantile(values - expected.values[:, [period]], quantiles, axis=1)
            beyond[:, :, period] = np.maximum(beyond[:, :, period], found)
    return tuple(_as_margins(case, expected, of_one) for of_one in beyond)


def _as_margins(case: ClearingCase, expected: ExpectedGrid, beyond: Floats) -> LimitMargins:
    """Put g's quantiles [pu] into the units and rows of the study folder."""
    limits, grid, stated = expected.limits, expected.grid, case.limits
    margins = no_margins(case.network, beyond.shape[1])
    band = np.where(
        np.isfinite(stated.vm_pu_max - stated.vm_pu_min), stated.vm_pu_max - stated.vm_pu_min, 0.0
    )
    for family, table in (
        (VOLTAGE_UPPER, margins.vm_pu_upper),
        (VOLTAGE_LOWER, margins.vm_pu_lower),
    ):
        for k in np.flatnonzero(limits.family == family).tolist():
            at_node = np.flatnonzero(grid.bus_node == limits.place[k])
            most = 0.5 * SHARE_MAX * band[at_node][:, None]
            table[at_node] = np.minimum(_rounded_up(beyond[k], STEP_PU), most)
    b = grid.branches
    for family, rating in ((CURRENT_FROM, b.rating_from), (CURRENT_TO, b.rating_to)):
        for k in np.flatnonzero(limits.family == family).tolist():
            branch = int(limits.place[k])
            row = int(b.row[branch])
            table, most_percent = (
                (margins.line_loading_percent, stated.line_loading_percent_max[row])
                if b.kind[branch] == "line"
                else (margins.trafo_loading_percent, stated.trafo_loading_percent_max[row])
            )
            percent = _rounded_up(100.0 * beyond[k] / rating[branch], STEP_PERCENT)
            # two ends of a branch share one margin: the larger
            table[row] = np.minimum(np.maximum(table[row], percent), SHARE_MAX * most_percent)
    return margins


def _rounded_up(values: Floats, step: float) -> Floats:
    """Round up to whole steps; what is within a billionth of a step counts as the step."""
    return np.asarray(np.ceil(np.maximum(values / step - 1e-9, 0.0)) * step)
