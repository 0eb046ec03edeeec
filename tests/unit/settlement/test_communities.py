from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from data.errors import InputError
from data.records.settlement import (
    Community,
    CommunityMember,
    ConnectionPosition,
    SettlementCase,
    SharingKey,
)
from dso.settlement import check_settlement, settle, share_energy

Build = Callable[..., SettlementCase]
EUR = 1_000_000
KWH = 1_000


def community(key: SharingKey, shares: tuple[float, ...]) -> Community:
    return Community(
        name="street", generator=("roof", "pv"), key=key, price_micro_eur_per_mwh=90 * EUR,
        members=tuple(
            CommunityMember(participant=f"m{k}", connection=f"c{k}", share_ppm=round(1e6 * share))
            for k, share in enumerate(shares)
        ),
    )  # fmt: skip


def wants(*energy_wh: int) -> dict[tuple[str, str], int]:
    return {(f"m{k}", f"c{k}"): wh for k, wh in enumerate(energy_wh)}


def test_pro_rata_by_hand() -> None:
    """10 kWh for members who draw 5, 10 and 5: a quarter, a half, a quarter.

    The default (dynamic) key of French collective self-consumption, decree D315-6: in proportion
    to what each withdraws in the interval.
    """
    shares = share_energy(community("pro_rata", (0, 0, 0)), 10 * KWH, wants(5_000, 10_000, 5_000))
    assert list(shares.values()) == [2_500, 5_000, 2_500]


def test_nobody_gets_more_than_he_draws() -> None:
    """More sun than demand: everybody gets what he draws and the rest is the generator's."""
    shares = share_energy(community("pro_rata", (0, 0)), 10 * KWH, wants(3_000, 1_000))
    assert list(shares.values()) == [3_000, 1_000]
    static = share_energy(community("static", (0.5, 0.5)), 10 * KWH, wants(3_000, 6_000))
    assert list(static.values()) == [3_000, 5_000]  # static shares are not passed on


def test_static_shares_and_odd_watt_hours() -> None:
    static = share_energy(community("static", (1 / 3, 2 / 3)), 10, wants(9, 9))
    assert list(static.values()) == [3, 6]
    equal = share_energy(community("pro_rata", (0, 0, 0)), 10, wants(7, 7, 7))
    assert list(equal.values()) == [4, 3, 3]
    assert share_energy(community("pro_rata", (0,)), 10, wants(0)) == {}
    assert share_energy(community("pro_rata", (0,)), -10, wants(10)) == {}


def shared_case(small_case: Build) -> SettlementCase:
    """A roof with 4 MWh at 50 EUR/MWh, two members who draw 2 and 4 MWh."""

    def place(owner: str, connection: str, mwh: int) -> ConnectionPosition:
        energy = (mwh * EUR,)
        return ConnectionPosition(
            participant=owner, connection=connection, bus=1, da_wh=energy, id_wh=energy,
            meter_wh=energy,
        )  # fmt: skip

    return small_case(
        positions=(place("roof", "pv", 4), place("m0", "c0", -2), place("m1", "c1", -4)),
        communities=(community("pro_rata", (0, 0)),),
    )


def test_the_price_between_members_replaces_the_price_at_the_roof(small_case: Build) -> None:
    """Shared 4 MWh at 90 instead of 50: members pay 4 x 40 = 160 EUR more, the roof gets them."""
    case = shared_case(small_case)
    result = settle(case)
    assert check_settlement(case, result) == ()
    cash = {
        line.participant: line.amount_micro_eur for line in result.lines if line.kind == "community"
    }
    assert cash["roof"] == 160 * EUR
    assert cash["m0"] == -53_333_320  # 1,333,333 Wh x 40 EUR/MWh
    assert sum(cash.values()) == 0
    total = sum(
        line.amount_micro_eur
        for line in result.lines
        if line.participant == "roof" and line.kind in ("da", "community")
    )
    assert total == 4 * 90 * EUR


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": "auction"}, "unknown key"),
        ({"members": ()}, "has no member"),
        ({"generator": ("roof", "gone")}, "has no position"),
        ({"name": " "}, "has no name"),
        ({"key": "static"}, "gives no member a share"),
    ],
)
def test_refusals(small_case: Build, change: dict[str, object], said: str) -> None:
    case = shared_case(small_case)
    changed = replace(case.communities[0], **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=said):
        settle(replace(case, communities=(changed,)))


def test_one_meter_is_in_one_community(small_case: Build) -> None:
    case = shared_case(small_case)
    other = replace(case.communities[0], name="other")
    with pytest.raises(InputError, match="one meter, one community"):
        settle(replace(case, communities=(*case.communities, other)))
