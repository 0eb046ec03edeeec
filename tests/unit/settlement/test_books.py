from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from data.errors import InputError
from data.records.settlement import (
    ConnectionCapacity,
    ConnectionPosition,
    PricePartLine,
    RoundPosition,
    SettlementCase,
    SettlementResult,
    SettlementRules,
    SubstationSeries,
)
from data.units import round_half_even
from dso.settlement import BooksError, check_settlement, delta_lines, settle
from dso.settlement.booking import rounding_lines
from dso.settlement.exact import divide_half_even, format_micro, parse_micro

Build = Callable[..., SettlementCase]
MWH = 1_000_000
EUR = 1_000_000


def cash(result: SettlementResult, participant: str, kind: str | None = None) -> int:
    return sum(
        line.amount_micro_eur
        for line in result.lines
        if line.participant == participant and kind in (None, line.kind)
    )


def with_meter(position: ConnectionPosition, meter_mwh: int) -> ConnectionPosition:
    return replace(position, meter_wh=(meter_mwh * MWH,))


def test_buyer_under_consumes_and_the_seller_pays_nothing(small_case: Build) -> None:
    """First defect of the seed: the seller was fined for the buyer's meter."""
    seller, buyer = small_case().positions
    result = settle(small_case(positions=(seller, with_meter(buyer, -8))))
    assert cash(result, "seller", "imbalance") == 0
    assert cash(result, "buyer", "imbalance") == 2 * 70 * EUR


def test_two_trades_of_five_and_a_meter_of_ten_balance(small_case: Build) -> None:
    """Second defect: each trade was compared with the whole meter and fined."""
    seller, buyer = small_case().positions
    seller = replace(seller, da_wh=(5 * MWH,))
    buyer = replace(buyer, da_wh=(-5 * MWH,))
    result = settle(small_case(positions=(seller, buyer)))
    assert [line for line in result.lines if line.market == "imbalance"] == []
    assert cash(result, "buyer") == -5 * 50 * EUR - 5 * 60 * EUR


def test_seller_that_delivers_nothing_pays(small_case: Build) -> None:
    """Third defect: no penalty when the seller failed and the buyer took its volume."""
    seller, buyer = small_case().positions
    case = small_case(
        positions=(with_meter(seller, 0), buyer),
        substation=SubstationSeries(
            import_wh=(10 * MWH,), import_price_micro_eur_per_mwh=(50 * EUR,)
        ),
    )
    result = settle(case)
    assert cash(result, "seller", "imbalance") == -10 * 70 * EUR
    assert cash(result, "buyer", "imbalance") == 0
    assert cash(result, "account:upstream") == 10 * 50 * EUR
    assert cash(result, "account:imbalance_residual") == 10 * 20 * EUR


def test_dual_price_keeps_the_spread_on_the_residual(small_case: Build) -> None:
    seller, buyer = small_case().positions
    rules = SettlementRules(
        imbalance="dual", imbalance_spread_micro_eur_per_mwh=5 * EUR, refund="retain"
    )
    case = small_case(positions=(with_meter(seller, 11), with_meter(buyer, -11)), rules=rules)
    result = settle(case)
    assert cash(result, "seller", "imbalance") == 65 * EUR
    assert cash(result, "buyer", "imbalance") == -75 * EUR
    assert cash(result, "account:imbalance_residual") == 10 * EUR


def test_two_bus_line_rent_by_hand(small_case: Build) -> None:
    """Bus 2 imports 4 over a full line: 60 against 20, rent 4 x 40 = 160 EUR."""
    seller, buyer = small_case().positions
    cheap, dear = small_case().prices
    case = small_case(
        positions=(replace(seller, da_wh=(4 * MWH,), id_wh=(4 * MWH,), meter_wh=(4 * MWH,)),
                   replace(buyer, da_wh=(-4 * MWH,), id_wh=(-4 * MWH,), meter_wh=(-4 * MWH,))),
        prices=(replace(cheap, dlmp_da_micro_eur_per_mwh=(20 * EUR,)),
                replace(dear, dlmp_da_micro_eur_per_mwh=(60 * EUR,))),
        substation=SubstationSeries(import_wh=(0,), import_price_micro_eur_per_mwh=(20 * EUR,)),
        parts=(PricePartLine(market="da", bus=2, period=0, element_kind="line", element="7",
                             side="from", p_micro_eur_per_mwh=40 * EUR),),
        split="da",
    )  # fmt: skip
    result = settle(case)
    assert check_settlement(case, result) == ()
    assert cash(result, "account:rent_congestion/line:7:from") == 160 * EUR
    assert cash(result, "account:rent_loss") == 0
    unsplit = settle(replace(case, parts=(), split="none"))
    assert cash(unsplit, "account:rent_unsplit") == 160 * EUR
    refunded = settle(replace(case, rules=SettlementRules()))
    assert cash(refunded, "buyer") == -240 * EUR + 160 * EUR
    assert cash(refunded, "account:refund") == -160 * EUR


