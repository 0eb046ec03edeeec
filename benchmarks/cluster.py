"""Many feeders on a local cluster: speed-up of two workers, a kill and a lost scheduler, a year.

Put into docs/benchmarks.md. Run by `make bench-cluster`, or:

    python -m benchmarks.cluster                  24 feeders: one worker, two workers, disturbed
    python -m benchmarks.cluster --year           52 sample days of a feeder, stopped three times
    python -m benchmarks.cluster --print          without writing docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.document import replace_section
from benchmarks.machine import describe_machine, engine_sha256
from benchmarks.simbench_cases import SUNNY, grid_codes, simbench_case
from data.study import write_study
from dso.cluster import Cluster, Job, JobReport, Rules, Tally, open_cluster, run_jobs
from dso.cluster.kinds import clear_job
from dso.studies import new_study, save_study
from tests.support.cluster_processes import far_cluster

SECTION: Final = "Many feeders on a cluster"
YEAR_SECTION: Final = "A year of sample days on a cluster"
FEEDERS: Final = 24
CUT_S: Final = 10.0
YEAR_FEEDER: Final = "1-LV-semiurb4--2-sw"
YEAR_DAYS: Final = 52
STOPS: Final = (8, 20, 33)


def write_feeders(folder: Path, count: int) -> list[Path]:
    """Write the studies of the last ``count`` SimBench grids, largest first.

    The largest first, so that no worker is left with a large one when the others have ended.
    """
    found = []
    for code in grid_codes()[-count:]:
        case = simbench_case(code, SUNNY)
        place = folder / code
        write_study(case, place, f"simbench:{code}")
        found.append((int(case.network.buses.in_service.sum()) * len(case.orders), place))
    return [place for _, place in sorted(found, reverse=True)]


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a run's results by its name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def jobs_of(studies: Sequence[Path], out: Path) -> list[Job]:
    """Return the clearings of studies."""
    return [clear_job(study.name, study, out) for study in studies]


def timed(
    cluster: Cluster,
    jobs: Sequence[Job],
    ended: Callable[[JobReport], None] | None = None,
    listen: Callable[[Tally], None] | None = None,
) -> tuple[float, tuple[JobReport, ...]]:
    """Do jobs; return seconds and reports."""
    begin = time.perf_counter()
    reports = run_jobs(jobs, cluster, rules=Rules(), ended=ended, listen=listen)
    return time.perf_counter() - begin, reports


def warm(cluster: Cluster) -> None:
    """Wait until every worker answers."""
    cluster.client().run(os.getpid)


def disturbed(jobs: Sequence[Job]) -> tuple[float, tuple[JobReport, ...], int]:
    """Do jobs while a worker is killed and the scheduler is away for ten seconds."""
    seen: list[JobReport] = []
    lost = 0

    def listen(tally: Tally) -> None:
        nonlocal lost
        lost = tally.connections_lost

    with far_cluster(workers=2) as line, open_cluster(line.address) as cluster:
        pids = sorted(cluster.client().run(os.getpid).values())
        cutting = threading.Thread(target=line.cut, args=(CUT_S,))

        def ended(report: JobReport) -> None:
            seen.append(report)
            if len(seen) == max(1, len(jobs) // 4):
                os.kill(pids[0], signal.SIGKILL)
            if len(seen) == len(jobs) // 2:
                cutting.start()

        seconds, reports = timed(cluster, jobs, ended, listen)
        cutting.join()
    names = Counter(report.name for report in seen)
    if set(names.values()) != {1}:
        raise SystemExit(f"results that came more or less than once: {names}")
    return seconds, reports, lost


def measure_feeders(options: argparse.Namespace) -> str:
    """Clear the feeders with one and with two workers, then disturbed; return the section."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        studies = write_feeders(place / "studies", options.feeders)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        reference: dict[str, bytes] = {}
        reports: tuple[JobReport, ...] = ()
        for number in range(options.runs):
            for workers in (1, 2):
                out = place / f"out-{workers}-{number}"
                with open_cluster("local", workers=workers) as cluster:
                    warm(cluster)
                    spent, reports = timed(cluster, jobs_of(studies, out))
                seconds[workers].append(spent)
                say(f"{workers} workers: {spent:.1f} s, load {os.getloadavg()[0]:.1f}")
                reference = reference or contents(out)
                if contents(out) != reference:
                    raise SystemExit(f"{workers} workers left other bytes")
        out = place / "disturbed"
        spent, _, lost = disturbed(jobs_of(studies, out))
        same = contents(out) == reference
        say(f"disturbed: {spent:.1f} s, connections lost {lost}, same bytes: {same}")
    if not same:
        raise SystemExit("the disturbed run left other bytes")
    speed_up = median(seconds[1]) / median(seconds[2])
    statuses = Counter(report.status for report in reports)
    rows = [
        f"| {name} | {text} | {share} | {len(studies)} | {'yes' if same else 'no'} |"
        for name, text, share in (
            ("one worker", spread(seconds[1]), "1.00"),
            ("two workers", spread(seconds[2]), f"{speed_up:.2f}"),
            ("two workers, one killed, scheduler away for ten seconds", f"{spent:.1f}", ""),
        )
    ]
    return "\n".join(
        [
            (
                f"`make bench-cluster`, {datetime.now(UTC):%Y-%m-%d}, engine "
                f"{engine_sha256()[:12]}, load of the machine {os.getloadavg()[0]:.1f} at the "
                f"end, {options.runs} runs each. "
                f"{describe_machine()}."
            ),
            "",
            f"{len(studies)} SimBench feeders on {SUNNY}, 96 quarter-hours, each a task that reads "
            "its study, clears it and writes the whole result: "
            + ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
            + ". The clock starts when the workers are up. In the third run a worker is killed "
            "after a quarter of the feeders, and after half of them every connection to the "
            "scheduler is cut for ten seconds.",
            "",
            "| run | seconds | speed-up | results | same bytes |\n|---|---|---|---|---|",
            *rows,
        ]
    )


