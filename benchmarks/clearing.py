"""Clear 1-MV-rural--2-sw on a sunny and a winter day with every way we have to state the problem.

Printed and put into docs/benchmarks.md: time cold and warm and where it goes, objective, worst
violation in the independent replay, and how far prices are from what re-solving the AC optimum with
a little more or less load says: one truth for all of them. Run by `make bench-clearing`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np

from benchmarks.document import replace_section
from benchmarks.machine import describe_machine, engine_sha256
from benchmarks.simbench_cases import DAYS, simbench_case
from data.records.clearing import ClearingCase, ClearingResult, Formulation

GRID: Final = "1-MV-rural--2-sw"
SECTION: Final = "Clearing 1-MV-rural--2-sw"
STEP_MW: Final = 0.01
BUSES_PROBED: Final = 3
# Difference of the one-sided slopes, relative to the largest price, from which there is a kink.
KINK: Final = 1e-2
Clear = Callable[[ClearingCase, ClearingResult | None], ClearingResult]


def clear_ac(case: ClearingCase, start: ClearingResult | None) -> ClearingResult:
    """Clear with the engine whose prices may be posted."""
    from opf.clearing import clear_case

    return clear_case(case, start=start)


def clear_named(formulation: Formulation) -> Clear:
    """Return the function that clears a case in another formulation, always cold."""

    def clear(case: ClearingCase, start: ClearingResult | None) -> ClearingResult:
        del start
        from opf.clearing import clear_case

        return clear_case(dataclasses.replace(case, formulation=formulation))

    return clear


# Every way to clear a case, by name: (function, whether it can start from an earlier result).
ENGINES: Final[dict[str, tuple[Clear, bool]]] = {
    "ac": (clear_ac, True),
    "copper_plate": (clear_named("copper_plate"), False),
    "lindistflow": (clear_named("lindistflow"), False),
    "branch_flow_soc": (clear_named("branch_flow_soc"), False),
}
PYOMO: Final = "pyomo, linear at the ac optimum"


@dataclass(slots=True)
class Split:
    """Seconds spent in the costly parts of the `ac` engine."""

    power_flow_s: float = 0.0
    systems_s: float = 0.0
    steps_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTruth:
    """One-sided slopes of the re-solved AC optimum by the load at some buses [EUR/MWh]."""

    bus_rows: tuple[int, ...]
    period: int
    slopes: tuple[tuple[float, float], ...]
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceError:
    """Largest error of the probed prices, and at how many of them the optimum has a kink."""

    relative: float
    kinks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What Pyomo found: its own row, for it has neither replay nor prices."""

    day: date
    seconds: float
    objective_eur: float
    distance_eur: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One clearing of one engine on one day."""

    engine: str
    day: date
    start: str
    seconds: tuple[float, ...]
    split: Split
    result: ClearingResult
    price_error: PriceError | None


@contextlib.contextmanager
def timed_parts() -> Iterator[Split]:
    """Measure power flow with adjoints, the interior point's systems, and steps after it."""
    from opf import interior_point, successive
    from opf.kkt_system import KktSystem
    from opf.quadratic import StepProgramme

    split = Split()
    parts: tuple[tuple[Any, str, str], ...] = (
        (interior_point, "solve_state", "power_flow_s"),
        (interior_point, "linearise", "power_flow_s"),
        (successive, "solve_state", "power_flow_s"),
        (successive, "linearise", "power_flow_s"),
        (KktSystem, "__init__", "systems_s"),
        (KktSystem, "take_limits", "systems_s"),
        (KktSystem, "factorise", "systems_s"),
        (KktSystem, "is_convex", "systems_s"),
        (KktSystem, "solve", "systems_s"),
        (successive, "newton_step", "steps_s"),
        (StepProgramme, "solve", "steps_s"),
    )
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in parts]

    def timed(function: Callable[..., Any], field: str) -> Callable[..., Any]:
        def run(*values: Any, **named: Any) -> Any:  # noqa: ANN401  passes on what it gets
            begin = time.perf_counter()
            try:
                return function(*values, **named)
            finally:
                spent = time.perf_counter() - begin
                setattr(split, field, getattr(split, field) + spent)

        return run

    for (owner, name, function), (_, _, field) in zip(originals, parts, strict=True):
        setattr(owner, name, timed(function, field))
    try:
        yield split
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


