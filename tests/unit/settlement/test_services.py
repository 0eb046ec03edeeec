"""Availability, reactive energy, changes of hands and delivery scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from data.errors import InputError
from data.periods import Periods
from data.records.settlement import (
    Activation,
    Availability,
    BusPrices,
    ConnectionCapacity,
    ConnectionPosition,
    ReactivePosition,
    SettlementCase,
    SettlementRules,
    SubstationSeries,
)
from dso.settlement import (
    check_settlement,
    read_settlement,
    score_delivery,
    settle,
    write_settlement_case,
)

Build = Callable[..., SettlementCase]
MW = 1_000_000
EUR = 1_000_000


def test_availability_plus_utilisation(small_case: Build) -> None:
    """SSEN TRANSITION's two payments, by hand; its rule is in the market research, section 3.5.

    Availability: 2 MW kept ready for an hour at 4 EUR/(MW h), paid on last month's mean delivery
    of 90 % = 7.20 EUR. Utilisation: ordered 2 MW, delivered 1.8 MW, on the scale from 50 to
    100 % worth 80 % of 1.8 MWh x 7 EUR/MWh = 10.08 EUR. No penalty beside them.
    """
    case = small_case(
        availabilities=(
            Availability(
                participant="buyer", connection="b", period=0, available_w=2 * MW,
                price_micro_eur_per_mw_h=4 * EUR, delivery_ppm=900_000,
            ),
        ),
        activations=(
            Activation(
                participant="buyer", connection="b", period=0, baseline_w=10 * MW,
                ordered_w=2 * MW, meter_w=8_200_000, price_micro_eur_per_mwh=7 * EUR,
                penalty_micro_eur_per_mwh=0, rule="sliding_50_100",
            ),
        ),
    )  # fmt: skip
    result = settle(case)
    assert check_settlement(case, result) == ()
    paid = {
        line.kind: line.amount_micro_eur
        for line in result.lines
        if line.participant == "buyer" and line.market == "flexibility"
    }
    assert paid == {"availability": 7_200_000, "flexibility": 10_080_000, "penalty": 0}
    assert sum(x.amount_micro_eur for x in result.lines if x.market == "flexibility") == 0
    (score,) = score_delivery(case)
    assert (score.score_ppm, score.activations, score.complete) == (900_000, 1, 0)


def test_more_in_one_period_does_not_make_up_for_less_in_another(small_case: Build) -> None:
    def called(period: int, meter: float) -> Activation:
        return Activation(
            participant="buyer", connection="b", period=period, baseline_w=10 * MW,
            ordered_w=2 * MW, meter_w=round(meter * MW), price_micro_eur_per_mwh=EUR,
            penalty_micro_eur_per_mwh=0, rule="usef",
        )  # fmt: skip

    case = small_case(
        periods=Periods(start=datetime(2026, 6, 1, tzinfo=UTC), count=3, mtu_minutes=60),
        activations=(called(0, 6.0), called(1, 9.0), called(2, 12.0)),
    )
    (score,) = score_delivery(case)
    assert (score.ordered_wh, score.delivered_wh, score.complete) == (6 * MW, 3 * MW, 1)
    assert score.score_ppm == 500_000


def reactive_case(small_case: Build, *, paid: bool) -> SettlementCase:
    return small_case(
        rules=SettlementRules(settle_reactive=paid),
        reactive=(
            ReactivePosition(
                participant="buyer", connection="b", period=0, q_varh=-3 * MW,
                price_micro_eur_per_mvarh=2 * EUR,
            ),
            ReactivePosition(
                participant="seller", connection="s", period=0, q_varh=MW,
                price_micro_eur_per_mvarh=EUR,
            ),
        ),
    )  # fmt: skip


def test_reactive_energy_is_paid_only_where_the_rules_say_so(small_case: Build) -> None:
    """Buyer pays 3 x 2 EUR, seller gets 1; the operator's 5 EUR are refunded to who withdrew."""
    case = reactive_case(small_case, paid=True)
    result = settle(case)
    assert check_settlement(case, result) == ()
    cash = {(x.participant, x.kind): x.amount_micro_eur for x in result.lines}
    assert cash["buyer", "reactive"] == -6 * EUR
    assert cash["seller", "reactive"] == EUR
    assert cash["account:rent_reactive", "rent_reactive"] == 5 * EUR
    assert cash["buyer", "refund"] == 5 * EUR
    shown = settle(reactive_case(small_case, paid=False))
    assert not [line for line in shown.lines if line.market == "reactive"]
    assert "reactive energy is shown with its price and not paid" in shown.remarks


