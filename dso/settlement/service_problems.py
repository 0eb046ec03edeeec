"""What keeps services and changes of hands from being settled: all problems, none raised here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from data.errors import Problem
from data.periods import format_utc
from data.records.settlement import SHARING_KEYS, Community, SettlementCase
from data.units import MICRO_PER_UNIT


def find_service_problems(case: SettlementCase) -> Iterator[Problem]:
    """Yield the problems of changes of hands, availability, reactive energy and communities."""
    yield from _holding_problems(case)
    yield from _row_problems(case)
    yield from _community_problems(case)


def twice(where: str, keys: Iterable[Sequence[object]]) -> Iterator[Problem]:
    """Yield one problem per key that occurs more than once."""
    for key, times in sorted(Counter(map(tuple, keys)).items(), key=str):
        if times > 1:
            name = ", ".join(map(str, key))
            yield Problem(where=where, what=f"{name} stands there {times} times")


def label(case: SettlementCase, period: int) -> str:
    """Return the start of a period as text; an index outside the case is shown as such."""
    if not 0 <= period < case.periods.count:
        return f"period {period} (of {case.periods.count})"
    return format_utc(case.periods.start + period * case.periods.mtu)


def _holding_problems(case: SettlementCase) -> Iterator[Problem]:
    """A connection that changes hands has one participant in every period, and only his energy."""
    masks: dict[str, list[tuple[bool, ...]]] = defaultdict(list)
    changing = {p.connection for p in case.positions if p.held is not None}
    for position in case.positions:
        where = f"positions.csv {position.participant}, {position.connection}"
        if position.held is None:
            if position.connection in changing:
                yield Problem(where=where, what="holds in every period what others hold too")
            continue
        masks[position.connection].append(position.held)
        if len(position.held) != case.periods.count:
            yield Problem(where=where, what="says of another number of periods who holds it")
            continue
        energies = zip(position.da_wh, position.id_wh, position.meter_wh, strict=False)
        for period, energy in enumerate(energies):
            if any(energy) and not position.held[period]:
                yield Problem(
                    where=f"{where}, {label(case, period)}",
                    what="has energy in a period in which somebody else holds the connection",
                )
    for connection, found in sorted(masks.items()):
        lengths = {len(mask) for mask in found}
        if len(lengths) == 1 and any(sum(held) != 1 for held in zip(*found, strict=True)):
            yield Problem(
                where=f"positions.csv connection {connection}",
                what="is not held by exactly one participant in every period",
            )


def _row_problems(case: SettlementCase) -> Iterator[Problem]:
    """Rows of services name a period and a connection that their participant holds in it."""
    positions = {(p.participant, p.connection): p for p in case.positions if not p.is_bilateral}
    for name, rows in (
        ("activations.csv", case.activations),
        ("availability.csv", case.availabilities),
        ("reactive.csv", case.reactive),
    ):
        for row in rows:
            owner = (row.participant, row.connection)
            where = f"{name} {', '.join(owner)}, {label(case, row.period)}"
            inside = 0 <= row.period < case.periods.count
            if not inside and name != "activations.csv":
                yield Problem(where=where, what="there is no such period")
            if owner not in positions:
                if name != "activations.csv":
                    yield Problem(
                        where=where, what="has no position", remedy="add it to positions.csv"
                    )
                continue
            mask = positions[owner].held
            if inside and mask is not None and len(mask) > row.period and not mask[row.period]:
                yield Problem(where=where, what="the participant does not hold the connection")
        if name != "activations.csv":
            yield from twice(
                name, ((r.participant, r.connection, label(case, r.period)) for r in rows)
            )
    for kept in case.availabilities:
        where = f"availability.csv {kept.participant}, {kept.connection}"
        if kept.available_w < 0 or kept.price_micro_eur_per_mw_h < 0:
            yield Problem(where=where, what="capacity and fee must be >= 0")
        if not 0 <= kept.delivery_ppm <= MICRO_PER_UNIT:
            yield Problem(where=where, what="delivery_share must be from 0 to 1")


def _community_problems(case: SettlementCase) -> Iterator[Problem]:
    owners = {(p.participant, p.connection) for p in case.positions if not p.is_bilateral}
    yield from twice("communities.toml", ((c.name,) for c in case.communities))
    members = [(m.participant, m.connection) for c in case.communities for m in c.members]
    generators = [c.generator for c in case.communities]
    yield from twice("communities.toml (one meter, one community)", [*members, *generators])
    for community in case.communities:
        where = f"communities.toml {community.name!r}"
        yield from _one_community(where, community, owners)


def _one_community(
    where: str, community: Community, owners: set[tuple[str, str]]
) -> Iterator[Problem]:
    if not community.name.strip():
        yield Problem(where=where, what="has no name")
    if community.key not in SHARING_KEYS:
        yield Problem(
            where=where, what=f"unknown key {community.key!r}",
            remedy=f"one of {', '.join(SHARING_KEYS)}",
        )  # fmt: skip
    if not community.members:
        yield Problem(where=where, what="has no member")
    for owner in (community.generator, *((m.participant, m.connection) for m in community.members)):
        if owner not in owners:
            yield Problem(
                where=f"{where} {', '.join(owner)}", what="has no position",
                remedy="add it to positions.csv",
            )  # fmt: skip
    shares = [member.share_ppm for member in community.members]
    if min(shares, default=0) < 0 or sum(shares) > MICRO_PER_UNIT:
        yield Problem(where=where, what="shares must be >= 0 and sum to at most 1")
    if community.key == "static" and not sum(shares):
        yield Problem(where=where, what="gives no member a share", remedy="share = 0.05, ...")