def spread(values: Sequence[float]) -> str:
    """Return the median with the range."""
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def write_year(folder: Path) -> Path:
    """Write a sweep over every seventh day of 2016 of a feeder; return its file."""
    lines = ['name = "a year of sample days"']
    for week in range(YEAR_DAYS):
        day = date(2016, 1, 4) + timedelta(days=7 * week + week % 7)
        study = new_study(f"simbench:{YEAR_FEEDER}", day=day, feeder=YEAR_FEEDER)
        save_study(study, folder / day.isoformat())
        if week == 0:
            lines.insert(1, f'base = "{day.isoformat()}"')
        lines += ["[[variant]]", f'name = "{day.isoformat()}"', f'base = "{day.isoformat()}"']
        lines += ["[variant.settings]", '"load.scale" = 1.0']
    (folder / "year.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "year.toml"


def start_sweep(spec: Path, out: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start the sweep as a person would, in a process group of its own that hears Ctrl-C.

    Who runs in the background of a shell inherits that it is ignored.
    """
    command = [sys.executable, "-m", "dso.cli.main", "sweep", str(spec), "--out", str(out)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen([*command, "--quiet", *words], start_new_session=True)


def finished(out: Path) -> int:
    """Return how many days are done."""
    return len(list((out / "variants").glob("[!.]*/variant.json")))


def measure_year() -> str:
    """Run the year undisturbed in one process, and on the cluster with three stops."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        spec = write_year(place / "year")
        begin = time.perf_counter()
        if start_sweep(spec, place / "one", "--workers", "1").wait() not in (0, 3):
            raise SystemExit("the undisturbed sweep failed")
        alone = time.perf_counter() - begin
        say(f"one process: {alone:.1f} s")
        on_cluster = ("--workers", "2", "--cluster", "local")
        begin = time.perf_counter()
        kept = []
        for number, stop in enumerate(STOPS):
            process = start_sweep(spec, place / "cluster", *on_cluster)
            while finished(place / "cluster") < stop and process.poll() is None:
                time.sleep(0.05)
            os.killpg(process.pid, (signal.SIGINT, signal.SIGKILL, signal.SIGTERM)[number])
            process.wait()
            kept.append(finished(place / "cluster"))
            if kept[-1] == YEAR_DAYS:
                raise SystemExit(f"stop {number + 1} did not stop the sweep")
            say(f"stopped with {kept[-1]} days done")
        if start_sweep(spec, place / "cluster", *on_cluster).wait() not in (0, 3):
            raise SystemExit("the continued sweep failed")
        spent = time.perf_counter() - begin
        tables = ("sweep.csv", "sweep.json", "index.html")
        same = all(
            (place / "one" / name).read_bytes() == (place / "cluster" / name).read_bytes()
            for name in tables
        ) and contents(place / "one" / "variants") == contents(place / "cluster" / "variants")
        statuses = Counter(
            line.split(",")[2]
            for line in (place / "one" / "sweep.csv").read_text().splitlines()[1:]
        )
    if not same:
        raise SystemExit("the stopped year left other bytes")
    said = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    return "\n".join(
        [
            (
                f"`python -m benchmarks.cluster --year`, {datetime.now(UTC):%Y-%m-%d}, engine "
                f"{engine_sha256()[:12]}, load of the machine {os.getloadavg()[0]:.1f} at the end. "
                f"{describe_machine()}."
            ),
            "",
            (
                f"{YEAR_DAYS} days of {YEAR_FEEDER}, one in each week of 2016 and each weekday "
                f"in its turn, 96 quarter-hours ({said}). On the cluster the sweep was stopped by "
                "Ctrl-C, SIGKILL and SIGTERM, and continued each time."
            ),
            "",
            "| run | seconds | done at the stops | same bytes |\n|---|---|---|---|",
            f"| one process | {alone:.1f} | | |",
            f"| two workers, three stops | {spent:.1f} | {', '.join(map(str, kept))} | yes |",
        ]
    )


def say(line: str) -> None:
    """Show where the run is."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--print", action="store_true", help="do not write docs/benchmarks.md")
    parser.add_argument("--year", action="store_true", help="the year of sample days instead")
    parser.add_argument("--feeders", type=int, default=FEEDERS, help="how many (default 24)")
    parser.add_argument("--runs", type=int, default=3, help="runs with one and two workers each")
    options = parser.parse_args(argv)
    body = measure_year() if options.year else measure_feeders(options)
    say(body)
    if not options.print:
        replace_section(YEAR_SECTION if options.year else SECTION, body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
