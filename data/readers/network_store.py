"""A `Network` as plain JSON and back: exact numbers, blanks where a value is not stated."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping

import numpy as np

from data.records.network import (
    Bools,
    Buses,
    Elements,
    Floats,
    Ints,
    Lines,
    Network,
    Shunts,
    Storages,
    TapChangers,
    Trafos,
)

Table = Buses | Lines | Trafos | Elements | Storages | Shunts | TapChangers
TABLES: typing.Final[dict[str, type[Table]]] = {
    "buses": Buses,
    "lines": Lines,
    "trafos": Trafos,
    "loads": Elements,
    "sgens": Elements,
    "storages": Storages,
    "shunts": Shunts,
}
TAP_CHANGERS: typing.Final = "tap_changers"
_DTYPES: typing.Final = ((Ints, np.int64), (Floats, np.float64), (Bools, np.bool_))


def _column_to_plain(column: object) -> list[object]:
    if isinstance(column, np.ndarray):
        values: list[object] = column.tolist()
        if column.dtype.kind == "f" and not np.all(np.isfinite(column)):
            return [v if v == v else None for v in values]  # NaN alone differs from itself
        return values
    return list(typing.cast("tuple[object, ...]", column))


def _table_to_plain(table: Table) -> dict[str, list[object]]:
    return {
        field.name: _column_to_plain(getattr(table, field.name))
        for field in dataclasses.fields(table)
    }


def _table_from_plain(kind: type[Table], plain: Mapping[str, list[object]]) -> Table:
    hints = typing.get_type_hints(kind)
    columns: dict[str, typing.Any] = {}
    for field in dataclasses.fields(kind):
        values = plain[field.name]
        dtype = next((dtype for hint, dtype in _DTYPES if hints[field.name] == hint), None)
        if dtype is None:
            columns[field.name] = tuple(str(value) for value in values)
        else:
            columns[field.name] = np.array(values, dtype=dtype)
    return kind(**columns)


def network_to_plain(network: Network) -> dict[str, object]:
    """Return a network as JSON types; NaN becomes null.

    Parameters
    ----------
    network : Network
        Any network without infinite values.
    """
    plain: dict[str, object] = {
        field.name: getattr(network, field.name)
        for field in dataclasses.fields(network)
        if field.name not in TABLES and field.name != TAP_CHANGERS
    }
    plain["bus_links"] = network.bus_links.tolist()
    plain["other_elements"] = list(network.other_elements)
    for name in TABLES:
        plain[name] = _table_to_plain(getattr(network, name))
    plain[TAP_CHANGERS] = _table_to_plain(network.tap_changers)
    return plain


def network_from_plain(plain: Mapping[str, typing.Any]) -> Network:
    """Return the network that `network_to_plain` wrote.

    Raises
    ------
    KeyError, ValueError, TypeError
        If a table or column is missing or of another type (a damaged file).
    """
    tables: dict[str, typing.Any] = {
        name: _table_from_plain(kind, plain[name])
        for name, kind in {**TABLES, TAP_CHANGERS: TapChangers}.items()
    }
    return Network(
        name=str(plain["name"]),
        frequency_hz=float(plain["frequency_hz"]),
        slack_bus=int(plain["slack_bus"]),
        slack_vm_pu=float(plain["slack_vm_pu"]),
        slack_va_degree=float(plain["slack_va_degree"]),
        bus_links=np.array(plain["bus_links"], dtype=np.int64).reshape(-1, 2),
        other_elements=tuple(str(element) for element in plain["other_elements"]),
        **tables,
    )
