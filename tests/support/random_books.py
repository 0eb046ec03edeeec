"""Random settlement cases from a seed: quick enough for thousands, with everything in them."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

from data.periods import Periods
from data.records.settlement import (
    FLEXIBILITY_RULES,
    IMBALANCE_RULES,
    REFUND_RULES,
    SHARING_KEYS,
    Activation,
    Availability,
    BusPrices,
    Community,
    CommunityMember,
    ConnectionCapacity,
    ConnectionPosition,
    PricePartLine,
    ReactivePosition,
    SettlementCase,
    SettlementRules,
    SubstationSeries,
)

BUSES = (1, 2, 3)


def random_case(seed: int) -> SettlementCase:
    """One to three periods, two to five connections, of which one may change hands."""
    draw = Random(seed)
    count = draw.randint(1, 3)

    def energy() -> tuple[int, ...]:
        return tuple(draw.randint(-3_000_000, 3_000_000) for _ in range(count))

    def price() -> tuple[int, ...]:
        return tuple(draw.randint(-500_000_000, 4_000_000_000) for _ in range(count))

    owners = [(f"p{k % 3}", f"c{k}") for k in range(draw.randint(2, 5))]
    positions = [
        ConnectionPosition(
            participant=who, connection=where, bus=draw.choice(BUSES), da_wh=energy(),
            id_wh=energy(), meter_wh=energy(),
        )
        for who, where in owners
    ]  # fmt: skip
    if count > 1 and draw.random() < 0.3:
        positions += _handed_over(positions.pop(), draw.randrange(1, count))
    rule = draw.choice(IMBALANCE_RULES)
    split = draw.choice(("none", "all"))
    more: dict[str, Any] = {}
    if draw.random() < 0.5:
        more = {"da_import_wh": energy(), "id_import_wh": energy()}
    if draw.random() < 0.5:
        more |= {"da_energy_micro_eur_per_mwh": price(), "id_energy_micro_eur_per_mwh": price()}
    return SettlementCase(
        periods=Periods(start=datetime(2026, 3, 1, tzinfo=UTC), count=count),
        rules=SettlementRules(
            imbalance=rule,
            imbalance_spread_micro_eur_per_mwh=draw.randint(0, 10**7) if rule == "dual" else 0,
            refund=draw.choice(REFUND_RULES),
            settle_reactive=draw.random() < 0.5,
        ),
        positions=tuple(positions),
        prices=tuple(
            BusPrices(
                bus=bus, dlmp_da_micro_eur_per_mwh=price(), dlmp_id_micro_eur_per_mwh=price(),
                imbalance_micro_eur_per_mwh=price(),
            )
            for bus in BUSES
        ),
        substation=SubstationSeries(
            import_wh=energy(), import_price_micro_eur_per_mwh=price(), **more
        ),
        parts=_parts(draw, count) if split == "all" else (),
        split=split,
        capacities=tuple(
            ConnectionCapacity(
                participant=p.participant, connection=p.connection,
                capacity_w=draw.randint(1, 10**7),
            )
            for p in positions
        ),
        **_services(draw, positions, count),
    )  # fmt: skip


def _handed_over(position: ConnectionPosition, at: int) -> list[ConnectionPosition]:
    """Two participants hold the connection one after the other."""
    found = []
    for name, first in ((position.participant, True), ("heir", False)):
        held = tuple((t < at) == first for t in range(len(position.da_wh)))
        series = [
            tuple(wh * here for wh, here in zip(values, held, strict=True))
            for values in (position.da_wh, position.id_wh, position.meter_wh)
        ]
        found.append(
            ConnectionPosition(
                participant=name, connection=position.connection, bus=position.bus,
                da_wh=series[0], id_wh=series[1], meter_wh=series[2], held=held,
            )
        )  # fmt: skip
    return found


def _parts(draw: Random, count: int) -> tuple[PricePartLine, ...]:
    keys = {
        (draw.choice(("da", "id/1")), draw.choice(BUSES), draw.randrange(count),
         draw.choice(("line", "trafo", "bus", "ext_grid")), draw.choice("01"))
        for _ in range(draw.randint(0, 6))
    }  # fmt: skip
    return tuple(
        PricePartLine(
            market=market, bus=bus, period=period, element_kind=kind,  # type: ignore[arg-type]
            element=element, side="x", p_micro_eur_per_mwh=draw.randint(-10**9, 10**9),
        )
        for market, bus, period, kind, element in sorted(keys)
    )  # fmt: skip


def _services(
    draw: Random, positions: list[ConnectionPosition], count: int
) -> dict[str, tuple[Any, ...]]:
    places = [(p, t) for p in positions for t in range(count) if p.is_held(t)]
    power = 5_000_000
    called = draw.sample(places, draw.randint(0, min(3, len(places))))
    ready = draw.sample(places, draw.randint(0, 1))
    reactive = draw.sample(places, draw.randint(0, min(3, len(places))))
    return {
        "activations": tuple(
            Activation(
                participant=p.participant, connection=p.connection, period=t,
                baseline_w=draw.randint(-power, power),
                ordered_w=draw.choice((-1, 1)) * draw.randint(1, power),
                meter_w=draw.randint(-power, power),
                price_micro_eur_per_mwh=draw.randint(-(10**9), 10**9),
                penalty_micro_eur_per_mwh=draw.randint(0, 10**9),
                rule=draw.choice(FLEXIBILITY_RULES),
            )
            for p, t in called
        ),
        "availabilities": tuple(
            Availability(
                participant=p.participant, connection=p.connection, period=t,
                available_w=draw.randint(0, 10**7), price_micro_eur_per_mw_h=draw.randint(0, 10**8),
                delivery_ppm=draw.randint(0, 10**6),
            )
            for p, t in ready
        ),
        "reactive": tuple(
            ReactivePosition(
                participant=p.participant, connection=p.connection, period=t,
                q_varh=draw.randint(-power, power),
                price_micro_eur_per_mvarh=draw.randint(-(10**8), 10**8),
            )
            for p, t in reactive
        ),
        "communities": _communities(draw, positions),
    }  # fmt: skip


def _communities(draw: Random, positions: list[ConnectionPosition]) -> tuple[Community, ...]:
    if draw.random() < 0.5:
        return ()
    generator, *others = draw.sample(positions, len(positions))
    key = draw.choice(SHARING_KEYS)
    most = 10**6 // len(others)
    return (
        Community(
            name="street",
            generator=(generator.participant, generator.connection),
            key=key,
            price_micro_eur_per_mwh=draw.randint(0, 10**8),
            members=tuple(
                CommunityMember(
                    participant=p.participant, connection=p.connection,
                    share_ppm=draw.randint(1, most) if key == "static" else 0,
                )
                for p in others
            ),
        ),
    )  # fmt: skip
