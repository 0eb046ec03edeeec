"""The composition root: the only file that names concrete adapters.

Which reader gives the grid and what was recorded on it, where the wholesale price comes from,
which database keeps the stages and which ledger takes the batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.periods import Periods
from data.readers.simbench import SimbenchGrid

if TYPE_CHECKING:
    from dso.config import Feeder
    from dso.realtime.closed_loop import Carrier
    from dso.store import Store
    from ledger_adapter.keys import OperatorKeys
    from ledger_adapter.sql_log import SqlLog

Floats = NDArray[np.float64]
SIMBENCH: Final = "simbench:"
PRICE_SOURCES: Final = ("be_day_ahead_2019",)
STORE_FILE: Final = "store.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a day writes to: the store of stages, the ledger in the same database, the keys."""

    store: Store
    ledger: SqlLog
    keys: OperatorKeys

    def close(self) -> None:
        """Give the database back."""
        self.store.close()


def load_grid(feeder: Feeder) -> SimbenchGrid:
    """Load the grid of a feeder with everything recorded on it.

    Raises
    ------
    InputError
        If the feeder's network comes without recorded profiles, or its reader refuses it.
    """
    from data.readers.simbench import load_simbench

    if feeder.profiles is not None and feeder.profiles.startswith(SIMBENCH):
        from data.readers.borrowed_profiles import borrow_profiles
        from data.study.network_reference import load_network

        lender = load_simbench(feeder.profiles.removeprefix(SIMBENCH))
        return borrow_profiles(load_network(feeder.network, Path()), lender)
    if not feeder.network.startswith(SIMBENCH):
        problem = f"network {feeder.network!r} has no recorded profiles to run a day on"
        remedy = "name a SimBench grid as network or as profiles, e.g. simbench:1-MV-rural--2-sw"
        raise InputError([Problem(where=f"feeder {feeder.id}", what=problem, remedy=remedy)])
    return load_simbench(feeder.network.removeprefix(SIMBENCH))


def wholesale_price(feeder: Feeder, periods: Periods, timezone: str) -> Floats:
    """Return the wholesale price at the substation [EUR/MWh], shape (periods,).

    Raises
    ------
    InputError
        If the source is unknown or has no price for a period.
    """
    from data.readers.prices import import_price_for

    if feeder.import_price_source not in PRICE_SOURCES:
        problem = f"import_price.source {feeder.import_price_source!r} is unknown"
        remedy = f"one of {', '.join(PRICE_SOURCES)}"
        raise InputError([Problem(where=f"feeder {feeder.id}", what=problem, remedy=remedy)])
    return import_price_for(periods, timezone, weeks_later=feeder.import_price_weeks_later)


def open_services(store_url: str | None, *, out: Path, keys: Path) -> Services:
    """Open the key folder, the store (default: an SQLite file in ``out``) and the ledger in it.

    Raises
    ------
    InputError
        If the key folder is damaged, the database cannot be opened, or its ledger was signed by
        another key.
    """
    from dso.store import Store
    from ledger_adapter.keys import load_or_create_keys
    from ledger_adapter.outbox import create_outbox
    from ledger_adapter.ports import LedgerError
    from ledger_adapter.sql_log import SqlLog

    operator = load_or_create_keys(keys)
    store = Store.open(store_url or f"sqlite:///{(out / STORE_FILE).resolve()}")
    try:
        create_outbox(store.engine)
        ledger = SqlLog(store.engine, operator.signer)
    except LedgerError as error:
        store.close()
        remedy = "use the key folder of the runs before (--keys), or another store and folder"
        raise InputError([Problem(where="ledger", what=str(error), remedy=remedy)]) from error
    return Services(store=store, ledger=ledger, keys=operator)


def carry_in_process() -> Carrier:
    """Carry letters to simulated devices from list to list."""
    from dispatch.channels.in_process import InProcessChannel
    from dso.realtime.closed_loop import Carrier

    channel = InProcessChannel()
    return Carrier(
        name="in process",
        channel=channel,
        link=channel.link,
        deliver=lambda: True,
        close=channel.close,
    )


def carry_over_mqtt(url: str, root: str) -> Carrier:
    """Carry letters to simulated devices over a broker, a connection for each device.

    Parameters
    ----------
    url : str
        The broker, e.g. ``mqtt://127.0.0.1:1883``.
    root : str
        First part of all topics; nobody has used it before.
    """
    import time

    from dispatch.channels.mqtt import MqttChannel, MqttDeviceLink, wait_for_delivery
    from dispatch.channels.mqtt_loop import Broker, ClientLoop
    from dso.realtime.closed_loop import Carrier

    loop, broker = ClientLoop(time.monotonic), Broker.of_url(url)
    channel = MqttChannel(loop, broker, client_id=f"{root}/market", root=root)
    links: list[MqttDeviceLink] = []

    def link(asset: str) -> MqttDeviceLink:
        links.append(MqttDeviceLink(loop, broker, asset, root=root))
        return links[-1]

    def deliver() -> bool:
        return loop.run_until(lambda: all(each.is_up for each in links), 10.0) and (
            wait_for_delivery(loop, channel, links)
        )

    def close() -> None:
        for each in links:
            each.close()
        channel.close()
        loop.turn(0.1)

    return Carrier(
        name=f"MQTT broker {url}", channel=channel, link=link, deliver=deliver, close=close
    )
