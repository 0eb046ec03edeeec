"""Bilateral orders in the settlement, by hand: rounds, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from data.errors import InputError
from data.records.settlement import ConnectionPosition, RoundPosition, SettlementCase
from dso.settlement import check_settlement, settle


def bilateral(**changes: object) -> ConnectionPosition:
    order = ConnectionPosition(
        participant="carrier", connection="friends", bus=1, bus_to=2, da_wh=(7,), id_wh=(7,),
        meter_wh=(7,),
    )  # fmt: skip
    return replace(order, **changes)  # type: ignore[arg-type]


def test_rounds_charge_the_change_at_the_rounds_own_difference(
    small_case: Callable[..., SettlementCase],
) -> None:
    case = small_case()
    order = bilateral(id_wh=(4,), meter_wh=(4,))
    rounds = tuple(
        RoundPosition(
            participant="carrier", connection="friends", period=0, round=number, position_wh=wh,
            dlmp_micro_eur_per_mwh=difference,
        )
        for number, wh, difference in ((1, 10, -1_500_000), (2, 4, 2_500_000))
    )  # fmt: skip
    case = replace(case, positions=(*case.positions, order), rounds=rounds)
    result = settle(case)
    assert check_settlement(case, result) == ()
    booked = [
        (line.market, line.quantity_wh, line.price_micro_eur_per_mwh, line.amount_micro_eur)
        for line in result.lines
        if line.connection == "friends"
    ]
    # both buses cost the same day-ahead; half-even of -4.5 and of -15 micro-EUR
    assert booked == [
        ("da", 7, 0, 0), ("id/1", 3, -1_500_000, -4), ("id/2", -6, 2_500_000, -15),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bus_to": 9}, "unknown bus_to 9 -> prices.csv must price it"),
        ({"bus_to": 1}, "bus_to is the bus it comes from"),
        ({"da_wh": (-1,)}, "carries energy from bus to bus_to"),
        ({"meter_wh": (6,)}, "has no meter -> state meter_mwh as id_mwh"),
    ],
)
def test_what_no_bilateral_order_can_be_is_refused(
    small_case: Callable[..., SettlementCase], changes: dict[str, object], said: str
) -> None:
    case = small_case()
    with pytest.raises(InputError) as caught:
        settle(replace(case, positions=(*case.positions, bilateral(**changes))))
    assert said in str(caught.value)
    assert "positions.csv carrier, friends" in str(caught.value)