def handed_over(small_case: Build) -> SettlementCase:
    """Four hours; the buyer hands his connection to the supplier after two of them."""
    base = small_case()
    seller, buyer = base.positions
    keep = replace(seller, da_wh=(4 * MW,) * 4, id_wh=(4 * MW,) * 4, meter_wh=(4 * MW,) * 4)

    def holder(name: str, *held: int) -> ConnectionPosition:
        energy = tuple(-4 * MW * here for here in held)
        return replace(
            buyer, participant=name, da_wh=energy, id_wh=energy, meter_wh=energy,
            held=tuple(map(bool, held)),
        )  # fmt: skip

    return small_case(
        periods=Periods(start=datetime(2026, 6, 1, tzinfo=UTC), count=4, mtu_minutes=60),
        rules=SettlementRules(refund="pro_rata_capacity"),
        positions=(keep, holder("buyer", 1, 1, 0, 0), holder("supplier", 0, 0, 1, 1)),
        prices=tuple(
            BusPrices(
                bus=price.bus,
                dlmp_da_micro_eur_per_mwh=(50 * EUR + 10 * EUR * price.bus,) * 4,
                dlmp_id_micro_eur_per_mwh=(60 * EUR,) * 4,
                imbalance_micro_eur_per_mwh=(70 * EUR,) * 4,
            )
            for price in base.prices
        ),
        substation=SubstationSeries(
            import_wh=(0,) * 4, import_price_micro_eur_per_mwh=(50 * EUR,) * 4
        ),
        capacities=(
            ConnectionCapacity(participant="seller", connection="s", capacity_w=MW),
            ConnectionCapacity(participant="buyer", connection="b", capacity_w=MW),
            ConnectionCapacity(participant="supplier", connection="b", capacity_w=MW),
        ),
    )  # fmt: skip


def test_a_connection_that_changes_hands(small_case: Build) -> None:
    """Each holder has lines of his own hours only; capacity counts for who holds it."""
    case = handed_over(small_case)
    result = settle(case)
    assert check_settlement(case, result) == ()
    hours = {
        name: sorted({x.period_start.hour for x in result.lines if x.participant == name})
        for name in ("buyer", "supplier")
    }
    assert hours == {"buyer": [0, 1], "supplier": [2, 3]}
    refunds = [x for x in result.lines if x.kind == "refund" and x.connection == "b"]
    assert [x.amount_micro_eur for x in refunds] == [20 * EUR] * 4  # half of 4 MWh x 10 EUR each


def test_a_change_of_hands_round_trips(
    small_case: Build, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("handed")
    case = handed_over(small_case)
    write_settlement_case(case, folder)
    assert settle(read_settlement(folder)) == settle(case)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ((True, True, True, False), "not held by exactly one"),
        ((True, False, False, False), "not held by exactly one"),
        ((False, True, False, False), "somebody else holds"),
        (None, "holds in every period what others hold too"),
    ],
)
def test_two_holders_at_once_or_none_are_refused(
    small_case: Build, mask: tuple[bool, ...] | None, said: str
) -> None:
    case = handed_over(small_case)
    seller, buyer, supplier = case.positions
    with pytest.raises(InputError, match=said):
        settle(replace(case, positions=(seller, replace(buyer, held=mask), supplier)))
