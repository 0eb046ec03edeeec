"""One form per case: what a study folder can say of it, and the hash over that."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import canonical_json
from data.csv_table import round_significant
from data.errors import Problem, refuse_if_any
from data.periods import format_utc
from data.readers.network_store import TABLES
from data.records.clearing import ClearingCase, LimitMargins, Limits
from data.records.network import Elements, Network
from data.study.order_fields import context_of
from data.study.read_orders import order_from_plain
from data.study.series import per_scaling
from data.study.write_orders import orders_bytes, plain_orders

Floats = NDArray[np.float64]
MARGIN_ARRAYS: Final = (
    "vm_pu_upper", "vm_pu_lower", "line_loading_percent", "trafo_loading_percent",
)  # fmt: skip
LIMIT_ARRAYS: Final = (
    "vm_pu_min", "vm_pu_max", "line_loading_percent_max", "trafo_loading_percent_max",
)  # fmt: skip


def _scaled(values: Floats, elements: Elements) -> Floats:
    """Return powers as they are after a round trip through ``profiles.csv``."""
    scaling = np.where(elements.scaling == 0.0, 1.0, elements.scaling)
    return per_scaling(values, elements) * scaling


def _optional(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.12g}")


def _sorted_positions(case: ClearingCase) -> tuple[Floats, Floats] | None:
    """Return position rows (MW, Mvar) in the order of the sorted book; Mvar not stated are 0."""
    if case.position_mw is None:
        return None
    ids = [order.id for order in case.orders]
    rows = sorted(range(len(ids)), key=ids.__getitem__)
    mvar = np.zeros_like(case.position_mw) if case.position_mvar is None else case.position_mvar
    return case.position_mw[rows], mvar[rows]


def canonical_case(case: ClearingCase) -> ClearingCase:
    """Return a case exactly as `read_study` would read it after `write_study`.

    Numbers are rounded to the 12 significant digits that files carry and orders sorted by id, so
    a run in memory and a re-run from the folder see the same bits.

    Raises
    ------
    InputError
        If an order is not one that ``orders.json`` accepts.
    """
    network = case.network
    limits = {name: round_significant(getattr(case.limits, name)) for name in LIMIT_ARRAYS}
    # bus and asset were checked by whoever made the case; here only the numbers take their form
    context = context_of(None, len(case.periods))
    problems: list[Problem] = []
    orders = [
        order_from_plain(plain, number, context, problems)
        for number, plain in enumerate(plain_orders(case.orders))
    ]
    refuse_if_any(problems)
    position = _sorted_positions(case)
    return dataclasses.replace(
        case,
        load_p_mw=_scaled(case.load_p_mw, network.loads),
        load_q_mvar=_scaled(case.load_q_mvar, network.loads),
        sgen_p_mw=_scaled(case.sgen_p_mw, network.sgens),
        sgen_q_mvar=_scaled(case.sgen_q_mvar, network.sgens),
        import_price_eur_per_mwh=round_significant(case.import_price_eur_per_mwh),
        import_mw_max=_optional(case.import_mw_max),
        export_mw_max=_optional(case.export_mw_max),
        limits=Limits(
            **limits,
            scarcity_price_eur_per_mwh=float(f"{case.limits.scarcity_price_eur_per_mwh:.12g}"),
        ),
        orders=tuple(order for order in orders if order is not None),
        position_mw=None if position is None else round_significant(position[0]),
        position_mvar=None if position is None else round_significant(position[1]),
        margins=None
        if case.margins is None
        else LimitMargins(
            **{name: round_significant(getattr(case.margins, name)) for name in MARGIN_ARRAYS}
        ),
    )


def _number_bytes(values: Floats) -> bytes:
    """Return the bytes of rounded numbers, little-endian, one bit pattern for NaN and for 0."""
    rounded = round_significant(values)
    rounded = np.where(np.isnan(rounded), np.nan, rounded)
    return rounded.astype("<f8").tobytes()


def _network_parts(network: Network) -> Iterator[tuple[str, bytes]]:
    scalars = {
        "name": network.name,
        "frequency_hz": network.frequency_hz,
        "slack_bus": network.slack_bus,
        "slack_vm_pu": network.slack_vm_pu,
        "slack_va_degree": network.slack_va_degree,
        "other_elements": network.other_elements,
        "bus_links": network.bus_links,
    }
    yield "network", canonical_json(scalars)
    for name in TABLES:
        table = getattr(network, name)
        for field in dataclasses.fields(table):
            column = getattr(table, field.name)
            if not isinstance(column, np.ndarray):
                content = canonical_json(column)
            elif column.dtype.kind == "f":
                content = _number_bytes(column)
            else:
                content = column.astype("<i8").tobytes()
            yield f"network.{name}.{field.name}", content


def _case_parts(case: ClearingCase) -> Iterator[tuple[str, bytes]]:
    """Yield every named part of a case as bytes, in a fixed sequence."""
    scalars = {
        "name": case.name,
        "start": format_utc(case.periods.start),
        "periods": case.periods.count,
        "mtu_minutes": case.periods.mtu_minutes,
        "timezone": case.timezone,
        "formulation": case.formulation,
        "import_mw_max": case.import_mw_max,
        "export_mw_max": case.export_mw_max,
        "scarcity_price_eur_per_mwh": case.limits.scarcity_price_eur_per_mwh,
    }
    yield "case", canonical_json(scalars)
    yield from _network_parts(case.network)
    loads, sgens = case.network.loads, case.network.sgens
    for name, elements in (
        ("load_p_mw", loads), ("load_q_mvar", loads), ("sgen_p_mw", sgens), ("sgen_q_mvar", sgens),
    ):  # fmt: skip
        yield name, _number_bytes(per_scaling(getattr(case, name), elements))
    yield "import_price_eur_per_mwh", _number_bytes(case.import_price_eur_per_mwh)
    for name in LIMIT_ARRAYS:
        yield name, _number_bytes(getattr(case.limits, name))
    yield "orders", orders_bytes(case.orders)
    for name, values in zip(
        ("position_mw", "position_mvar"), _sorted_positions(case) or (), strict=False
    ):
        yield name, _number_bytes(values)
    if case.margins is not None:
        for name in MARGIN_ARRAYS:
            yield f"margins.{name}", _number_bytes(getattr(case.margins, name))


def case_sha256(case: ClearingCase) -> str:
    """Return the SHA-256 of everything one solve needs, as lower-case hex.

    Equal for a case in memory, the same case read back from its study folder, and any permutation
    of its orders. Each part enters as name, length and bytes, so no two cases share an encoding.

    Parameters
    ----------
    case : ClearingCase
        The case; numbers count to 12 significant digits.
    """
    digest = hashlib.sha256(b"gridclear case 1\n")
    for name, content in _case_parts(case):
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
