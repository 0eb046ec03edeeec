"""Settings applied to a case in memory: every problem found, the case given stays as it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from data.errors import Problem, refuse_if_any
from data.records.clearing import FORMULATIONS, ClearingCase
from data.records.order import ORDER_KINDS, CurtailOrder, kind_of
from data.study.canonical_case import canonical_case
from data.study.limits import limit_overrides, limits_in_force
from data.study.network_changes import NetworkChange, change_network
from data.study.read_orders import check_parents
from data.study.read_study import report_unordered
from data.study.settings import LIMIT_FIELDS
from dso.studies.added_orders import Fields, battery_order, demand_order, generation_order
from dso.studies.change_orders import (
    order_of,
    put_order,
    remove_order,
    scale_orders,
)
from dso.studies.settings import Setting

NETWORK_KINDS: Final = ("line", "trafo", "shunt")
NONE: Final = "none"


class _Change:
    """One setting at work on a case; what is wrong is collected under its key."""

    def __init__(self, case: ClearingCase, setting: Setting, problems: list[Problem]) -> None:
        self.case, self.setting, self.problems = case, setting, problems
        self.kind, _, self.rest = setting.key.partition(".")
        self.value = setting.value

    def report(self, what: str, remedy: str = "") -> None:
        """Collect a problem of this setting."""
        self.problems.append(Problem(where=f"setting {self.setting.key}", what=what, remedy=remedy))

    def number(self, *, minimum: float = -math.inf) -> float | None:
        """Return the value as a finite number of at least ``minimum``; report another one."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.report(f"is {value!r}", "state a number")
        elif not math.isfinite(value) or value < minimum:
            least = "" if minimum == -math.inf else f" of at least {minimum:g}"
            self.report(f"is {value:g}", f"state a finite number{least}")
        else:
            return float(value)
        return None

    def unknown(self) -> ClearingCase:
        """Report a key that there is not."""
        self.report("is no setting", "dso study set --help lists them")
        return self.case

    def name(self) -> ClearingCase:
        """``name``."""
        value = self.value
        if self.rest or not isinstance(value, str) or not value.strip() or not value.isprintable():
            self.report(f"is {value!r}", "state a text")
            return self.case
        return dataclasses.replace(self.case, name=value)

    def formulation(self) -> ClearingCase:
        """``formulation``."""
        for known in FORMULATIONS:
            if self.value == known and not self.rest:
                return dataclasses.replace(self.case, formulation=known)
        self.report(f"is {self.value!r}", f"one of {', '.join(FORMULATIONS)}")
        return self.case

    def cap(self) -> ClearingCase:
        """``import_mw_max`` or ``export_mw_max``; ``none`` lifts it."""
        if self.rest:
            return self.unknown()
        value = None if self.value == NONE else self.number(minimum=0)
        if self.kind == "import_mw_max":
            return dataclasses.replace(self.case, import_mw_max=value)
        return dataclasses.replace(self.case, export_mw_max=value)

    def import_price(self) -> ClearingCase:
        """``import_price.factor``, ``.shift_eur_per_mwh`` or ``.eur_per_mwh``."""
        price = self.case.import_price_eur_per_mwh
        if self.rest == "eur_per_mwh" and isinstance(self.value, list):
            values = np.array([v if _finite(v) else np.nan for v in self.value], dtype=float)
            if len(values) != len(price) or np.isnan(values).any():
                self.report(
                    f"holds {len(values)} values", f"state {len(price)} finite numbers or one"
                )
                return self.case
            return dataclasses.replace(self.case, import_price_eur_per_mwh=values)
        if self.rest not in ("factor", "shift_eur_per_mwh", "eur_per_mwh"):
            return self.unknown()
        number = self.number()
        if number is None:
            return self.case
        changed = {
            "factor": price * number,
            "shift_eur_per_mwh": price + number,
            "eur_per_mwh": np.full(len(price), number),
        }[self.rest]
        return dataclasses.replace(self.case, import_price_eur_per_mwh=changed)

    def limits(self) -> ClearingCase:
        """``limits.vm_pu_min`` and the other limits of a whole kind."""
        limits = self.case.limits
        if self.rest == "scarcity_price_eur_per_mwh":
            number = self.number(minimum=0)
            changed = limits.scarcity_price_eur_per_mwh if number is None else number
            limits = dataclasses.replace(limits, scarcity_price_eur_per_mwh=changed)
        elif self.rest in LIMIT_FIELDS:
            number = self.number(minimum=1e-9)
            if number is not None:
                values: dict[str, Any] = {
                    self.rest: np.full(len(getattr(limits, self.rest)), number)
                }
                limits = dataclasses.replace(limits, **values)
        else:
            return self.unknown()
        return dataclasses.replace(self.case, limits=limits)

    def network(self) -> ClearingCase:
        """One value of a line, transformer, shunt or the substation."""
        found: list[Problem] = []
        change = network_change(self.setting)
        network = change_network(self.case.network, [change], found)
        for problem in found:
            self.report(problem.what, problem.remedy)
        return dataclasses.replace(self.case, network=network)

    def elements(self) -> ClearingCase:
        """``load.scale``, ``load.3.scale`` or ``sgen.PV.scale``, orders that name them included."""
        chosen, _, word = self.rest.rpartition(".")
        factor = self.number(minimum=0) if word == "scale" else None
        if word != "scale":
            return self.unknown()
        table = self.case.network.loads if self.kind == "load" else self.case.network.sgens
        if chosen.isdigit():
            picked = table.index == int(chosen)
        else:
            picked = np.array([kind.startswith(chosen) for kind in table.technology], dtype=bool)
        if chosen and not picked.any():
            self.report(f"the network has no {self.kind} {chosen}")
        if factor is None:
            return self.case
        factors = np.where(picked, factor, 1.0)
        names = {f"{self.kind}:{index}" for index in table.index[picked].tolist()}
        case, _ = scale_orders(self.case, factor, lambda order: order.asset in names, self.problems)
        return dataclasses.replace(
            case,
            **{
                f"{self.kind}_{quantity}": getattr(case, f"{self.kind}_{quantity}") * factors
                for quantity in ("p_mw", "q_mvar")
            },
        )

    def addition(self) -> ClearingCase:
        """``battery.NAME``, ``generation.NAME`` or ``demand.NAME``."""
        if not self.rest:
            return self.unknown()
        if any(order.id == self.rest for order in self.case.orders):
            self.report(f"an order {self.rest} is there already", "choose another name")
            return self.case
        if not isinstance(self.value, dict):
            self.report(f"is {self.value!r}", "state a table, e.g. {bus=12, p_mw=1.0, ...}")
            return self.case
        make: dict[str, Callable[[Fields], Fields | None]] = {
            "battery": lambda fields: battery_order(self.rest, fields, self.report),
            "generation": lambda fields: generation_order(
                self.case, self.rest, fields, self.report
            ),
            "demand": lambda fields: demand_order(self.case, self.rest, fields, self.report),
        }
        fields = make[self.kind](self.value)
        return self.case if fields is None else self._put(fields)

    def order(self) -> ClearingCase:
        """``order.ID``, ``order.ID.remove`` or ``order.ID.scale``."""
        order_id, _, word = self.rest.rpartition(".")
        if isinstance(self.value, dict) and self.rest:
            return self._put({**self.value, "id": self.rest})
        if word == "remove" and order_id:
            if self.value is not True:
                self.report(f"is {self.value!r}", "state true")
                return self.case
            return remove_order(self.case, order_id, self.problems)
        if word != "scale" or not order_id:
            return self.unknown()
        return self._scale_orders(lambda order_key, _: order_key == order_id)

    def orders(self) -> ClearingCase:
        """``orders.scale`` or ``orders.KIND.scale``."""
        kind, _, word = self.rest.rpartition(".")
        if word != "scale" or kind not in ("", *ORDER_KINDS):
            return self.unknown()
        return self._scale_orders(lambda _, order_kind: kind in ("", order_kind))

    def _scale_orders(self, chosen: Callable[[str, str], bool]) -> ClearingCase:
        factor = self.number(minimum=0)
        if factor is None:
            return self.case
        case, count = scale_orders(
            self.case, factor, lambda order: chosen(order.id, kind_of(order)), self.problems
        )
        if not count:
            self.report("the study has no such order")
        return case

    def _put(self, fields: Fields) -> ClearingCase:
        found: list[Problem] = []
        order = order_of(self.case, fields, found)
        for problem in found:
            self.report(problem.what, problem.remedy)
        return self.case if order is None else put_order(self.case, order)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_APPLY: Final[dict[str, Callable[[_Change], ClearingCase]]] = {
    "name": _Change.name,
    "formulation": _Change.formulation,
    "import_mw_max": _Change.cap,
    "export_mw_max": _Change.cap,
    "import_price": _Change.import_price,
    "limits": _Change.limits,
    "ext_grid": _Change.network,
    **dict.fromkeys(NETWORK_KINDS, _Change.network),
    "load": _Change.elements,
    "sgen": _Change.elements,
    "battery": _Change.addition,
    "generation": _Change.addition,
    "demand": _Change.addition,
    "order": _Change.order,
    "orders": _Change.orders,
}


