"""Read a clearing: its study, which says what was asked, and its output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods
from data.readers.result_tables import Columns, read_result_table
from data.study import case_sha256, read_study
from dso.report.views import FeederView, Floats, Ints
from dso.show.feeder import reach_of, view_feeder
from dso.show.views import ElementPart, Refused, Shortage, ShowView

SUMMARY_FILE: Final = "summary.json"
SUBSTATION: Final = "Substation exchange"


def read_view(folder: Path, study: Path) -> ShowView:
    """Read what the page shows.

    Parameters
    ----------
    folder : Path
        Output of `dso clear`.
    study : Path
        The study it was made from.

    Returns
    -------
    ShowView

    Raises
    ------
    InputError
        With all problems: missing or damaged files, an output of another study, an infeasible
        clearing.
    """
    _refuse_missing(folder, study)
    summary = _read_summary(folder)
    case = read_study(study)
    if summary.get("input_sha256") != case_sha256(case):
        problem = Problem(
            where=str(folder / SUMMARY_FILE),
            what=f"was not made from the study in {study}: input_sha256 differs",
            remedy="clear the study again with dso clear, or name its own with --study",
        )
        raise InputError([problem])
    if summary.get("status") == "infeasible":
        problem = Problem(
            where=str(folder),
            what="holds an infeasible clearing: there are no prices and voltages to draw",
            remedy=str(summary.get("message", "")),
        )
        raise InputError([problem])
    feeder = view_feeder(case.network, case.limits)
    at = _Axes(feeder, case.periods)
    prices = read_result_table(folder, "prices.csv")
    buses = read_result_table(folder, "buses.csv")
    branches = read_result_table(folder, "branches.csv")
    orders = read_result_table(folder, "orders.csv")
    loading = np.full((len(feeder.branch_name), len(case.periods)), np.nan)
    rows = at.branches(branches)
    known = rows >= 0
    loading[rows[known], at.periods(branches)[known]] = _floats(branches, "loading_percent")[known]

    return ShowView(
        name=case.name,
        timezone=case.timezone,
        periods=case.periods,
        feeder=feeder,
        network=case.network.name,
        reach=reach_of(feeder, case.network),
        import_price_eur_per_mwh=case.import_price_eur_per_mwh,
        price=at.fill(prices, "dlmp_p_eur_per_mwh"),
        energy=at.fill(prices, "energy_eur_per_mwh"),
        loss=at.fill(prices, "loss_eur_per_mwh"),
        elements=_elements(read_result_table(folder, "price_parts.csv"), at),
        vm_pu=at.fill(buses, "vm_pu"),
        loading_percent=loading,
        shortages=_shortages(summary, at),
        refused=_refused(orders),
        orders_count=len(orders["order"]),
        summary=summary,
    )


class _Axes:
    """Where rows of the output's tables belong."""

    def __init__(self, feeder: FeederView, periods: Periods) -> None:
        self.feeder = feeder
        self.period = {label: k for k, label in enumerate(periods.labels())}
        self.bus = {int(bus): k for k, bus in enumerate(feeder.bus)}
        pairs = zip(feeder.branch_kind, feeder.branch_element, strict=True)
        self.branch = {pair: k for k, pair in enumerate(pairs)}

    def periods(self, table: Columns) -> Ints:
        """Return the period number of each row."""
        return _places(table, "period_start", self.period)

    def buses(self, table: Columns) -> Ints:
        """Return the bus position of each row."""
        return _places(table, "bus", self.bus)

    def branches(self, table: Columns) -> Ints:
        """Return the branch position of each row, -1 where it is not drawn."""
        pairs = zip(table["element_kind"].tolist(), table["element"].tolist(), strict=True)
        return np.array([self.branch.get((str(k), int(e)), -1) for k, e in pairs], dtype=np.int64)

    def fill(self, table: Columns, header: str) -> Floats:
        """Spread one column over (buses, periods)."""
        values = np.full((len(self.bus), len(self.period)), np.nan)
        values[self.buses(table), self.periods(table)] = _floats(table, header)
        return values


