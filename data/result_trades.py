"""Trades: what an award changes against the position so far, in whole Wh at a whole micro-price."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.csv_table import Column
from data.records.clearing import Award, ClearingCase, ClearingResult
from data.records.order import BilateralOrder, Order
from data.units import energy_wh, price_micro_eur, share_out

Floats = NDArray[np.float64]
HASH_DIGITS = 12
# Shares of a portfolio are weighed as whole numbers of 1e-12.
WEIGHTS_PER_SHARE = 10**12


def energy_by_bus(order: Order, injection_mw: float, mtu_minutes: int) -> list[int]:
    """Spread an order's energy of one period over its buses, in whole Wh.

    Parameters
    ----------
    order : Order
        A portfolio splits by its distribution key, the Wh left over by the largest remainder, so
        that its buses sum to its own energy. A bilateral injects at its bus what it withdraws at
        ``bus_to``.
    injection_mw : float
        Injection of the order as a whole, of a bilateral at its bus; on the award tick [MW].
    mtu_minutes : int
        Length of the period [min].

    Returns
    -------
    list of int
        Energy at each of `Award.buses` [Wh].
    """
    energy = energy_wh(injection_mw, mtu_minutes)
    if isinstance(order, BilateralOrder):
        return [energy, -energy]
    if len(order.buses) == 1:
        return [energy]
    return share_out(energy, [round(share * WEIGHTS_PER_SHARE) for _, share in order.buses])


def trade_columns(
    awards: Sequence[Award],
    result: ClearingResult,
    case: ClearingCase,
    binding_periods: int | None = None,
) -> dict[str, Column]:
    """Return the columns of ``trades.csv``, sorted by period and order.

    A trade is Wh(award) - Wh(position), each rounded on its own, so that the trades of all rounds
    add up to the last position exactly. Trades of 0 Wh are left out. The two trades of a bilateral
    are of one energy: exactly, they come to energy x (DLMP at its bus - DLMP at ``bus_to``), the
    network charge that its participant pays. The counterparty is the pool,
    the price the DLMP of the bus. A trade's id names order, bus, period and the clearing (the first
    digits of its input hash): two rounds on one period give two trades.

    Parameters
    ----------
    awards : sequence of Award
        Awards that bind, sorted by order.
    result : ClearingResult
        Gives the prices.
    case : ClearingCase
        Gives the position so far, the participants and the periods.
    binding_periods : int or None
        Only the first so many periods are traded.
    """
    labels = case.periods.labels()[:binding_periods]
    mtu_minutes = case.periods.mtu_minutes
    bus_row = {int(bus): row for row, bus in enumerate(case.network.buses.index)}
    row_of_order = {order.id: row for row, order in enumerate(case.orders)}
    rows: list[tuple[int, str, str, int, int, int]] = []
    for award in awards:
        number = row_of_order[award.order]
        order = case.orders[number]
        before = np.zeros(len(labels))
        if case.position_mw is not None:
            before = case.position_mw[number]
        bilateral = isinstance(order, BilateralOrder)
        after = award.injection_mw[0] if bilateral else award.injection_mw.sum(axis=0)
        for period in range(len(labels)):
            held = energy_by_bus(order, float(before[period]), mtu_minutes)
            got = energy_by_bus(order, float(after[period]), mtu_minutes)
            for bus, old, new in zip(award.buses, held, got, strict=True):
                if new != old:
                    dlmp = result.prices.dlmp_p_eur_per_mwh[bus_row[bus], period]
                    price = price_micro_eur(float(dlmp))
                    rows.append((period, award.order, award.participant, bus, new - old, price))
    rows.sort(key=lambda row: (row[0], row[1]))
    clearing = result.input_sha256[:HASH_DIGITS]
    return {
        "trade": [f"{r[1]}|{r[3]}|{labels[r[0]]}|{clearing}" for r in rows],
        "order": [r[1] for r in rows],
        "participant": [r[2] for r in rows],
        "bus": np.array([r[3] for r in rows], dtype=np.int64),
        "period_start": [labels[r[0]] for r in rows],
        "energy_wh": np.array([r[4] for r in rows], dtype=np.int64),
        "price_micro_eur_per_mwh": np.array([r[5] for r in rows], dtype=np.int64),
    }
