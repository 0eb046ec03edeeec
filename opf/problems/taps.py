"""Tap positions and capacitor steps that cost least, and the prices with them fixed.

A control is a group of transformers that move together, or one capacitor bank; it holds one
position over all periods of the case. Two ways to the best positions:

* the sweep clears the market at every combination;
* relax and round clears at fractional positions along the gradient of the optimum, then at whole
  positions around the end, and walks to neighbours as long as one is cheaper.

The gradient needs no second clearing. With awards s and multipliers mu of a clearing, the optimum
moves with a position u as the Lagrangian does at fixed s (envelope theorem):

    d(cost)/du = sum_t h ( pi_t dP0_t/du + sum_k mu_kt dg_kt/du )

and the derivatives of import P0 and limits g at fixed injections are central differences of two
power flows.

What is compared is cost plus penalty, so that a position at which limits hold beats one at which
they do not.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem, refuse_if_any
from data.records.clearing import ClearingCase, ClearingResult, Status
from data.records.network import Network
from data.study.network_changes import NetworkChange, change_network
from opf.clearing import clear_case
from opf.grid import build_grid
from opf.limits import LimitSet, limit_values, list_limits
from opf.power_flow import NodalSolver, solve_state
from opf.problem import prepare_problem
from opf.problems.unmarketed import node_injections

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Positions = tuple[float, ...]

# Step of the central differences [positions].
DIFFERENCE_STEP: Final = 1e-3
# Clearings along the gradient before rounding, for each control.
CLEARINGS_PER_CONTROL: Final = 8
# A relative change of cost below which the relaxed search has arrived.
ARRIVED: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Something with positions: transformers that move together, or one capacitor bank.

    Parameters
    ----------
    name : str
        As shown.
    trafos : tuple of int
        Transformers whose tap changers take the position; empty for a bank.
    shunt : int or None
        The bank, a shunt of the network.
    q_mvar_per_step : float
        What one step of the bank draws [Mvar], negative for a capacitor; 0 for taps.
    first, last : int
        Range of positions.
    present : float
        Position now; for a bank its present reactive power in steps.
    """

    name: str
    first: int
    last: int
    present: float
    trafos: tuple[int, ...] = ()
    shunt: int | None = None
    q_mvar_per_step: float = 0.0

    def changes(self, position: float) -> tuple[NetworkChange, ...]:
        """Return what the study states for this position."""
        if self.shunt is not None:
            q_mvar = position * self.q_mvar_per_step + 0.0
            return (NetworkChange(element=f"shunt:{self.shunt}", field="q_mvar", value=q_mvar),)
        # a whole position is written as devices and people count it
        value = int(position) if float(position).is_integer() else position
        return tuple(
            NetworkChange(element=f"trafo:{trafo}", field="tap_pos", value=value)
            for trafo in self.trafos
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A clearing at given positions; cost and penalty are infinite where there is none."""

    positions: Positions
    status: Status
    cost_eur: float
    penalty_eur: float

    @property
    def total_eur(self) -> float:
        """Cost plus penalty: what is compared."""
        return self.cost_eur + self.penalty_eur

    @property
    def proven(self) -> bool:
        """Whether the clearing is certified, with or without slack."""
        return self.status in ("certified", "certified_with_slack")

    @property
    def whole(self) -> bool:
        """Whether devices have these positions."""
        return all(float(position).is_integer() for position in self.positions)


@dataclass(slots=True)
class Pricer:
    """Clears a case at positions, each combination once.

    Parameters
    ----------
    case : ClearingCase
        The case at its present positions.
    controls : tuple of Control
        What may move.
    progress : callable, optional
        Called with every new trial.
    """

    case: ClearingCase
    controls: tuple[Control, ...]
    progress: Callable[[Trial], None] | None = None
    trials: dict[Positions, Trial] = field(default_factory=dict)
    results: dict[Positions, ClearingResult] = field(default_factory=dict)

    def case_at(self, positions: Positions) -> ClearingCase:
        """Return the case with the controls at these positions."""
        return dataclasses.replace(
            self.case, network=at_positions(self.case.network, self.controls, positions)
        )

    def price(self, positions: Positions) -> Trial:
        """Clear at these positions, or remember."""
        known = self.trials.get(positions)
        if known is not None:
            return known
        result = clear_case(self.case_at(positions))
        none = result.status == "infeasible"
        trial = Trial(
            positions=positions,
            status=result.status,
            cost_eur=math.inf if none else result.objective_eur,
            penalty_eur=math.inf if none else result.penalty_eur,
        )
        self.trials[positions], self.results[positions] = trial, result
        if self.progress is not None:
            self.progress(trial)
        return trial


def at_positions(network: Network, controls: Sequence[Control], positions: Positions) -> Network:
    """Return the network with the controls at these positions."""
    problems: list[Problem] = []
    changes = [
        change
        for control, position in zip(controls, positions, strict=True)
        for change in control.changes(position)
    ]
    changed = change_network(network, changes, problems)
    refuse_if_any(problems)
    return changed


def tap_controls(network: Network) -> tuple[Control, ...]:
    """Return the tap changers of transformers in service; parallel transformers move together.

    Raises
    ------
    InputError
        A tap changer without a range, or parallel ones that stand at different positions.
    """
    changers, trafos = network.tap_changers, network.trafos
    grid = build_grid(network)
    row_of = {int(bus): row for row, bus in enumerate(network.buses.index)}
    groups: dict[tuple[int, int], list[int]] = {}
    for place, trafo in enumerate(changers.trafo.tolist()):
        row = int(np.flatnonzero(trafos.index == trafo)[0])
        if not (trafos.in_service[row] and trafos.closed_hv[row] and trafos.closed_lv[row]):
            continue
        ends = (
            int(grid.bus_node[row_of[int(trafos.hv_bus[row])]]),
            int(grid.bus_node[row_of[int(trafos.lv_bus[row])]]),
        )
        groups.setdefault(ends, []).append(place)
    problems: list[Problem] = []
    found = []
    for places in groups.values():
        named = tuple(int(changers.trafo[place]) for place in places)
        where = "trafo " + ", ".join(str(trafo) for trafo in named)
        ranges = {
            (float(changers.pos[k]), float(changers.pos_min[k]), float(changers.pos_max[k]))
            for k in places
        }
        present, first, last = min(ranges)
        if len(ranges) > 1:
            what = "are parallel and their tap positions or ranges differ"
            problems.append(Problem(where=where, what=what, remedy="set them to one tap_pos"))
        elif not (math.isfinite(first) and math.isfinite(last)):
            what = "states no tap_min and tap_max"
            problems.append(Problem(where=where, what=what, remedy="state them in the network"))
        else:
            control = Control(
                name=where, first=round(first), last=round(last), present=present, trafos=named
            )
            found.append(control)
    refuse_if_any(problems)
    return tuple(found)


def bank_control(network: Network, shunt: int, q_mvar_per_step: float, steps: int) -> Control:
    """Return a capacitor bank of equal steps at a shunt of the network.

    Raises
    ------
    InputError
        If the network has no such shunt, or the step is 0.
    """
    rows = np.flatnonzero(network.shunts.index == shunt)
    problems = []
    if not rows.size:
        problems.append(Problem(where=f"shunt {shunt}", what="is not in the network"))
    if q_mvar_per_step == 0 or steps < 1:
        problems.append(
            Problem(
                where=f"shunt {shunt}",
                what=f"{steps} steps of {q_mvar_per_step:g} Mvar are no bank",
                remedy="state at least one step that is not 0 Mvar",
            )
        )
    refuse_if_any(problems)
    present = float(network.shunts.q_mvar[rows[0]]) / q_mvar_per_step + 0.0
    return Control(
        name=f"shunt {shunt}", first=0, last=steps, present=present, shunt=shunt,
        q_mvar_per_step=q_mvar_per_step,
    )  # fmt: skip


def sweep(pricer: Pricer, combinations_max: int) -> Trial:
    """Clear at every combination of whole positions and return the cheapest.

    Raises
    ------
    InputError
        If there are more than ``combinations_max``.
    """
    count = math.prod(control.last - control.first + 1 for control in pricer.controls)
    if count > combinations_max:
        problem = Problem(
            where="sweep",
            what=f"{count} combinations of positions, more than {combinations_max}",
            remedy="use --method relax, name fewer controls, or raise --combinations-max",
        )
        raise InputError([problem])
    ranges = [range(control.first, control.last + 1) for control in pricer.controls]
    trials = [
        pricer.price(tuple(float(position) for position in positions))
        for positions in itertools.product(*ranges)
    ]
    return cheapest(trials)


def cheapest(trials: Sequence[Trial]) -> Trial:
    """Return the cheapest trial whose clearing is proven; of equal ones the first by positions."""
    return min(trials, key=lambda trial: (not trial.proven, trial.total_eur, trial.positions))


def relax_and_round(pricer: Pricer) -> Trial:
    """Follow the gradient at fractional positions, round, and walk to cheaper neighbours."""
    relaxed = _relax(pricer)
    corners = itertools.product(
        *(
            sorted({float(math.floor(p + 1e-9)), float(math.ceil(p - 1e-9))})
            for p in relaxed.positions
        )
    )
    best = cheapest([pricer.price(corner) for corner in corners])
    while True:
        around = [pricer.price(positions) for positions in _neighbours(pricer, best.positions)]
        better = cheapest([best, *around])
        if better.positions == best.positions:
            return best
        best = better


def _neighbours(pricer: Pricer, positions: Positions) -> list[Positions]:
    """Return the positions one step of one control away."""
    return [
        (*positions[:k], positions[k] + step, *positions[k + 1 :])
        for k, control in enumerate(pricer.controls)
        for step in (-1.0, 1.0)
        if control.first <= positions[k] + step <= control.last
    ]


def _relax(pricer: Pricer) -> Trial:
    """Find the cheapest fractional positions by a bounded quasi-Newton method (L-BFGS-B)."""
    from scipy.optimize import minimize

    bounds = [(float(control.first), float(control.last)) for control in pricer.controls]
    start = np.array(
        [
            min(max(control.present, low), high)
            for control, (low, high) in zip(pricer.controls, bounds, strict=True)
        ]
    )
    visited: list[Trial] = []
    # costs of a large feeder and of a small one end alike when measured by the first
    scale = max(abs(pricer.price(tuple(start.tolist())).total_eur), 1.0)

    def cost(x: Floats) -> tuple[float, Floats]:
        positions = tuple(float(value) for value in x)
        trial = pricer.price(positions)
        visited.append(trial)
        if not math.isfinite(trial.total_eur):
            return 1e6, np.zeros(len(x))
        return trial.total_eur / scale, position_gradient(pricer, positions) / scale

    minimize(
        cost, start, jac=True, bounds=bounds, method="L-BFGS-B",
        options={"maxfun": CLEARINGS_PER_CONTROL * len(bounds), "ftol": ARRIVED, "gtol": 1e-9},
    )  # fmt: skip
    return cheapest(visited)


def position_gradient(pricer: Pricer, positions: Positions) -> Floats:
    """Change of cost plus penalty per position of each control, at a clearing [EUR].

    Parameters
    ----------
    positions : tuple of float
        Where the case was cleared; inside the ranges or at their ends.

    Returns
    -------
    ndarray, shape (controls,)
    """
    pricer.price(positions)
    result = pricer.results[positions]
    injection = _cleared_injections(pricer.case_at(positions), result)
    gradient = np.zeros(len(positions))
    for k, control in enumerate(pricer.controls):
        ends = (
            max(positions[k] - DIFFERENCE_STEP, float(control.first)),
            min(positions[k] + DIFFERENCE_STEP, float(control.last)),
        )
        values = [
            _priced_state(
                pricer.case_at((*positions[:k], end, *positions[k + 1 :])), injection, result
            )
            for end in ends
        ]
        gradient[k] = (values[1] - values[0]) / (ends[1] - ends[0])
    return gradient


def _cleared_injections(case: ClearingCase, result: ClearingResult) -> Complexes:
    """Net injection of every node with the awards of a result, shape (nodes, periods)."""
    grid = build_grid(case.network)
    by_bus = np.zeros((len(case.network.buses.index), len(case.periods)), dtype=complex)
    row_of = {int(bus): row for row, bus in enumerate(case.network.buses.index)}
    for award in result.awards:
        for place, bus in enumerate(award.buses):
            by_bus[row_of[bus]] += award.injection_mw[place] + 1j * award.injection_mvar[place]
    return prepare_problem(case).resources.fixed + node_injections(grid, by_bus)


def _priced_state(case: ClearingCase, injection: Complexes, result: ClearingResult) -> float:
    """Import at its price plus every limit's value at its multiplier, at fixed injections [EUR]."""
    grid = build_grid(case.network)
    state = solve_state(NodalSolver(grid), injection)
    limits = list_limits(case, grid)
    priced = (_multipliers(case, limits, result) * limit_values(limits, state)).sum()
    energy = float(case.import_price_eur_per_mwh @ state.exchange.real)
    return case.periods.mtu_h * (energy + float(priced))


def _multipliers(case: ClearingCase, limits: LimitSet, result: ClearingResult) -> Floats:
    """Shadow price of every limit in every period [EUR per unit of the limit and h]."""
    grid = result.grid
    row_of = {int(bus): row for row, bus in enumerate(case.network.buses.index)}
    branch: dict[tuple[str, int], Floats] = {
        (b.element_kind, b.element): b.shadow_price_eur_per_mva_h for b in grid.branches
    }
    # the price of a branch belongs to the end whose limit moves prices; a bound side has a part
    moved: dict[tuple[str, int, str], Floats] = {
        (part.element_kind, part.element, part.side): part.p_eur_per_mwh
        for part in result.prices.parts
    }
    slack_row = row_of[case.network.slack_bus]
    prices = np.zeros((len(limits), len(case.periods)))
    for k in range(len(limits)):
        kind, element, side = limits.element_kind[k], int(limits.element[k]), limits.side[k]
        if (kind, element, side) not in moved:
            continue
        part = moved[kind, element, side]
        if kind == "bus":
            by_side = (
                grid.shadow_price_upper_eur_per_pu_h
                if side == "upper"
                else grid.shadow_price_lower_eur_per_pu_h
            )
            prices[k] = by_side[row_of[element]]
        elif kind == "ext_grid":
            prices[k] = np.abs(part[slack_row])
        else:
            prices[k] = np.where(np.any(part != 0, axis=0), branch[kind, element], 0.0)
    return prices
