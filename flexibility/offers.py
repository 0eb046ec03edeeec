"""The orders of a feeder's aggregators, from the network, a forecast and a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.forecast import Forecast
from data.records.network import Network
from data.records.order import (
    DemandOrder,
    GenerationOrder,
    Order,
    PriceStep,
    ReactiveRange,
    StorageOrder,
    kind_of,
)
from data.units import quantise_mw
from flexibility.battery import reachable_energy_mwh
from flexibility.policy import OfferPolicy, longest_prefix

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Terms = tuple[tuple[PriceStep, ...], Floats]
ENERGY_TOLERANCE_MWH: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBook:
    """Orders sorted by id, and what had to give way to make them (named, never silent)."""

    orders: tuple[Order, ...]
    remarks: tuple[str, ...] = ()


def make_orders(
    *,
    network: Network,
    forecast: Forecast,
    periods: Periods,
    policy: OfferPolicy,
    submitted_at: datetime | None = None,
) -> tuple[Order, ...]:
    """Make the day-ahead orders of all static generators, storages and flexible loads in service.

    Generators sell up to their median forecast; storages offer their full power and return to at
    least their start energy; every n-th load buys its median forecast, a share of it only up to
    its price.

    Parameters
    ----------
    network : Network
        The feeder.
    forecast : Forecast
        Medians of ``sgen:i`` and ``load:i``, covering ``periods``.
    periods : Periods
        Horizon.
    policy : OfferPolicy
        Prices, shares and participants.
    submitted_at : datetime or None
        When the orders enter the book, UTC.

    Returns
    -------
    tuple of Order
        Sorted by id (``sgen-0012``, ``storage-0007``, ``load-0004``); powers on the tick of
        1e-6 MW.

    Raises
    ------
    InputError
        With all problems: a series or period without forecast, a technology without price, a
        storage without limits.
    """
    expected = _expected_on(forecast, periods)
    refuse_if_any(_book_problems(network, forecast, policy))
    orders = [
        *_generation_orders(network, expected, policy),
        *_storage_orders(network, periods, policy),
        *_demand_orders(network, expected, policy),
    ]
    stamped = (replace(order, submitted_at=submitted_at) for order in orders)
    return tuple(sorted(stamped, key=lambda order: order.id))


def make_intraday_orders(
    *,
    day_ahead: Sequence[Order],
    forecast: Forecast,
    periods: Periods,
    energy_mwh: Mapping[str, float],
    policy: OfferPolicy,
    submitted_at: datetime | None = None,
) -> OrderBook:
    """Make the same orders for the rest of the day, with what is known now.

    Parameters
    ----------
    day_ahead : sequence of Order
        The day-ahead orders (all periods of the day; ``periods`` are its last ones).
    forecast : Forecast
        Updated medians, covering ``periods``.
    periods : Periods
        The periods that remain.
    energy_mwh : mapping of order id to energy [MWh]
        Energy of each storage at the start of ``periods``, from the position so far. An excess
        over the bounds of at most 1e-6 MWh (rounding of awards) is cut.
    policy : OfferPolicy
        The policy of the day-ahead orders.
    submitted_at : datetime or None
        When the orders enter the book, UTC.

    Returns
    -------
    OrderBook
        Orders sorted by id. A storage keeps its day-ahead end energy; where that can no longer be
        reached, the reachable energy is asked for and a remark says so.

    Raises
    ------
    InputError
        With all problems: a storage without energy or outside its bounds, a missing forecast, an
        order kind that is not an aggregator's.
    """
    expected = _expected_on(forecast, periods)
    refuse_if_any(_intraday_problems(day_ahead, forecast, periods, energy_mwh))
    orders: list[Order] = []
    remarks: list[str] = []
    for order in sorted(day_ahead, key=lambda each: each.id):
        if isinstance(order, GenerationOrder):
            price = float(order.steps[0].price_eur_per_mwh[-1])
            steps, p_mw_min = _generation_terms(expected.median_mw(str(order.asset)), price)
            orders.append(replace(order, submitted_at=submitted_at, steps=steps, p_mw_min=p_mw_min))
        elif isinstance(order, DemandOrder):
            steps, p_mw_min = _demand_terms(expected.median_mw(str(order.asset)), policy)
            orders.append(replace(order, submitted_at=submitted_at, steps=steps, p_mw_min=p_mw_min))
        elif isinstance(order, StorageOrder):
            rest, remark = _rest_of_storage(order, periods, energy_mwh[order.id])
            orders.append(replace(rest, submitted_at=submitted_at))
            remarks += remark
    return OrderBook(orders=tuple(orders), remarks=tuple(remarks))


def splice_orders(earlier: Sequence[Order], later: Sequence[Order]) -> tuple[Order, ...]:
    """Replace the last periods of the earlier orders by the later ones' (same ids).

    The result says for each period of the day which terms were last in force: the settlement of a
    day and its devices are read against it. Storages keep the earlier record (only their horizon
    differs).

    Raises
    ------
    InputError
        If the ids differ or an order's kind changed.
    """
    by_id = {order.id: order for order in later}
    problems = [
        Problem(where=order.id, what="missing in the later book, or of another kind")
        for order in earlier
        if type(by_id.get(order.id)) is not type(order)
    ]
    ids = {order.id for order in earlier}
    problems += [
        Problem(where=order.id, what="not in the earlier book")
        for order in later
        if order.id not in ids
    ]
    refuse_if_any(problems)
    spliced: list[Order] = []
    for order in earlier:
        new = by_id[order.id]
        if isinstance(order, GenerationOrder | DemandOrder):
            assert isinstance(new, GenerationOrder | DemandOrder)
            keep = len(order.p_mw_min) - len(new.p_mw_min)
            count = max(len(order.steps), len(new.steps))
            steps = tuple(
                PriceStep(
                    p_mw=np.concatenate([a.p_mw[:keep], b.p_mw]),
                    price_eur_per_mwh=np.concatenate(
                        [a.price_eur_per_mwh[:keep], b.price_eur_per_mwh]
                    ),
                )
                for a, b in zip(
                    _as_many(order.steps, count), _as_many(new.steps, count), strict=True
                )
            )
            p_mw_min = np.concatenate([order.p_mw_min[:keep], new.p_mw_min])
            spliced.append(replace(order, steps=steps, p_mw_min=p_mw_min))
        else:
            spliced.append(order)
    return tuple(spliced)


def _as_many(steps: Sequence[PriceStep], count: int) -> list[PriceStep]:
    """Return steps with empty ones behind them, at the last one's price."""
    last = steps[-1]
    empty = replace(last, p_mw=np.zeros_like(last.p_mw))
    return [*steps, *[empty] * (count - len(steps))]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """Medians of the forecast on the order's periods."""

    forecast: Forecast
    first: int
    periods: Periods

    def median_mw(self, series: str) -> Floats:
        """Return the median of one series on the tick, not negative, shape (periods,) [MW]."""
        row = self.forecast.series.index(series)
        level = self.forecast.quantiles.index(0.5)
        value = self.forecast.value_mw[row, self.first : self.first + len(self.periods), level]
        return quantise_mw(np.maximum(value, 0.0))


