"""The settlement case of a day: who sold what in which clearing, and what the meters say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.csv_table import read_table
from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.readers.simbench import NetworkProfiles
from data.records.settlement import (
    BusPrices,
    ConnectionPosition,
    PricePartLine,
    ReactivePosition,
    RoundPosition,
    SettlementCase,
    SettlementRules,
    SubstationSeries,
)
from data.units import energy_wh, price_micro_eur, quantise_mw
from dso.cycles.clearing_files import (
    CLEARING,
    INTRADAY,
    PriceTable,
    head_rows,
    read_bus_prices,
)
from dso.cycles.plan import DayPlan, Round
from dso.cycles.schedule import DAY_AHEAD, NOTHING, Schedule, after_round, day_ahead_schedule
from dso.cycles.stage_dispatch import DELIVERY_CSV, DISPATCH_FOLDER, IMPORT_CSV

Floats = NDArray[np.float64]
IMPORT_COLUMNS: Final = (
    "period_start", "day_ahead_mw", "without_market_mw", "schedule_mw", "with_market_mw",
)  # fmt: skip
PART_CELLS: Final = ("bus", "element_kind", "element", "side", "p_eur_per_mwh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One connection point: its element, bus and the party that answers for it.

    ``order`` is the row of its order in the book, or None: then ``sign`` x the profile ``column``
    of its kind is its injection.
    """

    name: str
    bus: int
    participant: str
    order: int | None
    column: int
    sign: float

    def injection_mw(self, position_mw: Floats, fixed: NetworkProfiles) -> Floats:
        """Return its injection, shape (periods,) [MW], on the tick."""
        if self.order is not None:
            return quantise_mw(position_mw[self.order])
        profile = fixed.load_p_mw if self.name.startswith("load:") else fixed.sgen_p_mw
        return quantise_mw(self.sign * profile[:, self.column])

    def injection_mvar(self, schedule: Schedule) -> Floats:
        """Return its reactive injection of a schedule, shape (periods,) [Mvar], on the tick."""
        if self.order is not None:
            return quantise_mw(schedule.position_mvar[self.order])
        fixed = schedule.fixed
        profile = fixed.load_q_mvar if self.name.startswith("load:") else fixed.sgen_q_mvar
        return quantise_mw(self.sign * profile[:, self.column])


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPrices:
    """Prices of the day-ahead clearing and of each round that bound, with its periods."""

    day_ahead: PriceTable | None
    rounds: tuple[tuple[Round, Periods, PriceTable], ...]


def settlement_case(
    plan: DayPlan, readings: Mapping[str, Mapping[int, int]] = MappingProxyType({})
) -> SettlementCase:
    """Collect the day from the files of its clearings and of the dispatch.

    A clearing that was not certified sold nothing and has no prices: the positions before it stand.
    In periods without any certified clearing everything is imbalance at the wholesale price.

    Parameters
    ----------
    plan : DayPlan
        The day.
    readings : mapping
        Metered injection [Wh] by connection and period; where there is none, what devices reported
        or what was recorded stands for the meter.
    """
    before = day_ahead_schedule(plan)
    connections = list_connections(plan, before)
    buses = sorted({connection.bus for connection in connections})
    prices = _read_prices(plan, before, buses)
    positions, rounds = _positions(plan, before, connections, prices, readings)
    rules = plan.rules
    return SettlementCase(
        periods=plan.periods,
        rules=SettlementRules(
            imbalance=rules.imbalance,
            imbalance_spread_micro_eur_per_mwh=price_micro_eur(rules.imbalance_spread_eur_per_mwh),
            refund=rules.refund,
            settle_reactive=rules.settle_reactive,
        ),
        positions=positions,
        prices=_bus_prices(plan, buses, prices),
        substation=_substation(plan, before, prices),
        rounds=rounds,
        parts=_parts(plan, before, buses, prices),
        split="all",
        reactive=_reactive(plan, before, connections, prices),
    )


def _reactive(
    plan: DayPlan, before: Schedule, connections: Sequence[Connection], prices: DayPrices
) -> tuple[ReactivePosition, ...]:
    """Return the reactive energy that the last certified clearing of each period scheduled.

    Its price is that of the same clearing. There are no reactive meters, so what was scheduled
    is what is shown, and paid where the rules say so.
    """
    schedule = before
    price = {} if prices.day_ahead is None else dict(prices.day_ahead.reactive)
    for at, binding, table in prices.rounds:
        schedule = after_round(schedule, plan, at)
        for bus, found in table.reactive.items():
            if bus not in price:
                price[bus] = np.zeros(len(plan.periods))
            price[bus] = price[bus].copy()
            price[bus][at.first : at.first + len(binding)] = found
    positions = []
    for connection in connections if price else ():
        scheduled = _energies(connection.injection_mvar(schedule), plan.delivery.mtu_minutes)
        for period, q_varh in enumerate(scheduled):
            if q_varh and schedule.source[period] != NOTHING:
                positions.append(
                    ReactivePosition(
                        participant=connection.participant,
                        connection=connection.name,
                        period=period,
                        q_varh=q_varh,
                        price_micro_eur_per_mvarh=price_micro_eur(
                            float(price[connection.bus][period])
                        ),
                    )
                )
    return tuple(positions)


