"""Trades: what an award changes against the position so far, in whole Wh at a whole micro-price."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.csv_table import Column
from data.records.clearing import Award, ClearingCase, ClearingResult
from data.records.order import BilateralOrder, Order
from data.units import energy_wh, price_micro_eur, quantise_mw

Floats = NDArray[np.float64]
HASH_DIGITS = 12


def position_by_bus(order: Order, position_mw: Floats) -> Floats:
    """Spread an order's position over its buses.

    Parameters
    ----------
    order : Order
        A portfolio splits by its shares; a bilateral injects at its bus what it withdraws at
        ``bus_to``.
    position_mw : ndarray, shape (periods,)
        Position of the order [MW injection].

    Returns
    -------
    ndarray, shape (buses, periods)
        On the award tick; rows as in `Award.buses`.
    """
    if isinstance(order, BilateralOrder):
        return quantise_mw(np.array([position_mw, -position_mw]))
    shares = np.array([share for _, share in order.buses])
    return quantise_mw(shares[:, None] * position_mw)


def trade_columns(
    awards: Sequence[Award],
    result: ClearingResult,
    case: ClearingCase,
    binding_periods: int | None = None,
) -> dict[str, Column]:
    """Return the columns of ``trades.csv``, sorted by period and order.

    A trade is Wh(award) - Wh(position), each rounded on its own, so that the trades of all rounds
    add up to the last position exactly. Trades of 0 Wh are left out. The counterparty is the pool,
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
        before = np.zeros_like(award.injection_mw)
        if case.position_mw is not None:
            before = position_by_bus(case.orders[number], case.position_mw[number])
        for place, bus in enumerate(award.buses):
            dlmp = result.prices.dlmp_p_eur_per_mwh[bus_row[bus]]
            for period in range(len(labels)):
                quantity = energy_wh(float(award.injection_mw[place, period]), mtu_minutes)
                quantity -= energy_wh(float(before[place, period]), mtu_minutes)
                if quantity:
                    price = price_micro_eur(float(dlmp[period]))
                    rows.append((period, award.order, award.participant, bus, quantity, price))
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
