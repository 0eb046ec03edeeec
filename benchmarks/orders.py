"""Clear a book of 10,000 orders on 1-MV-rural--2-sw, 200 blocks and 20 curtailments among them.

Printed and put into docs/benchmarks.md: time, memory, gap and where the time goes. Run by
`make bench-orders`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np

from benchmarks.document import replace_section
from benchmarks.machine import describe_machine, engine_sha256
from benchmarks.simbench_cases import DAYS, simbench_case
from data.records.clearing import ClearingCase, ClearingResult
from data.records.order import (
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    PriceStep,
    kind_of,
)
from data.study import canonical_case

GRID: Final = "1-MV-rural--2-sw"
SECTION: Final = "10,000 orders on 1-MV-rural--2-sw"
ORDERS: Final = 10_000
SHORT: Final = 9_000
SHORT_PERIODS_MAX: Final = 8
BLOCKS: Final = 200
CURTAILS: Final = 20
Floats = np.ndarray[Any, np.dtype[np.float64]]


def big_book(day: date, *, share: float = 1.0, seed: int = 7) -> ClearingCase:
    """Make the case: the grid's own plants and storages, and a random book around them.

    Parameters
    ----------
    day : date
        Delivery day of 2016.
    share : float
        Share of the book's counts, for a quick look.
    seed : int
        Of the random book.
    """
    case = simbench_case(GRID, day)
    rng = np.random.default_rng(seed)
    short, blocks, curtails = (round(share * count) for count in (SHORT, BLOCKS, CURTAILS))
    rest = max(round(share * ORDERS) - short - blocks - curtails - len(case.orders), 0)
    named = {order.asset for order in case.orders}
    loads = case.network.loads
    free = [
        (row, int(index))
        for row, index in enumerate(loads.index)
        if loads.in_service[row] and f"load:{index}" not in named
    ]
    buses = sorted({int(bus) for bus in loads.bus[loads.in_service]})
    orders: list[Order] = [*case.orders]
    orders += [
        _short_order(rng, case, f"short{k:05d}", int(rng.choice(buses)), SHORT_PERIODS_MAX)
        for k in range(short)
    ]
    orders += [
        _short_order(rng, case, f"day{k:04d}", int(rng.choice(buses)), len(case.periods))
        for k in range(rest)
    ]
    orders += _blocks(rng, case, buses, blocks)
    orders += [
        _curtail(rng, case, k, free[k % len(free)], own=k < len(free)) for k in range(curtails)
    ]
    return canonical_case(
        dataclasses.replace(
            case,
            name=f"{len(orders)} orders {day}",
            orders=tuple(sorted(orders, key=lambda order: order.id)),
        )
    )


def _span(rng: np.random.Generator, size: int, longest: int) -> slice:
    length = int(rng.integers(1, longest + 1))
    first = int(rng.integers(0, size - length + 1))
    return slice(first, first + length)


def _short_order(
    rng: np.random.Generator, case: ClearingCase, name: str, bus: int, longest: int
) -> Order:
    """A step order of a few kW around the import price in a few periods."""
    size = len(case.periods)
    span = _span(rng, size, longest)
    power = np.zeros(size)
    power[span] = np.round(rng.uniform(0.001, 0.02), 6)
    price = np.round(case.import_price_eur_per_mwh + rng.normal(0.0, 8.0), 2)
    kind = GenerationOrder if rng.random() < 0.5 else DemandOrder
    return kind(
        id=name,
        participant=f"P{int(rng.integers(0, 50)):02d}",
        buses=((bus, 1.0),),
        steps=(PriceStep(p_mw=power, price_eur_per_mwh=price),),
        p_mw_min=np.zeros(size),
    )


def _blocks(
    rng: np.random.Generator, case: ClearingCase, buses: list[int], count: int
) -> list[Order]:
    """Profile blocks; a fifth linked to the one before, a fifth in exclusive groups of three."""
    size = len(case.periods)
    found: list[Order] = []
    for k in range(count):
        span = _span(rng, size, 24)
        profile = np.zeros(size)
        profile[span] = np.round(rng.uniform(0.02, 0.2, span.stop - span.start), 6)
        sign = 1.0 if rng.random() < 0.6 else -1.0
        level = float(case.import_price_eur_per_mwh[span].mean())
        linked = k % 5 == 1
        found.append(
            BlockOrder(
                id=f"block{k:03d}",
                participant=f"P{int(rng.integers(0, 50)):02d}",
                buses=((int(rng.choice(buses)), 1.0),),
                profile_mw=sign * profile,
                price_eur_per_mwh=np.full(size, round(level + rng.normal(0.0, 5.0), 2)),
                acceptance_min=float(rng.choice([1.0, 1.0, 0.5, 0.3])),
                parent=f"block{k - 1:03d}" if linked else None,
                exclusive_group=f"group{k // 15}" if k % 5 == 3 else None,
            )
        )
    return found


def _curtail(
    rng: np.random.Generator, case: ClearingCase, k: int, load: tuple[int, int], *, own: bool
) -> Order:
    """A load (row, index) that can be switched down for up to two hours, with a rebound."""
    row, index = load
    size = len(case.periods)
    typical = float(np.median(case.load_p_mw[:, row]))
    return CurtailOrder(
        id=f"curtail{k:03d}",
        participant=f"P{int(rng.integers(0, 50)):02d}",
        buses=((int(case.network.loads.bus[row]), 1.0),),
        asset=f"load:{index}" if own else None,
        p_mw_max=np.full(size, round(max(0.5 * typical, 1e-3), 6)),
        p_mw_min_on=np.full(size, round(max(0.2 * typical, 5e-4), 6)),
        price_eur_per_mwh=np.full(size, round(float(rng.uniform(2.0, 12.0)), 2)),
        duration_periods_min=2,
        duration_periods_max=8,
        cooldown_periods=8,
        activations_max=2,
        rebound_share=0.8,
        rebound_periods=4,
    )


@contextlib.contextmanager
def timed_parts() -> Iterator[Counter[str]]:
    """Measure what the search over integers spends its time on [s]."""
    from opf import integer_clearing, problem
    from opf.integer_master import Master

    spent: Counter[str] = Counter()
    parts: tuple[tuple[Any, str, str], ...] = (
        (problem, "build_resources", "model"),
        (Master, "programme", "matrices"),
        (integer_clearing, "Master", "model"),
        (Master, "propose", "choosing"),
        (integer_clearing, "optimise_one_way", "clearing"),
    )

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def run(*values: Any, **named: Any) -> Any:  # noqa: ANN401  passes on what it gets
            begin = time.perf_counter()
            try:
                return function(*values, **named)
            finally:
                spent[part] += time.perf_counter() - begin

        return run

    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in parts]
    for (owner, name, function), (_, _, part) in zip(originals, parts, strict=True):
        setattr(owner, name, timed(function, part))
    try:
        yield spent
        spent["choosing"] -= spent["matrices"]
        spent["model"] += spent.pop("matrices")
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One clearing of the book."""

    day: date
    counts: Counter[str]
    making_s: float
    seconds: float
    spent: Counter[str]
    memory_gb: float
    result: ClearingResult


