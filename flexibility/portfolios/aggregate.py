"""Storage orders of devices as one order of a portfolio that can always be shared out again.

What devices can do together is the Minkowski sum of what each can do. Its exact description has
too many faces for an order of seven numbers, so that the order describes a part of it. Published
inner approximations are compared by Öztürk, Faulwasser, Worthmann, Preißinger and Rheinberger
(2022), "Aggregation of demand-side flexibilities: a comparative study of approximation
algorithms", Energies 15(7) 2501, https://doi.org/10.3390/en15072501; exact ones exist for lossless
devices (generalised polymatroids: Mukhi, Loho and Abate 2025). Here each device holds a scaled and
shifted copy of the portfolio's order (homothets: Zhao, Zhang, Hao and Kalsi 2017, "A geometric
approach to aggregate flexibility modeling of thermostatically controlled loads", IEEE Transactions
on Power Systems 32(6), https://doi.org/10.1109/TPWRS.2017.2674699), because

* the sum of copies is a copy again: a storage order, which the market knows;
* the award is shared out by fixed shares, without any optimisation;
* fixed shares are what the clearing assumed at the buses: flows come out as cleared.

A copy fits a device if the device can follow lambda times any award. With r what a device retains
until the end of the horizon, these are five numbers that each must hold lambda times over:

    charge, discharge                          power limits
    up   = energy_max - energy_start           room
    down = energy_start - energy_min / r       content
    need = end_min - r energy_start            what the end (or departure) asks beyond staying idle

Devices fit together when these are alike in proportion; so they are sorted into as few portfolios
as lose no more than a stated share of any device's power or energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from data.errors import Problem, refuse_if_any
from data.records.order import StorageOrder
from data.units import AWARD_TICK_MW, MICRO_PER_UNIT
from flexibility.devices.common import Floats, floor_tick

# An order keeps this much away from what its devices can hold [MWh per device], for sums of floats.
FLOAT_MARGIN_MWH: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """One order of several devices.

    Parameters
    ----------
    order : StorageOrder
        What the market sees; of a portfolio of one it is the device's own order.
    members : tuple of StorageOrder
        The devices' own orders.
    shares : ndarray, shape (members,)
        Share of each in every award; sums to 1.
    """

    order: StorageOrder
    members: tuple[StorageOrder, ...]
    shares: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioBook:
    """Portfolios sorted by id, and the largest share of any device's flexibility they leave out.

    ``loss_share`` counts power, room and content of each device, and energy it did not ask for.
    """

    portfolios: tuple[Portfolio, ...]
    loss_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Five:
    """The five numbers of devices (module docstring), shape (devices,), and of a copy of size 1."""

    charge_mw: Floats
    discharge_mw: Floats
    up_mwh: Floats
    down_mwh: Floats
    need_mwh: Floats

    def of(self, places: Sequence[int]) -> _Five:
        """Return some of the devices."""
        at = np.asarray(places)
        return _Five(
            charge_mw=self.charge_mw[at],
            discharge_mw=self.discharge_mw[at],
            up_mwh=self.up_mwh[at],
            down_mwh=self.down_mwh[at],
            need_mwh=self.need_mwh[at],
        )

    def shrunk(self, margin_mwh: float) -> _Five:
        """Return the same devices with energies drawn in by a margin."""
        return _Five(
            charge_mw=self.charge_mw,
            discharge_mw=self.discharge_mw,
            up_mwh=self.up_mwh - margin_mwh,
            down_mwh=self.down_mwh - margin_mwh,
            need_mwh=self.need_mwh + margin_mwh,
        )

    @property
    def only_charges(self) -> bool:
        """Whether none of the devices discharges: then content has no use, nor room beyond need."""
        return not (self.discharge_mw > 0.0).any()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """Shares, the copy of size 1 that they allow, and the share of a device that it loses."""

    shares: Floats
    copy: _Five
    loss: float


def aggregate_storages(
    orders: Sequence[StorageOrder],
    mtu_h: float,
    *,
    participant: str,
    name: str,
    loss_share_max: float = 0.1,
    same_bus: bool = False,
) -> PortfolioBook:
    """Sort storage orders into as few portfolios as lose at most a share of any device.

    Devices fit together only if availability, efficiencies, self-discharge and costs are equal.
    They are taken in the sequence of their ids; each joins the first portfolio that still loses no
    more than allowed with it, else it opens one. A device alone loses nothing.

    Parameters
    ----------
    orders : sequence of StorageOrder
        The devices' own orders, each at one bus, all over the same periods.
    mtu_h : float
        Length of a period [h].
    participant : str
        Who offers.
    name : str
        Portfolios are called ``name-000`` and so on.
    loss_share_max : float
        Largest share of a device's power or energy that a portfolio may leave out, in [0, 1).
    same_bus : bool
        Whether a portfolio stays at one bus.

    Raises
    ------
    InputError
        With all problems: an id twice, an order at several buses, with a reactive range or an
        asset, other periods, a share outside its bounds.
    """
    _refuse_unfit(orders, mtu_h, loss_share_max)
    ranked = sorted(orders, key=lambda each: each.id)
    if not ranked:
        return PortfolioBook(portfolios=(), loss_share=0.0)
    five = _five(ranked, mtu_h)
    groups: list[list[int]] = []
    by_key: dict[tuple[object, ...], list[list[int]]] = {}
    for place, order in enumerate(ranked):
        alike = by_key.setdefault(_key(order, same_bus=same_bus), [])
        for group in alike:
            tried = [*group, place]
            fit = _fit(five.of(tried), _margin_mwh(order, mtu_h, len(tried)))
            if fit is None or fit.loss > loss_share_max or not _reaches(order, fit.copy, mtu_h):
                continue
            group.append(place)
            break
        else:
            alike.append([place])
            groups.append(alike[-1])
    portfolios = tuple(
        _portfolio(
            [ranked[place] for place in group], mtu_h,
            participant=participant, name=f"{name}-{number:03d}",
        )
        for number, group in enumerate(groups)
    )  # fmt: skip
    losses = [widest_loss(each, mtu_h) for each in portfolios]
    return PortfolioBook(portfolios=portfolios, loss_share=max(losses))


def widest_loss(portfolio: Portfolio, mtu_h: float) -> float:
    """Return the largest share of any member's power or energy that the portfolio leaves out.

    Examples
    --------
    >>> ones = np.ones(4)
    >>> def unit(name: str, energy: float) -> StorageOrder:
    ...     return StorageOrder(
    ...         id=name, participant="a", buses=((1, 1.0),), charge_mw_max=ones,
    ...         discharge_mw_max=ones, energy_mwh_min=0.0, energy_mwh_max=energy,
    ...         energy_mwh_start=energy / 2, energy_mwh_end_min=0.0, efficiency_charge=1.0,
    ...         efficiency_discharge=1.0, price_charge_eur_per_mwh=ones,
    ...         price_discharge_eur_per_mwh=ones, self_discharge_per_day=0.0, availability=ones)
    >>> book = aggregate_storages([unit("a", 2.0), unit("b", 2.1)], 0.25, participant="p", name="v")
    >>> [float(book.portfolios[0].order.charge_mw_max[0]), round(book.loss_share, 4)]
    [2.0, 0.0476]
    """
    if len(portfolio.members) == 1:
        return 0.0
    members = _five(portfolio.members, mtu_h)
    members = members.shrunk(_margin_mwh(portfolio.members[0], mtu_h, len(portfolio.members)))
    return _loss(members, portfolio.shares, _copy(members, portfolio.shares))


def rounding_margin_ticks(devices: int) -> int:
    """Return by how many ticks a device may be ahead or behind its exact share of an award.

    Whole watts are shared out by who is furthest behind (`split_watts`): the cup game, whose
    backlog stays below 1 + ln n; see Dietz and Raman (1991), "Persistence, amortization and
    randomization", Proc. 2nd SODA. One more for the fill of the present period.
    """
    return 2 + int(np.ceil(np.log(max(devices, 1))))


def _key(order: StorageOrder, *, same_bus: bool) -> tuple[object, ...]:
    """What must be equal within a portfolio."""
    return (
        order.availability.tobytes(),
        order.efficiency_charge,
        order.efficiency_discharge,
        order.self_discharge_per_day,
        order.price_charge_eur_per_mwh.tobytes(),
        order.price_discharge_eur_per_mwh.tobytes(),
        order.pay,
        order.energy_mwh_departure_min is None,
        # Limits that vary over the periods must vary alike.
        _shape_of(order.charge_mw_max),
        _shape_of(order.discharge_mw_max),
        order.buses if same_bus else (),
    )


def _shape_of(power_mw: Floats) -> bytes:
    most = float(power_mw.max())
    return np.round(power_mw / most if most > 0.0 else power_mw, 9).tobytes()


def _retained(order: StorageOrder, mtu_h: float) -> float:
    """Share of the energy left at the end of the horizon."""
    hours = mtu_h * len(order.availability)
    return float((1.0 - order.self_discharge_per_day) ** (hours / 24.0))


def _margin_mwh(order: StorageOrder, mtu_h: float, devices: int) -> float:
    """Energy that whole watts may shift between devices; none for a device alone."""
    if devices == 1:
        return 0.0
    shifted = rounding_margin_ticks(devices) * AWARD_TICK_MW * mtu_h
    # A rounding of charging and one of discharging may come together.
    both = order.efficiency_charge + 1.0 / order.efficiency_discharge
    return shifted * both + FLOAT_MARGIN_MWH


def _five(orders: Sequence[StorageOrder], mtu_h: float) -> _Five:
    """The five numbers of devices."""
    kept = np.array([_retained(order, mtu_h) for order in orders])
    start = np.array([order.energy_mwh_start for order in orders])
    lowest = np.array([order.energy_mwh_min for order in orders])
    # Nothing is lost by itself where a session may end before the horizon (checked on entry).
    end = [max(order.energy_mwh_departure_min or 0.0, order.energy_mwh_end_min) for order in orders]
    return _Five(
        charge_mw=np.array([order.charge_mw_max.max() for order in orders]),
        discharge_mw=np.array([order.discharge_mw_max.max() for order in orders]),
        up_mwh=np.array([order.energy_mwh_max for order in orders]) - start,
        down_mwh=start - lowest / kept,
        need_mwh=np.array(end) - kept * start,
    )


def _fit(whole: _Five, margin_mwh: float) -> _Fit | None:
    """Return the shares that lose least: by power, by need or by room; None if none of them fits.

    Energies are drawn in by the margin, and a need keeps as far away from the room: an award in
    whole watts can meet both.

    By need any cars in one window fit together: each can reach its own end at full power, hence
    the portfolio its sum at the power that its tightest car leaves.
    """
    five, found = whole.shrunk(margin_mwh), []
    for weights in (five.charge_mw, five.need_mwh, five.up_mwh, five.discharge_mw):
        if not (weights > 0.0).all():
            continue
        shares = weights / weights.sum()
        copy = _copy(five, shares)
        room = float(copy.up_mwh[0]) - margin_mwh
        if room >= 0.0 and float(copy.need_mwh[0]) <= room and float(copy.down_mwh[0]) >= 0.0:
            found.append(_Fit(shares=shares, copy=copy, loss=_loss(five, shares, copy)))
    return min(found, key=lambda fit: fit.loss, default=None)


def _copy(five: _Five, shares: Floats) -> _Five:
    """The largest order of which each device holds its share, each of shape (1,)."""
    down = np.zeros(1) if five.only_charges else np.array([(five.down_mwh / shares).min()])
    return _Five(
        charge_mw=_floor_watts((five.charge_mw / shares).min()),
        discharge_mw=_floor_watts((five.discharge_mw / shares).min()),
        up_mwh=np.array([(five.up_mwh / shares).min()]),
        down_mwh=down,
        need_mwh=np.array([(five.need_mwh / shares).max()]),
    )


def _floor_watts(power_mw: float) -> Floats:
    """Round down to whole watts; the last bits of a quotient are no watt less."""
    return np.floor(np.array([power_mw]) / AWARD_TICK_MW * (1.0 + 1e-12)) / MICRO_PER_UNIT


def _loss(five: _Five, shares: Floats, copy: _Five) -> float:
    """Largest share of any device's power or energy that its share of the copy leaves out.

    Of devices that only charge, power counts, and what is charged beyond their need, as a share
    of what is charged; of others power, room, content, and what the end asks beyond their own, as
    a share of room and content.
    """
    worst = 0.0
    names = ("charge_mw", "discharge_mw", "up_mwh", "down_mwh")
    for name in names[:1] if five.only_charges else names:
        whole = getattr(five, name)
        size = np.where(whole > 1e-12, whole, 1.0)
        left = np.where(whole > 1e-12, 1.0 - shares * getattr(copy, name)[0] / size, 0.0)
        worst = max(worst, float(left.max()))
    asked = shares * copy.need_mwh[0]
    beyond = asked - five.need_mwh
    size = np.maximum(asked, 0.0) if five.only_charges else five.up_mwh + five.down_mwh
    share = np.where(size > 1e-12, beyond / np.where(size > 1e-12, size, 1.0), 0.0)
    return max(worst, float(share.max()))


def _reaches(first: StorageOrder, copy: _Five, mtu_h: float) -> bool:
    """Whether charging all the time reaches the copy's end from its start."""
    keep = (1.0 - first.self_discharge_per_day) ** (mtu_h / 24.0)
    peak = float(first.charge_mw_max.max())
    shape = first.charge_mw_max / peak if peak > 0.0 else np.zeros(len(first.availability))
    energy = float(copy.down_mwh[0])
    top = energy + float(copy.up_mwh[0])
    for power in copy.charge_mw[0] * shape * first.availability:
        energy = min(energy * keep + first.efficiency_charge * mtu_h * float(power), top)
    end = _retained(first, mtu_h) * float(copy.down_mwh[0]) + float(copy.need_mwh[0])
    return energy >= end


