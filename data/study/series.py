"""The tables of a study folder: profiles, import price and position so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.csv_table import TextTable, read_table, round_significant
from data.errors import Problem
from data.periods import Periods, parse_utc
from data.readers.simbench import NetworkProfiles
from data.records.network import Elements, Network

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PROFILES_FILE: Final = "profiles.csv"
PROFILES_HEADER: Final = ("element", "id", "period_start", "p_mw", "q_mvar")
PRICE_HEADER: Final = ("period_start", "eur_per_mwh")
POSITION_FILE: Final = "position.csv"
POSITION_HEADER: Final = ("order", "period_start", "injection_mw", "injection_mvar")


def period_numbers(table: TextTable, periods: Periods, problems: list[Problem]) -> Ints:
    """Return the position of each row's period; -1 (and a problem) for one outside the study."""
    known = {label: number for number, label in enumerate(periods.labels())}
    numbers: dict[str, int] = {}
    for row, text in enumerate(table.columns["period_start"]):
        if text in numbers or text in known:
            continue
        try:
            offset = parse_utc(text) - periods.start
        except ValueError:
            numbers[text] = -1
            problems.append(
                Problem(
                    where=table.where(row),
                    what=f"period_start {text!r} is not an instant with offset",
                    remedy="e.g. 2026-06-01T22:00:00Z",
                )
            )
            continue
        number, rest = divmod(offset, periods.mtu)
        inside = not rest and 0 <= number < len(periods)
        numbers[text] = number if inside else -1
        if not inside:
            problems.append(
                Problem(
                    where=table.where(row), what=f"{text} is not the start of a period of the study"
                )
            )
    numbers = {**known, **numbers}
    return np.array([numbers[text] for text in table.columns["period_start"]], dtype=np.int64)


def _place_rows(
    table: TextTable,
    owner: Ints,
    period: Ints,
    names: Sequence[str],
    periods: Periods,
    problems: list[Problem],
) -> Ints:
    """Return the row that states (owner, period), shape (owners, periods); -1 where none does.

    Duplicates, and gaps of owners that have any row, are problems.
    """
    place = np.full((len(names), len(periods)), -1, dtype=np.int64)
    good = np.flatnonzero((owner >= 0) & (period >= 0))
    key = owner[good] * len(periods) + period[good]
    _, first = np.unique(key, return_index=True)
    place[owner[good[first]], period[good[first]]] = good[first]
    labels = periods.labels()
    problems.extend(
        Problem(
            where=table.where(row),
            what=f"{names[owner[row]]} has a second row for {labels[period[row]]}",
            remedy="keep one",
        )
        for row in np.delete(good, first).tolist()
    )
    for number in np.unique(owner[owner >= 0]).tolist():
        missing = np.flatnonzero(place[number] < 0)
        if missing.size:
            problems.append(
                Problem(
                    where=table.name,
                    what=f"{names[number]} has no row for {missing.size} of {len(periods)} "
                    f"periods, first {labels[missing[0]]}",
                    remedy="state every period or none",
                )
            )
    return place


def own_power_factor(
    p_mw: Floats, elements: Elements, row: int, kind: str, problems: list[Problem]
) -> Floats:
    """Return the reactive power [Mvar] of an element at its own power factor."""
    p_own, q_own = float(elements.p_mw[row]), float(elements.q_mvar[row])
    if p_own == 0.0 and q_own != 0.0:
        problems.append(
            Problem(
                where=f"{kind} {elements.index[row]} ({elements.name[row]})",
                what="q_mvar is empty and the element has no power factor (its p_mw is 0)",
                remedy="state q_mvar",
            )
        )
        return np.zeros_like(p_mw)
    return p_mw * (q_own / p_own) if p_own else np.zeros_like(p_mw)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProfileRows:
    """The rows of ``profiles.csv`` in numbers."""

    table: TextTable
    place: Ints
    p_mw: Floats
    q_mvar: Floats


def _owner_numbers(table: TextTable, network: Network, problems: list[Problem]) -> Ints:
    """Return each row's element as its place among loads then sgens; -1 when unknown."""
    known: dict[tuple[str, str], int] = {}
    for kind, elements in (("load", network.loads), ("sgen", network.sgens)):
        for index in elements.index.tolist():
            known[kind, str(index)] = len(known)
    owner: list[int] = []
    reported: set[tuple[str, str]] = set()
    keys = zip(table.columns["element"], table.columns["id"], strict=True)
    for row, key in enumerate(keys):
        number = known.get(key, -1)
        owner.append(number)
        if number < 0 and key not in reported:
            reported.add(key)
            problems.append(
                Problem(
                    where=table.where(row),
                    what=f"{key[0]} {key[1]} is not a load or sgen of the network",
                    remedy="element is load or sgen, id its index in the network",
                )
            )
    return np.array(owner, dtype=np.int64)


def _report_profile_numbers(
    table: TextTable, problems: list[Problem], column: str, *, blank: bool
) -> Floats:
    """Read a column of powers; a problem names element and time."""
    found: list[Problem] = []
    values = table.numbers(column, found, blank=blank)
    if found:
        for row in np.flatnonzero(np.isnan(values)).tolist():
            text = table.columns[column][row]
            if text or not blank:
                element = f"{table.columns['element'][row]} {table.columns['id'][row]}"
                problems.append(
                    Problem(
                        where=f"{table.where(row)} ({element})",
                        what=f"{column} is {text or 'empty'} at "
                        f"{table.columns['period_start'][row]}",
                        remedy="state a finite number",
                    )
                )
    return values


