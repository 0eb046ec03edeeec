"""A result folder read back as the `ClearingResult` it was written from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem, refuse_if_any
from data.readers.result_tables import Columns, read_result_table
from data.records.clearing import (
    Award,
    BranchFlow,
    Certificate,
    ClearingCase,
    ClearingResult,
    GridState,
    IntegerReport,
    PricePart,
    Prices,
    Violation,
)
from data.records.order import BilateralOrder, Order
from data.results import SUMMARY_FILE
from data.study import case_sha256

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PRICE_COLUMNS: Final = (
    "dlmp_p_eur_per_mwh", "dlmp_q_eur_per_mvarh", "energy_eur_per_mwh", "loss_eur_per_mwh",
    "congestion_eur_per_mwh", "voltage_eur_per_mwh",
)  # fmt: skip
BUS_COLUMNS: Final = (
    "vm_pu", "shadow_price_upper_eur_per_pu_h", "shadow_price_lower_eur_per_pu_h",
)  # fmt: skip
FLOW_COLUMNS: Final = (
    "p_from_mw", "q_from_mvar", "loading_percent", "shadow_price_eur_per_mva_h",
)  # fmt: skip
STORAGE_COLUMNS: Final = ("charge_mw", "discharge_mw", "soc_mwh")


def read_result(folder: Path, case: ClearingCase) -> ClearingResult:
    """Read what `data.results.write_result` wrote for a case.

    Parameters
    ----------
    folder : Path
        The result folder.
    case : ClearingCase
        The case it was made from; ``input_sha256`` must agree.

    Returns
    -------
    ClearingResult
        Numbers with the 12 significant digits of the files; NaN at buses out of service.

    Raises
    ------
    InputError
        With all problems of the first stage that has any: no output of a clearing or one of another
        case; tables that cannot be read, or whose rows are not those of the case.
    """
    summary = read_summary(folder)
    if summary.get("input_sha256") != case_sha256(case):
        problem = Problem(
            where=str(folder / SUMMARY_FILE),
            what="was not made from this study: input_sha256 differs",
            remedy="clear the study again with dso clear, or name its own with --study",
        )
        raise InputError([problem])
    infeasible = summary.get("status") == "infeasible"
    problems: list[Problem] = []
    tables: dict[str, Columns] = {}
    for name in ("buses.csv", "branches.csv", "prices.csv", "awards.csv", "orders.csv",
                 "price_parts.csv", "substation.csv"):  # fmt: skip
        try:
            tables[name] = read_result_table(folder, name, blanks=infeasible)
        except InputError as error:
            problems.extend(error.problems)
    refuse_if_any(problems)
    return _Reader(case, tables, folder).result(summary)


def read_summary(folder: Path) -> Mapping[str, Any]:
    """Read ``summary.json`` of a result folder.

    Raises
    ------
    InputError
        No such file, or none that a clearing wrote.
    """
    path = folder / SUMMARY_FILE
    if not path.is_file():
        problem = Problem(
            where=str(folder),
            what=f"holds no {SUMMARY_FILE}: it is no output of a clearing",
            remedy="run dso clear STUDY --out DIR first",
        )
        raise InputError([problem])
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError([Problem(where=str(path), what=f"is no JSON: {error}")]) from error
    if not isinstance(summary, dict) or "status" not in summary:
        raise InputError([Problem(where=str(path), what="is not what a clearing wrote")])
    return summary


def _award_buses(order: Order) -> tuple[int, ...]:
    if isinstance(order, BilateralOrder):
        return (order.buses[0][0], order.bus_to)
    return tuple(bus for bus, _ in order.buses)


def _integer_report(stated: dict[str, Any] | None) -> IntegerReport | None:
    """Read back what is said of the search over integers."""
    if stated is None:
        return None
    missed = tuple((one["order"], one["surplus_eur"]) for one in stated["paradoxically_rejected"])
    return IntegerReport(**{**stated, "paradoxically_rejected": missed})


def _known(cells: NDArray[Any]) -> Floats | None:
    values = np.asarray(cells, dtype=float)
    return None if np.isnan(values).all() else values


class _Reader:
    """Places rows of tables in arrays of the case; rows that do not belong are refused."""

    def __init__(self, case: ClearingCase, tables: dict[str, Columns], folder: Path) -> None:
        self.case, self.tables, self.folder = case, tables, folder
        labels = case.periods.labels()
        self.period_of = {label: k for k, label in enumerate(labels)}
        self.bus_row = {int(bus): k for k, bus in enumerate(case.network.buses.index)}
        self.shape = (len(self.bus_row), len(labels))

    def refuse(self, name: str, what: str) -> InputError:
        return InputError(
            [Problem(where=str(self.folder / name), what=what, remedy="clear the study again")]
        )

    def periods(self, name: str) -> Ints:
        texts = self.tables[name]["period_start"].tolist()
        unknown = sorted({text for text in texts if text not in self.period_of})
        if unknown:
            raise self.refuse(name, f"has periods that the study does not have: {unknown[:3]}")
        return np.array([self.period_of[text] for text in texts], dtype=np.int64)

    def buses(self, name: str) -> Ints:
        numbers = self.tables[name]["bus"].tolist()
        unknown = sorted({bus for bus in numbers if bus not in self.bus_row})
        if unknown:
            raise self.refuse(name, f"has buses that the study does not have: {unknown[:3]}")
        return np.array([self.bus_row[bus] for bus in numbers], dtype=np.int64)

    def by_bus(self, name: str, headers: tuple[str, ...]) -> dict[str, Floats]:
        rows, periods = self.buses(name), self.periods(name)
        wanted = int(self.case.network.buses.in_service.sum()) * self.shape[1]
        if len(rows) != wanted or len(set(zip(rows.tolist(), periods.tolist(), strict=True))) != (
            wanted
        ):
            raise self.refuse(name, f"has {len(rows)} rows, not {wanted}: one per bus and period")
        spread = {}
        for header in headers:
            values = np.full(self.shape, np.nan)
            values[rows, periods] = self.tables[name][header]
            spread[header] = values
        return spread

    def parts(self) -> tuple[PricePart, ...]:
        name = "price_parts.csv"
        table, rows, periods = self.tables[name], self.buses(name), self.periods(name)
        keys = zip(
            table["element_kind"].tolist(), table["element"].tolist(), table["side"].tolist(),
            strict=True,
        )  # fmt: skip
        rows_of: dict[tuple[str, int, str], list[int]] = {}
        for row, key in enumerate(keys):
            rows_of.setdefault(key, []).append(row)

        def spread(header: str, at: list[int]) -> Floats:
            # by period: a limit has a price in few of them, and pages of zeros take no memory
            values = np.zeros(self.shape, order="F")
            values[rows[at], periods[at]] = table[header][at]
            return values

        return tuple(
            PricePart(
                element_kind=kind,  # type: ignore[arg-type]
                element=element,
                side=side,  # type: ignore[arg-type]
                p_eur_per_mwh=spread("p_eur_per_mwh", at),
                q_eur_per_mvarh=spread("q_eur_per_mvarh", at),
            )
            for (kind, element, side), at in sorted(rows_of.items())
        )

    def branches(self) -> tuple[BranchFlow, ...]:
        name = "branches.csv"
        table, periods = self.tables[name], self.periods(name)
        pairs = list(zip(table["element_kind"].tolist(), table["element"].tolist(), strict=True))
        place = {pair: k for k, pair in enumerate(sorted(set(pairs)))}
        rows = np.array([place[pair] for pair in pairs], dtype=np.int64)
        values = np.full((len(FLOW_COLUMNS), len(place), self.shape[1]), np.nan)
        for k, header in enumerate(FLOW_COLUMNS):
            values[k, rows, periods] = table[header]
        return tuple(
            BranchFlow(
                element_kind=kind,
                element=element,
                **dict(zip(FLOW_COLUMNS, values[:, k], strict=True)),
            )
            for (kind, element), k in place.items()
        )

    def exchange(self) -> Floats:
        """Return import [MW] and reactive import [Mvar], shape (2, periods)."""
        name = "substation.csv"
        periods = self.periods(name)
        if sorted(periods.tolist()) != list(range(self.shape[1])):
            raise self.refuse(name, f"has {len(periods)} rows, not one per period")
        values = np.full((2, self.shape[1]), np.nan)
        for k, header in enumerate(("import_mw", "import_mvar")):
            values[k, periods] = self.tables[name][header]
        return values

    def awards(self) -> tuple[Award, ...]:
        """Rows of one order stand in the order of its buses, period by period."""
        name = "awards.csv"
        table, periods = self.tables[name], self.periods(name)
        rows_of: dict[str, list[int]] = {}
        for row, order_id in enumerate(table["order"].tolist()):
            rows_of.setdefault(order_id, []).append(row)
        decided = self.tables["orders.csv"]
        line_of = {order_id: k for k, order_id in enumerate(decided["order"].tolist())}
        awards = []
        for order in self.case.orders:
            buses, rows = _award_buses(order), rows_of.get(order.id, [])
            if len(rows) != len(buses) * self.shape[1] or order.id not in line_of:
                raise self.refuse(name, f"lacks rows of order {order.id}")
            at = np.array(rows)[np.argsort(periods[rows], kind="stable")]
            at = at.reshape(self.shape[1], len(buses))
            if not np.all(table["bus"][at] == np.array(buses)):
                raise self.refuse(name, f"names other buses than order {order.id} does")
            stored = {header: _known(table[header][at[:, 0]]) for header in STORAGE_COLUMNS}
            line = line_of[order.id]
            awards.append(
                Award(
                    order=order.id,
                    participant=order.participant,
                    buses=buses,
                    injection_mw=np.asarray(table["injection_mw"][at], dtype=float).T,
                    injection_mvar=np.asarray(table["injection_mvar"][at], dtype=float).T,
                    accepted_share=np.asarray(table["accepted_share"][at[:, 0]], dtype=float),
                    status=decided["status"][line].item(),
                    surplus_eur=float(decided["surplus_eur"][line]),
                    reason=decided["reason"][line].item(),
                    binding_element=decided["binding_element"][line].item(),
                    **stored,
                )
            )
        return tuple(awards)

    def violations(self, summary: Mapping[str, Any]) -> tuple[Violation, ...]:
        return tuple(
            Violation(
                period=self.period_of[item["period_start"]],
                **{name: value for name, value in item.items() if name != "period_start"},
            )
            for item in summary["violations"]
        )

    def result(self, summary: Mapping[str, Any]) -> ClearingResult:
        prices = self.by_bus("prices.csv", PRICE_COLUMNS)
        exchange = self.exchange()
        certificate: dict[str, Any] = {
            name: np.nan if value is None else value
            for name, value in summary["certificate"].items()
        }
        certificate["solver_options"] = tuple(sorted(certificate["solver_options"].items()))
        objective, penalty = summary["objective_eur"], summary["penalty_eur"]
        return ClearingResult(
            case_name=summary["name"],
            periods=self.case.periods,
            status=summary["status"],
            message=summary["message"],
            objective_eur=np.nan if objective is None else objective,
            penalty_eur=np.nan if penalty is None else penalty,
            violations=self.violations(summary),
            bound_eur=summary["bound_eur"],
            bound_kind=summary["bound_kind"],
            awards=self.awards(),
            prices=Prices(parts=self.parts(), **prices),
            grid=GridState(
                branches=self.branches(),
                import_mw=exchange[0],
                import_mvar=exchange[1],
                **self.by_bus("buses.csv", BUS_COLUMNS),
            ),
            certificate=Certificate(**certificate),
            input_sha256=summary["input_sha256"],
            versions=tuple(sorted(summary["versions"].items())),
            integers=_integer_report(summary.get("integers")),
        )