def measure(engine: str, day: date, runs: int, truth: PriceTruth) -> Iterator[Measurement]:
    """Clear cold and, where the engine can, from its own result; the last run gives the split."""
    _, starts_warm = ENGINES[engine]
    case = simbench_case(GRID, day)
    cold = _repeat(engine, day, "cold", case, None, runs)
    yield dataclasses.replace(cold, price_error=price_error(truth, cold.result))
    if starts_warm:
        yield _repeat(engine, day, "warm", case, cold.result, runs)


def state_in_pyomo(day: date) -> Statement:
    """Build and solve the second statement at the AC optimum."""
    from opf.linear_point import linear_point
    from opf.problem import cost_eur, prepare_problem
    from opf.pyomo_statement import solve_at_point
    from opf.successive import optimise

    case = simbench_case(GRID, day)
    problem = prepare_problem(case)
    solution = optimise(problem)
    point = linear_point(problem, solution)
    begin = time.perf_counter()
    stated = solve_at_point(case, point)
    seconds = time.perf_counter() - begin
    cost = cost_eur(problem, solution.x, solution.state)
    return Statement(
        day=day,
        seconds=seconds,
        objective_eur=stated.objective_eur,
        distance_eur=stated.objective_eur + stated.penalty_eur - cost,
    )


def _repeat(
    engine: str, day: date, name: str, case: ClearingCase, start: ClearingResult | None, runs: int
) -> Measurement:
    clear, _ = ENGINES[engine]
    seconds = []
    for _ in range(runs - 1):
        begin = time.perf_counter()
        clear(case, start)
        seconds.append(time.perf_counter() - begin)
    with timed_parts() as split:
        begin = time.perf_counter()
        result = clear(case, start)
        seconds.append(time.perf_counter() - begin)
    return Measurement(
        engine=engine,
        day=day,
        start=name,
        seconds=tuple(seconds),
        split=split,
        result=result,
        price_error=None,
    )


def find_truth(day: date) -> PriceTruth:
    """Re-solve the AC optimum with one load at a time moved by +-10 kW, where limits bite most."""
    case = simbench_case(GRID, day)
    result = clear_ac(case, None)
    prices = result.prices
    moved = np.abs(prices.congestion_eur_per_mwh + prices.voltage_eur_per_mwh).max(axis=0)
    period = int(np.argmax(moved))
    rows, found = [], []
    for row in _probed_loads(case, prices.dlmp_p_eur_per_mwh[:, period]):
        slopes = []
        for sign in (-1.0, 1.0):
            load = case.load_p_mw.copy()
            load[period, row] += sign * STEP_MW
            other = clear_ac(dataclasses.replace(case, load_p_mw=load), result)
            change = other.objective_eur - result.objective_eur
            slopes.append(sign * change / (STEP_MW * case.periods.mtu_h))
        rows.append(case.network.buses.index.tolist().index(int(case.network.loads.bus[row])))
        found.append((min(slopes), max(slopes)))
    return PriceTruth(
        bus_rows=tuple(rows),
        period=period,
        slopes=tuple(found),
        largest=float(np.abs(prices.dlmp_p_eur_per_mwh).max()),
    )


def price_error(truth: PriceTruth, result: ClearingResult) -> PriceError | None:
    """Compare published prices with the re-solved AC optimum, relative to its largest price.

    A price is compared with the central difference, or, where the two one-sided slopes differ by
    more than `KINK` (the optimum has a kink), with the interval between them.
    """
    worst, kinks = 0.0, 0
    for row, (low, high) in zip(truth.bus_rows, truth.slopes, strict=True):
        price = float(result.prices.dlmp_p_eur_per_mwh[row, truth.period])
        if not np.isfinite(price):
            return None
        if high - low > KINK * truth.largest:
            kinks += 1
            error = max(low - price, price - high, 0.0)
        else:
            error = abs(0.5 * (low + high) - price)
        worst = max(worst, error / truth.largest)
    return PriceError(relative=worst, kinks=kinks)


