"""What a clearing comes to in a few numbers, for comparisons and sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase, ClearingResult
from data.records.order import GenerationOrder
from dso.studies.change_case import without_named

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFigures:
    """The key figures of one clearing; None where an infeasible one has no number.

    Parameters
    ----------
    status : str
        Status of the result.
    objective_eur : float or None
        Cost over all periods: import, accepted offers, minus the value of accepted demand [EUR].
        Welfare is its negative.
    penalty_eur : float or None
        Price of the slack of limits that could not hold [EUR], not in the objective.
    price_eur_per_mwh_mean, price_eur_per_mwh_min, price_eur_per_mwh_max : float or None
        Over all buses in service and periods [EUR/MWh], every bus and period alike.
    curtailed_mwh : float or None
        Energy offered by generation orders below the import price of its period and not taken.
    losses_mwh : float or None
        Import and injections minus withdrawals [MWh]; what shunts draw is in it.
    import_mwh, export_mwh : float or None
        Energy through the substation in periods of import and of export [MWh].
    import_mw_peak, export_mw_peak : float or None
        Largest import and export of any period [MW]; 0 where there is none.
    loading_percent_max : float or None
        Largest loading of any line or transformer [percent of its rating].
    vm_pu_min, vm_pu_max : float or None
        Extreme voltages of buses apart from the substation's own [pu].
    limits_binding : int
        Limits that are part of a price in any period, the two ends of a branch counted once.
    periods_with_slack : int
        Periods in which a limit could not hold.
    """

    status: str
    objective_eur: float | None
    penalty_eur: float | None
    price_eur_per_mwh_mean: float | None
    price_eur_per_mwh_min: float | None
    price_eur_per_mwh_max: float | None
    curtailed_mwh: float | None
    losses_mwh: float | None
    import_mwh: float | None
    export_mwh: float | None
    import_mw_peak: float | None
    export_mw_peak: float | None
    loading_percent_max: float | None
    vm_pu_min: float | None
    vm_pu_max: float | None
    limits_binding: int
    periods_with_slack: int


LABELS: Final[dict[str, tuple[str, str, int]]] = {
    "objective_eur": ("Cost (minus welfare)", "EUR", 2),
    "penalty_eur": ("Price of slack", "EUR", 2),
    "price_eur_per_mwh_mean": ("Mean price", "EUR/MWh", 2),
    "price_eur_per_mwh_min": ("Lowest price", "EUR/MWh", 2),
    "price_eur_per_mwh_max": ("Highest price", "EUR/MWh", 2),
    "curtailed_mwh": ("Curtailed generation", "MWh", 3),
    "losses_mwh": ("Losses", "MWh", 3),
    "import_mwh": ("Import", "MWh", 3),
    "export_mwh": ("Export", "MWh", 3),
    "import_mw_peak": ("Peak import", "MW", 3),
    "export_mw_peak": ("Peak export", "MW", 3),
    "loading_percent_max": ("Highest loading", "%", 1),
    "vm_pu_min": ("Lowest voltage", "pu", 4),
    "vm_pu_max": ("Highest voltage", "pu", 4),
    "limits_binding": ("Limits in prices", "limits", 0),
    "periods_with_slack": ("Periods with slack", "periods", 0),
}
"""Key figure to label, unit and digits, in the sequence that tables have."""


def _number(value: float) -> float | None:
    """Return a number as files carry it; None where there is none."""
    return float(f"{value:.12g}") + 0.0 if np.isfinite(value) else None


def curtailed_mw(case: ClearingCase, result: ClearingResult) -> Floats:
    """Return generation offered below the import price and not taken [MW], shape (periods,).

    What is offered above the import price is not curtailed when it is left out: the market upstream
    is cheaper.
    """
    injection = {award.order: award.injection_mw.sum(axis=0) for award in result.awards}
    curtailed = np.zeros(len(case.periods))
    for order in case.orders:
        if not isinstance(order, GenerationOrder) or order.id not in injection:
            continue
        cheap = np.zeros(len(case.periods))
        for step in order.steps:
            cheap += np.where(step.price_eur_per_mwh < case.import_price_eur_per_mwh, step.p_mw, 0)
        curtailed += np.maximum(cheap - injection[order.id], 0.0)
    return curtailed


def losses_mw(case: ClearingCase, result: ClearingResult) -> Floats:
    """Return losses of the network, what shunts draw included [MW], shape (periods,)."""
    named = without_named(case)
    balance = result.grid.import_mw.copy()
    for kind, sign, elements, p_mw in (
        ("load", -1.0, case.network.loads, case.load_p_mw),
        ("sgen", 1.0, case.network.sgens, case.sgen_p_mw),
    ):
        fixed = [
            bool(runs) and f"{kind}:{index}" not in named
            for index, runs in zip(elements.index.tolist(), elements.in_service, strict=True)
        ]
        balance += sign * p_mw[:, fixed].sum(axis=1)
    for award in result.awards:
        balance += award.injection_mw.sum(axis=0)
    return balance


def binding_limits(result: ClearingResult) -> set[tuple[str, int, str]]:
    """Return (kind, element, side) of each limit in prices; a branch has no side."""
    return {
        (part.element_kind, part.element, "" if part.element_kind in ("line", "trafo")
         else part.side)
        for part in result.prices.parts
        if np.any(part.p_eur_per_mwh) or np.any(part.q_eur_per_mvarh)
    }  # fmt: skip


def key_figures(case: ClearingCase, result: ClearingResult) -> KeyFigures:
    """Return the key figures of a clearing.

    Parameters
    ----------
    case : ClearingCase
        The case.
    result : ClearingResult
        Its result.

    Examples
    --------
    The feeder of Baran and Wu (doi:10.1109/61.25627) loses 202.7 kW.

    >>> from dso.studies import new_study
    >>> from opf.clearing import clear_case
    >>> study = new_study("pandapower:case33bw", periods=1, mtu_minutes=60,
    ...                   import_price_eur_per_mwh=40.0, limits={"line_loading_percent_max": 100})
    >>> figures = key_figures(study.case, clear_case(study.case))
    >>> figures.status, round(figures.losses_mwh, 4), round(figures.import_mw_peak, 3)
    ('certified', 0.2027, 3.918)
    """
    slack_periods = len({violation.period for violation in result.violations})
    if result.status == "infeasible":
        blank = dict.fromkeys(LABELS)
        return KeyFigures(
            **{**blank, "limits_binding": 0, "periods_with_slack": slack_periods},  # type: ignore[arg-type]
            status=result.status,
        )
    h = case.periods.mtu_h
    network = case.network
    rows = np.flatnonzero(network.buses.in_service)
    price = result.prices.dlmp_p_eur_per_mwh[rows]
    limited = rows[network.buses.index[rows] != network.slack_bus]
    vm_pu = result.grid.vm_pu[limited if limited.size else rows]
    loading = [flow.loading_percent for flow in result.grid.branches]
    imported = result.grid.import_mw
    return KeyFigures(
        status=result.status,
        objective_eur=_number(result.objective_eur),
        penalty_eur=_number(result.penalty_eur),
        price_eur_per_mwh_mean=_number(float(price.mean())),
        price_eur_per_mwh_min=_number(float(price.min())),
        price_eur_per_mwh_max=_number(float(price.max())),
        curtailed_mwh=_number(h * float(curtailed_mw(case, result).sum())),
        losses_mwh=_number(h * float(losses_mw(case, result).sum())),
        import_mwh=_number(h * float(np.maximum(imported, 0).sum())),
        export_mwh=_number(h * float(np.maximum(-imported, 0).sum())),
        import_mw_peak=_number(max(float(imported.max()), 0.0)),
        export_mw_peak=_number(max(float(-imported.min()), 0.0)),
        loading_percent_max=_number(float(np.nanmax(loading)) if loading else np.nan),
        vm_pu_min=_number(float(vm_pu.min())),
        vm_pu_max=_number(float(vm_pu.max())),
        limits_binding=len(binding_limits(result)),
        periods_with_slack=slack_periods,
    )
