"""Clear medium- and low-voltage grids together, and see how effort grows with their zones.

Every measurement runs in a process of its own, so that its memory is its own: a day cleared cold,
the same grid cut to some of its zones, and the day cleared again from its result after every
forecast moved by 5 %. Printed and put into docs/benchmarks.md. Run by `make bench-scale`; with
`--grid`, `--zones` and `--again` it makes one measurement and prints it as JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np

from benchmarks.clearing import timed_parts
from benchmarks.document import replace_section
from benchmarks.grid_parts import keep_zones, size_of, zone_count
from benchmarks.machine import describe_machine, engine_sha256
from benchmarks.simbench_cases import simbench_case
from data.records.clearing import ClearingCase
from data.records.order import DemandOrder, GenerationOrder, Order
from data.units import quantise_mw

SECTION: Final = "Medium- and low-voltage grids together"
RURAL: Final = "1-MVLV-rural-all-2-sw"
SUNNY: Final = "2016-07-25"
DAYS: Final = (
    (RURAL, "2016-06-29"), (RURAL, SUNNY), (RURAL, "2016-01-16"),
    ("1-MVLV-urban-all-0-sw", SUNNY), ("1-MVLV-comm-all-2-sw", SUNNY),
    ("1-MVLV-semiurb-all-2-sw", SUNNY), ("1-MVLV-rural-all-0-sw", SUNNY),
)  # fmt: skip
GROWTH: Final = (5, 10, 20, 45, 90)
FORECAST_CHANGE: Final = 0.05
Row = dict[str, Any]


def changed_forecast(case: ClearingCase) -> ClearingCase:
    """Move every load and what generators offer by 5 %, up and down in turn."""
    signs = np.where(np.arange(len(case.orders)) % 2, -1.0, 1.0)
    factors = 1.0 + FORECAST_CHANGE * signs
    loads = 1.0 + FORECAST_CHANGE * np.where(np.arange(case.load_p_mw.shape[1]) % 2, -1.0, 1.0)
    return dataclasses.replace(
        case,
        load_p_mw=quantise_mw(case.load_p_mw * loads),
        load_q_mvar=quantise_mw(case.load_q_mvar * loads),
        orders=tuple(
            _changed(order, float(factor))
            for order, factor in zip(case.orders, factors, strict=True)
        ),
    )


def _changed(order: Order, factor: float) -> Order:
    """Scale what a generator or a load offers; storages stay."""
    if not isinstance(order, GenerationOrder | DemandOrder):
        return order
    steps = tuple(
        dataclasses.replace(step, p_mw=quantise_mw(step.p_mw * factor)) for step in order.steps
    )
    total = np.sum([step.p_mw for step in steps], axis=0)
    least = np.minimum(quantise_mw(order.p_mw_min * factor), total)
    return dataclasses.replace(order, steps=steps, p_mw_min=least)


def measure(grid: str, day: str, zones: int | None, *, again: bool) -> Row:
    """Clear one case, or clear it again from its result, in this process."""
    from opf.clearing import clear_case

    case = simbench_case(grid, date.fromisoformat(day))
    if zones is not None:
        case = keep_zones(case, zones)
    earlier = clear_case(case) if again else None
    if again:
        case = changed_forecast(case)
    with timed_parts() as split:
        begin, work = time.perf_counter(), time.process_time()
        result = clear_case(case, start=earlier)
        seconds, work = time.perf_counter() - begin, time.process_time() - work
    certificate = result.certificate
    return {
        "grid": grid,
        "day": day,
        "zones": zone_count(case),
        "size": size_of(case.network),
        "start": "its earlier result" if again else "cold",
        "status": result.status,
        "message": result.message,
        "wall_s": seconds,
        "cpu_s": work,
        "power_flow_s": split.power_flow_s,
        "systems_s": split.systems_s,
        "steps_s": split.steps_s,
        "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "iterations": certificate.iterations,
        "kkt": max(certificate.stationarity, certificate.complementarity, certificate.dual_sign),
        "objective_eur": result.objective_eur,
    }


def in_own_process(grid: str, day: str, zones: int | None, *, again: bool) -> Row:
    """Measure in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.scale", "--grid", grid, "--day", day]
    words += [] if zones is None else ["--zones", str(zones)]
    words += ["--again"] if again else []
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    row: Row = json.loads(done.stdout.splitlines()[-1])
    sys.stdout.write(_line(row) + "\n")
    sys.stdout.flush()
    return row