def test_import_rent_where_the_marginal_price_is_not_the_bill(small_case: Build) -> None:
    _, buyer = small_case().positions
    case = small_case(
        positions=(replace(buyer, da_wh=(-4 * MWH,), id_wh=(-4 * MWH,), meter_wh=(-4 * MWH,)),),
        substation=SubstationSeries(
            import_wh=(4 * MWH,), import_price_micro_eur_per_mwh=(30 * EUR,),
            da_energy_micro_eur_per_mwh=(50 * EUR,), id_energy_micro_eur_per_mwh=(50 * EUR,),
        ),
        split="all",
    )  # fmt: skip
    result = settle(case)
    assert check_settlement(case, result) == ()
    assert cash(result, "account:rent_import") == 4 * 20 * EUR
    assert cash(result, "account:rent_loss") == 0


def test_rounds_are_paid_at_their_own_prices(small_case: Build) -> None:
    seller, buyer = small_case().positions
    changed = replace(buyer, id_wh=(-7 * MWH,), meter_wh=(-7 * MWH,))

    def after(number: int, mwh: int, price: int) -> RoundPosition:
        return RoundPosition(
            participant="buyer", connection="b", period=0, round=number,
            position_wh=mwh * MWH, dlmp_micro_eur_per_mwh=price * EUR,
        )  # fmt: skip

    case = small_case(positions=(seller, changed), rounds=(after(3, -7, 80), after(1, -12, 40)))
    result = settle(case)
    assert check_settlement(case, result) == ()
    assert cash(result, "buyer", "id") == -2 * 40 * EUR + 5 * 80 * EUR
    for market in ("id/1", "id/3"):
        assert sum(x.amount_micro_eur for x in result.lines if x.market == market) == 0
    wrong = replace(case, rounds=(after(1, -12, 40),))
    with pytest.raises(InputError, match="last round leaves -12000000 Wh"):
        settle(wrong)


def test_refund_by_capacity_works_when_the_rent_is_negative(small_case: Build) -> None:
    capacities = (
        ConnectionCapacity(participant="buyer", connection="b", capacity_w=3),
        ConnectionCapacity(participant="seller", connection="s", capacity_w=1),
    )
    cheap, dear = small_case().prices
    case = small_case(
        rules=SettlementRules(refund="pro_rata_capacity"),
        capacities=capacities,
        prices=(replace(cheap, dlmp_da_micro_eur_per_mwh=(54 * EUR,)), dear),
    )
    result = settle(case)
    assert check_settlement(case, result) == ()
    assert cash(result, "account:rent_unsplit") == -40 * EUR
    assert cash(result, "buyer", "refund") == -30 * EUR
    assert cash(result, "seller", "refund") == -10 * EUR
    assert cash(result, "account:refund") == 40 * EUR


def test_rents_stay_where_nobody_withdrew_and_the_result_says_so(small_case: Build) -> None:
    seller, _ = small_case().positions
    result = settle(
        small_case(
            rules=SettlementRules(),
            positions=(seller,),
            substation=SubstationSeries(
                import_wh=(-9 * MWH,), import_price_micro_eur_per_mwh=(50 * EUR,)
            ),
        )
    )
    assert cash(result, "account:rent_unsplit") == -50 * EUR
    assert any("nobody withdrew" in remark for remark in result.remarks)


