"""Setpoints repeat the awards, on the tick, and refuse what does not match."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from data.errors import InputError
from data.periods import Periods
from data.records.clearing import Award
from data.records.order import GenerationOrder, PriceStep
from dispatch.setpoints import setpoints_from_awards, setpoints_from_position

PERIODS = Periods(start=datetime(2016, 7, 24, 22, tzinfo=UTC), count=2)


def order(name: str, asset: str | None) -> GenerationOrder:
    return GenerationOrder(
        id=name, participant="a", buses=((7, 1.0),), asset=asset, p_mw_min=np.zeros(2),
        steps=(PriceStep(p_mw=np.ones(2), price_eur_per_mwh=np.zeros(2)),),
    )  # fmt: skip


def award(name: str, p_mw: float) -> Award:
    return Award(
        order=name, participant="a", buses=(7,), injection_mw=np.array([[p_mw, 0.0]]),
        injection_mvar=np.array([[-0.1, 0.0]]), accepted_share=np.ones(2),
    )  # fmt: skip


ORDERS = (order("g1", "sgen:1"), order("g0", None))


def test_one_setpoint_per_order_sorted_with_its_asset() -> None:
    told = setpoints_from_awards(
        orders=ORDERS, awards=(award("g1", 0.1234567), award("g0", 0.5)), periods=PERIODS
    )
    assert [(s.order, s.asset, s.bus) for s in told] == [("g0", "order:g0", 7), ("g1", "sgen:1", 7)]
    assert told[1].injection_mw.tolist() == [0.123457, 0.0]
    assert told[1].injection_mvar.tolist() == [-0.1, 0.0]


def test_a_position_gives_the_same_setpoints_as_its_awards() -> None:
    awards = (award("g1", 0.25), award("g0", 0.5))
    from_awards = setpoints_from_awards(orders=ORDERS, awards=awards, periods=PERIODS)
    from_position = setpoints_from_position(
        orders=ORDERS, periods=PERIODS,
        position_mw=np.array([[0.25, 0.0], [0.5, 0.0]]),
        position_mvar=np.array([[-0.1, 0.0], [-0.1, 0.0]]),
    )  # fmt: skip
    for a, b in zip(from_awards, from_position, strict=True):
        assert (a.order, a.asset, a.bus) == (b.order, b.asset, b.bus)
        assert a.injection_mw.tobytes() == b.injection_mw.tobytes()


def test_what_does_not_match_is_refused_together() -> None:
    bad = replace(award("g1", 0.1), injection_mw=np.array([[np.nan, 0.0]]))
    with pytest.raises(InputError) as caught:
        setpoints_from_awards(orders=ORDERS, awards=(bad, bad, award("x", 1.0)), periods=PERIODS)
    text = str(caught.value)
    for part in ("award of x: no such order", "order g0: 0 awards", "order g1: 2 awards",
                 "not finite"):  # fmt: skip
        assert part in text
    with pytest.raises(InputError, match="shape"):
        setpoints_from_position(
            orders=ORDERS, periods=PERIODS, position_mw=np.zeros((2, 3)),
            position_mvar=np.zeros((2, 2)),
        )  # fmt: skip
