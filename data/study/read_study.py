"""A study folder as one `ClearingCase`; everything wrong with it in one error."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem, refuse_if_any
from data.periods import DeliveryDay, Periods
from data.readers.simbench import NetworkProfiles, load_simbench, profiles_for
from data.records.clearing import ClearingCase
from data.records.network import Network
from data.study.canonical_case import canonical_case
from data.study.limits import limits_in_force
from data.study.margins import read_margins
from data.study.network_changes import change_network
from data.study.network_reference import SIMBENCH, load_network
from data.study.order_fields import ORDERED_OTHER_KINDS, context_of
from data.study.order_rules import check_order_rules
from data.study.read_orders import read_orders
from data.study.series import PROFILES_FILE, read_position, read_price, read_profiles
from data.study.settings import SETTINGS_FILE, StudySettings, read_settings

Floats = NDArray[np.float64]
PLAIN_NAME_PARTS: Final = 1


def _load_network(settings: StudySettings, folder: Path, problems: list[Problem]) -> Network | None:
    if not settings.network:
        return None
    try:
        network = load_network(settings.network, folder)
        return change_network(network, settings.network_changes, problems)
    except InputError as error:
        problems.extend(error.problems)
        return None


def _recorded_profiles(
    settings: StudySettings, folder: Path, periods: Periods, problems: list[Problem]
) -> NetworkProfiles | None:
    """Return SimBench's recorded profiles of the local day that ``[profiles]`` names."""
    where = f"{SETTINGS_FILE} [profiles]"
    if (folder / PROFILES_FILE).exists():
        problems.append(
            Problem(where=where, what="profiles.csv exists as well", remedy="remove one of the two")
        )
    if settings.profile_day is None or not settings.network.startswith(SIMBENCH):
        problems.append(
            Problem(where=where, what="needs a simbench network", remedy="use profiles.csv")
        )
        return None
    day = DeliveryDay(
        day=settings.profile_day, timezone=settings.timezone, mtu_minutes=periods.mtu_minutes
    ).periods
    if len(day) != len(periods):
        problem = f"{settings.profile_day} has {len(day)} periods, the study {len(periods)}"
        problems.append(Problem(where=where, what=problem, remedy=f"periods = {len(day)}"))
        return None
    try:
        return profiles_for(load_simbench(settings.network.removeprefix(SIMBENCH)), day)
    except InputError as error:
        problems.extend(error.problems)
        return None


def _profiles(
    settings: StudySettings,
    folder: Path,
    network: Network,
    periods: Periods,
    problems: list[Problem],
) -> NetworkProfiles | None:
    if settings.profile_day is not None:
        return _recorded_profiles(settings, folder, periods, problems)
    return read_profiles(folder, network, periods, problems)


def _import_price(
    settings: StudySettings, folder: Path, periods: Periods, problems: list[Problem]
) -> Floats:
    """Return the wholesale price per period [EUR/MWh]."""
    name = settings.import_price_file
    path = folder / name
    flat = settings.import_price_eur_per_mwh
    plain = len(Path(name).parts) == PLAIN_NAME_PARTS and name not in (".", "..")
    if flat is not None and path.exists():
        problems.append(
            Problem(
                where=f"{SETTINGS_FILE} [import_price]",
                what=f"eur_per_mwh is stated and {name} exists",
                remedy="remove one of the two",
            )
        )
    if flat is not None:
        return np.full(len(periods), flat)
    if plain and path.exists():
        return read_price(path, periods, problems)
    problems.append(
        Problem(
            where=f"{SETTINGS_FILE} [import_price]",
            what=f"states no eur_per_mwh and {name} is not in the folder",
            remedy="state one of the two",
        )
    )
    return np.zeros(len(periods))


def report_unordered(network: Network, named: frozenset[str], problems: list[Problem]) -> None:
    """Report elements that only an order can move, and elements that nothing here models."""
    storages = network.storages
    for row, index in enumerate(storages.index.tolist()):
        if storages.in_service[row] and f"storage:{index}" not in named:
            problems.append(
                Problem(
                    where=f"storage {index} ({storages.name[row]})",
                    what="no order names it",
                    remedy=f'add an order with asset "storage:{index}" or take it out of service',
                )
            )
    for element in network.other_elements:
        kind, index = element.split(":")
        if kind in ORDERED_OTHER_KINDS:
            if element not in named:
                problems.append(
                    Problem(
                        where=f"{kind} {index}",
                        what="no order names it",
                        remedy=f'add an order with asset "{element}" or take it out of service',
                    )
                )
        else:
            problems.append(
                Problem(
                    where=f"{kind} {index}",
                    what="elements of this kind are not supported",
                    remedy="replace it or take it out of service",
                )
            )


def read_study(folder: Path) -> ClearingCase:
    """Read and validate a study folder (docs/market.md).

    Parameters
    ----------
    folder : Path
        Holds ``study.toml``, ``orders.json`` and, optionally, ``profiles.csv``,
        ``import_price.csv``, ``position.csv``, ``margins.csv`` and a pandapower JSON network.

    Returns
    -------
    ClearingCase
        In canonical form: numbers with 12 significant digits, orders sorted by id.

    Raises
    ------
    InputError
        All problems together, each with file and row or the element's name.
    """
    problems: list[Problem] = []
    if not folder.is_dir():
        raise InputError([Problem(where=str(folder), what="is not a folder")])
    settings = read_settings(folder, problems)
    if settings is None:
        raise InputError(problems)
    network = _load_network(settings, folder, problems)
    periods = settings.periods
    context = context_of(network, None if periods is None else len(periods))
    orders, named = read_orders(folder, context, problems)
    check_order_rules(orders, settings.order_rules, problems)
    if network is None or periods is None:
        raise InputError(problems)
    report_unordered(network, named, problems)
    profiles = _profiles(settings, folder, network, periods, problems)
    price = _import_price(settings, folder, periods, problems)
    limits = limits_in_force(
        network, settings.limits, settings.scarcity_price_eur_per_mwh, problems
    )
    position = read_position(folder, [order.id for order in orders], periods, problems)
    margins = read_margins(folder, network, limits, periods, problems)
    refuse_if_any(problems)
    if profiles is None:
        raise InputError([Problem(where=PROFILES_FILE, what="cannot be read")])
    return canonical_case(
        ClearingCase(
            name=settings.name,
            network=network,
            periods=periods,
            timezone=settings.timezone,
            formulation=settings.formulation,
            load_p_mw=profiles.load_p_mw,
            load_q_mvar=profiles.load_q_mvar,
            sgen_p_mw=profiles.sgen_p_mw,
            sgen_q_mvar=profiles.sgen_q_mvar,
            import_price_eur_per_mwh=price,
            import_mw_max=settings.import_mw_max,
            export_mw_max=settings.export_mw_max,
            limits=limits,
            orders=orders,
            position_mw=None if position is None else position[0],
            position_mvar=None if position is None else position[1],
            margins=margins,
        )
    )