def test_scheduled_imports_put_the_bill_of_each_market_apart(small_case: Build) -> None:
    case = small_case(
        substation=SubstationSeries(
            import_wh=(5 * MWH,), import_price_micro_eur_per_mwh=(50 * EUR,),
            da_import_wh=(1 * MWH,), id_import_wh=(3 * MWH,),
        ),
    )  # fmt: skip
    bills = {
        line.market: line.quantity_wh for line in settle(case).lines if line.kind == "upstream"
    }
    assert bills == {"da": MWH, "id/1": 2 * MWH, "imbalance": 2 * MWH}


@pytest.mark.parametrize("kind", ["da", "upstream", "rent_unsplit", "refund", "rounding"])
@pytest.mark.parametrize("market_sums_to_zero", [True, False])
def test_one_planted_micro_eur_is_found(
    small_case: Build, kind: str, market_sums_to_zero: bool
) -> None:
    seller, buyer = small_case().positions
    third = replace(buyer, participant="third", connection="c", da_wh=(-3,))
    fourth = replace(buyer, participant="fourth", connection="d", da_wh=(-7_777_777,))
    case = small_case(
        positions=(seller, buyer, third, fourth),
        rules=SettlementRules(),
        prices=tuple(
            replace(p, dlmp_da_micro_eur_per_mwh=(50 * EUR + 133_337 * p.bus,))
            for p in small_case().prices
        ),
        substation=SubstationSeries(
            import_wh=(22 * MWH + 11,), import_price_micro_eur_per_mwh=(33_333_333,)
        ),
    )
    result = settle(case)
    assert check_settlement(case, result) == ()
    lines = list(result.lines)
    place = next(k for k, line in enumerate(lines) if line.kind == kind)
    lines[place] = replace(lines[place], amount_micro_eur=lines[place].amount_micro_eur + 1)
    if market_sums_to_zero:
        other = next(
            k for k, line in enumerate(lines) if k != place and line.market == lines[place].market
        )
        lines[other] = replace(lines[other], amount_micro_eur=lines[other].amount_micro_eur - 1)
    assert check_settlement(case, replace(result, lines=tuple(lines))) != ()


def test_a_payment_made_twice_and_one_left_out_are_found(small_case: Build) -> None:
    case = small_case()
    result = settle(case)
    twice = replace(result, lines=(*result.lines, result.lines[0]))
    assert any("booked again" in str(p) for p in check_settlement(case, twice))
    short = replace(result, lines=result.lines[1:])
    assert any("is missing" in str(p) for p in check_settlement(case, short))


def test_a_new_meter_value_adds_lines_and_edits_none(small_case: Build) -> None:
    before = settle(small_case())
    seller, buyer = small_case().positions
    after = settle(small_case(positions=(seller, with_meter(buyer, -8))))
    deltas = delta_lines(before, after)
    assert sum(line.amount_micro_eur for line in deltas) == 0
    assert cash(replace(before, lines=deltas), "buyer") == 2 * 70 * EUR
    assert delta_lines(after, after) == ()


def test_the_quick_rounding_is_the_one_rounding_rule() -> None:
    for numerator in range(-50, 51):
        for denominator in (1, 2, 3, 4, 7, 10):
            assert divide_half_even(numerator, denominator) == round_half_even(
                Fraction(numerator, denominator)
            )


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity", "", "1_0", "1e10", "0x1", "٣"])
def test_text_that_is_no_finite_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|larger"):
        parse_micro(text)


def test_micro_text_round_trips() -> None:
    for value in (0, 1, -1, 999_999, -1_000_001, 10**15, 123_456_789):
        assert parse_micro(format_micro(value)) == value


def test_an_error_hidden_in_the_rounding_account_is_caught(small_case: Build) -> None:
    """A plug: an amount raised by 100 and the rounding account lowered by 100."""
    case = small_case()
    result = settle(case)
    wrong = replace(result.lines[0], amount_micro_eur=result.lines[0].amount_micro_eur + 100)
    plug = replace(
        wrong, participant="account:rounding", connection="", kind="rounding",
        quantity_wh=0, price_micro_eur_per_mwh=0, amount_micro_eur=-100,
    )  # fmt: skip
    planted = replace(result, lines=(wrong, *result.lines[1:], plug))
    found = "\n".join(map(str, check_settlement(case, planted)))
    assert "rounding of -100 micro-EUR for" in found
    with pytest.raises(BooksError, match="more than rounding"):
        list(rounding_lines([wrong, *result.lines[1:]], market="da", start=wrong.period_start))