def is_network_setting(setting: Setting) -> bool:
    """Tell whether a setting changes the network itself."""
    return setting.key.partition(".")[0] in (*NETWORK_KINDS, "ext_grid")


def network_change(setting: Setting) -> NetworkChange:
    """Return a setting of the network as ``study.toml`` states it."""
    target, _, field = setting.key.rpartition(".")
    value = setting.value
    return NetworkChange(
        element=target.replace(".", ":", 1),
        field=field,
        value=value,  # type: ignore[arg-type] # what is no number is refused when it is applied
    )


def _check_whole(case: ClearingCase, problems: list[Problem]) -> None:
    """Report what no single setting shows: limits that cross, assets named twice or by nobody."""
    overrides = limit_overrides(case.network, case.limits, problems)
    limits_in_force(case.network, overrides, case.limits.scarcity_price_eur_per_mwh, problems)
    holder: dict[str, str] = {}
    for order in case.orders:
        if order.asset is None:
            continue
        if order.asset in holder:
            problems.append(
                Problem(
                    where=f"order {order.id}",
                    what=f"asset {order.asset} is already named by order {holder[order.asset]}",
                    remedy="one order per asset",
                )
            )
        holder.setdefault(order.asset, order.id)
    report_unordered(case.network, frozenset(holder), problems)
    check_parents(list(case.orders), problems)


