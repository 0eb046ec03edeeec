"""Clear the variants of a sweep with one and two processes: variants per minute.

Printed and put into docs/benchmarks.md. Run by `make bench-sweep`:

    python -m benchmarks.sweep            both studies, one and two processes
    python -m benchmarks.sweep --print    without writing docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.document import replace_section
from benchmarks.machine import describe_machine, engine_sha256
from dso.studies import Setting, Study, Variant, run_variants, template

SECTION: Final = "Sweeps"
TEMPLATES: Final = ("case33bw-pv", "lv-rural-summer")
WORKERS: Final = (1, 2)
PRICES: Final = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6)
LOADS: Final = (0.7, 0.8, 0.9, 1.0)
HEADER: Final = (
    "| study | buses x periods | orders | variants | processes | seconds | variants per minute |"
    " statuses |\n|---|---|---|---|---|---|---|---|"
)


def variants_of(study: Study) -> list[Variant]:
    """Return 24 variants: import prices by loads."""
    return [
        Variant(
            name=f"price {price} load {load}",
            study=study,
            settings=(
                Setting(key="import_price.factor", value=price),
                Setting(key="load.scale", value=load),
            ),
        )
        for price in PRICES
        for load in LOADS
    ]


def measure(name: str, workers: int) -> str:
    """Clear the variants of a template into a folder that is thrown away; return the row."""
    study = template(name).study()
    variants = variants_of(study)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        outcomes = run_variants(variants, Path(folder), workers=workers)
        seconds = time.perf_counter() - begin
    case = study.case
    statuses = Counter(outcome.status for outcome in outcomes)
    said = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    return (
        f"| {name} | {int(case.network.buses.in_service.sum())} x {len(case.periods)} "
        f"| {len(case.orders)} | {len(variants)} | {workers} | {seconds:.1f} "
        f"| {60 * len(variants) / seconds:.0f} | {said} |"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all and write the section."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--print", action="store_true", help="do not write docs/benchmarks.md")
    arguments = parser.parse_args(argv)
    rows = []
    with tempfile.TemporaryDirectory() as folder:  # starts the server and loads the engine
        run_variants(variants_of(template(TEMPLATES[0]).study())[:1], Path(folder))
    for name in TEMPLATES:
        for workers in WORKERS:
            rows.append(measure(name, workers))
            sys.stdout.write(rows[-1] + "\n")
            sys.stdout.flush()
    taken = (
        f"`make bench-sweep`, {datetime.now(UTC):%Y-%m-%d}, engine {engine_sha256()[:12]}, load of "
        f"the machine {os.getloadavg()[0]:.1f} at the end. {describe_machine()}."
    )
    how = (
        "Each variant is a process forked from a server that has loaded the engine before; its "
        "study and its whole output are written to disk."
    )
    body = "\n".join([taken, "", how, "", HEADER, *rows])
    if not arguments.print:
        replace_section(SECTION, body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