def _generation_terms(p_mw: Floats, price_eur_per_mwh: float) -> Terms:
    """Return the steps and the must-run power of a generator that sells up to ``p_mw``."""
    price = np.full(len(p_mw), price_eur_per_mwh)
    return (PriceStep(p_mw=p_mw, price_eur_per_mwh=price),), np.zeros(len(p_mw))


def _demand_terms(p_mw: Floats, policy: OfferPolicy) -> Terms:
    """Return the steps and the must-take power of a load that buys up to ``p_mw``.

    The first step is what must be taken, the second the flexible rest; together they are ``p_mw``.
    """
    must_take = quantise_mw((1.0 - policy.flexible_load_share) * p_mw)
    flexible = quantise_mw(p_mw - must_take)
    prices = (policy.must_take_price_eur_per_mwh, policy.flexible_load_price_eur_per_mwh)
    steps = tuple(
        PriceStep(p_mw=size, price_eur_per_mwh=np.full(len(p_mw), price))
        for size, price in zip((must_take, flexible), prices, strict=True)
    )
    return steps, must_take


def _generation_orders(
    network: Network, expected: _Expected, policy: OfferPolicy
) -> list[GenerationOrder]:
    sgens = network.sgens
    orders = []
    for row, participant in _assign(sgens.technology, sgens.in_service, policy):
        technology, asset = sgens.technology[row], f"sgen:{sgens.index[row]}"
        price = longest_prefix(technology, policy.generation_price_eur_per_mwh)
        factor = longest_prefix(technology, policy.reactive_power_factor_min)
        assert price is not None, "checked by _book_problems"
        steps, p_mw_min = _generation_terms(expected.median_mw(asset), price)
        orders.append(
            GenerationOrder(
                id=f"sgen-{sgens.index[row]:04d}",
                participant=participant,
                buses=((int(sgens.bus[row]), 1.0),),
                asset=asset,
                reactive=None if factor is None else ReactiveRange(power_factor_min=factor),
                steps=steps,
                p_mw_min=p_mw_min,
            )
        )
    return orders