def list_connections(plan: DayPlan, schedule: Schedule) -> tuple[Connection, ...]:
    """Return every element in service as a connection; nobody is left out.

    What no order names belongs to the feeder's default participant.
    """
    row = {order.asset: k for k, order in enumerate(schedule.orders)}
    network, found = plan.network, []
    for kind, sign, elements in (
        ("load", -1.0, network.loads),
        ("sgen", 1.0, network.sgens),
        ("storage", 1.0, network.storages),
    ):  # fmt: skip
        for column in np.flatnonzero(elements.in_service).tolist():
            name = f"{kind}:{elements.index[column]}"
            order = row.get(name)
            owner = plan.feeder.default_participant
            if order is not None:
                owner = schedule.orders[order].participant
            found.append(
                Connection(
                    name=name,
                    bus=int(elements.bus[column]),
                    participant=owner,
                    order=order,
                    column=column,
                    sign=sign,
                )
            )
    for number, each in enumerate(schedule.orders):
        if each.asset is None:  # a device that the grid model does not hold
            found.append(
                Connection(
                    name=f"order:{each.id}",
                    bus=each.buses[0][0],
                    participant=each.participant,
                    order=number,
                    column=-1,
                    sign=1.0,
                )
            )
    return tuple(found)


def _positions(
    plan: DayPlan,
    before: Schedule,
    connections: Sequence[Connection],
    prices: DayPrices,
    readings: Mapping[str, Mapping[int, int]],
) -> tuple[tuple[ConnectionPosition, ...], tuple[RoundPosition, ...]]:
    """Return positions and meters of every connection, and its position after every round [Wh]."""
    count, mtu = len(plan.periods), plan.delivery.mtu_minutes
    sold = before.source != NOTHING
    da_wh = [
        _energies(c.injection_mw(before.position_mw, before.fixed) * sold, mtu) for c in connections
    ]
    last_wh = [list(series) for series in da_wh]
    lines: list[RoundPosition] = []
    schedule = before
    for at, binding, table in prices.rounds:
        schedule = after_round(schedule, plan, at)
        for number, connection in enumerate(connections):
            injection = connection.injection_mw(schedule.position_mw, schedule.fixed)
            here = range(at.first, at.first + len(binding))
            for place, period in enumerate(here):
                position = energy_wh(float(injection[period]), mtu)
                last_wh[number][period] = position
                lines.append(
                    RoundPosition(
                        participant=connection.participant,
                        connection=connection.name,
                        period=period,
                        round=at.number,
                        position_wh=position,
                        dlmp_micro_eur_per_mwh=price_micro_eur(
                            float(table.dlmp[connection.bus][place])
                        ),
                    )
                )
    metered = _meters(plan, before)
    truth = plan.recorded.during(plan.periods)
    nothing = np.zeros((len(before.orders), count))
    positions = []
    for number, connection in enumerate(connections):
        meter = metered if connection.order is not None else nothing
        meter_wh = list(_energies(connection.injection_mw(meter, truth), mtu))
        for period, read_wh in readings.get(connection.name, {}).items():
            meter_wh[period] = read_wh
        positions.append(
            ConnectionPosition(
                participant=connection.participant,
                connection=connection.name,
                bus=connection.bus,
                da_wh=da_wh[number],
                id_wh=tuple(last_wh[number]),
                meter_wh=tuple(meter_wh),
            )
        )
    return tuple(positions), tuple(lines)


def _energies(injection_mw: Floats, mtu_minutes: int) -> tuple[int, ...]:
    return tuple(energy_wh(float(power), mtu_minutes) for power in injection_mw)


def _meters(plan: DayPlan, schedule: Schedule) -> Floats:
    """Return what the dispatched assets delivered, shape (orders, periods) [MW]."""
    row = {order.id: k for k, order in enumerate(schedule.orders)}
    found = np.full((len(row), len(plan.periods)), np.nan)
    path = plan.out / DISPATCH_FOLDER / DELIVERY_CSV
    for order, delivered, period in head_rows(path, ("order", "delivered_mw"), plan.periods):
        found[row[order], int(period)] = float(delivered)
    if not np.isfinite(found).all():
        raise ValueError(f"{path} lacks {int(np.isnan(found).sum())} values")
    return found


