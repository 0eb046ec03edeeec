"""Clear ten SimBench grids in three scenarios on a sunny and a winter day: 60 clearings.

Every one must end certified, or certified with slack and the limits named. Beside each, pandapower
`runopp` on the single period at noon of the same case. Run by `make bench-simbench`:

    python -m benchmarks.simbench_clearings            what is missing, each in its own process
    python -m benchmarks.simbench_clearings --again    also what did not end certified
    python -m benchmarks.simbench_clearings --table    only write docs/benchmarks.md anew
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import traceback
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, TextIO

from benchmarks.document import replace_section
from benchmarks.machine import REPOSITORY, describe_machine, engine_sha256

RESULTS: Final = REPOSITORY / "out" / "benchmarks" / "simbench_clearings.jsonl"
CLEARED: Final = ("certified", "certified_with_slack")
TIME_LIMIT_S: Final = 900
SECTION: Final = "SimBench clearings"
Row = dict[str, object]


def measure(code: str, day: date, *, with_opp: bool) -> Row:
    """Clear one case and try `runopp` at its noon; what is raised becomes part of the row."""
    from benchmarks.simbench_cases import simbench_case
    from benchmarks.single_period_opp import run_opp
    from opf.clearing import clear_case

    case = simbench_case(code, day)
    network = case.network
    row: Row = {
        "grid": code,
        "day": day.isoformat(),
        "engine": engine_sha256()[:12],
        "buses": len(network.buses.index),
        "orders": len(case.orders),
        "pandapower": version("pandapower"),
    }
    if with_opp:
        row["runopp"] = run_opp(case, code, len(case.periods) // 2)
    history: list[list[float]] = []
    begin = time.process_time()
    try:
        result = clear_case(case, progress=lambda k, kkt, over: history.append([k, kkt, over]))
    except Exception as error:  # noqa: BLE001  a benchmark of robustness reports every failure
        return row | {
            "status": "raised",
            "message": f"{type(error).__name__}: {error}",
            "where": traceback.format_exc(limit=-2),
            "seconds": time.process_time() - begin,
            "history": history[-12:],
        }
    certificate = result.certificate
    return row | {
        "status": result.status,
        "message": result.message,
        "seconds": time.process_time() - begin,
        "kkt": max(certificate.stationarity, certificate.complementarity, certificate.dual_sign),
        "over_pu": certificate.worst_voltage_violation_pu,
        "over_percent": certificate.worst_loading_violation_percent,
        "iterations": certificate.iterations,
        "objective_eur": result.objective_eur,
        "bound_eur": result.bound_eur,
        "binding": sorted({f"{p.element_kind} {p.element} {p.side}" for p in result.prices.parts}),
        "slack": [
            [v.element_kind, v.element, v.side, v.period, v.mw_short] for v in result.violations
        ],
        "history": history[-12:],
    }


def measure_apart(code: str, day: date, known: Row | None) -> Row:
    """Do the same in a process of its own, which may crash or run out of time.

    What `runopp` said is kept as long as pandapower is the same: it does not know our engine.
    """
    command = [sys.executable, "-m", "benchmarks.simbench_clearings", "--one", code, str(day)]
    kept: Row = {}
    if known is not None and known.get("pandapower") == version("pandapower"):
        command.append("--without-opp")
        kept = {"runopp": known["runopp"]}
    row: Row = kept | {"grid": code, "day": day.isoformat(), "engine": engine_sha256()[:12]}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=REPOSITORY, timeout=TIME_LIMIT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return row | {"status": "time_limit", "message": f"no result in {TIME_LIMIT_S} s"}
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()
        return row | {"status": "raised", "message": words[-1] if words else "no words"}
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return kept | found


def read_rows(path: Path) -> dict[tuple[str, str], Row]:
    """Return the latest row of each grid and day."""
    rows: dict[tuple[str, str], Row] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows[row["grid"], row["day"]] = row
    return rows


def run_all(out: TextIO, *, again: bool, only: str) -> None:
    """Measure what is missing or was measured with another engine, and keep each row at once."""
    from benchmarks.simbench_cases import DAYS, grid_codes

    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    wanted = [(code, day) for code in grid_codes() for day in DAYS if only in code]
    for number, (code, day) in enumerate(wanted, start=1):
        known = read_rows(RESULTS).get((code, day.isoformat()))
        mine = known is not None and known["engine"] == engine_sha256()[:12]
        if known is not None and mine and (known["status"] in CLEARED or not again):
            continue
        row = measure_apart(code, day, known)
        with RESULTS.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        seconds = row.get("seconds", float("nan"))
        out.write(
            f"{number:2d}/{len(wanted)} {code:22s} {day} {row['status']} "
            f"{seconds:.1f} s {row['message']}\n"
        )
        out.flush()


def _table(rows: list[Row]) -> list[str]:
    head = (
        "| grid | day | buses | orders | status | KKT | worst voltage | worst loading | binding "
        "| slack | iterations | processor s | `runopp`, noon |"
    )
    lines = [head, "|" + "---|" * 13]
    for row in rows:
        binding, slack = row.get("binding", []), row.get("slack", [])
        assert isinstance(binding, list)
        assert isinstance(slack, list)
        cells = [
            row["grid"], row["day"], row.get("buses", ""), row.get("orders", ""), row["status"],
            _number(row.get("kkt"), ".1e"), _number(row.get("over_pu"), ".1e"),
            _number(row.get("over_percent"), ".1e"), len(binding), len(slack),
            row.get("iterations", ""), _number(row.get("seconds"), ".1f"), row.get("runopp", ""),
        ]  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return lines


def _number(value: object, spec: str) -> str:
    return format(value, spec) if isinstance(value, int | float) else ""


def describe(rows: list[Row]) -> str:
    """Return the section of docs/benchmarks.md: what it is, counts, the table, what failed."""
    by_status: dict[str, int] = {}
    for row in rows:
        by_status[str(row["status"])] = by_status.get(str(row["status"]), 0) + 1
    counts = ", ".join(f"{count} {status}" for status, count in sorted(by_status.items()))
    engines = sorted({str(row["engine"]) for row in rows})
    tried = [str(row["runopp"]) for row in rows if "runopp" in row]
    failed = sum(not answer.startswith("converged") for answer in tried)
    lines = [
        (
            "`make bench-simbench`: every grid's recorded profiles as forecast, orders of the "
            "default policy, the grid's own limits, 96 quarter-hours, cold start, one process; "
            "seconds are processor time of its one thread."
        ),
        "",
        (
            f"- Taken {datetime.now(UTC):%Y-%m-%d}, engine source "
            f"{', '.join(f'`{name}`' for name in engines)} (SHA-256 over what `opf.clearing` "
            "imports in `opf`)."
        ),
        f"- {describe_machine()}.",
        f"- {len(rows)} of 60 clearings run: {counts}.",
        (
            f"- pandapower `runopp` on the single noon period of the same cases, storages idle: "
            f"{failed} of {len(tried)} failed."
        ),
        (
            "- KKT is relative to the largest price; worst violations [pu, percentage points] are "
            "those of the replay by power-grid-model. With slack they are what could not be kept."
        ),
        (
            "- binding: limits that are part of a price in some period; slack: periods and limits "
            "priced at scarcity."
        ),
        "",
        *_table(rows),
    ]
    bad = [row for row in rows if row["status"] not in CLEARED]
    if bad:
        lines += ["", "Not certified, and why:", ""]
        lines += [
            f"- {row['grid']}, {row['day']}: {row['status']}: {row['message']}" for row in bad
        ]
    named = [row for row in rows if row["status"] == "certified_with_slack"]
    if named:
        lines += ["", "Limits that could not hold, with the periods and the largest shortage:", ""]
        lines += [f"- {row['grid']}, {row['day']}: {_slack_words(row)}" for row in named]
    return "\n".join(lines)


def _slack_words(row: Row) -> str:
    slack = row["slack"]
    assert isinstance(slack, list)
    by_limit: dict[str, list[float]] = {}
    for kind, element, side, _, short in slack:
        by_limit.setdefault(f"{kind} {element} {side}", []).append(short)
    return "; ".join(
        f"{name}: {len(short)} periods, up to {max(short):.4g} MW"
        for name, short in sorted(by_limit.items())
    )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--one", nargs=2, metavar=("GRID", "DAY"), help="one case, JSON out")
    parser.add_argument("--without-opp", action="store_true", help="with --one: no runopp")
    parser.add_argument("--again", action="store_true", help="also what did not end certified")
    parser.add_argument("--only", default="", metavar="TEXT", help="grids whose name has TEXT")
    parser.add_argument("--table", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    if arguments.one:
        code, day = arguments.one
        row = measure(code, date.fromisoformat(day), with_opp=not arguments.without_opp)
        sys.stdout.write(json.dumps(row) + "\n")
        return 0
    if not arguments.table:
        run_all(sys.stdout, again=arguments.again, only=arguments.only)
    rows = list(read_rows(RESULTS).values())
    from benchmarks.simbench_cases import grid_codes

    order = {code: k for k, code in enumerate(grid_codes())}
    rows.sort(key=lambda row: (order[str(row["grid"])], str(row["day"])))
    replace_section(SECTION, describe(rows))
    return 0 if len(rows) == 60 and all(row["status"] in CLEARED for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
