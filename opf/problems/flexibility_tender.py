"""Choose availability contracts at least cost for a need over a season.

    minimise    sum_i fee_i hours_i P_i z_i + sum_ig u_i w_g y_ig + shortage sum_g w_g (s_g + m_g)
    subject to  sum_i e_ig P_i z_i + s_g >= need_g      capacity, for every group of periods
                sum_i e_ig y_ig + m_g >= expected_g     energy that is expected to be called
                y_ig <= P_i z_i,  sum_g w_g y_ig <= E_i z_i,  z_i in {0, 1}

Periods alike in need, expectation and windows are one group g of w_g hours. e_ig is 0 outside the
window, else the effect of one MW there relative to one MW where the need was stated. E_i is what
the calls of a contract come to at most, power x longest call x number of calls [MWh].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from opf.linear_programme import Programme, solve_mixed_integer

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
GAP: Final = 1e-9
EFFORT_MAX: Final = 3e7
SHORT_MW: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class TenderCase:
    """A need over a season, and the bids for it.

    Parameters
    ----------
    need_mw, expected_mw : ndarray, shape (periods,)
        Capacity that must stand ready, and the mean that is expected to be called [MW].
    hours : ndarray, shape (periods,)
        Hours that each period stands for [h].
    window : ndarray of bool, shape (bids, periods)
        Where each bid stands ready.
    power_mw : ndarray, shape (bids,)
        Capacity of each bid, taken whole or not at all [MW].
    effect : ndarray, shape (bids,)
        Relief by one MW of it, relative to one MW where the need was stated.
    fee_eur_per_mw_h, utilisation_eur_per_mwh : ndarray, shape (bids,)
        Prices of being ready and of called energy.
    energy_mwh_max : ndarray, shape (bids,)
        What its calls come to at most over the season [MWh]; infinite: no limit.
    shortage_eur_per_mwh : float
        Price of what nobody covers [EUR/MWh].
    """

    need_mw: Floats
    expected_mw: Floats
    hours: Floats
    window: Bools
    power_mw: Floats
    effect: Floats
    fee_eur_per_mw_h: Floats
    utilisation_eur_per_mwh: Floats
    energy_mwh_max: Floats
    shortage_eur_per_mwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TenderResult:
    """Which bids win, and what they come to.

    Parameters
    ----------
    accepted : ndarray of bool, shape (bids,)
    fee_eur, utilisation_eur : float
        Of the season: owed for being ready, and expected for calls.
    called_mwh : ndarray, shape (bids,)
        Energy expected to be called.
    covered_mw, short_mw : ndarray, shape (periods,)
        Capacity that stands ready, at the place of the need, and what is missing of the need.
    bound_eur : float
        No choice costs less, shortage included.
    total_eur : float
        Fees, expected calls and the price of the shortage.
    """

    accepted: Bools
    fee_eur: float
    utilisation_eur: float
    called_mwh: Floats
    covered_mw: Floats
    short_mw: Floats
    bound_eur: float
    total_eur: float


def choose_contracts(case: TenderCase) -> TenderResult:
    """Choose the bids.

    Raises
    ------
    SolverStopped
        Where HiGHS finds no choice within its time.
    """
    bids = len(case.power_mw)
    effect = case.effect[:, None] * case.window
    keys = np.vstack([case.need_mw, case.expected_mw, effect])
    groups, group_of = np.unique(keys, axis=1, return_inverse=True)
    hours = np.bincount(group_of.ravel(), weights=case.hours).astype(float)
    hours_ready = case.window.astype(float) @ case.hours
    programme = _programme(case, groups, hours, hours_ready)
    found = solve_mixed_integer(programme, gap=GAP, effort_max=EFFORT_MAX)
    assert found is not None  # nothing accepted and everything short is always possible
    accepted = found.x[:bids] > 0.5
    called = found.x[bids : bids + bids * len(hours)].reshape(bids, -1)
    called_mwh = called @ hours
    covered = (case.power_mw * accepted) @ effect
    short = np.maximum(case.need_mw - covered, 0.0)
    fee = float((case.fee_eur_per_mw_h * hours_ready * case.power_mw) @ accepted)
    return TenderResult(
        accepted=accepted,
        fee_eur=fee,
        utilisation_eur=float(case.utilisation_eur_per_mwh @ called_mwh),
        called_mwh=called_mwh,
        covered_mw=np.asarray(covered),
        short_mw=np.where(short > SHORT_MW, short, 0.0),
        bound_eur=found.bound,
        total_eur=found.objective,
    )


def _programme(case: TenderCase, groups: Floats, hours: Floats, hours_ready: Floats) -> Programme:
    """Columns [z, y by bid and group, capacity short, energy short] and their rows."""
    bids, count = len(case.power_mw), len(hours)
    need, expected, effect = groups[0], groups[1], groups[2:].reshape(bids, count)
    one, each = sparse.identity(count), np.ones((1, count))
    by_bid = sparse.hstack([sparse.diags(effect[i]) for i in range(bids)] or [one * 0])
    ready = sparse.csr_matrix((effect * case.power_mw[:, None]).T)
    limited = np.flatnonzero(np.isfinite(case.energy_mwh_max))
    pick = sparse.identity(bids, format="csr")[limited]
    energy_max = np.where(np.isfinite(case.energy_mwh_max), case.energy_mwh_max, 0.0)
    rows = sparse.bmat(
        [
            [ready, None, one, None],
            [None, by_bid, None, one],
            [
                -sparse.kron(sparse.diags(case.power_mw), each.T),
                sparse.identity(bids * count),
                None,
                None,
            ],
            [
                -pick @ sparse.diags(energy_max),
                pick @ sparse.kron(sparse.identity(bids), hours[None, :]),
                None,
                None,
            ],
        ],
        format="csc",
    )
    columns = bids + bids * count + 2 * count
    upper = np.full(columns, np.inf)
    upper[:bids] = 1.0
    # a bid is not called outside its window
    upper[bids : bids + bids * count] = np.where(effect > 0.0, case.power_mw[:, None], 0.0).ravel()
    short = case.shortage_eur_per_mwh * hours
    covers, follows = 2 * count, bids * count + len(limited)
    return Programme(
        cost=np.concatenate(
            [
                case.fee_eur_per_mw_h * hours_ready * case.power_mw,
                np.outer(case.utilisation_eur_per_mwh, hours).ravel(),
                short,
                short,
            ]
        ),
        rows=rows,
        rows_lower=np.concatenate([need, expected, np.full(follows, -np.inf)]),
        rows_upper=np.concatenate([np.full(covers, np.inf), np.zeros(follows)]),
        lower=np.zeros(columns),
        upper=upper,
        binary=np.arange(columns) < bids,
    )
