"""The tables of a clearing's output folder, read back as columns."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.csv_table import read_table
from data.errors import Problem, refuse_if_any

Columns = dict[str, NDArray[np.int64] | NDArray[np.float64] | NDArray[np.str_]]
TEXT: Final = (
    "order", "trade", "participant", "period_start", "element_kind", "side", "status", "reason",
    "binding_element",
)  # fmt: skip
WHOLE: Final = ("bus", "element", "energy_wh", "price_micro_eur_per_mwh")
BLANK: Final = ("charge_mw", "discharge_mw", "soc_mwh")
HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "prices.csv": (
        "bus", "period_start", "dlmp_p_eur_per_mwh", "dlmp_q_eur_per_mvarh",
        "energy_eur_per_mwh", "loss_eur_per_mwh", "congestion_eur_per_mwh", "voltage_eur_per_mwh",
    ),
    "awards.csv": (
        "order", "bus", "period_start", "injection_mw", "injection_mvar", "energy_mwh",
        "accepted_share", "charge_mw", "discharge_mw", "soc_mwh",
    ),
    "trades.csv": (
        "trade", "order", "participant", "bus", "period_start", "energy_wh",
        "price_micro_eur_per_mwh",
    ),
    "buses.csv": (
        "bus", "period_start", "vm_pu", "shadow_price_upper_eur_per_pu_h",
        "shadow_price_lower_eur_per_pu_h",
    ),
    "branches.csv": (
        "element_kind", "element", "period_start", "p_from_mw", "q_from_mvar", "loading_percent",
        "shadow_price_eur_per_mva_h",
    ),
    "orders.csv": ("order", "status", "surplus_eur", "reason", "binding_element"),
    "price_parts.csv": (
        "bus", "period_start", "element_kind", "element", "side", "p_eur_per_mwh",
        "q_eur_per_mvarh",
    ),
    "substation.csv": ("period_start", "import_mw", "import_mvar"),
}  # fmt: skip


def read_result_table(folder: Path, name: str, *, blanks: bool = False) -> Columns:
    """Read one table of a result folder.

    Parameters
    ----------
    folder : Path
        What `data.results.write_result` wrote.
    name : str
        One of `HEADERS`.
    blanks : bool
        Whether any number may be blank, as in an infeasible clearing; it becomes NaN.

    Returns
    -------
    dict of header to ndarray, shape (rows,)
        Texts, whole numbers (``bus``, ``element``, ``energy_wh``, prices in micro-EUR) or floats;
        NaN where a storage column does not apply.

    Raises
    ------
    InputError
        A missing file, another header, cells that are no numbers.
    """
    problems: list[Problem] = []
    table = read_table(folder / name, HEADERS[name], problems)
    columns: Columns = {}
    for header in HEADERS[name] if table is not None else ():
        texts = table.columns[header] if table is not None else ()
        if header in TEXT:
            columns[header] = np.array(texts, dtype=np.str_)
        elif table is not None and header not in WHOLE:
            columns[header] = table.numbers(header, problems, blank=blanks or header in BLANK)
        else:
            columns[header] = _whole(name, header, texts, problems)
    refuse_if_any(problems)
    return columns


def _whole(
    name: str, header: str, texts: tuple[str, ...], problems: list[Problem]
) -> NDArray[np.int64]:
    try:
        return np.array(list(map(int, texts)), dtype=np.int64)
    except ValueError as error:
        problems.append(Problem(where=name, what=f"{header} is no whole number: {error}"))
        return np.zeros(len(texts), dtype=np.int64)


def read_prices(folder: Path) -> Columns:
    """Read ``prices.csv``; see `read_result_table`."""
    return read_result_table(folder, "prices.csv")


def read_awards(folder: Path) -> Columns:
    """Read ``awards.csv``; see `read_result_table`."""
    return read_result_table(folder, "awards.csv")


def read_trades(folder: Path) -> Columns:
    """Read ``trades.csv``; see `read_result_table`."""
    return read_result_table(folder, "trades.csv")