def _portfolio(
    group: list[StorageOrder], mtu_h: float, *, participant: str, name: str
) -> Portfolio:
    first = group[0]
    if len(group) == 1:
        return Portfolio(order=first, members=(first,), shares=np.ones(1))
    fit = _fit(_five(group, mtu_h), _margin_mwh(first, mtu_h, len(group)))
    assert fit is not None, "a group was formed because it fits"
    shares, copy = fit.shares, fit.copy
    start, top = float(copy.down_mwh[0]), float(copy.down_mwh[0] + copy.up_mwh[0])
    end = max(_retained(first, mtu_h) * start + float(copy.need_mwh[0]), 0.0)
    departs = first.energy_mwh_departure_min is not None

    def limits(member_mw: Floats, most_mw: float) -> Floats:
        peak = float(member_mw.max())
        return floor_tick(most_mw * member_mw / peak) if peak > 0.0 else np.zeros(len(member_mw))

    at_bus: dict[int, float] = {}
    for order, share in zip(group, shares.tolist(), strict=True):
        at_bus[order.buses[0][0]] = at_bus.get(order.buses[0][0], 0.0) + share
    order = StorageOrder(
        id=name,
        participant=participant,
        buses=tuple(sorted(at_bus.items())) if len(at_bus) > 1 else ((next(iter(at_bus)), 1.0),),
        pay=first.pay,
        charge_mw_max=limits(first.charge_mw_max, float(copy.charge_mw[0])),
        discharge_mw_max=limits(first.discharge_mw_max, float(copy.discharge_mw[0])),
        energy_mwh_min=0.0,
        energy_mwh_max=top,
        energy_mwh_start=start,
        energy_mwh_end_min=0.0 if departs else min(end, top),
        efficiency_charge=first.efficiency_charge,
        efficiency_discharge=first.efficiency_discharge,
        price_charge_eur_per_mwh=first.price_charge_eur_per_mwh,
        price_discharge_eur_per_mwh=first.price_discharge_eur_per_mwh,
        self_discharge_per_day=first.self_discharge_per_day,
        availability=first.availability,
        energy_mwh_departure_min=min(end, top) if departs else None,
    )
    return Portfolio(order=order, members=tuple(group), shares=shares)


