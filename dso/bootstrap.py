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
    from dispatch.channels.mqtt_loop import Broker
    from dispatch.messages import LetterKey
    from dso.config import Feeder
    from dso.realtime.channels import ChannelPlan, MqttPlan, OpenChannel, OpenLink
    from dso.realtime.closed_loop import Carrier
    from dso.store import Store
    from ledger_adapter.keys import OperatorKeys
    from ledger_adapter.sql_log import SqlLog

Floats = NDArray[np.float64]
SIMBENCH: Final = "simbench:"
PRICE_SOURCES: Final = ("be_day_ahead_2019",)
STORE_FILE: Final = "store.sqlite"
# Longest wait of a simulated minute for its messages [s]: a busy machine is no dead broker.
DELIVERY_S: Final = 90.0


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
        there = loop.run_until(lambda: all(each.is_up for each in links), DELIVERY_S)
        return there and wait_for_delivery(loop, channel, links, timeout_s=DELIVERY_S)

    def close() -> None:
        for each in links:
            each.close()
        channel.close()
        loop.turn(0.1)

    return Carrier(
        name=f"MQTT broker {url}", channel=channel, link=link, deliver=deliver, close=close
    )


def load_letter_key(keys: Path) -> LetterKey:
    """Return the key that signs letters to devices, made on first use in the key folder.

    Its public half for devices stands beside it in ``dispatch.vkey``.

    Raises
    ------
    InputError
        If the key file is damaged.
    """
    from dispatch.messages import LetterKey
    from ledger_adapter.signers import read_key, write_new_key, write_private
    from ledger_adapter.verify.canonical import Malformed

    path = keys / "dispatch.key"
    try:
        if not path.exists():
            keys.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = write_new_key(path, "gridclear.example/dispatch")
            write_private(keys / "dispatch.vkey", made.text + "\n", mode=0o644)
        public, seed = read_key(path)
    except Malformed as error:
        raise InputError([Problem(where=str(path), what=str(error))]) from error
    return LetterKey(name=f"{public.name}+{public.key_id.hex()}", seed=seed)


def read_letter_keys(path: Path) -> dict[str, bytes]:
    """Return the public keys a device trusts, by name, from ``dispatch.vkey``.

    Raises
    ------
    InputError
        If the file is missing or holds no verifier keys.
    """
    from ledger_adapter.verify.canonical import Malformed
    from ledger_adapter.verify.note import parse_verifier_keys

    try:
        found = parse_verifier_keys(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, Malformed) as error:
        raise InputError([Problem(where=str(path), what=f"no verifier key: {error}")]) from error
    return {f"{each.name}+{each.key_id.hex()}": each.public for each in found}


def open_channel(plan: ChannelPlan) -> OpenChannel:
    """Open the market's end of a channel.

    Raises
    ------
    InputError
        If an address or a TLS file cannot be used.
    """
    from dispatch.channels.files import FileChannel
    from dispatch.channels.http import HttpChannel
    from dispatch.channels.mqtt import MqttChannel
    from dispatch.channels.mqtt_loop import ClientLoop, TlsFiles
    from dso.clock import Stopwatch
    from dso.realtime.channels import OpenChannel

    counter = Stopwatch.start().elapsed_s
    if plan.mqtt is not None:
        channel = MqttChannel(
            ClientLoop(counter),
            _broker(plan.mqtt),
            client_id=plan.mqtt.client_id,
            root=plan.mqtt.root,
        )
        return OpenChannel(
            name=plan.mqtt.url,
            channel=channel,
            is_up=lambda: channel.connection.is_up,
            trouble=lambda: channel.connection.last_error,
        )
    if plan.http is not None:
        tls = None if plan.http.authority is None else TlsFiles(authority=plan.http.authority)
        http = HttpChannel(
            plan.http.callbacks,
            counter,
            tls=None if tls is None else tls.context(),
            timeout_s=plan.http.timeout_s,
            fetch_every_s=plan.http.fetch_every_s,
        )
        name = f"{len(plan.http.callbacks)} addresses"
        return OpenChannel(name=name, channel=http, is_up=lambda: True, trouble=lambda: "")
    assert plan.folder is not None
    files = FileChannel(plan.folder)
    return OpenChannel(name=str(plan.folder), channel=files, is_up=lambda: True, trouble=lambda: "")


def open_device_link(plan: ChannelPlan, asset: str) -> OpenLink:
    """Open a device's end of a channel; HTTP callbacks listen where the address says.

    Raises
    ------
    InputError
        If the channel has no place for the asset.
    """
    import time
    from urllib.parse import unquote, urlsplit

    from dispatch.channels.files import FileDeviceLink
    from dispatch.channels.http_device import DeviceServer
    from dispatch.channels.mqtt import MqttDeviceLink
    from dispatch.channels.mqtt_loop import ClientLoop
    from dso.clock import Stopwatch
    from dso.realtime.channels import LOOPBACK_CALLBACK, OpenLink

    if plan.mqtt is not None:
        loop = ClientLoop(Stopwatch.start().elapsed_s)
        link = MqttDeviceLink(loop, _broker(plan.mqtt), asset, root=plan.mqtt.root)

        def leave() -> None:
            link.close()
            loop.turn(0.05)

        return OpenLink(link=link, turn=loop.turn, close=leave)
    if plan.http is not None:
        address = urlsplit(plan.http.callbacks.get(asset, ""))
        if address.scheme != "http" or unquote(address.path) != (f"{LOOPBACK_CALLBACK}{asset}"):
            what = f"no address http://127.0.0.1:PORT{LOOPBACK_CALLBACK}{asset} to listen at"
            raise InputError([Problem(where=f"callback of {asset}", what=what)])
        server = DeviceServer(address.hostname or "", address.port or 80)
        return OpenLink(link=server.link(asset), turn=time.sleep, close=server.close)
    assert plan.folder is not None
    return OpenLink(link=FileDeviceLink(plan.folder, asset), turn=time.sleep)


def _broker(plan: MqttPlan) -> Broker:
    import os

    from dispatch.channels.mqtt_loop import Broker, TlsFiles

    tls = None
    if plan.authority is not None:
        tls = TlsFiles(authority=plan.authority, certificate=plan.certificate, key=plan.key)
    password = None
    if plan.password_variable is not None:
        password = os.environ.get(plan.password_variable)
        if password is None:
            what = f"the environment variable {plan.password_variable} is not set"
            raise InputError([Problem(where="password_variable", what=what)])
    return Broker.of_url(plan.url, tls, password)
