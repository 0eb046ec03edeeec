from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from data.records.settlement import Activation, FlexibilityRule, SettlementCase
from data.units import money_micro_eur
from dso.settlement import check_settlement, rate_activation, settle

Build = Callable[..., SettlementCase]
MW = 1_000_000
EUR = 1_000_000


def activation(
    rule: FlexibilityRule,
    meter: float,
    *,
    baseline: float = 10.0,
    ordered: float = 2.0,
    price: int = 7,
    penalty: int = 11,
) -> Activation:
    return Activation(
        participant="buyer", connection="b", period=0, rule=rule,
        baseline_w=round(baseline * MW), ordered_w=round(ordered * MW), meter_w=round(meter * MW),
        price_micro_eur_per_mwh=price * EUR, penalty_micro_eur_per_mwh=penalty * EUR,
    )  # fmt: skip


def cash_eur(small_case: Build, wanted: Activation) -> float:
    case = small_case(activations=(wanted,))
    result = settle(case)
    assert check_settlement(case, result) == ()
    service = [line for line in result.lines if line.market == "flexibility"]
    assert sum(line.amount_micro_eur for line in service) == 0
    return sum(line.amount_micro_eur for line in service if line.participant == "buyer") / EUR


@pytest.mark.parametrize(("meter", "expected"), [(7, 14), (8, 14), (9, -4), (10, -22), (11, -33)])
def test_usef_table_of_the_specification(small_case: Build, meter: float, expected: float) -> None:
    """USEF settle phase: baseline 10 MW, ordered 2 MW, price 7, penalty 11, one hour."""
    assert cash_eur(small_case, activation("usef", meter)) == expected


@pytest.mark.parametrize(
    ("rule", "meter", "expected"),
    [
        ("threshold_75", 8.5, 10.5),  # exactly 75 % delivered is paid
        ("threshold_75", 8.500001, 0),
        ("threshold_75", 7, 14),  # over-delivery is not paid
        ("threshold_80", 8.4, 11.2),
        ("threshold_80", 8.400001, 0),
        ("sliding_50_100", 9.0, 0),
        ("sliding_50_100", 8.5, 5.25),  # 1.5 MWh x 7 x half of the scale
        ("sliding_50_100", 8.2, 10.08),  # 1.8 MWh x 7 x 80 %
        ("sliding_50_100", 8.0, 14),
        ("sliding_50_100", 6.0, 14),
        ("cap_120", 9.5, 3.5),
        ("cap_120", 7.6, 16.8),
        ("cap_120", 5.0, 16.8),
        ("cap_120", 10.5, 0),
    ],
)
def test_worked_examples_without_penalty(
    small_case: Build, rule: FlexibilityRule, meter: float, expected: float
) -> None:
    """One hour, baseline 10 MW, ordered 2 MW, price 7 EUR/MWh, computed by hand from these words.

    - ``threshold_75``: E.ON SWITCH, below 75 % of the order neither activation nor availability
      is paid.
    - ``threshold_80``: sthlmflex on NODES, threshold of 80 %.
    - ``sliding_50_100``: SSEN TRANSITION, payment rules (ssen-transition.com, "Payment"): a
      sliding scale for delivering 50 to 100 %, on energy capped at the instructed energy. That the
      scale is linear is our reading.
    - ``cap_120``: ESO Demand Flexibility Service, proposal of 2024: at most 120 %.
    """
    assert cash_eur(small_case, activation(rule, meter, penalty=0)) == expected


@pytest.mark.parametrize("rule", get_args(FlexibilityRule))
def test_published_earnings_of_a_full_delivery(rule: FlexibilityRule) -> None:
    """National Grid DSO, "Earnings and use cases": 129 hours at 1812 per MWh earn 2910.16.

    The page prints the capacity of the 150 chargers as 0.0125 MW; its total is that of 12.45 kW
    (15 x 0.83 kW). Delivered in full, every rule set must pay exactly that.
    """
    hour = activation(rule, 0.0, baseline=0.01245, ordered=0.01245, price=1812, penalty=1812)
    outcome = rate_activation(hour, 60)
    assert outcome.deficiency_wh == 0
    total = 129 * money_micro_eur(outcome.paid_wh, hour.price_micro_eur_per_mwh)
    assert round(total / EUR, 2) == 2910.16


def test_an_order_for_more_withdrawal_mirrors_the_signs(small_case: Build) -> None:
    more = activation("usef", 11, ordered=-2.0)
    assert cash_eur(small_case, more) == 7 - 11
    assert rate_activation(more, 60).bought_injection_wh == -MW


def test_energy_is_power_times_the_market_time_unit() -> None:
    assert rate_activation(activation("usef", 8), 15).paid_wh == MW // 2


def test_what_the_operator_bought_is_not_paid_again_as_imbalance(small_case: Build) -> None:
    """Buyer reduces by the 2 MW it sold: 14 EUR once, and no imbalance."""
    base = small_case()
    seller, buyer = base.positions
    reduced = type(buyer)(
        participant="buyer", connection="b", bus=2,
        da_wh=buyer.da_wh, id_wh=buyer.id_wh, meter_wh=(-8 * MW,),
    )  # fmt: skip
    case = small_case(positions=(seller, reduced), activations=(activation("usef", 8),))
    result = settle(case)
    assert check_settlement(case, result) == ()
    assert [line for line in result.lines if line.kind == "imbalance"] == []
    failed = small_case(positions=(seller, reduced), activations=(activation("threshold_80", 9),))
    # Delivered 50 %: nothing is bought, so the whole deviation stays the buyer's imbalance.
    imbalance = [line for line in settle(failed).lines if line.kind == "imbalance"]
    assert [line.quantity_wh for line in imbalance] == [2 * MW]