def _storage_orders(network: Network, periods: Periods, policy: OfferPolicy) -> list[StorageOrder]:
    storages = network.storages
    orders = []
    kinds = ("storage",) * len(storages.index)
    for row, participant in _assign(kinds, storages.in_service, policy):
        power = quantise_mw(np.full(len(periods), abs(storages.p_mw_max[row])))
        price = np.full(len(periods), policy.storage_price_eur_per_mwh)
        low, high = float(storages.energy_mwh_min[row]), float(storages.energy_mwh_max[row])
        start = low + policy.storage_energy_share_start * (high - low)
        orders.append(
            StorageOrder(
                id=f"storage-{storages.index[row]:04d}",
                participant=participant,
                buses=((int(storages.bus[row]), 1.0),),
                asset=f"storage:{storages.index[row]}",
                charge_mw_max=power,
                discharge_mw_max=power,
                energy_mwh_min=low,
                energy_mwh_max=high,
                energy_mwh_start=start,
                energy_mwh_end_min=start,
                efficiency_charge=float(storages.efficiency[row]),
                efficiency_discharge=float(storages.efficiency[row]),
                price_charge_eur_per_mwh=price,
                price_discharge_eur_per_mwh=price,
                self_discharge_per_day=policy.storage_self_discharge_per_day,
                availability=np.ones(len(periods)),
            )
        )
    return orders


def _demand_orders(network: Network, expected: _Expected, policy: OfferPolicy) -> list[DemandOrder]:
    loads = network.loads
    orders = []
    kinds = ("load",) * len(loads.index)
    for row, participant in _assign(kinds, _flexible_loads(network, policy), policy):
        asset = f"load:{loads.index[row]}"
        steps, p_mw_min = _demand_terms(expected.median_mw(asset), policy)
        orders.append(
            DemandOrder(
                id=f"load-{loads.index[row]:04d}",
                participant=participant,
                buses=((int(loads.bus[row]), 1.0),),
                asset=asset,
                steps=steps,
                p_mw_min=p_mw_min,
            )
        )
    return orders


def _flexible_loads(network: Network, policy: OfferPolicy) -> Bools:
    """Mark every n-th load in service, counted from the first."""
    in_service = np.asarray(network.loads.in_service, dtype=np.bool_)
    if policy.flexible_load_every == 0 or policy.flexible_load_share == 0.0:
        return np.zeros(len(in_service), dtype=np.bool_)
    turn = (np.cumsum(in_service) - 1) % policy.flexible_load_every
    return np.asarray(in_service & (turn == 0), dtype=np.bool_)


def _assign(kinds: Sequence[str], chosen: Bools, policy: OfferPolicy) -> list[tuple[int, str]]:
    """Give the chosen rows to the aggregators in turn, counted within each kind."""
    seen: dict[str, int] = {}
    assigned = []
    for row in np.flatnonzero(chosen).tolist():
        turn = seen.get(kinds[row], 0)
        seen[kinds[row]] = turn + 1
        assigned.append((row, policy.aggregators[turn % len(policy.aggregators)]))
    return assigned


def _rest_of_storage(
    order: StorageOrder, periods: Periods, energy_mwh: float
) -> tuple[StorageOrder, list[str]]:
    """Cut a storage order to the remaining periods; ask for no more energy than is reachable."""
    count = len(periods)
    rest = replace(
        order,
        charge_mw_max=order.charge_mw_max[-count:],
        discharge_mw_max=order.discharge_mw_max[-count:],
        price_charge_eur_per_mwh=order.price_charge_eur_per_mwh[-count:],
        price_discharge_eur_per_mwh=order.price_discharge_eur_per_mwh[-count:],
        availability=order.availability[-count:],
        energy_mwh_start=min(max(energy_mwh, order.energy_mwh_min), order.energy_mwh_max),
    )
    reachable = reachable_energy_mwh(rest, periods.mtu_h)
    if reachable >= order.energy_mwh_end_min:
        return rest, []
    remark = (
        f"{order.id}: end energy {order.energy_mwh_end_min:.6f} MWh is out of reach, "
        f"{reachable:.6f} MWh asked for"
    )
    if order.energy_mwh_end_min - reachable <= ENERGY_TOLERANCE_MWH:
        return replace(rest, energy_mwh_end_min=reachable), []  # rounding of awards, not news
    return replace(rest, energy_mwh_end_min=reachable), [remark]