def apply_settings(case: ClearingCase, settings: Sequence[Setting]) -> ClearingCase:
    """Return the case that a what-if asks for.

    Parameters
    ----------
    case : ClearingCase
        Where it starts from; it is not changed.
    settings : sequence of Setting
        Done one after the other.

    Returns
    -------
    ClearingCase
        In canonical form, as `data.study.read_study` would read it.

    Raises
    ------
    InputError
        Every setting that cannot be, and whatever is wrong with the case they lead to.

    Examples
    --------
    >>> from dso.studies import new_case, parse_setting
    >>> case = new_case("pandapower:case33bw", periods=4, import_price_eur_per_mwh=20.0,
    ...                 limits={"line_loading_percent_max": 100.0})
    >>> more = apply_settings(case, [parse_setting("load.scale=2")])
    >>> float(more.load_p_mw.sum() / case.load_p_mw.sum())
    2.0
    """
    problems: list[Problem] = []
    for setting in settings:
        change = _Change(case, setting, problems)
        case = _APPLY.get(change.kind, _Change.unknown)(change)
    if not problems:
        _check_whole(case, problems)
    refuse_if_any(problems)
    return canonical_case(case)


def without_named(case: ClearingCase) -> frozenset[str]:
    """Return the assets that orders take out of the fixed part; a curtailed load stays in it."""
    return frozenset(
        order.asset
        for order in case.orders
        if order.asset is not None and not isinstance(order, CurtailOrder)
    )
