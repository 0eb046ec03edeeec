"""The grid of a day in pandapower, on SimBench's own net with its switches: not our model of it.

The schedule is put together from the study folders and awards of the rounds, as an auditor would.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.delivery_days import FinishedDay
from tests.support.simbench_nets import simbench_net

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
FIRST_ROW = pd.Timestamp("2015-12-31T23:00:00Z")
VOLTAGE_TOLERANCE_PU = 1e-4
LOADING_TOLERANCE_PERCENT = 0.1


@dataclass
class Grid:
    """SimBench's net and its absolute profiles."""

    net: Any
    profiles: dict[tuple[str, str], pd.DataFrame]
    recycle: dict[str, bool] | None = None

    def solve(self) -> None:
        import pandapower

        pandapower.runpp(self.net, numba=False, recycle=self.recycle)
        # nothing but powers differs between periods: the admittances stay
        self.recycle = {"bus_pq": True, "gen": False, "trafo": False}

    def excess(self) -> tuple[pd.Series, pd.Series]:
        """How far buses (not the substation's) and branches are outside their limits."""
        net = self.net
        buses = net.bus.index.difference(_at_substation(net))
        vm_pu = net.res_bus.vm_pu.loc[buses]
        over = np.maximum(vm_pu - net.bus.max_vm_pu[buses], net.bus.min_vm_pu[buses] - vm_pu)
        lines = net.res_line.loading_percent - net.line.max_loading_percent
        trafos = net.res_trafo.loading_percent - net.trafo.max_loading_percent
        return over, pd.concat([lines, trafos])


def _at_substation(net: Any) -> set[int]:
    """The external grid's bus and what closed bus-bus switches join to it."""
    found = {int(net.ext_grid.bus.iloc[0])}
    closed = net.switch[(net.switch.et == "b") & net.switch.closed]
    for _ in range(len(closed)):
        for a, b in zip(closed.bus, closed.element, strict=True):
            if {int(a), int(b)} & found:
                found |= {int(a), int(b)}
    return found


@cache
def grid_of(feeder: str) -> Grid:
    import simbench

    net = simbench_net(feeder)
    profiles = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    net.storage["p_mw"] = 0.0
    net.storage["q_mvar"] = 0.0
    return Grid(net=net, profiles=profiles)


def scheduled_periods(day: FinishedDay, net: Any) -> Iterator[str]:
    """Set the net to the schedule, period by period: each from the round that bound it."""
    for folder in sorted((day.out / "clearing/intraday").iterdir()):
        profiles = pd.read_csv(folder / "profiles.csv").set_index("period_start")
        awards = pd.read_csv(folder / "awards.csv").set_index("period_start")
        asset = {order["id"]: order["asset"].split(":") for order in _orders(folder)}
        awards["element"] = [asset[order][0] for order in awards.order]
        awards["id"] = [int(asset[order][1]) for order in awards.order]
        sign = np.where(awards.element == "sgen", 1.0, -1.0)  # others withdraw in pandapower
        awards["p_mw"], awards["q_mvar"] = sign * awards.injection_mw, sign * awards.injection_mvar
        for start in profiles.index.unique()[:4]:
            for table in (profiles, awards):
                for kind, rows in table.loc[start].groupby("element"):
                    power = rows[["p_mw", "q_mvar"]].to_numpy()
                    net[kind].loc[rows.id, ["p_mw", "q_mvar"]] = power
            yield start


def _orders(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "orders.json").read_text())


def test_the_schedule_breaks_no_limit_in_pandapower(any_day: FinishedDay) -> None:
    grid = grid_of(any_day.feeder)
    worst_pu, worst_percent, count = -np.inf, -np.inf, 0
    for _ in scheduled_periods(any_day, grid.net):
        grid.solve()
        over_pu, over_percent = grid.excess()
        worst_pu = max(worst_pu, over_pu.max())
        worst_percent = max(worst_percent, over_percent.max())
        count += 1
    starts = pd.read_csv(any_day.out / "settlement/substation.csv").period_start
    assert count == len(starts)
    assert worst_pu <= VOLTAGE_TOLERANCE_PU
    assert worst_percent <= LOADING_TOLERANCE_PERCENT


@pytest.mark.parametrize("name", ["summer", pytest.param("winter", marks=pytest.mark.long)])
def test_without_the_market_limits_break_as_the_report_counts(
    name: str, day_of: Callable[[str], FinishedDay]
) -> None:
    day = day_of(name)
    grid = grid_of(day.feeder)
    net = grid.net
    net.storage[["p_mw", "q_mvar"]] = 0.0
    net.sgen["q_mvar"] = 0.0
    said = pd.read_csv(day.out / "dispatch/violations.csv")
    said = said[said.scenario == "without_market"]
    starts = pd.read_csv(day.out / "settlement/substation.csv").period_start
    broken = 0
    for start in starts:
        row = (pd.Timestamp(start) - FIRST_ROW) // pd.Timedelta(minutes=15)
        for kind, column in (("load", "p_mw"), ("load", "q_mvar"), ("sgen", "p_mw")):
            net[kind][column] = grid.profiles[kind, column].iloc[row]
        grid.solve()
        over_pu, over_percent = grid.excess()
        here = said[said.period_start == start]
        ours = set(here[here.element_kind == "bus"].element)
        # Within a hair of the tolerance the two engines may disagree; nowhere else.
        for bus, excess in over_pu.items():
            if abs(excess - VOLTAGE_TOLERANCE_PU) > 1e-5:
                assert (bus in ours) == (excess > VOLTAGE_TOLERANCE_PU), (start, bus, excess)
        overloads = int((over_percent > LOADING_TOLERANCE_PERCENT).sum())
        assert overloads == (here.element_kind != "bus").sum()
        broken += bool((over_pu > VOLTAGE_TOLERANCE_PU).any() or overloads)
    assert broken == said.period_start.nunique() > 0
