"""Limits in force: what the network states, overridden by the study; none is invented."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from data.csv_table import round_significant
from data.errors import Problem
from data.records.clearing import Limits
from data.records.network import Network

Floats = NDArray[np.float64]


def network_limits(network: Network) -> dict[str, Floats]:
    """Return the limits that a network states, by field name of `Limits`; NaN where none."""
    return {
        "vm_pu_min": network.buses.vm_pu_min,
        "vm_pu_max": network.buses.vm_pu_max,
        "line_loading_percent_max": network.lines.loading_percent_max,
        "trafo_loading_percent_max": network.trafos.loading_percent_max,
    }


def _report_missing(
    network: Network, limits: Mapping[str, Floats], problems: list[Problem]
) -> None:
    """Report each element in service without a limit; the substation's bus needs none."""
    buses, lines, trafos = network.buses, network.lines, network.trafos
    needs_voltage = buses.in_service & (buses.index != network.slack_bus)
    for field, kind, table, needed in (
        ("vm_pu_min", "bus", buses, needs_voltage),
        ("vm_pu_max", "bus", buses, needs_voltage),
        ("line_loading_percent_max", "line", lines, lines.in_service),
        ("trafo_loading_percent_max", "trafo", trafos, trafos.in_service),
    ):
        problems.extend(
            Problem(
                where=f"{kind} {table.index[row]} ({table.name[row]})",
                what=f"has no {field}: neither the network nor [limits] states one",
                remedy=f"state {field} under [limits] in study.toml",
            )
            for row in np.flatnonzero(needed & np.isnan(limits[field])).tolist()
        )
    crossed = needs_voltage & (limits["vm_pu_min"] >= limits["vm_pu_max"])
    problems.extend(
        Problem(
            where=f"bus {buses.index[row]} ({buses.name[row]})",
            what=f"vm_pu_min {limits['vm_pu_min'][row]:g} is not below "
            f"vm_pu_max {limits['vm_pu_max'][row]:g}",
        )
        for row in np.flatnonzero(crossed).tolist()
    )


def limits_in_force(
    network: Network,
    overrides: Mapping[str, float],
    scarcity_price_eur_per_mwh: float,
    problems: list[Problem],
) -> Limits:
    """Return the limits of a study.

    Parameters
    ----------
    network : Network
        States its own limits, NaN where none.
    overrides : mapping
        By field name of `Limits`; holds for all elements of the kind.
    scarcity_price_eur_per_mwh : float
        Price of slack [EUR/MWh].
    problems : list of Problem
        Collects elements without a limit, by name.
    """
    limits = {
        field: np.full(len(stated), overrides[field])
        if field in overrides
        else round_significant(stated)
        for field, stated in network_limits(network).items()
    }
    _report_missing(network, limits, problems)
    return Limits(
        vm_pu_min=limits["vm_pu_min"],
        vm_pu_max=limits["vm_pu_max"],
        line_loading_percent_max=limits["line_loading_percent_max"],
        trafo_loading_percent_max=limits["trafo_loading_percent_max"],
        scarcity_price_eur_per_mwh=scarcity_price_eur_per_mwh,
    )


def limit_overrides(network: Network, limits: Limits, problems: list[Problem]) -> dict[str, float]:
    """Return what ``[limits]`` must state so that `limits_in_force` gives these limits.

    Limits that differ between elements and from the network cannot be stated: a problem.
    """
    overrides: dict[str, float] = {}
    for field, stated in network_limits(network).items():
        wanted = round_significant(getattr(limits, field))
        if np.array_equal(wanted, round_significant(stated), equal_nan=True):
            continue
        if wanted.size and np.all(wanted == wanted[0]):
            overrides[field] = float(wanted[0])
        else:
            problems.append(
                Problem(
                    where="[limits]",
                    what=f"{field} differs between elements and from the network",
                    remedy="change the limits in the network itself",
                )
            )
    return overrides
