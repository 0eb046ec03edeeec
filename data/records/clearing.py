"""Clearing: the case that goes in and the result that comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from data.records.network import Network
from data.records.order import Order

Floats = NDArray[np.float64]
Formulation = Literal["copper_plate", "lindistflow", "branch_flow_soc", "ac"]
FORMULATIONS: Final[tuple[Formulation, ...]] = (
    "copper_plate", "lindistflow", "branch_flow_soc", "ac",
)  # fmt: skip
Status = Literal["certified", "certified_with_slack", "uncertified", "infeasible"]
EXIT_CODES: Final[dict[Status, int]] = {
    "certified": 0,
    "uncertified": 3,
    "infeasible": 3,
    "certified_with_slack": 4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits in force, one value per element of the network (same order as its tables)."""

    vm_pu_min: Floats
    vm_pu_max: Floats
    line_loading_percent_max: Floats
    trafo_loading_percent_max: Floats
    scarcity_price_eur_per_mwh: float = 4000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitMargins:
    """How far limits are drawn in, period by period, for what a forecast does not know.

    Parameters
    ----------
    vm_pu_upper, vm_pu_lower : ndarray, shape (buses, periods)
        What is taken off the upper and added to the lower voltage limit [pu], not negative.
    line_loading_percent, trafo_loading_percent : ndarray, shape (elements, periods)
        What is taken off the loading limit [percent of rating], not negative.
    """

    vm_pu_upper: Floats
    vm_pu_lower: Floats
    line_loading_percent: Floats
    trafo_loading_percent: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearingCase:
    """Everything one solve needs, prepared once.

    Parameters
    ----------
    name : str
        Name of the study.
    network : Network
        The grid.
    periods : Periods
        Horizon.
    timezone : str
        IANA zone of the market, for views only.
    formulation : str
        Physics used.
    load_p_mw, load_q_mvar : ndarray, shape (periods, loads)
        Withdrawals of all loads [MW, Mvar], scaling applied.
    sgen_p_mw, sgen_q_mvar : ndarray, shape (periods, sgens)
        Injections of all static generators. Elements named by an order are present here too (their
        power factor is read from here); the engine leaves them out of the fixed part.
    import_price_eur_per_mwh : ndarray, shape (periods,)
        Wholesale price at the substation [EUR/MWh]; export earns the same.
    import_mw_max, export_mw_max : float or None
        Caps on the exchange at the substation [MW].
    limits : Limits
        Limits in force.
    orders : tuple of Order
        The order book, sorted by id.
    position_mw, position_mvar : ndarray or None, shape (orders, periods)
        Intraday: the position so far of each order (injection), same order as ``orders``.
    margins : LimitMargins or None
        Security margins; a limit holds at what is left of it.
    """

    name: str
    network: Network
    periods: Periods
    timezone: str
    formulation: Formulation
    load_p_mw: Floats
    load_q_mvar: Floats
    sgen_p_mw: Floats
    sgen_q_mvar: Floats
    import_price_eur_per_mwh: Floats
    import_mw_max: float | None
    export_mw_max: float | None
    limits: Limits
    orders: tuple[Order, ...]
    position_mw: Floats | None = None
    position_mvar: Floats | None = None
    margins: LimitMargins | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Award:
    """What one order got; arrays have one value per period, powers on the tick of 1e-6 MW.

    ``injection_mw``/``injection_mvar`` have shape (len(buses), periods): two rows for a bilateral
    (bus, bus_to), one row per bus of a portfolio. Columns that do not apply are None.
    """

    order: str
    participant: str
    buses: tuple[int, ...]
    injection_mw: Floats
    injection_mvar: Floats
    accepted_share: Floats
    charge_mw: Floats | None = None
    discharge_mw: Floats | None = None
    soc_mwh: Floats | None = None
    status: Literal["accepted", "partial", "rejected", "paradoxically_rejected"] = "accepted"
    surplus_eur: float = 0.0
    reason: str = ""
    binding_element: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePart:
    """The part of every bus price that one element causes, in periods where it is not zero.

    ``p_eur_per_mwh``/``q_eur_per_mvarh`` have shape (buses, periods).
    """

    element_kind: Literal["line", "trafo", "bus", "ext_grid"]
    element: int
    side: Literal["from", "to", "hv", "lv", "upper", "lower", "import", "export"]
    p_eur_per_mwh: Floats
    q_eur_per_mvarh: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices at every bus (rows: the network's buses), shape (buses, periods) each.

    dlmp_p = energy + loss + congestion + voltage, exactly in integer micro-EUR/MWh.
    """

    dlmp_p_eur_per_mwh: Floats
    dlmp_q_eur_per_mvarh: Floats
    energy_eur_per_mwh: Floats
    loss_eur_per_mwh: Floats
    congestion_eur_per_mwh: Floats
    voltage_eur_per_mwh: Floats
    parts: tuple[PricePart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchFlow:
    """Flows of one branch over the periods; loading is that of the larger end [percent]."""

    element_kind: Literal["line", "trafo"]
    element: int
    p_from_mw: Floats
    q_from_mvar: Floats
    loading_percent: Floats
    shadow_price_eur_per_mva_h: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class GridState:
    """The AC state of the cleared schedule: shape (buses, periods) and one entry per branch.

    ``import_mw``/``import_mvar`` are the exchange at the substation, shape (periods,), + import.
    """

    vm_pu: Floats
    shadow_price_upper_eur_per_pu_h: Floats
    shadow_price_lower_eur_per_pu_h: Floats
    branches: tuple[BranchFlow, ...]
    import_mw: Floats
    import_mvar: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A limit that could not hold: where, when, by how much, in MW-equivalent."""

    element_kind: str
    element: int
    side: str
    period: int
    value: float
    limit: float
    mw_short: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingMargin:
    """A limit with a price that binds where its security margin put it.

    ``limit`` is the element's own, ``margin`` what was taken off it: pu for buses, percent for
    branches. ``shadow_price_eur_per_mwh`` is that of one MW-equivalent of the limit.
    """

    element_kind: str
    element: int
    side: str
    period: int
    limit: float
    margin: float
    shadow_price_eur_per_mwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Why the result may be believed. No times, hosts or logs in it.

    Parameters
    ----------
    replay_engine : str
        Independent AC engine that replayed the schedule.
    replay_vm_pu_error_max : float
        Largest voltage difference between that engine and ours [pu].
    worst_voltage_violation_pu, worst_loading_violation_percent : float
        Largest violation of a limit in the replay.
    stationarity, complementarity, dual_sign : float
        KKT residuals at the AC point, relative to the largest price.
    parts_residual_eur_per_mwh : float
        Largest |sum of parts - price|.
    energy_balance_mw : float
        Largest |import + injections - withdrawals - losses|.
    probe_error : float
        Largest relative error of a gradient against two extra power flows.
    price_by_ticks, voltage_by_ticks_pu, loading_by_ticks_percent : float
        The most that rounding awards to ticks moved a reduced cost (relative to the largest price),
        a priced voltage and a priced loading: beyond it a schedule on ticks is judged.
    """

    replay_engine: str
    replay_vm_pu_error_max: float
    worst_voltage_violation_pu: float
    worst_loading_violation_percent: float
    stationarity: float
    complementarity: float
    dual_sign: float
    parts_residual_eur_per_mwh: float
    energy_balance_mw: float
    probe_error: float
    iterations: int
    solver: str
    solver_options: tuple[tuple[str, str], ...] = ()
    price_by_ticks: float = 0.0
    voltage_by_ticks_pu: float = 0.0
    loading_by_ticks_percent: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerReport:
    """How the integers of block and curtail orders were chosen.

    Parameters
    ----------
    orders : int
        Orders that carry an integer.
    choices_cleared : int
        Choices that were cleared with AC physics and priced.
    proven : bool
        No choice that the definition admits costs less than the answer.
    gap : float
        (cost of the answer - bound) / cost. The bound ignores that no accepted order may lose
        money.
    overstated_eur : float
        By how much the linearised programme overstated the cost of a choice at most [EUR]; the
        search went on by twice as much.
    paradoxically_rejected : tuple of (order, EUR)
        Rejected orders and what they would have earned at the published prices.
    message : str
        What ended the search early, if anything did.
    """

    orders: int
    choices_cleared: int
    proven: bool
    gap: float
    overstated_eur: float
    paradoxically_rejected: tuple[tuple[str, float], ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearingResult:
    """Awards, prices with parts, flows, voltages and the certificate of one solve."""

    case_name: str
    periods: Periods
    status: Status
    message: str
    objective_eur: float
    penalty_eur: float
    violations: tuple[Violation, ...]
    bound_eur: float | None
    bound_kind: Literal["lp", "soc", "milp", "none"]
    awards: tuple[Award, ...]
    prices: Prices
    grid: GridState
    certificate: Certificate
    input_sha256: str
    versions: tuple[tuple[str, str], ...] = ()
    integers: IntegerReport | None = None
    binding_margins: tuple[BindingMargin, ...] = ()