def exponent(rows: list[Row], field: str) -> float:
    """Slope of a field over the number of zones, both as logarithms."""
    zones = np.log([row["zones"] for row in rows])
    values = np.log([row[field] for row in rows])
    return float(np.polyfit(zones, values, 1)[0])


def _line(row: Row) -> str:
    rest = row["wall_s"] - row["power_flow_s"] - row["systems_s"] - row["steps_s"]
    parts = (row["power_flow_s"], row["systems_s"], row["steps_s"], rest)
    shares = " / ".join(f"{100 * part / row['wall_s']:.0f}" for part in parts)
    return (
        f"| {row['grid']} | {row['day']} | {row['zones']} | {row['size']} | {row['start']} "
        f"| {row['status']} | {row['kkt']:.1e} | {row['wall_s']:.1f} | {row['cpu_s']:.1f} "
        f"| {shares} | {row['memory_gb']:.2f} | {row['iterations']} "
        f"| {row['objective_eur']:,.4f} |"
    )


def describe(days: list[Row], growth: list[Row], again: list[Row]) -> str:
    """Return the section of docs/benchmarks.md."""
    head = (
        "| grid | day | zones | size | start | status | KKT residual | wall [s] | CPU [s] "
        "| power flow and adjoints / interior point systems / steps after it / rest [%] "
        "| memory [GB] | iterations | objective [EUR] |"
    )
    lines = [
        "`make bench-scale`: 96 quarter-hours, every static generator and storage, one run each.\n",
        (
            f"- Taken {datetime.now(UTC):%Y-%m-%d}, engine source `{engine_sha256()[:12]}` "
            "(SHA-256 over what `opf.clearing` imports in `opf`)."
        ),
        f"- {describe_machine()}.\n",
        head,
        "|" + "---|" * 13,
        *(_line(row) for row in (*days, *growth, *again)),
        "",
    ]
    if len(growth) > 1:
        lines.append(
            f"- Growth with the number of zones n: CPU time as n^{exponent(growth, 'cpu_s'):.2f}, "
            f"memory as n^{exponent(growth, 'memory_gb'):.2f}."
        )
    for warm in again:
        cold = next(row for row in growth if row["zones"] == warm["zones"])
        lines.append(
            f"- {warm['zones']} zones cleared again after every forecast moved by "
            f"{FORECAST_CHANGE:.0%}: {warm['cpu_s'] / cold['cpu_s']:.2f} of the cold CPU time."
        )
    return "\n".join(lines)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grid", help="one measurement: SimBench code")
    parser.add_argument("--day", default=SUNNY, help=f"its day (default {SUNNY})")
    parser.add_argument("--zones", type=int, help="zones to keep of it (default all)")
    parser.add_argument("--again", action="store_true", help="after a changed forecast, warm")
    parser.add_argument(
        "--growth", type=int, nargs="+", default=GROWTH, help="numbers of zones to compare"
    )
    parser.add_argument("--small", action="store_true", help="leave out the whole grids")
    given = parser.parse_args()
    if given.grid:
        row = measure(given.grid, given.day, given.zones, again=given.again)
        sys.stdout.write(json.dumps(row) + "\n")
        return 0
    days = [] if given.small else [in_own_process(*one, None, again=False) for one in DAYS]
    growth = [in_own_process(RURAL, SUNNY, zones, again=False) for zones in given.growth]
    again = [in_own_process(RURAL, SUNNY, given.growth[-1], again=True)]
    text = describe(days, growth, again)
    sys.stdout.write(text + "\n")
    replace_section(SECTION, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
