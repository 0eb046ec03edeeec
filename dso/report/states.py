"""What the day's figures say: the grid's state per period, worst elements, order of buses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dso.report.views import DayView, FeederView, Ints, Scenario, ViolationView

State = Literal["green", "yellow", "orange", "red"]
STATES: Final[tuple[State, ...]] = ("green", "yellow", "orange", "red")
MEANING: Final[dict[State, str]] = {
    "green": "no limit in reach",
    "yellow": "the market keeps the limits",
    "orange": "a limit did not hold",
    "red": "no valid clearing",
}
UNSOLVED: Final = ("uncertified", "infeasible", "unknown")
"""Only certified clearings give trades."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenElement:
    """One bus or branch that breaks a limit in a scenario: how often and how badly."""

    element_kind: str
    element: int
    name: str
    side: str
    periods: int
    worst: ViolationView


def period_states(day: DayView) -> tuple[State, ...]:
    """Return the traffic-light state of each period (USEF's four regimes, by what was recorded).

    Red: the clearing of the period gave no valid schedule. Orange: a limit is broken in the
    replay of the schedule or of what devices did, or was bought off with slack. Yellow: a limit
    would break without the market, or a grid limit moves prices. Green: none of these.

    References
    ----------
    .. [1] USEF, "The Framework Explained", 2021, operating regimes.
    """
    level = np.zeros(len(day.periods), dtype=np.int64)
    for cause in day.causes:
        if cause.element_kind != "ext_grid":
            level[cause.periods] = np.maximum(level[cause.periods], 1)
    for violation in day.violations:
        found = 1 if violation.scenario == "without_market" else 2
        level[violation.period] = max(level[violation.period], found)
    covered = np.zeros(len(day.periods), dtype=bool)
    for summary in (*day.rounds, day.clearing):
        mine = np.zeros(len(day.periods), dtype=bool)
        mine[summary.first : summary.first + summary.binding] = True
        mine &= ~covered  # a later round replaces what the day ahead found
        if summary.status in UNSOLVED:
            level[mine] = 3
        for period in summary.violated_periods:
            if mine[period]:
                level[period] = max(level[period], 2)
        covered |= mine
    return tuple(STATES[int(value)] for value in level)


def broken_elements(day: DayView, scenario: Scenario) -> tuple[BrokenElement, ...]:
    """Return the elements that break limits in a scenario, the most frequent first."""
    found: dict[tuple[str, int, str], list[ViolationView]] = {}
    for violation in day.violations:
        if violation.scenario == scenario:
            key = (violation.element_kind, violation.element, _direction(violation))
            found.setdefault(key, []).append(violation)
    broken = [
        BrokenElement(
            element_kind=kind,
            element=element,
            name=day.feeder.name_of(kind, element),
            side=side,
            periods=len({violation.period for violation in violations}),
            worst=max(violations, key=lambda violation: (violation.excess, -violation.period)),
        )
        for (kind, element, side), violations in found.items()
    ]
    broken.sort(
        key=lambda item: (-item.periods, -item.worst.excess, item.element_kind, item.element)
    )
    return tuple(broken)


def violations_per_period(day: DayView, scenario: Scenario, element_kind: str) -> Ints:
    """Count the elements of a kind (``bus`` or ``branch``) outside limits in each period."""
    hits: list[set[int | tuple[str, int]]] = [set() for _ in range(len(day.periods))]
    for violation in day.violations:
        is_bus = violation.element_kind == "bus"
        if violation.scenario == scenario and is_bus == (element_kind == "bus"):
            hits[violation.period].add((violation.element_kind, violation.element))
    return np.array([len(found) for found in hits], dtype=np.int64)


def feeder_order(feeder: FeederView) -> Ints:
    """Return bus positions, neighbours together: depth first from the substation, then the rest."""
    near: list[list[int]] = [[] for _ in feeder.bus]
    for a, b in feeder.links:
        near[a].append(b)
        near[b].append(a)
    for start, end, in_service in zip(
        feeder.branch_from.tolist(),
        feeder.branch_to.tolist(),
        feeder.branch_in_service.tolist(),
        strict=True,
    ):
        if in_service:
            near[start].append(end)
            near[end].append(start)
    order: list[int] = []
    seen: set[int] = set()
    for first in (feeder.substation, *range(len(near))):
        stack = [first]
        while stack:
            bus = stack.pop()
            if bus in seen:
                continue
            seen.add(bus)
            order.append(bus)
            stack.extend(sorted((other for other in near[bus] if other not in seen), reverse=True))
    return np.array(order, dtype=np.int64)


def period_to_open(day: DayView) -> int:
    """Return the period the map opens at: most limits broken without the market, else peak load."""
    count = violations_per_period(day, "without_market", "bus") + violations_per_period(
        day, "without_market", "branch"
    )
    if count.any():
        return int(np.argmax(count))
    return int(np.argmax(np.nan_to_num(day.final_grid.loading_percent).max(axis=0)))


def _direction(violation: ViolationView) -> str:
    """Merge the two ends of a branch: it is one overload."""
    return violation.side if violation.element_kind == "bus" else "loading"
