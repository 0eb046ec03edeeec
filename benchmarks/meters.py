"""How surely the sum check finds theft, swaps and dead meters; how often it cries wolf.

Forty real households (Zonnedael) on two simulated feeders of twenty: a line with 3 % losses, feeder
meters within 0.5 % with 0.3 % noise, house meters within 1 %. Every trial draws the weeks, who
stands on which feeder and along the line, and all errors anew. Needs DSO_REFERENCE_DATA.

    python -m benchmarks.meters [TRIALS]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from benchmarks.document import replace_section
from benchmarks.machine import describe_machine
from data.records.metering import MeterFinding
from dso.metering import check_sums
from tests.support.metered_street import ZONE, Street, street, validated

Integers = NDArray[np.int64]
Expected = set[tuple[str, tuple[str, ...]]]
Fault = Callable[[Street, Integers, np.random.Generator], tuple[dict[str, str], Expected]]

SETTING = (
    "Forty real households on two simulated feeders of twenty, 3 % losses along a line, meter "
    "errors of class B; every trial draws weeks, places and errors anew. Named: the right kind "
    "with the right house; besides: anything else named in the same trial."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: trials with the fault named, and with anything else named besides."""

    words: str
    days: int
    named: int
    besides: int
    trials: int


def theft_of_feeder(share: float) -> Fault:
    """Steal a share of the feeder's energy at a house that has enough of it."""

    def fault(
        at: Street, wh: Integers, generator: np.random.Generator
    ) -> tuple[dict[str, str], Expected]:
        feeder_wh = float(at.true_wh[:, at.on("A")].sum())
        able = [k for k in at.on("A") if at.true_wh[:, k].sum() > 1.1 * share * feeder_wh]
        thief = int(generator.choice(able))
        part = share * feeder_wh / at.true_wh[:, thief].sum()
        wh[:, thief] = np.rint(wh[:, thief] * (1 - part))
        return at.feeder, {("theft", (at.names[thief],))}

    return fault


def theft_of_own(share: float) -> Fault:
    """Let a share of any house's energy pass by its meter."""

    def fault(
        at: Street, wh: Integers, generator: np.random.Generator
    ) -> tuple[dict[str, str], Expected]:
        thief = int(generator.choice(at.on("A")))
        wh[:, thief] = np.rint(wh[:, thief] * (1 - share))
        return at.feeder, {("theft", (at.names[thief],))}

    return fault


def swap(
    at: Street, _wh: Integers, generator: np.random.Generator
) -> tuple[dict[str, str], Expected]:
    """Map one house of each feeder to the other."""
    pair = [at.names[int(generator.choice(at.on(feeder)))] for feeder in ("A", "B")]
    mapping = {**at.feeder, pair[0]: "B", pair[1]: "A"}
    return mapping, {("swapped", tuple(sorted(pair)))}


def dead(
    at: Street, wh: Integers, generator: np.random.Generator
) -> tuple[dict[str, str], Expected]:
    """Let a meter die half-way."""
    gone = int(generator.choice(at.on("B")))
    wh[len(wh) // 2 :, gone] = 0
    return at.feeder, {("dead", (at.names[gone],))}


def clean(
    at: Street, _wh: Integers, _generator: np.random.Generator
) -> tuple[dict[str, str], Expected]:
    """Leave everything as it is."""
    return at.feeder, set()


def vacant(
    at: Street, _wh: Integers, _generator: np.random.Generator
) -> tuple[dict[str, str], Expected]:
    """Expect nothing where a house stands empty."""
    return at.feeder, set()


def emptied(at: Street, generator: np.random.Generator) -> Street:
    """Let a house really use nothing for the second half: no fault at all."""
    true_wh = at.true_wh.copy()
    true_wh[len(true_wh) // 2 :, int(generator.choice(at.on("B")))] = 0
    return replace(at, true_wh=true_wh)


def measure(words: str, fault: Fault, days: int, trials: int) -> Row:
    """Run the trials of one line."""
    named = besides = 0
    for trial in range(trials):
        at = street(1_000 + trial, days=days)
        if fault is vacant:
            at = emptied(at, np.random.default_rng([trial, 8]))
        wh = at.metered()
        mapping, expected = fault(at, wh, np.random.default_rng([trial, 7]))
        found: list[MeterFinding] = [
            finding
            for check in check_sums(validated(at, wh), mapping, at.feeders(), ZONE)
            for finding in check.findings
        ]
        said = {(finding.kind, finding.subjects) for finding in found}
        named += expected <= said
        besides += bool(said - expected)
    return Row(words=words, days=days, named=named, besides=besides, trials=trials)


def flags_per_meter_day(trials: int) -> tuple[int, int]:
    """Count flags of validation on clean series, and the meter-days they stand in."""
    flags = days = 0
    for trial in range(trials):
        at = street(1_000 + trial)
        for meter in validated(at, at.metered()):
            flags += len(meter.series[0].findings)
            days += at.periods.count // 96
    return flags, days


def main() -> None:
    """Measure, print and put the table into docs/benchmarks.md."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    started = time.perf_counter()
    lines: list[tuple[str, Fault, int]] = [
        ("no fault", clean, 14), ("no fault", clean, 28), ("no fault", clean, 56),
        ("3 % of the feeder stolen", theft_of_feeder(0.03), 14),
        ("3 % of the feeder stolen", theft_of_feeder(0.03), 28),
        ("half of a house's energy", theft_of_own(0.5), 28),
        ("a fifth of a house's energy", theft_of_own(0.2), 28),
        ("a tenth of a house's energy", theft_of_own(0.1), 28),
        ("two meters swapped", swap, 14), ("two meters swapped", swap, 28),
        ("a meter dead for half the time", dead, 28), ("a meter dead for half the time", dead, 56),
        ("no fault: a house empty for half the time", vacant, 28),
    ]  # fmt: skip
    body = [
        f"`make bench-meters`, {date.today():%Y-%m-%d}. {describe_machine()}.",  # noqa: DTZ011
        "",
        SETTING,
        "",
        "| fault | days of readings | named | something else besides |",
        "|---|---|---|---|",
    ]
    for words, fault, days in lines:
        row = measure(words, fault, days, trials)
        done = "" if fault in (clean, vacant) else f"{row.named} of {row.trials}"
        body.append(f"| {row.words} | {row.days} | {done} | {row.besides} of {row.trials} |")
        sys.stdout.write(body[-1] + "\n")
        sys.stdout.flush()
    flags, days_seen = flags_per_meter_day(min(trials, 20))
    seconds = time.perf_counter() - started
    last = (
        f"Validation of clean series: {flags} flags in {days_seen:,} meter-days, no value changed."
    )
    body += ["", f"{last} {seconds:.0f} s in all."]
    sys.stdout.write(body[-1] + "\n")
    replace_section("Sum check of meters", "\n".join(body))


if __name__ == "__main__":
    main()
