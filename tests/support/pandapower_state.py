"""pandapower's own view of a case in one period: its network with the case's powers, solved."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from data.records.clearing import ClearingCase
from tests.support.simbench_nets import simbench_net


def pandapower_net(reference: str) -> Any:
    """The network as pandapower or SimBench ships it."""
    with warnings.catch_warnings():
        # Deprecations inside simbench and pandapower concern their authors.
        warnings.simplefilter("ignore")
        library, _, name = reference.partition(":")
        if library == "simbench":
            return simbench_net(name)
        import pandapower.networks

        return getattr(pandapower.networks, name)()


def set_powers(net: Any, case: ClearingCase, period: int) -> None:
    """Give the network the profiles of one period; storages idle."""
    for table, p, q in (
        (net.load, case.load_p_mw, case.load_q_mvar),
        (net.sgen, case.sgen_p_mw, case.sgen_q_mvar),
    ):
        if len(table):
            table["scaling"] = 1.0
            table["p_mw"], table["q_mvar"] = p[period], q[period]
    if len(net.storage):
        net.storage["p_mw"] = net.storage["q_mvar"] = 0.0


def solves(net: Any) -> bool:
    """Run pandapower's Newton power flow; False where it finds no solution."""
    import pandapower

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pandapower.runpp(net, numba=False, tolerance_mva=1e-9)
    except pandapower.LoadflowNotConverged:
        return False
    return True


def within_limits(net: Any, case: ClearingCase) -> bool:
    """Whether a solved network keeps the case's limits of voltages and loadings."""
    network, limits = case.network, case.limits
    vm = net.res_bus.vm_pu.loc[network.buses.index.tolist()].to_numpy()
    slack_vm = float(net.ext_grid.vm_pu.iloc[0])
    # buses joined to the substation by closed switches have its voltage, set from above
    inside = np.abs(vm - slack_vm) > 1e-12
    line = net.res_line.loading_percent.loc[network.lines.index.tolist()].to_numpy()
    trafo = net.res_trafo.loading_percent.loc[network.trafos.index.tolist()].to_numpy()
    return bool(
        np.all(vm[inside] <= limits.vm_pu_max[inside])
        and np.all(vm[inside] >= limits.vm_pu_min[inside])
        and np.all(line <= limits.line_loading_percent_max)
        and np.all(trafo <= limits.trafo_loading_percent_max)
    )