def _refuse_unfit(orders: Sequence[StorageOrder], mtu_h: float, loss_share_max: float) -> None:
    problems = []
    ids = [order.id for order in orders]
    problems += [
        Problem(where=f"order {each}", what="the id is used twice", remedy="rename one")
        for each in sorted({one for one in ids if ids.count(one) > 1})
    ]
    for order in orders:
        where = f"order {order.id}"
        if len(order.buses) != 1:
            problems.append(Problem(where=where, what="acts at several buses already"))
        if order.reactive is not None or order.asset is not None:
            what = "has a reactive range or an asset, which a portfolio cannot have"
            problems.append(Problem(where=where, what=what))
        if len(order.availability) != len(orders[0].availability):
            problems.append(Problem(where=where, what="has another number of periods"))
        if order.energy_mwh_departure_min is not None and order.self_discharge_per_day > 0.0:
            what = "departs and loses energy by itself: such a device offers on its own"
            problems.append(Problem(where=where, what=what))
    if not 0.0 <= loss_share_max < 1.0:
        problems.append(Problem(where="loss_share_max", what=f"{loss_share_max} is not in [0, 1)"))
    if not 0.0 < mtu_h < np.inf:
        problems.append(Problem(where="mtu_h", what=f"{mtu_h} h"))
    refuse_if_any(problems)
