"""What the market wants of every device in each quarter-hour, and what it expected besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.clearing import Award, ClearingCase
from data.units import AWARD_TICK_MW
from dso.realtime.fleet import Fleet

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Positions of a fleet; arrays have shape (devices, quarter-hours) unless said otherwise.

    Parameters
    ----------
    periods : Periods
        The quarter-hours.
    p_mw, q_mvar : ndarray
        Injection the market wants [MW, Mvar].
    cap_mw : ndarray
        What a plant may inject at most: its position where the market curtailed it, else its
        rating, for a plant that sold all it expected to have may run with the wind [MW].
    expected_mw : ndarray
        What was expected of plants [MW]; 0 for storages.
    loads : ndarray of complex, shape (buses, quarter-hours)
        Injection expected of everything that is no device [MW + j Mvar], rows as the network's
        buses.
    price_eur_per_mwh : ndarray, shape (quarter-hours,)
        Wholesale price: what a MWh that is not fed in would have earned.
    """

    periods: Periods
    p_mw: Floats
    q_mvar: Floats
    cap_mw: Floats
    expected_mw: Floats
    loads: Complexes
    price_eur_per_mwh: Floats


def positions_of_awards(case: ClearingCase, awards: Sequence[Award], fleet: Fleet) -> Positions:
    """Read the positions of a fleet's devices out of a clearing.

    Raises
    ------
    InputError
        With every device that has no award, or more than one.
    """
    order_asset = {order.id: order.asset for order in case.orders}
    by_asset: dict[str, list[Award]] = {}
    for award in awards:
        by_asset.setdefault(order_asset.get(award.order) or "", []).append(award)
    refuse_if_any(
        Problem(where=asset, what=f"has {len(by_asset.get(asset, ()))} awards, expected one")
        for asset in fleet.assets
        if len(by_asset.get(asset, ())) != 1
    )
    found = [by_asset[asset][0] for asset in fleet.assets]
    p = np.array([award.injection_mw[0] for award in found])
    count = fleet.plant_count
    expected = np.zeros_like(p)
    expected[:count] = case.sgen_p_mw[:, fleet.sgen_columns].T
    rating = np.repeat(fleet.rating_mw[:, None], p.shape[1], axis=1)
    curtailed = p < expected - 2 * AWARD_TICK_MW
    return Positions(
        periods=case.periods,
        p_mw=p,
        q_mvar=np.array([award.injection_mvar[0] for award in found]),
        cap_mw=np.where(curtailed, p, rating),
        expected_mw=expected,
        loads=load_injections(case),
        price_eur_per_mwh=case.import_price_eur_per_mwh,
    )


def load_injections(case: ClearingCase) -> Complexes:
    """Injection of all loads in service by bus, shape (buses, periods) [MW + j Mvar]."""
    network = case.network
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    total = np.zeros((len(row), len(case.periods)), dtype=complex)
    for column, bus in enumerate(network.loads.bus):
        if network.loads.in_service[column]:
            total[row[int(bus)]] -= case.load_p_mw[:, column] + 1j * case.load_q_mvar[:, column]
    return total