def read_profiles(
    folder: Path, network: Network, periods: Periods, problems: list[Problem]
) -> NetworkProfiles:
    """Read ``profiles.csv``; elements without rows keep their own power in all periods.

    Parameters
    ----------
    folder : Path
        The study folder; the file is optional.
    network : Network
        Loads and sgens; their scaling applies to profiles too.
    periods : Periods
        Periods of the study.
    problems : list of Problem
        Collects what is wrong.
    """
    path = folder / PROFILES_FILE
    rows: _ProfileRows | None = None
    if path.exists():
        table = read_table(path, PROFILES_HEADER, problems)
        if table is not None:
            names = [f"load {index}" for index in network.loads.index]
            names += [f"sgen {index}" for index in network.sgens.index]
            owner = _owner_numbers(table, network, problems)
            period = period_numbers(table, periods, problems)
            rows = _ProfileRows(
                table=table,
                place=_place_rows(table, owner, period, names, periods, problems),
                p_mw=_report_profile_numbers(table, problems, "p_mw", blank=False),
                q_mvar=_report_profile_numbers(table, problems, "q_mvar", blank=True),
            )
    load_p, load_q = _powers("load", network.loads, rows, 0, periods, problems)
    sgen_p, sgen_q = _powers(
        "sgen", network.sgens, rows, len(network.loads.index), periods, problems
    )
    return NetworkProfiles(
        load_p_mw=load_p, load_q_mvar=load_q, sgen_p_mw=sgen_p, sgen_q_mvar=sgen_q
    )


def _powers(
    kind: str,
    elements: Elements,
    rows: _ProfileRows | None,
    offset: int,
    periods: Periods,
    problems: list[Problem],
) -> tuple[Floats, Floats]:
    """Return (p_mw, q_mvar) of all elements of a kind, shape (periods, elements) each."""
    p_mw = np.tile(elements.p_mw, (len(periods), 1))
    q_mvar = np.tile(elements.q_mvar, (len(periods), 1))
    if rows is None:
        return p_mw, q_mvar
    for column, scaling in enumerate(elements.scaling.tolist()):
        place = rows.place[offset + column]
        if np.any(place < 0):
            continue
        p_mw[:, column] = rows.p_mw[place] * scaling
        q = rows.q_mvar[place] * scaling
        if np.any(np.isnan(q)):
            own = own_power_factor(p_mw[:, column], elements, column, kind, problems)
            q = np.where(np.isnan(q), own, q)
        q_mvar[:, column] = q
    return p_mw, q_mvar


def per_scaling(values: Floats, elements: Elements) -> Floats:
    """Return powers before scaling, rounded as ``profiles.csv`` states them.

    Parameters
    ----------
    values : ndarray, shape (periods, elements)
        Powers with scaling applied [MW or Mvar].
    """
    scaling = np.where(elements.scaling == 0.0, 1.0, elements.scaling)
    return round_significant(values / scaling)


def read_price(path: Path, periods: Periods, problems: list[Problem]) -> Floats:
    """Read the import price [EUR/MWh], shape (periods,); any sign."""
    table = read_table(path, PRICE_HEADER, problems)
    if table is None:
        return np.zeros(len(periods))
    price = table.numbers("eur_per_mwh", problems)
    period = period_numbers(table, periods, problems)
    place = _place_rows(
        table, np.zeros(len(table), dtype=np.int64), period, ["the price"], periods, problems
    )
    if not len(table):
        problems.append(Problem(where=path.name, what="has no rows"))
        return np.zeros(len(periods))
    by_period: Floats = price[place[0]]
    return by_period


def read_position(
    folder: Path, orders: Sequence[str], periods: Periods, problems: list[Problem]
) -> tuple[Floats, Floats] | None:
    """Read ``position.csv``: (injection [MW], injection [Mvar]), shape (orders, periods) each.

    An order without any row is new and has no position yet: 0. None without the file.
    """
    path = folder / POSITION_FILE
    if not path.exists():
        return None
    table = read_table(path, POSITION_HEADER, problems)
    shape = (len(orders), len(periods))
    if table is None:
        return np.zeros(shape), np.zeros(shape)
    number = {order: place for place, order in enumerate(orders)}
    owner = np.array([number.get(name, -1) for name in table.columns["order"]], dtype=np.int64)
    problems.extend(
        Problem(
            where=POSITION_FILE,
            what=f"order {name!r} is not in orders.json",
            remedy="list the order again; a bound position does not vanish",
        )
        for name in sorted({*table.columns["order"]} - set(orders))
    )
    period = period_numbers(table, periods, problems)
    place = _place_rows(
        table, owner, period, [f"order {name}" for name in orders], periods, problems
    )
    stated = place >= 0
    columns: list[Floats] = []
    for header in ("injection_mw", "injection_mvar"):
        values = table.numbers(header, problems)
        filled = np.zeros(shape)
        filled[stated] = values[place[stated]]
        columns.append(filled)
    return columns[0], columns[1]
