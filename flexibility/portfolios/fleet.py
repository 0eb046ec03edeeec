"""A fleet of several kinds of devices: its orders, and the awards back as instructions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from data.errors import InputError, Problem
from data.periods import Periods
from data.records.order import Order
from flexibility.devices.batteries import Batteries
from flexibility.devices.common import Floats
from flexibility.devices.heat_orders import heat_pump_orders
from flexibility.devices.heat_pumps import HeatPumps
from flexibility.devices.pv import PvPlants
from flexibility.devices.vehicles import CarSessions
from flexibility.portfolios.aggregate import Portfolio, aggregate_storages
from flexibility.portfolios.disaggregate import disaggregate

KINDS: Final = ("batteries", "cars", "pumps", "plants")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Devices by kind; None where there are none of it.

    ``battery_assets`` and ``plant_assets`` name the network element that each battery and PV plant
    is (``storage:3``, ``sgen:5``).
    """

    batteries: Batteries | None = None
    battery_assets: tuple[str, ...] = ()
    cars: CarSessions | None = None
    pumps: HeatPumps | None = None
    plants: PvPlants | None = None
    plant_assets: tuple[str, ...] = ()

    def kinds(self) -> tuple[str, ...]:
        """Return the kinds that the fleet has."""
        return tuple(kind for kind in KINDS if getattr(self, kind) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOutlook:
    """What is expected.

    Parameters
    ----------
    outdoor_c : ndarray, shape (periods,)
        Outdoor temperature [degC].
    plants_mw : ndarray, shape (plants, periods)
        Available power of the PV plants [MW].
    """

    outdoor_c: Floats
    plants_mw: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetTerms:
    """How a fleet offers.

    Parameters
    ----------
    participant : str
        Who offers.
    wear_eur_per_mwh : float
        Cost of a MWh through a battery, each way [EUR/MWh].
    v2g_eur_per_mwh : float
        Cost of a MWh discharged from a car [EUR/MWh].
    shift_eur_per_mwh : float
        Price of a MWh that a heat pump shifts [EUR/MWh].
    window_periods : int
        Windows in which heat pumps shift.
    loss_share_max : float
        Share of a car's flexibility that joining a portfolio may cost it.
    car_window_periods : int
        Cars offer from one multiple of so many periods to another where that is enough.
    """

    participant: str
    wear_eur_per_mwh: float = 1.0
    v2g_eur_per_mwh: float = 20.0
    shift_eur_per_mwh: float = 2.0
    window_periods: int = 16
    loss_share_max: float = 0.1
    car_window_periods: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOffer:
    """The orders of a fleet, sorted by id, and the portfolios of cars among them."""

    orders: tuple[Order, ...]
    portfolios: tuple[Portfolio, ...]
    loss_share: float


def offer_fleet(
    fleet: Fleet, outlook: FleetOutlook, periods: Periods, terms: FleetTerms
) -> FleetOffer:
    """Return the orders of a fleet; every award of each can be carried out if the outlook holds.

    Batteries and PV plants are elements of the network and offer each on their own, as do heat
    pumps, whose windows differ; cars offer in portfolios.

    Raises
    ------
    InputError
        If the outlook does not fit the periods and the fleet.
    """
    orders: list[Order] = []
    portfolios: tuple[Portfolio, ...] = ()
    loss = 0.0
    if outlook.outdoor_c.shape != (len(periods),):
        what = f"has {outlook.outdoor_c.shape} values for {len(periods)} periods"
        raise InputError([Problem(where="outdoor temperature", what=what)])
    if fleet.batteries is not None:
        orders += fleet.batteries.to_orders(
            fleet.batteries.start(), periods, participant=terms.participant,
            price_charge_eur_per_mwh=terms.wear_eur_per_mwh,
            price_discharge_eur_per_mwh=terms.wear_eur_per_mwh,
            assets=fleet.battery_assets or None,
        )  # fmt: skip
    if fleet.plants is not None:
        orders += fleet.plants.to_orders(
            outlook.plants_mw, periods, participant=terms.participant,
            assets=fleet.plant_assets or None,
        )  # fmt: skip
    if fleet.pumps is not None:
        orders += heat_pump_orders(
            fleet.pumps, fleet.pumps.start(),
            np.tile(outlook.outdoor_c, (len(fleet.pumps.ids), 1)), periods,
            participant=terms.participant, price_eur_per_mwh=terms.shift_eur_per_mwh,
            window_periods=terms.window_periods,
        )  # fmt: skip
    if fleet.cars is not None:
        book = aggregate_storages(
            fleet.cars.to_orders(
                periods, participant=terms.participant,
                price_discharge_eur_per_mwh=terms.v2g_eur_per_mwh,
                every_periods=terms.car_window_periods,
            ),
            periods.mtu_h, participant=terms.participant, name="cars",
            loss_share_max=terms.loss_share_max,
        )  # fmt: skip
        portfolios, loss = book.portfolios, book.loss_share
        orders += [portfolio.order for portfolio in portfolios]
    ranked = tuple(sorted(orders, key=lambda order: order.id))
    return FleetOffer(orders=ranked, portfolios=portfolios, loss_share=loss)


def instruct_fleet(
    fleet: Fleet, offer: FleetOffer, injection_mw: Mapping[str, Floats], count: int
) -> dict[str, Floats]:
    """Return what each device is told [MW], per kind an array of shape (devices, periods).

    Parameters
    ----------
    fleet, offer
        As offered.
    injection_mw : mapping of order id to ndarray, shape (periods,)
        The awards [MW], whole order.
    count : int
        Number of periods.

    Raises
    ------
    InputError
        With every order that has no award.
    """
    lacking = [order.id for order in offer.orders if order.id not in injection_mw]
    if lacking:
        raise InputError([Problem(where=f"order {each}", what="has no award") for each in lacking])
    told: dict[str, Floats] = {}
    for kind in fleet.kinds():
        devices = getattr(fleet, kind)
        rows = [injection_mw.get(device, np.zeros(count)) for device in devices.ids]
        told[kind] = np.array(rows)
    for portfolio in offer.portfolios:
        assert fleet.cars is not None
        parts = disaggregate(portfolio, injection_mw[portfolio.order.id])
        for member, part in zip(portfolio.members, parts, strict=True):
            told["cars"][fleet.cars.ids.index(member.id)] = part
    return told


def portfolio_rows(portfolios: tuple[Portfolio, ...]) -> list[tuple[str, str, int, float]]:
    """Return portfolio, member, bus and share of every member, for a table."""
    return [
        (portfolio.order.id, member.id, member.buses[0][0], float(share))
        for portfolio in portfolios
        for member, share in zip(portfolio.members, portfolio.shares, strict=True)
    ]