def _probed_loads(case: ClearingCase, price: np.ndarray) -> list[int]:
    """Return loads no order stands for, at the cheapest, the dearest and a middle bus."""
    loads, buses = case.network.loads, case.network.buses.index.tolist()
    named = {order.asset for order in case.orders}
    free = [
        row
        for row, index in enumerate(loads.index.tolist())
        if loads.in_service[row] and f"load:{index}" not in named
    ]
    free.sort(key=lambda row: (float(price[buses.index(int(loads.bus[row]))]), row))
    places = np.linspace(0, len(free) - 1, BUSES_PROBED).round().astype(int)
    return [free[int(place)] for place in places]


def describe(found: Sequence[Measurement], stated: Sequence[Statement], runs: int) -> str:
    """Return the section of docs/benchmarks.md."""
    head = (
        "| engine | day | start | status | s (median, spread) | power flow + adjoints / interior "
        "point systems / steps after it / rest | iterations | objective [EUR] | worst violation "
        "in the replay | price error |"
    )
    words = (
        f"`make bench-clearing`: 96 quarter-hours, {runs} runs each, one BLAS thread.\n",
        (
            f"- Taken {datetime.now(UTC):%Y-%m-%d}, engine source `{engine_sha256()[:12]}` "
            "(SHA-256 over what `opf.clearing` imports in `opf`)."
        ),
        f"- {describe_machine()}.",
        (
            f"- price error: load at {BUSES_PROBED} buses moved by {1000 * STEP_MW:g} kW either "
            "way in the period where limits move prices most, the day cleared anew; the price "
            "against the central difference, at a kink its distance from the two one-sided "
            "slopes, relative to the largest price.\n"
        ),
    )
    lines = [*words, head, "|" + "---|" * 10]
    for one in found:
        certificate, split = one.result.certificate, one.split
        rest = one.seconds[-1] - split.power_flow_s - split.systems_s - split.steps_s
        error = ""
        if one.price_error is not None:
            error = f"{one.price_error.relative:.1e} ({one.price_error.kinks} kinks)"
        lines.append(
            f"| {one.engine} | {one.day} | {one.start} | {one.result.status} "
            f"| {statistics.median(one.seconds):.2f} ({min(one.seconds):.2f} to "
            f"{max(one.seconds):.2f}) | {split.power_flow_s:.2f} / {split.systems_s:.2f} / "
            f"{split.steps_s:.2f} / {rest:.2f} | {certificate.iterations} "
            f"| {one.result.objective_eur:,.4f} | {certificate.worst_voltage_violation_pu:.1e} pu, "
            f"{certificate.worst_loading_violation_percent:.1e} % | {error} |"
        )
    lines += [
        f"| {PYOMO} | {one.day} | cold | optimal | {one.seconds:.2f} | building and solving "
        f"|  | {one.objective_eur:,.4f} | {one.distance_eur:+.1e} EUR from the ac cost |  |"
        for one in stated
    ]
    lines += _bounds(found)
    return "\n".join(lines)


def _bounds(found: Sequence[Measurement]) -> list[str]:
    """Gap of each day's AC optimum to the dual bound of the cone relaxation."""
    cones = {one.day: one.result for one in found if one.engine == "branch_flow_soc"}
    lines = [""]
    for one in found:
        cone = cones.get(one.day)
        if one.engine == "ac" and one.start == "cold" and cone and cone.bound_eur is not None:
            cost = one.result.objective_eur
            lines.append(
                f"- {one.day}: dual bound of the cone relaxation {cone.bound_eur:,.4f} EUR, gap of "
                f"`ac` to it {(cost - cone.bound_eur) / abs(cost):.1e}."
            )
    return lines


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--engine", choices=sorted(ENGINES), action="append", help="only this one")
    arguments = parser.parse_args()
    found: list[Measurement] = []
    truths = {day: find_truth(day) for day in DAYS}
    for engine in arguments.engine or ENGINES:
        for day in DAYS:
            for one in measure(engine, day, arguments.runs, truths[day]):
                found.append(one)
                sys.stdout.write(
                    f"{one.engine} {one.day} {one.start}: {one.result.status}, "
                    f"{statistics.median(one.seconds):.2f} s\n"
                )
                sys.stdout.flush()
    stated = [] if arguments.engine else [state_in_pyomo(day) for day in DAYS]
    text = describe(found, stated, arguments.runs)
    sys.stdout.write(text + "\n")
    replace_section(SECTION, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
