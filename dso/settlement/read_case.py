"""Read a settlement folder into a case; every problem of every file in one error."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods, format_utc
from data.records.settlement import (
    BusPrices,
    ConnectionPosition,
    PricePartLine,
    RoundPosition,
    SettlementCase,
    SettlementRules,
    SplitMarkets,
    SubstationSeries,
)
from dso.settlement.case_files import (
    PART_COLUMNS,
    POSITION_COLUMNS,
    POSITION_OPTIONAL,
    PRICE_COLUMNS,
    ROUND_COLUMNS,
    SUBSTATION_COLUMNS,
    SUBSTATION_OPTIONAL,
)
from dso.settlement.community_files import read_communities
from dso.settlement.exact import parse_micro
from dso.settlement.markets import round_label
from dso.settlement.read_services import (
    read_activations,
    read_availabilities,
    read_capacities,
    read_reactive,
)
from dso.settlement.tables import Key, Series, TableFolder
from dso.settlement.validation import find_problems

RULE_KEYS = (
    "mtu_minutes", "imbalance", "imbalance_spread_eur_per_mwh", "refund", "settle_reactive",
)  # fmt: skip
PERIODS_MAX = 400_000  # ten years of quarter-hours: beyond that a date is mistyped


def read_settlement(folder: Path) -> SettlementCase:
    """Read the settlement folder.

    Besides the files of the settlement design, ``substation.csv`` may have the columns
    ``da_import_mwh``, ``id_import_mwh``, ``da_energy_eur_per_mwh`` and ``id_energy_eur_per_mwh``
    (see `SubstationSeries`), ``positions.csv`` a column ``bus_to`` (blank but for bilateral orders,
    see `ConnectionPosition`), ``parts.csv`` a column ``market`` (``da``, ``id`` or ``id/<round>``;
    with it every market is split, without it only the day-ahead market), and
    ``connections.csv`` (participant,connection,capacity_mw) holds the capacities that
    ``refund = "pro_rata_capacity"`` needs. ``availability.csv``, ``reactive.csv`` and
    ``communities.toml`` are optional. A connection that changes hands has rows of each
    participant for the periods in which he holds it.

    Raises
    ------
    InputError
        With all problems together: numbers that are not finite, unknown buses, connections,
        rules or columns, duplicates, gaps, rounds that do not end in the position.
    """
    files = TableFolder(folder=folder)
    if not folder.is_dir():
        raise InputError([Problem(where=str(folder), what="is no folder")])
    rules, mtu_minutes = _read_rules(files)
    periods, substation = _read_substation(files, mtu_minutes)
    rounds = _read_rounds(files, periods)
    parts, split = _read_parts(files, periods, one_round=rounds is None)
    positions = _read_positions(files, periods)
    prices = _read_prices(files, periods)
    activations = read_activations(files, periods)
    capacities = read_capacities(files)
    availabilities = read_availabilities(files, periods)
    reactive = read_reactive(files, periods)
    communities = read_communities(files)
    problems = files.all_problems()
    if periods is None:
        raise InputError(problems)
    case = SettlementCase(
        periods=periods,
        rules=rules,
        positions=positions,
        prices=prices,
        substation=substation,
        rounds=rounds,
        parts=parts,
        split=split,
        activations=activations,
        capacities=capacities,
        availabilities=availabilities,
        reactive=reactive,
        communities=communities,
    )
    refuse_if_any([*problems, *find_problems(case)])
    return case


def _read_rules(files: TableFolder) -> tuple[SettlementRules, int]:
    name = "settlement.toml"
    try:
        given: dict[str, Any] = tomllib.loads(files.text(name))
    except tomllib.TOMLDecodeError as error:
        files.complain(name, f"is no TOML: {error}")
        given = {}
    for key in sorted(set(given) - set(RULE_KEYS)):
        files.complain(name, f"has an unknown key {key!r}", f"known: {', '.join(RULE_KEYS)}")
    for key in ("mtu_minutes", "imbalance", "refund"):
        if key not in given:
            files.complain(name, f"has no {key}")
    mtu = given.get("mtu_minutes", 15)
    if type(mtu) is not int or mtu < 1 or mtu > 1440:
        files.complain(name, f"mtu_minutes: {mtu!r} is no whole number of minutes")
        mtu = 15
    spread = given.get("imbalance_spread_eur_per_mwh", 0)
    spread_micro = 0
    if type(spread) not in (int, float):
        files.complain(name, f"imbalance_spread_eur_per_mwh: {spread!r} is no number")
    else:
        try:
            spread_micro = parse_micro(repr(spread))
        except ValueError as error:
            files.complain(name, f"imbalance_spread_eur_per_mwh: {error}")
    if given.get("imbalance") == "dual" and "imbalance_spread_eur_per_mwh" not in given:
        files.complain(name, "has no imbalance_spread_eur_per_mwh, which dual needs")
    reactive = given.get("settle_reactive", False)
    if type(reactive) is not bool:
        files.complain(name, f"settle_reactive: {reactive!r} is neither true nor false")
    rules = SettlementRules(
        # Unknown words are kept as they are: the validation of the case names them.
        imbalance=given.get("imbalance", "single"),
        imbalance_spread_micro_eur_per_mwh=spread_micro,
        refund=given.get("refund", "retain"),
        settle_reactive=reactive is True,
    )
    return rules, mtu


def _read_substation(
    files: TableFolder, mtu_minutes: int
) -> tuple[Periods | None, SubstationSeries]:
    name = "substation.csv"
    columns = (*SUBSTATION_COLUMNS, *SUBSTATION_OPTIONAL)
    table = files.table(name, SUBSTATION_COLUMNS, SUBSTATION_OPTIONAL)
    read: dict[datetime, tuple[int, ...]] = {}
    for row, (label, *cells) in table.rows:
        start = files.instant(name, row, label)
        values = tuple(
            files.micro(name, row, column, cell) if column in table.columns else 0
            for column, cell in zip(columns[1:], cells, strict=True)
        )
        if start is not None and start in read:
            files.complain(name, f"period {label} stands there twice", row=row)
        elif start is not None:
            read[start] = values
    empty = SubstationSeries(import_wh=(), import_price_micro_eur_per_mwh=())
    if not read:
        if table.columns:
            files.complain(name, "has no period")
        return None, empty
    first, last, mtu = min(read), max(read), timedelta(minutes=mtu_minutes)
    count = (last - first) // mtu + 1
    if count > PERIODS_MAX:
        files.complain(name, f"spans {count} periods", "check the dates")
        return None, empty
    periods = Periods(start=first.astimezone(UTC), count=count, mtu_minutes=mtu_minutes)
    series: Series[str] = Series(periods=count)
    for start, values in sorted(read.items()):
        index, rest = divmod(start - first, mtu)
        if rest:
            files.complain(name, f"{format_utc(start)} is off the grid of {mtu_minutes} minutes")
        else:
            series.put("substation", index, values)
    _note_gaps(files, name, series, periods, str)
    found = {
        column: series.column("substation", place) if column in table.columns else None
        for place, column in enumerate(columns[1:])
    }
    return periods, SubstationSeries(
        import_wh=found["import_mwh"] or (),
        import_price_micro_eur_per_mwh=found["import_price_eur_per_mwh"] or (),
        da_import_wh=found["da_import_mwh"],
        id_import_wh=found["id_import_mwh"],
        da_energy_micro_eur_per_mwh=found["da_energy_eur_per_mwh"],
        id_energy_micro_eur_per_mwh=found["id_energy_eur_per_mwh"],
    )


def _note_gaps(
    files: TableFolder,
    name: str,
    series: Series[Key],
    periods: Periods,
    key_text: Callable[[Key], str],
) -> None:
    for key, count, first in series.gaps():
        label = periods.labels()[first]
        files.complain(
            name, f"{key_text(key)}: {count} of {periods.count} periods missing, first {label}",
            "give every period of substation.csv",
        )  # fmt: skip


def _read_positions(files: TableFolder, periods: Periods | None) -> tuple[ConnectionPosition, ...]:
    name = "positions.csv"
    series: Series[tuple[str, str]] = Series(periods=periods.count if periods else 0)
    buses: dict[tuple[str, str], tuple[int, int | None]] = {}
    table = files.table(name, POSITION_COLUMNS, POSITION_OPTIONAL)
    for row, (participant, connection, bus_text, label, da, last, meter, to_text) in table.rows:
        key = (
            files.label(name, row, "participant", participant),
            files.label(name, row, "connection", connection),
        )
        bus = files.integer(name, row, "bus", bus_text)
        bus_to = files.integer(name, row, "bus_to", to_text) if to_text.strip() else None
        period = files.period(name, row, label, periods)
        values = (
            files.micro(name, row, "da_mwh", da),
            files.micro(name, row, "id_mwh", last),
            files.micro(name, row, "meter_mwh", meter),
        )
        if period is None or bus is None:
            continue
        before = buses.setdefault(key, (bus, bus_to))
        if before != (bus, bus_to):
            old, new = (_ends(*before), _ends(bus, bus_to))
            files.complain(name, f"{', '.join(key)} changes from {old} to {new}", row=row)
        if not series.put(key, period, values):
            files.complain(name, f"{', '.join(key)}, {label} stands there twice", row=row)
    held = _periods_held(series) if periods is not None else {}
    if periods is not None:
        whole = Series(
            periods=series.periods,
            values={key: slots for key, slots in series.values.items() if key not in held},
        )
        _note_gaps(files, name, whole, periods, ", ".join)
    return tuple(
        ConnectionPosition(
            participant=key[0],
            connection=key[1],
            bus=buses[key][0],
            bus_to=buses[key][1],
            da_wh=series.column(key, 0),
            id_wh=series.column(key, 1),
            meter_wh=series.column(key, 2),
            held=held.get(key),
        )
        for key in sorted(series.values)
    )


def _periods_held(series: Series[tuple[str, str]]) -> dict[tuple[str, str], tuple[bool, ...]]:
    """Return when each participant held a connection that changed hands.

    Gaps of one participant are a change of hands where all participants of the connection
    together give every period exactly once; else they stay gaps.
    """
    of_connection: dict[str, list[tuple[str, str]]] = {}
    for key in series.values:
        of_connection.setdefault(key[1], []).append(key)
    held: dict[tuple[str, str], tuple[bool, ...]] = {}
    for keys in of_connection.values():
        masks = [tuple(slot is not None for slot in series.values[key]) for key in keys]
        if len(keys) > 1 and all(sum(together) == 1 for together in zip(*masks, strict=True)):
            held.update(zip(keys, masks, strict=True))
    return held


def _ends(bus: int, bus_to: int | None) -> str:
    return f"bus {bus}" if bus_to is None else f"bus {bus} with bus_to {bus_to}"


def _read_prices(files: TableFolder, periods: Periods | None) -> tuple[BusPrices, ...]:
    name = "prices.csv"
    series: Series[int] = Series(periods=periods.count if periods else 0)
    table = files.table(name, PRICE_COLUMNS)
    for row, (bus_text, label, *cells) in table.rows:
        bus = files.integer(name, row, "bus", bus_text)
        period = files.period(name, row, label, periods)
        values = tuple(
            files.micro(name, row, column, cell)
            for column, cell in zip(PRICE_COLUMNS[2:], cells, strict=True)
        )
        if bus is not None and period is not None and not series.put(bus, period, values):
            files.complain(name, f"bus {bus}, {label} stands there twice", row=row)
    if periods is not None:
        _note_gaps(files, name, series, periods, lambda bus: f"bus {bus}")
    return tuple(
        BusPrices(
            bus=bus,
            dlmp_da_micro_eur_per_mwh=series.column(bus, 0),
            dlmp_id_micro_eur_per_mwh=series.column(bus, 1),
            imbalance_micro_eur_per_mwh=series.column(bus, 2),
        )
        for bus in sorted(series.values)
    )


def _read_rounds(files: TableFolder, periods: Periods | None) -> tuple[RoundPosition, ...] | None:
    name = "rounds.csv"
    if not (files.folder / name).exists():
        return None
    lines = []
    for row, cells in files.table(name, ROUND_COLUMNS).rows:
        participant, connection, label, number_text, position, price = cells
        period = files.period(name, row, label, periods)
        number = files.integer(name, row, "round", number_text)
        position_wh = files.micro(name, row, "position_mwh", position)
        price_micro = files.micro(name, row, "dlmp_eur_per_mwh", price)
        if period is not None and number is not None:
            lines.append(
                RoundPosition(
                    participant=participant.strip(),
                    connection=connection.strip(),
                    period=period,
                    round=number,
                    position_wh=position_wh,
                    dlmp_micro_eur_per_mwh=price_micro,
                )
            )
    lines.sort(key=lambda r: (r.period, r.round, r.participant, r.connection))
    return tuple(lines)


def _read_parts(
    files: TableFolder, periods: Periods | None, *, one_round: bool
) -> tuple[tuple[PricePartLine, ...], SplitMarkets]:
    name = "parts.csv"
    if not (files.folder / name).exists():
        return (), "none"
    # Reactive power is shown with its price and not paid: its column is read and left aside.
    table = files.table(name, PART_COLUMNS, ("q_eur_per_mvarh", "market"))
    split: SplitMarkets = "all" if "market" in table.columns else "da"
    parts = []
    for row, cells in table.rows:
        bus_text, label, kind, element, side, price, reactive, market = cells
        if "q_eur_per_mvarh" in table.columns:
            files.micro(name, row, "q_eur_per_mvarh", reactive)
        bus = files.integer(name, row, "bus", bus_text)
        period = files.period(name, row, label, periods)
        price_micro = files.micro(name, row, "p_eur_per_mwh", price)
        market = market.strip() if split == "all" else "da"
        if market == "id" and one_round:
            market = round_label(1)
        if bus is None or period is None:
            continue
        parts.append(
            PricePartLine(
                market=market,
                bus=bus,
                period=period,
                element_kind=cast("Any", kind.strip()),  # the validation names an unknown word
                element=files.label(name, row, "element", element),
                side=files.label(name, row, "side", side),
                p_micro_eur_per_mwh=price_micro,
            )
        )
    parts.sort(key=lambda p: (p.period, p.market, p.bus, p.element_kind, p.element, p.side))
    return tuple(parts), split