def _expected_on(forecast: Forecast, periods: Periods) -> _Expected:
    """Find the periods in the forecast.

    Raises
    ------
    InputError
        If the forecast does not cover them or lacks the median.
    """
    grid = forecast.periods
    offset = periods.start - grid.start
    first = round(offset / grid.mtu)
    problems = []
    if (
        periods.mtu_minutes != grid.mtu_minutes
        or offset != first * grid.mtu
        or first < 0
        or periods.end > grid.end
    ):
        problems.append(Problem(where="forecast", what="does not cover the periods of the orders"))
    if 0.5 not in forecast.quantiles:
        problems.append(Problem(where="forecast", what="has no median (level 0.5)"))
    elif not np.isfinite(forecast.value_mw).all():
        problems.append(Problem(where="forecast", what="a value is not a number"))
    refuse_if_any(problems)
    return _Expected(forecast=forecast, first=first, periods=periods)


def _missing_forecasts(forecast: Forecast, series: Sequence[str]) -> list[Problem]:
    known = set(forecast.series)
    return [Problem(where=name, what="no forecast") for name in series if name not in known]


def _book_problems(network: Network, forecast: Forecast, policy: OfferPolicy) -> list[Problem]:
    """List what prevents the day-ahead orders: forecasts, prices or storage limits missing."""
    sgens, storages, loads = network.sgens, network.storages, network.loads
    generating = np.flatnonzero(sgens.in_service)
    series = [f"sgen:{sgens.index[row]}" for row in generating]
    series += [f"load:{i}" for i in loads.index[_flexible_loads(network, policy)]]
    problems = _missing_forecasts(forecast, series)
    unpriced = {
        sgens.technology[row]
        for row in generating
        if longest_prefix(sgens.technology[row], policy.generation_price_eur_per_mwh) is None
    }
    problems += [
        Problem(
            where=f"technology {name!r}",
            what="no price in the offer policy",
            remedy="add it under generation_price_eur_per_mwh",
        )
        for name in sorted(unpriced)
    ]
    for row in np.flatnonzero(storages.in_service):
        low, high = storages.energy_mwh_min[row], storages.energy_mwh_max[row]
        limits = (storages.p_mw_max[row], low, high, storages.efficiency[row])
        if not np.isfinite(limits).all() or not 0.0 <= low <= high or not 0 < limits[3] <= 1:
            problems.append(
                Problem(
                    where=f"storage:{storages.index[row]}",
                    what=f"power {limits[0]} MW, energy {low} to {high} MWh, "
                    f"efficiency {limits[3]}",
                    remedy="state all of them",
                )
            )
    return problems


def _intraday_problems(
    day_ahead: Sequence[Order],
    forecast: Forecast,
    periods: Periods,
    energy_mwh: Mapping[str, float],
) -> list[Problem]:
    """List what prevents the intraday orders."""
    problems = []
    series = []
    for order in day_ahead:
        if isinstance(order, GenerationOrder | DemandOrder):
            series.append(str(order.asset))
            count = len(order.p_mw_min)
        elif isinstance(order, StorageOrder):
            count = len(order.availability)
            energy = energy_mwh.get(order.id, np.nan)
            low = order.energy_mwh_min - ENERGY_TOLERANCE_MWH
            high = order.energy_mwh_max + ENERGY_TOLERANCE_MWH
            if not low <= energy <= high:  # also catches NaN
                problems.append(
                    Problem(
                        where=order.id,
                        what=f"energy {energy} MWh, bounds {order.energy_mwh_min} to "
                        f"{order.energy_mwh_max} MWh",
                    )
                )
        else:
            problems.append(
                Problem(where=order.id, what=f"an aggregator makes no {kind_of(order)} order")
            )
            continue
        if count < len(periods):
            problems.append(Problem(where=order.id, what=f"{count} periods, {len(periods)} remain"))
    return problems + _missing_forecasts(forecast, series)
