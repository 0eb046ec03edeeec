"""What a larger rating of a branch is worth: its shadow prices, and the change when re-solved.

The value of one more MVA of rating is the sum over periods of the branch's shadow price times the
MTU (the envelope theorem: how the optimum moves with a limit is the limit's multiplier). It holds
for a small change; a large one is worth less per MVA the more of the congestion it removes, so a
real option is priced by clearing again with the larger rating.

Only the rating changes, through the derating factor: impedances stay as they are.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase, ClearingResult
from data.records.network import Network

Floats = NDArray[np.float64]
BranchKind = Literal["line", "trafo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingValue:
    """What more rating of one branch is worth over the periods of one case.

    Parameters
    ----------
    rating_mva : float
        Its rating now [MVA].
    eur_per_mva : float
        Cost saved per MVA of rating, for a small change [EUR/MVA].
    periods_binding : int
        Periods in which its limit has a price.
    """

    element_kind: BranchKind
    element: int
    rating_mva: float
    eur_per_mva: float
    periods_binding: int


def rating_values(case: ClearingCase, result: ClearingResult) -> tuple[RatingValue, ...]:
    """Value the rating of every branch in service by its shadow prices.

    Parameters
    ----------
    case, result : ClearingCase, ClearingResult
        A case and its certified clearing.

    Returns
    -------
    tuple of RatingValue
        In the order of ``result.grid.branches``.
    """
    h = case.periods.mtu_h
    ends = _limit_per_rating(case)
    loaded_end = _priced_second_ends(result)
    found = []
    for branch in result.grid.branches:
        key = (branch.element_kind, branch.element)
        first, second = ends[key]
        price = branch.shadow_price_eur_per_mva_h
        at_second = loaded_end.get(key, np.zeros(len(price), dtype=bool))
        slope = np.where(at_second, second, first)
        found.append(
            RatingValue(
                element_kind=branch.element_kind,
                element=branch.element,
                rating_mva=rating_mva(case.network, *key),
                eur_per_mva=float((price * slope).sum()) * h,
                periods_binding=int((price > 0).sum()),
            )
        )
    return tuple(found)


def rating_mva(network: Network, kind: BranchKind, element: int) -> float:
    """Rating of a line at its rated voltage, or of a transformer, derating applied [MVA]."""
    if kind == "line":
        lines = network.lines
        row = _row(network, kind, element)
        vn_kv = _vn_kv(network, int(lines.from_bus[row]))
        current_ka = lines.max_i_ka[row] * lines.derating[row] * lines.parallel[row]
        return float(np.sqrt(3.0) * current_ka * vn_kv)
    trafos = network.trafos
    row = _row(network, kind, element)
    return float(trafos.sn_mva[row] * trafos.derating[row] * trafos.parallel[row])


def with_rating(
    case: ClearingCase, kind: BranchKind, element: int, added_mva: float
) -> ClearingCase:
    """Return the case with a larger or smaller rating of one branch, impedance unchanged."""
    network = case.network
    row = _row(network, kind, element)
    factor = 1.0 + added_mva / rating_mva(network, kind, element)
    if kind == "line":
        derating = _scaled(network.lines.derating, row, factor)
        lines = dataclasses.replace(network.lines, derating=derating)
        return dataclasses.replace(case, network=dataclasses.replace(network, lines=lines))
    derating = _scaled(network.trafos.derating, row, factor)
    trafos = dataclasses.replace(network.trafos, derating=derating)
    return dataclasses.replace(case, network=dataclasses.replace(network, trafos=trafos))


def _scaled(values: Floats, row: int, factor: float) -> Floats:
    changed = values.copy()
    changed[row] *= factor
    return changed


def _row(network: Network, kind: BranchKind, element: int) -> int:
    index = (network.lines if kind == "line" else network.trafos).index
    return int(np.flatnonzero(index == element)[0])


def _vn_kv(network: Network, bus: int) -> float:
    return float(network.buses.vn_kv[np.flatnonzero(network.buses.index == bus)[0]])


def _limit_per_rating(case: ClearingCase) -> dict[tuple[str, int], tuple[float, float]]:
    """How the limit at each end [pu] grows per MVA of rating."""
    network, limits = case.network, case.limits
    lines, trafos = network.lines, network.trafos
    slopes: dict[tuple[str, int], tuple[float, float]] = {}
    for row, element in enumerate(lines.index.tolist()):
        share = float(limits.line_loading_percent_max[row]) / 100.0
        slopes["line", element] = (share, share)
    for row, element in enumerate(trafos.index.tolist()):
        share = float(limits.trafo_loading_percent_max[row]) / 100.0
        hv = _vn_kv(network, int(trafos.hv_bus[row])) / float(trafos.vn_hv_kv[row])
        lv = _vn_kv(network, int(trafos.lv_bus[row])) / float(trafos.vn_lv_kv[row])
        slopes["trafo", element] = (share * hv, share * lv)
    return slopes


def _priced_second_ends(result: ClearingResult) -> dict[tuple[str, int], NDArray[np.bool_]]:
    """Periods in which the limit at the to or lv end of a branch moves prices."""
    return {
        (part.element_kind, part.element): np.any(part.p_eur_per_mwh != 0, axis=0)
        for part in result.prices.parts
        if part.side in ("to", "lv")
    }