def measure(day: date, share: float) -> Run:
    """Make and clear the book once."""
    from opf.clearing import clear_case

    begin = time.perf_counter()
    case = big_book(day, share=share)
    making = time.perf_counter() - begin
    with timed_parts() as spent:
        begin = time.perf_counter()
        result = clear_case(case, progress=_say)
        seconds = time.perf_counter() - begin
    return Run(
        day=day,
        counts=Counter(kind_of(order) for order in case.orders),
        making_s=making,
        seconds=seconds,
        spent=spent,
        memory_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        result=result,
    )


def _say(iteration: int, residual: float, violation: float) -> None:
    sys.stderr.write(f"\riteration {iteration}: KKT {residual:.1e}, violation {violation:.1e}   ")
    sys.stderr.flush()


def describe(runs: list[Run]) -> str:
    """Return the section of docs/benchmarks.md."""
    lines = [
        "`make bench-orders`: 96 quarter-hours, one run a day, one BLAS thread.\n",
        (
            f"- Taken {datetime.now(UTC):%Y-%m-%d}, engine source `{engine_sha256()[:12]}` "
            "(SHA-256 over what `opf.clearing` imports in `opf`)."
        ),
        f"- {describe_machine()}.",
        (
            "- gap: to the bound of the mixed-integer programme on linearised physics, which "
            "ignores that no accepted order may lose money, relative to the objective."
        ),
        "- model: columns, rows and matrices; choosing: HiGHS; clearing: AC with fixed integers.\n",
        (
            "| day | orders | status | s | model / choosing / clearing / rest [s] | model share | "
            "memory [GB] | choices cleared | gap | paradoxically rejected | objective [EUR] |"
        ),
        "|" + "---|" * 11,
    ]
    for run in runs:
        report, spent = run.result.integers, run.spent
        assert report is not None
        rest = run.seconds - sum(spent.values())
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(run.counts.items()))
        lines.append(
            f"| {run.day} | {sum(run.counts.values())}: {counts} | {run.result.status} "
            f"| {run.seconds:.0f} | {spent['model']:.1f} / {spent['choosing']:.1f} / "
            f"{spent['clearing']:.1f} / {rest:.1f} | {spent['model'] / run.seconds:.1%} "
            f"| {run.memory_gb:.1f} | {report.choices_cleared} | {report.gap:.1e} "
            f"| {len(report.paradoxically_rejected)} | {run.result.objective_eur:,.2f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.orders", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the book, for a look")
    parser.add_argument("--print-only", action="store_true", help="leave docs/benchmarks.md alone")
    arguments = parser.parse_args()
    runs = [measure(day, arguments.share) for day in DAYS]
    section = describe(runs)
    print(f"\n## {SECTION}\n\n{section}")  # noqa: T201  what the command is for
    if not arguments.print_only:
        replace_section(SECTION, section)
    return 0


if __name__ == "__main__":
    sys.exit(main())