def _places(table: Columns, header: str, place: Mapping[Any, int]) -> Ints:
    """Return where each cell of a column stands; values that the study does not have are named."""
    cells = table[header].tolist()
    unknown = sorted({cell for cell in cells if cell not in place})
    refuse_if_any(
        Problem(where=f"{header} {cell}", what="stands in the output and not in the study")
        for cell in unknown
    )
    return np.array([place[cell] for cell in cells], dtype=np.int64)


def _floats(table: Columns, header: str) -> Floats:
    return np.asarray(table[header], dtype=float)


def _refuse_missing(folder: Path, study: Path) -> None:
    problems = []
    if not (folder / SUMMARY_FILE).is_file():
        problems.append(
            Problem(
                where=str(folder),
                what=f"holds no {SUMMARY_FILE}: it is no output of dso clear",
                remedy="run dso clear STUDY --out DIR first",
            )
        )
    if not (study / "study.toml").is_file():
        problems.append(
            Problem(
                where=str(study),
                what="holds no study.toml: the network and its limits are read from there",
                remedy="name the study folder with --study",
            )
        )
    refuse_if_any(problems)


def _read_summary(folder: Path) -> Mapping[str, object]:
    path = folder / SUMMARY_FILE
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError([Problem(where=str(path), what=f"is no JSON: {error}")]) from error
    if not isinstance(summary, dict):
        raise InputError([Problem(where=str(path), what="is no JSON object")])
    return summary


def _elements(table: Columns, at: _Axes) -> tuple[ElementPart, ...]:
    """Gather the parts of each limit, the two ends of a branch together; largest first."""
    parts: dict[tuple[str, int, str], dict[int, Floats]] = {}
    rows = zip(
        at.buses(table).tolist(), at.periods(table).tolist(), table["element_kind"].tolist(),
        table["element"].tolist(), table["side"].tolist(),
        _floats(table, "p_eur_per_mwh").tolist(), strict=True,
    )  # fmt: skip
    for bus, period, kind, element, side, value in rows:
        key = (kind, element, "" if kind in ("line", "trafo") else side)
        by_period = parts.setdefault(key, {})
        if period not in by_period:
            by_period[period] = np.zeros(len(at.bus))
        by_period[period][bus] += value
    found = [
        ElementPart(
            element_kind=kind,
            element=element,
            side=side,
            name=name_limit(at.feeder, kind, element, side),
            periods=np.array(sorted(by_period), dtype=np.int64),
            p_eur_per_mwh=np.array([by_period[period] for period in sorted(by_period)]),
        )
        for (kind, element, side), by_period in parts.items()
    ]
    found.sort(key=lambda part: (-np.abs(part.p_eur_per_mwh).max(), part.element_kind,
                                 part.element, part.side))  # fmt: skip
    return tuple(found)


def name_limit(feeder: FeederView, kind: str, element: int, side: str) -> str:
    """Return the name of a limit as the reader knows it."""
    if kind == "ext_grid":
        return f"{SUBSTATION}, {side}" if side else SUBSTATION
    name = feeder.name_of(kind, element)
    return f"{name}, {side} voltage" if kind == "bus" else name


def _refused(table: Columns) -> tuple[Refused, ...]:
    """Orders that carry a reason: rejected ones first, then those accepted in part."""
    found = [
        Refused(order=order, status=status, reason=reason)
        for order, status, reason in zip(
            table["order"].tolist(), table["status"].tolist(), table["reason"].tolist(),
            strict=True,
        )
        if reason
    ]  # fmt: skip
    ranks = ("paradoxically_rejected", "rejected", "partial", "accepted")
    return tuple(sorted(found, key=lambda each: (ranks.index(each.status), each.order)))


def _shortages(summary: Mapping[str, object], at: _Axes) -> tuple[Shortage, ...]:
    listed = summary.get("violations")
    found = []
    for item in listed if isinstance(listed, list) else []:
        kind, element, side = item["element_kind"], item["element"], item["side"]
        found.append(
            Shortage(
                element_kind=kind,
                element=element,
                side=side,
                name=name_limit(at.feeder, kind, element, side),
                period=at.period[item["period_start"]],
                value=item["value"],
                limit=item["limit"],
                mw_short=item["mw_short"],
            )
        )
    return tuple(found)
