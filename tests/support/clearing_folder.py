"""A study and its output in one folder, as `dso clear` leaves them when asked to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.records.clearing import ClearingResult
from data.results import write_result
from data.study import read_study, write_study
from opf.clearing import clear_case
from tests.support.cases import generation, library_network, make_case, storage

NETWORK = "case33bw"


def write_clearing(folder: Path, *, vm_pu_min: float = 0.9) -> ClearingResult:
    """Four hours on case33bw; PV lifts the voltage to its limit in two.

    A `vm_pu_min` of 0.93 cannot hold without PV.
    """
    periods = 4
    network = library_network(NETWORK)
    sun = np.array([0.0, 3.0, 2.9, 0.5])
    orders = [
        generation("pv", 17, sun, 0.0, periods),
        storage("battery", 24, p_mw=0.2, energy_mwh=0.4, periods=periods, throughput=1.0),
    ]
    case = make_case(
        network,
        list(orders),
        price=np.array([40.0, 20.0, -10.0, 60.0]),
        periods=periods,
        vm_pu_min=vm_pu_min,
        vm_pu_max=1.05,
    )
    write_study(case, folder, f"pandapower:{NETWORK}")
    case = read_study(folder)
    result = clear_case(case)
    write_result(result, case, folder)
    return result
