"""What the configuration and the grid know of parties and assets, entered into the register.

Nobody is overwritten: a party, a connection point or an asset that the register has, by whatever
way, stays as it is. Networks and rule sets get a new version when their content changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeVar

import numpy as np

from data.canonical import canonical_json, sha256_hex
from data.periods import DeliveryDay
from data.readers.network_store import network_to_plain
from data.records.network import Network
from dso.config import Feeder, MarketRules
from dso.cycles.plan import rehearse_orders
from dso.store import Connection
from dso.store.register import Register
from dso.store.register_records import (
    Asset,
    ConnectionPoint,
    NetworkVersion,
    Party,
    PartyRole,
    RuleSetVersion,
    Versioned,
)

LIBRARIES: Final = ("simbench:", "pandapower:")
WATTS_PER_MW: Final = 1e6
TECHNOLOGY_LENGTH_MAX: Final = 50
V = TypeVar("V", bound=Versioned)
F = TypeVar("F", NetworkVersion, RuleSetVersion)


@dataclass(frozen=True, slots=True, kw_only=True)
class GridElement:
    """An element of the grid as a device: capacities [W], energy [Wh] where it stores."""

    name: str
    bus: int
    technology: str
    import_w: int
    export_w: int
    energy_wh: int | None = None


def enter_register(
    connection: Connection,
    *,
    feeder: Feeder,
    rules: MarketRules,
    rules_text: str,
    network: Network,
    delivery: DeliveryDay,
    at: datetime,
) -> int:
    """Enter a feeder with its parties, assets, network and rule set where they are not known.

    Each element in service is an asset behind a connection point of its own, named as in orders
    (``village/sgen:3``). Its party is the aggregator that offers it, else the default participant;
    its capacity that of the nameplate, else the power the grid model has.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    feeder, rules : Feeder, MarketRules
        In force on the delivery day.
    rules_text : str
        The file of the rule set.
    network : Network
        The feeder's grid.
    delivery : DeliveryDay
        First day on which they are in force.
    at : datetime
        The market's time: since when this is known. What was unknown before holds from then on, a
        new version from the delivery day on.

    Returns
    -------
    int
        How many versions were new.
    """
    periods = delivery.periods
    roles: dict[str, PartyRole] = {feeder.default_participant: "supplier"}
    roles |= dict.fromkeys(feeder.offers.aggregators, "aggregator")
    roles.setdefault(feeder.operator, "operator")
    parties = [
        Party(id=name, name=name, role=role, valid_from=at, known_at=at)
        for name, role in roles.items()
    ]
    owners = {order.asset: order.participant for order in rehearse_orders(network, feeder, periods)}
    points: list[ConnectionPoint] = []
    assets: list[Asset] = []
    for element in list_elements(network):
        name = f"{feeder.id}/{element.name}"
        points.append(
            ConnectionPoint(
                id=name, feeder=feeder.id, bus=element.bus,
                party=owners.get(element.name, feeder.default_participant),
                import_w_max=element.import_w, export_w_max=element.export_w,
                valid_from=at, known_at=at,
            )
        )  # fmt: skip
        assets.append(
            Asset(
                id=name, connection_point=name, technology=element.technology,
                import_w_max=element.import_w, export_w_max=element.export_w,
                energy_wh_max=element.energy_wh, valid_from=at, known_at=at,
            )
        )  # fmt: skip
    plain = canonical_json(network_to_plain(network))
    known_elsewhere = feeder.network.startswith(LIBRARIES)
    grid = NetworkVersion(
        id=feeder.id, reference=feeder.network, sha256=sha256_hex(plain),
        content="" if known_elsewhere else plain.decode(), valid_from=at, known_at=at,
    )  # fmt: skip
    rule_set = RuleSetVersion(
        id=rules.id, sha256=rules.sha256, content=rules_text, valid_from=at, known_at=at
    )
    return (
        _add_unknown(connection, Register(Party), parties)
        + _add_unknown(connection, Register(ConnectionPoint), points)
        + _add_unknown(connection, Register(Asset), assets)
        + _add_changed(connection, Register(NetworkVersion), grid, periods.start)
        + _add_changed(connection, Register(RuleSetVersion), rule_set, periods.start)
    )


def list_elements(network: Network) -> Iterator[GridElement]:
    """Return loads, generators and storages in service, each with what it can take and give."""
    for kind, table in (("load", network.loads), ("sgen", network.sgens)):
        for row in np.flatnonzero(table.in_service).tolist():
            watts = _watts(np.nanmax([abs(table.p_mw[row]), table.sn_mva[row]]))
            yield GridElement(
                name=f"{kind}:{table.index[row]}",
                bus=int(table.bus[row]),
                technology=(table.technology[row] or kind)[:TECHNOLOGY_LENGTH_MAX],
                import_w=watts if kind == "load" else 0,
                export_w=watts if kind == "sgen" else 0,
            )
    stores = network.storages
    for row in np.flatnonzero(stores.in_service).tolist():
        watts = _watts(stores.p_mw_max[row])
        yield GridElement(
            name=f"storage:{stores.index[row]}",
            bus=int(stores.bus[row]),
            technology="storage",
            import_w=watts,
            export_w=watts,
            energy_wh=_watts(stores.energy_mwh_max[row]),
        )


def _watts(mega: float) -> int:
    """Return W of MW, or Wh of MWh; a plate that says nothing is 0."""
    return round(float(np.nan_to_num(mega)) * WATTS_PER_MW)


def _add_unknown(connection: Connection, register: Register[V], records: Sequence[V]) -> int:
    known = register.ids(connection)
    return register.add(connection, [record for record in records if record.id not in known])


def _add_changed(
    connection: Connection, register: Register[F], record: F, changed_at: datetime
) -> int:
    """Add the first version, or the next where the content is another."""
    versions = register.history(connection, record.id)
    if versions and versions[-1].sha256 == record.sha256:
        return 0
    since = changed_at if versions else record.valid_from
    return register.add(connection, [replace(record, valid_from=since)])