def _read_prices(plan: DayPlan, before: Schedule, buses: Sequence[int]) -> DayPrices:
    """Read the prices that bound: day-ahead, and of each round's binding periods."""
    asked = sorted({*buses, plan.network.slack_bus})
    day_ahead = None
    if DAY_AHEAD in before.source:
        day_ahead = read_bus_prices(plan.out / CLEARING, asked, plan.periods)
    rounds = []
    schedule = before
    for at in plan.rounds():
        schedule = after_round(schedule, plan, at)
        if at.number in schedule.source:
            binding = replace(at.periods, count=at.binding)
            folder = plan.out / INTRADAY / at.label
            rounds.append((at, binding, read_bus_prices(folder, asked, binding)))
    return DayPrices(day_ahead=day_ahead, rounds=tuple(rounds))


def _bus_prices(plan: DayPlan, buses: Sequence[int], prices: DayPrices) -> tuple[BusPrices, ...]:
    """Return the day-ahead, last and imbalance price of each bus [micro-EUR/MWh].

    The imbalance price is the last DLMP of the bus. Without a certified clearing the wholesale
    price stands there; nothing was traded at it.
    """
    wholesale = [price_micro_eur(float(price)) for price in plan.import_price_eur_per_mwh]
    found = []
    for bus in buses:
        first = wholesale
        if prices.day_ahead is not None:
            first = [price_micro_eur(float(price)) for price in prices.day_ahead.dlmp[bus]]
        last = list(first)
        for at, binding, table in prices.rounds:
            for place in range(len(binding)):
                last[at.first + place] = price_micro_eur(float(table.dlmp[bus][place]))
        found.append(
            BusPrices(
                bus=bus,
                dlmp_da_micro_eur_per_mwh=tuple(first),
                dlmp_id_micro_eur_per_mwh=tuple(last),
                imbalance_micro_eur_per_mwh=tuple(last),
            )
        )
    return tuple(found)


def _substation(plan: DayPlan, before: Schedule, prices: DayPrices) -> SubstationSeries:
    """Return the import after each market and metered [Wh], as the independent replay gives it."""
    problems: list[Problem] = []
    table = read_table(plan.out / DISPATCH_FOLDER / IMPORT_CSV, IMPORT_COLUMNS, problems)
    refuse_if_any(problems)
    assert table is not None
    power = {name: table.numbers(name, problems) for name in IMPORT_COLUMNS[1:]}
    refuse_if_any(problems)
    mtu, count = plan.delivery.mtu_minutes, len(plan.periods)
    sold_before = before.source != NOTHING
    sold = sold_before.copy()
    wholesale = [price_micro_eur(float(price)) for price in plan.import_price_eur_per_mwh]
    slack = plan.network.slack_bus
    da_energy, id_energy = list(wholesale), list(wholesale)
    if prices.day_ahead is not None:
        da_energy = [price_micro_eur(float(price)) for price in prices.day_ahead.energy[slack]]
    for at, binding, found in prices.rounds:
        for place in range(len(binding)):
            sold[at.first + place] = True
            id_energy[at.first + place] = price_micro_eur(float(found.energy[slack][place]))
    assert len(sold) == count
    return SubstationSeries(
        import_wh=_energies(power["with_market_mw"], mtu),
        import_price_micro_eur_per_mwh=tuple(wholesale),
        da_import_wh=_energies(power["day_ahead_mw"] * sold_before, mtu),
        id_import_wh=_energies(power["schedule_mw"] * sold, mtu),
        da_energy_micro_eur_per_mwh=tuple(da_energy),
        id_energy_micro_eur_per_mwh=tuple(id_energy),
    )


def _parts(
    plan: DayPlan, before: Schedule, buses: Sequence[int], prices: DayPrices
) -> tuple[PricePartLine, ...]:
    """Return the parts of the prices at buses with connections, of every market that bound."""
    found: list[PricePartLine] = []
    if DAY_AHEAD in before.source:
        found += _parts_of(plan.out / CLEARING, "da", 0, plan.periods, frozenset(buses))
    for at, binding, _ in prices.rounds:
        folder = plan.out / INTRADAY / at.label
        found += _parts_of(folder, f"id/{at.number}", at.first, binding, frozenset(buses))
    return tuple(found)


def _parts_of(
    folder: Path, market: str, first: int, periods: Periods, buses: frozenset[int]
) -> list[PricePartLine]:
    lines = []
    for bus, kind, element, side, p, period in head_rows(
        folder / "price_parts.csv", PART_CELLS, periods
    ):
        part = price_micro_eur(float(p))
        if part and int(bus) in buses:
            lines.append(
                PricePartLine(
                    market=market,
                    bus=int(bus),
                    period=first + int(period),
                    element_kind=kind,  # type: ignore[arg-type]  # one of four by contract
                    element=element,
                    side=side,
                    p_micro_eur_per_mwh=part,
                )
            )
    return lines
